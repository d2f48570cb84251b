"""The dense and the law sampler draw from one distribution, which is that of the theory.

Seeds are fixed, false-alarm rates are stated, and comparisons have negative controls.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import norm

import simulate
from analysis import theory
from analysis.theory.finite_width import kernel_moments, ntk_moments
from simulate.networks import law, one_pass
from simulate.numerics import layer
from simulate.store.sets import DataSet

FALSE_ALARM = 1e-4  # of each test in this file; its statistics share it (Bonferroni)
BASE = (
    "network.width=8",
    "network.depth=3",
    "network.outputs=3",
    "inputs=sphere",
    "inputs.count=2",
    "inputs.dimension=3",
    "observables=preactivations",
    "initialization=gaussian",
    "initialization.C_b=0.3",
    "initialization.C_W=1.5",
    "ensemble.networks=40000",
)


def statistics(data: DataSet) -> np.ndarray:
    """(M, 31): numbers of each network whose means test g to third order and z to fourth, also across outputs."""
    g2, g3 = (data.read("g")[:, 0, k].astype(float) for k in (1, 2))
    m2, m4 = (data.read(p)[:, 0, 1].astype(float) for p in ("m2", "m4"))
    z = data.read("z")[:, 0, 2].astype(float)
    out = [g2, g3, m2, m4, g2**2, g3**2, g3**3, g2 * g3, (g3[:, :1] * g3[:, 2:]), (m2[:, :1] * m2[:, 1:])]
    out += [z[:, :1] ** 2, z[:, :1] ** 4, z[:, :1] ** 2 * z[:, 2:3] ** 2, z[:, :1] * z[:, 1:2] * z[:, 2:3] * z[:, 3:4]]
    return np.concatenate(out, axis=1)


def largest_z(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The largest two-sample |z| and the value it must stay below."""
    error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    z = np.abs(a.mean(axis=0) - b.mean(axis=0)) / error
    return float(z.max()), float(norm.isf(FALSE_ALARM / (2 * len(z))))


@pytest.fixture(scope="module")
def dense_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DataSet]:
    """The fixture `run` for the dense sampler, whose networks are drawn once for a test and its negative controls."""

    @cache
    def once(*overrides: str) -> DataSet:
        where = [f"output={tmp_path_factory.mktemp('dense')}/a", "workers=1", "ensemble.device=cpu"]
        return simulate.run(*overrides, "ensemble.sampler=dense", *where)

    return once


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_dense_and_law_are_one_law(
    activation: str, run: Callable[..., DataSet], dense_run: Callable[..., DataSet]
) -> None:
    """docs/theory.md (10.1) and (10.2) are exact: the samplers agree in some thirty statistics at width 8, where
    corrections in 1/n are large, with biases."""
    dense = dense_run(*BASE, f"activation={activation}")
    drawn = run(*BASE, f"activation={activation}", "ensemble.sampler=law")
    z, limit = largest_z(statistics(dense), statistics(drawn))
    assert z < limit


@pytest.mark.parametrize("mutant", ["infinite width", "n - 1", "no bias"])
def test_the_comparison_catches(
    mutant: str, run: Callable[..., DataSet], dense_run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative controls: a law sampler with an error of order 1/n must fail."""
    kernel = law._kernel

    def wrong(square: torch.Tensor, n: int, C_b: float, C_W: float) -> torch.Tensor:
        if mutant == "infinite width":  # every network has the mean kernel, so that outputs are Gaussian
            g = kernel(square, n, C_b, C_W)
            return g.mean(dim=0, keepdim=True).expand_as(g)
        return kernel(square, n, C_b, C_W * n / (n - 1)) if mutant == "n - 1" else kernel(square, n, 0.0, C_W)

    dense = dense_run(*BASE, "activation=tanh")
    monkeypatch.setattr(one_pass, "applies", lambda settings: False)
    monkeypatch.setattr(law, "_kernel", wrong)
    z, limit = largest_z(statistics(dense), statistics(run(*BASE, "activation=tanh", "ensemble.sampler=law")))
    assert z > limit


NTK = (
    "network.depth=4",
    "network.outputs=2",
    "inputs=sphere",
    "inputs.count=2",
    "inputs.dimension=3",
    "observables.record=[kernel,outputs,ntk]",
    "observables.layers=[3,4]",
    "initialization=gaussian",
    "initialization.C_W=1.5",
    "dynamics.lambda_b=[0.5,0.2,0.7,0.4]",
    "ensemble.networks=60000",
)


def ntk_statistics(data: DataSet) -> np.ndarray:
    """(M, 56): moments of H to third order, H g and H z z, within and across outputs, of two inputs and two outputs."""
    H, z = data.read("H")[:, 0, 1].astype(float), data.read("z")[:, 0, 1].astype(float)
    g = data.read("g")[:, 0, 1].astype(float)
    names = data.layout.names(data.family("H"))
    H00, H01 = H[:, [names.index("H_0_0_0_0")]], H[:, [names.index("H_0_1_0_1")]]
    out = [H, H**2, H00**3, H01**3, H00**2 * H, g[:, :1] * H, g[:, 1:2] * H00, g[:, 1:2] * H01]
    out += [z[:, :1] * z[:, 1:2] * H, z[:, :1] * z[:, 2:3] * H01, z[:, 2:3] ** 2 * H00]
    return np.concatenate(out, axis=1)


@pytest.mark.parametrize("width", [8, 16])
@pytest.mark.parametrize(("activation", "C_b"), [("tanh", 0.3), ("relu", 0.3), ("relu", 0.0)])
def test_dense_and_law_ntk_are_one_law(
    activation: str, C_b: float, width: int, run: Callable[..., DataSet], dense_run: Callable[..., DataSet]
) -> None:
    """docs/theory.md (10.1) to (10.4) are exact: a forward and a backward pass without weights agree with the dense
    sampler, with and without biases, at rates that differ between layers."""
    case = [*NTK, f"activation={activation}", f"initialization.C_b={C_b}", f"network.width={width}"]
    dense, drawn = dense_run(*case), run(*case, "ensemble.sampler=law")
    z, limit = largest_z(ntk_statistics(dense), ntk_statistics(drawn))
    assert z < limit


@pytest.mark.parametrize("mutant", ["fresh weights in the backward pass", "known directions drawn again", "no bias"])
def test_the_ntk_comparison_catches(
    mutant: str, run: Callable[..., DataSet], dense_run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative controls: gradient independence and smaller mistakes, none of which matters at infinite width. They are
    made where networks are drawn layer by layer."""
    monkeypatch.setattr(one_pass, "applies", lambda settings: False)
    case = [*NTK, "activation=tanh", "initialization.C_b=0.3", "network.width=8"]
    dense = dense_run(*case)
    loops, pull_back = layer.pull_back, law._pull_back

    def fresh(u, R, C, *rest):  # type: ignore[no-untyped-def]
        """The backward pass ignores the directions that the forward pass has seen."""
        return loops(u, R, 0 * C, *rest)

    def not_removed(u, R, *rest):  # type: ignore[no-untyped-def]
        """The component of fresh weights along the directions that the forward pass has seen is not removed."""
        return loops(u, 0 * R, *rest) + fresh(u, R, *rest)

    if mutant == "no bias":
        monkeypatch.setattr(law, "_pull_back", lambda *arguments: pull_back(*arguments[:4], 0.0, *arguments[5:]))
    else:
        monkeypatch.setattr(
            layer, "pull_back", fresh if mutant == "fresh weights in the backward pass" else not_removed
        )
    drawn = run(*case, "ensemble.sampler=law")
    z, limit = largest_z(ntk_statistics(dense), ntk_statistics(drawn))
    assert z > limit


DEEP = [*NTK, "observables.output_layers=[2,3,4]", "activation=tanh", "initialization.C_b=0.3", "network.width=4"]


def layer_statistics(data: DataSet) -> np.ndarray:
    """(M, 80): H at layers 2, 3 and 4, its covariances across layers, and H z z with a hidden layer's first neurons."""
    H, z = data.read("H")[:, 0].astype(float), data.read("z")[:, 0].astype(float)
    c = H - H.mean(axis=0)
    out = [*H.transpose(1, 0, 2), c[:, 0] * c[:, 1], c[:, 1] * c[:, 2], c[:, 0] * c[:, 2]]
    out += [z[:, k, :1] * z[:, k, 2:3] * H[:, k] for k in (0, 1)]
    return np.concatenate(out, axis=1)


def test_law_ntk_at_hidden_layers_is_one_law_with_dense(
    run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NTKs of several layers have their joint law, since their vectors are pulled back through the same weights.
    Negative control: a backward pass for each layer alone is right at every layer and wrong between layers."""
    dense, drawn = (run(*DEEP, f"ensemble.sampler={sampler}") for sampler in ("dense", "law"))
    z, limit = largest_z(layer_statistics(dense), layer_statistics(drawn))
    assert z < limit
    ntk = law.ntk

    def layer_by_layer(settings, layers, chosen, *rest):  # type: ignore[no-untyped-def]
        return {layer: ntk(settings, layers, (layer,), *rest)[layer] for layer in chosen}

    monkeypatch.setattr(one_pass, "applies", lambda settings: False)
    monkeypatch.setattr(law, "ntk", layer_by_layer)
    z, limit = largest_z(
        layer_statistics(dense), layer_statistics(run(*DEEP, "ensemble.sampler=law", "ensemble.seed=3"))
    )
    assert z > limit


@pytest.mark.parametrize("sampler", ["dense", "law"])
@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_exact_finite_width_law(activation: str, sampler: str, run: Callable[..., DataSet]) -> None:
    """E g, E g^2 and E g^3 of docs/theory.md (1.11) at unequal widths are those of the exact law of docs/theory.md
    (6.4), for linear networks docs/theory.md (6.2). Negative control: another width of one layer."""
    widths = [16, 12, 20]
    data = run(
        "network.depth=4",
        f"network.width={widths}",
        f"activation={activation}",
        "inputs=sphere",
        "inputs.count=1",
        "observables=kernel",
        "observables.layers=[4]",
        "ensemble.networks=60000",
        f"ensemble.sampler={sampler}",
    )
    g = data.read("g")[:, 0, 0, 0].astype(float)
    C_W = theory.critical(activation).C_W
    want = kernel_moments(activation, widths, C_W, C_W)
    limit = norm.isf(FALSE_ALARM / 6)
    for k, value in enumerate(want, start=1):
        z = (np.mean(g**k) - value) / (np.std(g**k) / np.sqrt(len(g)))
        assert abs(z) < limit, k
    # Negative control: another width of one layer is found.
    second = kernel_moments(activation, [16, 12, 8], C_W, C_W)[1]
    assert abs(np.mean(g**2) - second) / (np.std(g**2) / np.sqrt(len(g))) > limit


@pytest.mark.parametrize("sampler", ["dense", "law"])
def test_exact_ntk_of_relu(sampler: str, run: Callable[..., DataSet]) -> None:
    """E H and E H^2 of the NTK of two outputs at n = 16 are those of the exact law of docs/theory.md (6.7)."""
    data = run(
        "network.depth=4",
        "network.width=16",
        "network.outputs=2",
        "activation=relu",
        "inputs=sphere",
        "inputs.count=1",
        "observables=ntk",
        "observables.layers=[4]",
        "dynamics.lambda_b=0.5",
        "ensemble.networks=40000",
        f"ensemble.sampler={sampler}",
    )
    H00, H01, H11 = data.read("H")[:, 0, 0].astype(float).T
    g = data.read("g")[:, 0, 0, 0].astype(float)
    want = ntk_moments("relu", [16] * 3, 2.0, 2.0, 0.5, 1.0, 1.0)
    checks = [(H00, want.H), (H00 * H11, want.HH), (H01**2, want.H2), (g * H11, want.z2H), (H01, 0.0)]
    limit = norm.isf(FALSE_ALARM / (2 * len(checks)))
    for x, value in checks:
        assert abs(x.mean() - value) / (x.std() / np.sqrt(len(x))) < limit
    shortcut = H01**2 / (H01**2).mean() * 16 * want.H2 / 15  # negative control: n - 1 for n in B
    assert abs(shortcut.mean() - want.H2) / (shortcut.std() / np.sqrt(len(g))) > 3


@pytest.mark.parametrize("sampler", ["dense", "law"])
def test_relu_mean_ntk_off_the_diagonal_alone(sampler: str, run: Callable[..., DataSet]) -> None:
    """At n = 8, E H_ab of ReLU is the frozen NTK for a = b, docs/theory.md (6.7). For a != b it differs by Theta1 / n
    of docs/theory.md (2.11) up to the next order."""
    n, depth = 8, 4
    data = run(
        f"network.width={n}",
        f"network.depth={depth}",
        "activation=relu",
        "inputs=sphere",
        "inputs.count=2",
        "inputs.dimension=3",
        "observables=ntk",
        f"observables.layers=[{depth}]",
        "ensemble.networks=200000",
        f"ensemble.sampler={sampler}",
    )
    H = data.read("H")[:, 0, 0].astype(float)
    flow = theory.flow(
        "relu", depth, 0.0, 2.0, data.samples()[0], data.settings["dynamics"]["lambda_b"],
        data.settings["dynamics"]["lambda_W"], tensors=["K", "Theta", "Theta1"],
    )  # fmt: skip
    Theta, Theta1 = flow.Theta[-1], flow.Theta1[-1]
    assert abs(Theta1.diagonal()).max() < 1e-12
    error = H.std(axis=0) / np.sqrt(len(H))
    limit = norm.isf(FALSE_ALARM / 6)
    pulls = (H.mean(axis=0) - [Theta[0, 0], Theta[0, 1], Theta[1, 1]]) / error
    assert abs(pulls[0]) < limit
    assert abs(pulls[2]) < limit
    correction = H[:, 1].mean() - Theta[0, 1]
    assert abs(pulls[1]) > limit
    assert correction == pytest.approx(Theta1[0, 1] / n, abs=0.5 * abs(Theta1[0, 1]) / n)
