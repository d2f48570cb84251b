"""Orthogonal weights: their rows, what stays as it was, and what is refused."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from simulate.api import read_one
from simulate.networks import activations, dense, haar, streams
from simulate.numerics.gram import factor, gram, mix, pull_back
from simulate.running.compute import compute_block
from simulate.running.jobs import Job
from simulate.running.prepare import prepare
from simulate.settings import Settings, SettingsError
from simulate.training.algorithms import Training
from simulate.training.trajectory import trajectory


def settings(*overrides: str) -> Settings:
    return read_one(
        ["network.depth=4", "network.width=[6,6,5]", "network.outputs=2", "initialization=orthogonal",
         "initialization.C_b=0.2", "initialization.C_W=1.4", "ensemble.dtype=float64", "ensemble.device=cpu",
         *overrides]
    )  # fmt: skip


def drawn(s: Settings, M: int = 3) -> dense.Parameters:
    return dense.draw(s, 4, streams.Stream(streams.key(0, "test"), 0, M, torch.float64, torch.device("cpu")))


def test_rows_are_orthogonal() -> None:
    """W W^T = C_W from layer 2 on, of square and of narrower layers. Layer 1 and the biases are those of Gaussian
    weights bit for bit, from which all other weights differ."""
    given = settings()
    gaussian = dataclasses.replace(given.initialization, weights="gaussian")
    parameters, plain = drawn(given), drawn(dataclasses.replace(given, initialization=gaussian))
    for layer, W in enumerate(parameters.W[1:], start=2):
        unit = torch.eye(W.shape[1], dtype=torch.float64).expand(3, -1, -1)
        torch.testing.assert_close(W @ W.mT, 1.4 * unit, rtol=1e-12, atol=1e-12)
        assert not torch.allclose(plain.W[layer - 1] @ plain.W[layer - 1].mT, 1.4 * unit, rtol=0.1)
        assert W.mT.is_contiguous(), "loops take weights by incoming neuron"
    assert torch.equal(parameters.W[0], plain.W[0])
    assert all(torch.equal(b, other) for b, other in zip(parameters.b, plain.b, strict=True))


@pytest.mark.parametrize(("n", "K"), [(12, 3), (6, 9), (4, 2)])
@pytest.mark.parametrize("above", ["as wide", "narrower"])
def test_weights_that_are_not_drawn(n: int, K: int, above: str) -> None:
    """What is pulled back is that of one W, docs/theory.md (14.4): u.(W s) = (W^T u).s, and W W^T = C_W. Samples are
    equal or zero, and vectors are equal or more than there is room for. Negative control: another frame."""
    M, C_W = 5, 1.7
    generator = torch.Generator().manual_seed(n)
    s, normals, x, u = (torch.randn(M, k, n, dtype=torch.float64, generator=generator) for k in (4, 4, K, K))
    m = n if above == "as wide" else n - 1
    u = u[..., :m].contiguous()
    s[:, 1], s[:, 2], u[:, 1] = s[:, 0], 0.0, u[:, 0]
    C, square, scale = factor(gram(s, C_W / n)), gram(u), (C_W / n) ** 0.5
    ones = torch.ones(M, 1, n, dtype=torch.float64)

    def pulled(xi: Tensor) -> Tensor:
        R = haar.remainder(u, square, C, xi, s, scale * x, C_W)
        return pull_back(u, R, C, xi, s, scale * x, x[:0], scale, ones, u.shape[1])

    xi = haar.frame(C, normals, m)
    back = pulled(xi)
    torch.testing.assert_close(back @ s.mT, u @ mix(C, xi).mT, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gram(back), C_W * square, rtol=1e-9, atol=1e-9)
    other = haar.frame(C, torch.randn(M, 4, n, dtype=torch.float64, generator=generator), m)
    assert not torch.allclose(back @ s.mT, u @ mix(C, other).mT, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("sampler", ["dense", "law"])
def test_orthogonal_layers_keep_lengths(sampler: str) -> None:
    """Linear networks with orthogonal weights in all layers have the kernel and the NTK of infinite width. Negative
    control: with a Gaussian first layer they fluctuate."""
    spread = []
    for first in ("orthogonal", "gaussian"):
        job = prepare(settings("activation=linear", "network.width=6", f"initialization.first={first}", "inputs=sphere",
                               "inputs.dimension=6", "initialization.C_b=0", f"ensemble.sampler={sampler}",
                               "observables.record=[kernel,ntk]", "ensemble.block=4"))  # fmt: skip
        rows, _ = compute_block(job, 0)
        spread.append(max(float((rows[prefix][..., 0] / rows[prefix][:1, ..., 0] - 1).std()) for prefix in "gH"))
        x = job.samples.x
        K = 1.4 ** np.arange(1, 5) * float(x[0] @ x[0]) / 6
        np.testing.assert_allclose(rows["g"][:, 0, :, 0].mean(axis=0), K, rtol=1 if first == "gaussian" else 1e-6)
    assert spread[0] < 1e-6
    assert spread[1] > 1e-2


def test_ntk_and_training_take_the_weights_as_they_are() -> None:
    """A step of gradient descent moves outputs of such networks by -eta H (z - y) to first order in eta."""
    s = settings("activation=tanh")
    parameters = drawn(s)
    value, slope = activations.functions(s.activation)
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    z, signals = dense.forward(parameters, x, value)
    rates = s.dynamics.lambda_b, s.dynamics.lambda_W
    H, before = dense.ntk(parameters, z, signals, slope, *rates), z[-1].clone()
    eta = 1e-6
    rule = dataclasses.replace(s.dynamics, name="gradient_descent", eta=eta, steps=1)
    where = streams.Stream(streams.key(0, "test"), 0, 3, torch.float64, torch.device("cpu"))
    list(trajectory(Training(parameters, x, torch.zeros(3, 2, dtype=torch.float64), value, slope, rule, where), (1,)))
    moved: Tensor = (dense.forward(parameters, x, value)[0][-1] - before) / eta
    want = -torch.einsum("miajb,mbj->mai", H, before)
    torch.testing.assert_close(moved, want, rtol=1e-4, atol=1e-4)


def test_identity() -> None:
    """Orthogonal networks are other networks than Gaussian ones, whose identity has no word of weights."""
    jobs: list[Job] = []
    for scheme in ("orthogonal", "gaussian"):
        values = ["initialization.C_b=0.0", "initialization.C_W=1.0", "ensemble.sampler=dense"]
        jobs.append(prepare(read_one([f"initialization={scheme}", "network.width=8", *values])))
    assert jobs[0].law_in_words() != jobs[1].law_in_words()
    identity = jobs[0].settings.identity()["initialization"]
    assert identity["weights"] == "orthogonal"
    assert "first" not in identity
    assert "weights" not in jobs[1].settings.identity()["initialization"]
    critical = read_one(["initialization=orthogonal", "activation=relu", "network.width=8"]).initialization
    assert (critical.C_b, critical.C_W, critical.weights) == (0.0, 2.0, "orthogonal")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network.width=[6,7,5]"], r"network.width=\[6, 7, 5\]: layers that do not widen .*: layer 2 has 7 "),
        (["network.outputs=6"], "network.outputs=6: layers that do not widen .*: layer 4 has 6 neurons on 5"),
        (["network.depth=1", "network.width=[]"], "gaussian at network.depth=1"),
        (["initialization=uniform", "network.depth=1", "network.width=[]"], "gaussian at network.depth=1"),
        (["initialization=uniform", "ensemble.sampler=law"], "initialization=uniform needs the weights"),
        (["initialization.first=haar"], "initialization.first='haar': one of gaussian, orthogonal"),
        (["observables.record=[kernel_controls]"], "known for Gaussian weights: rows of a frame are Gaussian to"),
        (["initialization.C_W=null"], "initialization.C_W=None: a finite number > 0"),
        *(([f"observables.record=[{name}]"], f"{name} is known for Gaussian weights")
          for name in ("ntk_sums", "ntk_signs", "ddntk_signs")),
    ],
)  # fmt: skip
def test_refusals(overrides: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings(*overrides)


def test_narrow_inputs() -> None:
    """Rows of a first layer that is wider than the inputs cannot be orthogonal."""
    given = settings("initialization.first=orthogonal", "inputs=sphere", "inputs.dimension=5")
    with pytest.raises(SettingsError, match="gaussian where layer 1 is wider than the inputs: it has 6 neurons on 5"):
        prepare(given)
