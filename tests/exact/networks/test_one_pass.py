"""One compiled pass over all layers draws the networks that the law sampler draws layer by layer."""

from typing import Any

import numpy as np
import pytest
import torch

from simulate.api import read_one
from simulate.networks import one_pass
from simulate.numerics import loops
from simulate.running import compute
from simulate.running.jobs import Job
from simulate.running.plan import blocks_of_a_pass, in_one_pass
from simulate.running.prepare import prepare

BIASED = ["initialization=gaussian", "initialization.C_b=0.3", "initialization.C_W=1.2"]
RATES = ["dynamics.lambda_b=0.5", "dynamics.lambda_W=[1.0,0.5,2.0,1.5]"]
CASES = {
    "tanh": ["activation=tanh"],
    "relu, every layer's NTK": ["activation=relu", "observables.layers=all"],
    "leaky relu with biases": ["activation=leaky_relu", *BIASED],
    "two outputs of three layers, unequal widths": [
        "activation=tanh", "network.outputs=2", "observables.layers=[2,3,4]", "network.width=[23,70,9]", *BIASED,
        *RATES,
    ],
    "two samples": ["activation=tanh", "inputs.count=2", "observables.layers=[2,4]", *RATES],
    "one sample": ["activation=linear", "inputs.count=1"],
    "five samples": ["activation=tanh", "inputs.count=5", *BIASED],
    "preactivations of two layers": ["activation=tanh", "observables=preactivations", "observables.layers=[1,3]"],
    "kernels alone": ["activation=tanh", "observables=kernel", "observables.layers=all"],
}  # fmt: skip
SMALL = ("observables=ntk", "ensemble.sampler=law", "inputs=sphere", "inputs.dimension=6", "inputs.count=4",
         "network.width=40", "network.depth=4", "ensemble.block=8", "ensemble.networks=64", "ensemble.device=cpu",
         "workers=1", "claim=null", "sweep=null")  # fmt: skip


def job_of(*given: str) -> Job:
    return prepare(read_one([*SMALL, *given]))


def rows(job: Job, first: int = 0, last: int = 24) -> dict[str, np.ndarray[Any, Any]]:
    values, status, _ = compute.compute_rows(job, first, last, {})
    assert not status.any()
    return values


@pytest.mark.parametrize("case", CASES)
def test_the_pass_draws_what_layers_draw_one_after_the_other(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows agree to rounding, and those of another seed do not."""
    job = job_of(*CASES[case])
    assert in_one_pass(job)
    got = rows(job)
    monkeypatch.setattr(one_pass, "applies", lambda settings: False)
    want, other = rows(job), rows(job_of(*CASES[case], "ensemble.seed=5"))
    for family, values in got.items():
        largest = np.nanmax(np.abs(want[family]))
        np.testing.assert_allclose(values, want[family], rtol=1e-5, atol=1e-6 * largest, err_msg=family)
    assert not all(np.allclose(values, other[family], rtol=1e-2, equal_nan=True) for family, values in got.items())


def test_networks_do_not_depend_on_what_is_drawn_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit: one network at a time, one block at a time, all at once, and a range that begins within a block."""
    job = job_of("activation=tanh", "network.outputs=2", "observables.layers=[2,4]", *BIASED)
    assert blocks_of_a_pass(job) > 3
    whole, inner = rows(job), rows(job, 5, 19)
    monkeypatch.setattr(one_pass, "TOGETHER", 1)
    alone = rows(job)
    monkeypatch.setattr(one_pass, "PASS", 1)
    assert blocks_of_a_pass(job) == 1
    blocks = rows(job)
    for family, values in whole.items():
        for others in (alone, blocks):
            np.testing.assert_array_equal(others[family], values)
        np.testing.assert_array_equal(inner[family], values[5:19])


@pytest.mark.parametrize(
    "given",
    [
        ["initialization=orthogonal", "initialization.C_b=0.1", "initialization.C_W=1.0"],
        ["network=residual"],
        ["ensemble.dtype=float64"],
        ["activation=gelu"],
        ["observables.record=[response]", "observables.layers=[2,3]"],
        ["observables.record=[kernel_controls]", "observables.layers=[2,3]"],
    ],
)
def test_what_is_drawn_layer_by_layer(given: list[str]) -> None:
    assert in_one_pass(job_of("activation=tanh"))
    assert not in_one_pass(job_of("activation=tanh", *given))


def test_tanh_of_the_loops() -> None:
    """It errs by less than 3 units of the last place, is odd, never beyond 1, and NaN and infinity keep their meaning.
    Negative control: half a unit is too little."""
    z = np.concatenate([np.linspace(-12, 12, 10**6), np.geomspace(1e-30, 1, 10**5)]).astype(np.float32)
    s = np.stack([z, -z])[None]
    loops.activate(s, True, 0.0)
    want = np.tanh(z.astype(np.float64))
    errors = np.abs(s[0, 0] - want) / np.spacing(np.abs(want).astype(np.float32))
    assert 0.5 < errors.max() < 3
    np.testing.assert_array_equal(s[0, 0], -s[0, 1])
    assert np.abs(s).max() == 1
    odd = np.array([[[np.nan, np.inf, -np.inf, 0.0, -0.0]]], np.float32)
    loops.activate(odd, True, 0.0)
    np.testing.assert_array_equal(odd[0, 0], [np.nan, 1, -1, 0, 0])
    assert np.signbit(odd[0, 0, 4])


def test_a_diverged_network_has_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose numbers overflow says so in its status, as where it is drawn layer by layer."""
    job = job_of("activation=linear", "initialization=gaussian", "initialization.C_W=1e13")
    _, status, _ = compute.compute_rows(job, 0, 8, {})
    assert status.all()
    monkeypatch.setattr(one_pass, "applies", lambda settings: False)
    _, want, _ = compute.compute_rows(job, 0, 8, {})
    np.testing.assert_array_equal(status, want)


def test_bytes_that_are_counted_are_held() -> None:
    """What a pass gives has the bytes that the forecast of memory counts."""
    job = job_of("activation=tanh", "observables.layers=[2,4]")
    M, D, sizes, at = 16, 4, job.settings.network.sizes(6), (2, 4)
    stream = one_pass.Stream((1, 2), 0, M, torch.float32, torch.device("cpu"))
    drawn, H = one_pass.draw(job.settings, torch.randn(D, 6), stream, True, at, at)
    held = sum(d.z.nbytes for d in drawn.values()) + sum(h.nbytes for h in H.values())
    held += drawn[2].g.nbytes * job.settings.network.depth
    assert one_pass.given_bytes(sizes, D, at, at) * M == pytest.approx(held, rel=0.2)
