"""Residual networks fluctuate as predicted, at layers to which a skip leads and at the last layer, which has none.

Seeds are fixed, false-alarm rates are stated, and each check has a negative control.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from analysis import claims, estimators, theory
from analysis.estimators import Estimate
from analysis.points import Point
from analysis.theory import residual
from simulate.networks import law
from simulate.store.sets import DataSet
from tests.statistical import two_samplers

FALSE_ALARM = 1e-4  # of each test in this file; its statistics share it (Bonferroni)
SKIP = 0.6


def residual_point(run: Callable[..., DataSet], *overrides: str) -> Point:
    return Point(
        run("network=residual", f"network.skip={SKIP}", "network.depth=5", "initialization=critical", "inputs=sphere",
            "inputs.count=1", "observables.record=[kernel,moments]", "observables.layers=all", *overrides)
    )  # fmt: skip


def measured(point: Point, name: str, layers: list[int]) -> list[tuple[Estimate, float]]:
    """Estimate and prediction at each of the layers."""
    return [(m.estimate, float(m.theory[0])) for m in claims.tests()[name](point, layers)]


@pytest.mark.parametrize("sampler", ["dense", "law"])
def test_linear_networks_have_the_exact_vertex(sampler: str, run: Callable[..., DataSet]) -> None:
    """V = n K^2 ((1 + 2 (1 - gamma^4)/n)^(l-1) - 1) at every n, docs/theory.md (11.8), by the estimator of
    docs/theory.md (11.10) at the layers to which a skip leads and by n Var g at the last layer, with false-alarm rate
    1e-4. Negative control: n Var g at a layer to which a skip leads is off."""
    n, networks = 8, 10_000
    overrides = [f"network.width={n}", f"ensemble.networks={networks}", f"ensemble.sampler={sampler}"]
    point = residual_point(run, "activation=linear", *overrides)
    limit = norm.isf(FALSE_ALARM / (2 * 4))
    K, C_W = float(point.flow(True).K[0, 0, 0]), 1 - SKIP**2
    growth = (1 + 2 * (1 - SKIP**4) / n) ** np.arange(5)
    # z is isotropic, so that E z_i^4 = 3 E z_i^2 z_j^2; the last layer averages both.
    below = K**2 * growth[3]
    exact = {layer: theory.finite_width.residual_vertex(layer, n, C_W, K, SKIP) for layer in (2, 3, 4)}
    exact[5] = C_W**2 * (n * (below * (1 + 2 / n) - K**2))
    for layer, (estimate, _) in zip((2, 3, 4, 5), measured(point, "V", [2, 3, 4, 5]), strict=True):
        assert abs(estimate.value[0] - exact[layer]) < limit * estimate.error[0], layer
    old = estimators.covariance(point.read("g", 4), [(0, 0)]).scaled(n)
    assert abs(old.value[0] - exact[4]) > limit * old.error[0]


def test_towers_are_seen(run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """V of ReLU networks at layers 3, 4 and 5 is that of docs/theory.md (11.5), up to the next order of 1/n,
    which two widths take off, with false-alarm rate 1e-4. Negative control: V without the towers is rejected."""
    points = [
        residual_point(run, "activation=relu", f"network.width={n}", "ensemble.networks=40000", f"ensemble.seed={n}")
        for n in (32, 64)
    ]
    narrow, wide = (measured(point, "V", [3, 4, 5]) for point in points)
    limit = norm.isf(FALSE_ALARM / (2 * 3))

    def pulls(predicted: list[float]) -> np.ndarray:
        value = np.array([2 * w.value[0] - v.value[0] for (v, _), (w, _) in zip(narrow, wide, strict=True)])
        error = np.array([np.hypot(2 * w.error[0], v.error[0]) for (v, _), (w, _) in zip(narrow, wide, strict=True)])
        return np.asarray((value - predicted) / error)

    assert np.abs(pulls([predicted for _, predicted in wide])).max() < limit
    K, Theta = (points[0].flow(("K", "Theta"))[name].ravel() for name in ("K", "Theta"))
    C_W = points[0].settings["initialization"]["C_W"]
    steps = [residual.Step(0.0, C_W, gamma, 0.0, 1.0) for gamma in points[0].skips]
    monkeypatch.setattr(residual.State, "tower", lambda state, name: np.zeros(state.count))
    without = residual.order_n(theory.activation("relu"), K, Theta, steps)["V"][2:]
    assert np.abs(pulls(without.tolist())).max() > limit


@pytest.mark.parametrize(("activation", "n"), [("tanh", 8), ("relu", 8), ("relu", 16)])
def test_dense_and_law_are_one_law(
    activation: str, n: int, run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law sampler with skips of docs/theory.md (11.9) agrees with dense networks in 28 statistics of z, g and H,
    with false-alarm rate 1e-4. Negative control: a backward pass whose weights are drawn again."""
    case = ["network=residual", f"network.skip={SKIP}", f"network.width={n}", "initialization=gaussian",
            "initialization.C_b=0.1", "initialization.C_W=1.2", f"activation={activation}",
            f"network.branch={0.8 if activation == 'relu' else 1}", "ensemble.networks=30000"]  # fmt: skip
    largest, limit = two_samplers.apart(run, case), two_samplers.limit(FALSE_ALARM)
    assert largest() < limit
    if activation == "tanh":
        pull_back = law._pull_back
        monkeypatch.setattr(
            law, "_pull_back", lambda u, square, above, *rest: pull_back(
                u, square, replace(above, xi=torch.randn_like(above.xi)), *rest
            )
        )  # fmt: skip
        assert largest() > limit
