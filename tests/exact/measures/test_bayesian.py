"""Measures of Bayesian inference on networks whose averages are known: docs/theory.md (16.1), (16.2) and (16.6).

All networks have the kernel of infinite width in layer 2 and K + delta sign in layer 3, where the signs of pairs are
independent. Controls are signs of which no product is a product of those, and so controlled averages are plain ones.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import hadamard
from scipy.stats import multivariate_normal

import simulate
from analysis import theory
from analysis.measures import bayesian, bayesian_controlled
from analysis.measures.measured import MEASURES, Measured
from analysis.points import Point
from tests.exact.measures.rows import NETWORKS, Rows, inputs_of, rows

X, Y, NOISE, N_L = inputs_of([[1.0, 0.3, 0.2], [0.3, 0.8, -0.4], [0.2, -0.4, 1.2]]), [[0.7, 0.2], [-1.1, 0.4]], 0.3, 2
SIGNS = hadamard(NETWORKS).astype(float)[:, 1:]  # columns are orthogonal and have mean zero


@lru_cache
def data(
    size: float = 0.04, shift: float = 0.0, activation: str = "tanh", C_b: float = 0.1, outputs: int = N_L
) -> Rows:
    """Networks whose g(3) is K plus signs of this size, and whose controls are signs, shifted by so many units."""
    settings = [f"activation={activation}", "network.depth=3", "network.width=8", "initialization=gaussian",
                f"initialization.C_b={C_b}", "observables.record=[kernel,kernel_controls]"]  # fmt: skip
    found = rows(*settings, x=X, y=np.array(Y)[:, :outputs])
    flow = theory.flow(activation, 3, C_b, 1.0, X)
    assert flow.V is not None
    pairs = found.layout.indices(found.family("g"))
    V = flow.V
    for layer in (1, 2, 3):
        found.fill("g", layer, lambda a, b, layer=layer: flow.K[layer - 1, a, b] * np.ones(NETWORKS))
        found.fill("c", layer, lambda a, b: np.zeros(NETWORKS))
    found.fill("g", 3, lambda a, b: flow.K[2, a, b] + size * SIGNS[:, pairs.index((a, b))])
    for layer in (2, 3):
        found.fill("c", layer, lambda a, b, layer=layer: np.sqrt(V[layer - 1, a, b, a, b] / 8) * (
            SIGNS[:, 8 * (6 * (layer - 2) + pairs.index((a, b)) + 1) - 1] + shift))  # fmt: skip
    return replace(found, settings=found.settings | {"claim": {"noise": NOISE}})


def plain(point: Rows) -> dict[str, np.ndarray]:
    """The posterior by the densities of scipy and inverses, one network after the other."""
    pairs, g = point.layout.indices(point.family("g")), point.values["g"][:, 0]
    weights, means, covariances, y = [], [], [], np.array(Y)
    for row in g[:, 2]:
        kernel = np.zeros((3, 3))
        for value, (a, b) in zip(row, pairs, strict=True):
            kernel[a, b] = kernel[b, a] = value
        M = kernel[:2, :2] + NOISE * np.eye(2)
        weights.append(np.prod([multivariate_normal(np.zeros(2), M).pdf(y[:, i]) for i in range(N_L)]))
        means.append((kernel[:, :2] @ np.linalg.inv(M) @ y).T.ravel())
        covariances.append(np.kron(np.eye(N_L), kernel - kernel[:, :2] @ np.linalg.inv(M) @ kernel[:2]))
    w, m, S = np.array(weights), np.array(means), np.array(covariances)
    share = w / w.sum()
    mean = share @ m
    covariance = np.einsum("m,mpq->pq", share, S) + (share[:, None] * (m - mean)).T @ (m - mean)
    return {"evidence": np.log(w.mean()), "mean": mean, "covariance": covariance, "kernel": share @ g[:, 2]}


def of_measure(name: str, point: Rows) -> Measured:
    return next(iter(m for m in MEASURES[f"posterior_{name}"](point.point, [3]) if m.layer == 3))


def close(found: Measured, before: np.ndarray, wide: np.ndarray) -> bool:
    """Whether n times a deviation from infinite width is that of the plain sums, up to the jackknife's correction."""
    want = 8 * (before - wide)
    return bool(np.abs(found.estimate.value - want).max() < 0.05 * np.abs(want).max())


def wide() -> theory.Posterior:
    return theory.posterior("tanh", 3, 0.1, 1.0, X, Y, NOISE)


def check(name: str, before: str, chosen: np.ndarray | None, at_infinity: np.ndarray, coefficient: np.ndarray) -> None:
    """A measure against the plain sums; its theory. Negative control: networks with half the signs."""
    found, sums = of_measure(name, data()), np.ravel(plain(data())[before])
    values = sums if chosen is None else sums[chosen]
    assert close(found, values, np.ravel(at_infinity))
    assert not close(of_measure(name, data(0.02)), values, np.ravel(at_infinity))
    np.testing.assert_allclose(found.theory, np.ravel(coefficient), rtol=1e-9)


def places(*chosen: tuple[int, int]) -> np.ndarray:
    return np.array([6 * p + q for p, q in chosen])


def test_posterior_evidence() -> None:
    check("evidence", "evidence", None, np.array(wide().log_evidence), np.array(wide().log_evidence1))


def test_posterior_evidence_exact() -> None:
    """The plain evidence less that of the exact law, docs/theory.md (16.18), which is there for linear networks
    alone."""
    point = data(0.04, 0.0, "linear", 0.0, 1)
    K = theory.flow("linear", 3, 0.0, 1.0, X, tensors=("K",)).K[-1]
    kernel = point.values["g"][:, 0, 2][:, [0, 1, 1, 3]].reshape(-1, 2, 2)  # columns 00, 01, 02, 11, 12, 22
    y = np.array(Y)[:, 0]
    w = [multivariate_normal(np.zeros(2), g + NOISE * np.eye(2)).pdf(y) for g in kernel]
    exact = theory.deep_linear(K, y, NOISE, [8, 8]).log_evidence
    found = of_measure("evidence_exact", point)
    assert found.estimate.value[0] == pytest.approx(8 * (np.log(np.mean(w)) - exact), rel=0.05)
    assert abs(found.estimate.value[0]) > 0.1, "signs are not chi-squared numbers"
    assert list(MEASURES["posterior_evidence_exact"](data().point, None)) == []


def test_posterior_mean() -> None:
    check("mean", "mean", None, wide().mean.T, wide().mean1.T)


def test_posterior_covariance() -> None:
    upper = [(b, c) for b in range(3) for c in range(b, 3)]
    both = [(i, b, c) for i in range(2) for b, c in upper]
    chosen = places(*((3 * i + b, 3 * i + c) for i, b, c in both))
    exact = wide()
    check("covariance", "covariance", chosen, np.array([exact.covariance[b, c] for _, b, c in both]),
          np.array([exact.covariance1[i, b, i, c] for i, b, c in both]))  # fmt: skip


def test_posterior_correlation() -> None:
    chosen = places(*((b, 3 + c) for b in range(3) for c in range(3)))
    check("correlation", "covariance", chosen, np.zeros(9), wide().covariance1[0, :, 1])


def test_posterior_kernel() -> None:
    upper = np.triu_indices(3)
    K = theory.flow("tanh", 3, 0.1, 1.0, X, tensors=("K",)).K[2]
    check("kernel", "kernel", None, K[upper], wide().kernels1[1][upper])


def test_posterior_kernel_sharpened() -> None:
    """That with controls of third order, whose next orders have the size of the parts of its coefficient: the sum of
    those of docs/theory.md (16.8)."""
    upper = np.triu_indices(3)
    K, exact = theory.flow("tanh", 3, 0.1, 1.0, X, tensors=("K",)).K[2], wide()
    check("kernel_sharpened", "kernel", None, K[upper], exact.kernels1[1][upper])
    np.testing.assert_allclose(exact.kernel_terms1.sum(axis=0), exact.kernels1, rtol=1e-12)
    found = of_measure("kernel_sharpened", data())
    assert found.size is not None
    np.testing.assert_allclose(found.size, np.abs(exact.kernel_terms1[:, 1]).sum(axis=0).max())


def test_posterior_controls() -> None:
    """Means are zero of signs, and those of products are that of the sign's square, one, less the expected covariance.
    Negative control: signs that are shifted by a third of a unit."""
    found = {m.tensor: m.estimate.value for m in bayesian.means_of_controls(data().point, [2])}
    np.testing.assert_allclose(found["Y"], 0, atol=1e-12)
    shifted = {m.tensor: m.estimate.value for m in bayesian.means_of_controls(data(shift=1 / 3).point, [2])}
    np.testing.assert_allclose(shifted["Y"], 1 / 3, rtol=1e-9)
    rest = {m.tensor: m.estimate.value for m in bayesian.means_of_controls(data().point, [3])}
    np.testing.assert_allclose(rest["m"], 0, atol=1e-6)
    moved = replace(data(), values=data().values | {"g": data().values["g"] * [[[1.0], [1.0], [1.01]]]})
    assert (
        np.abs(next(m.estimate.value for m in bayesian.means_of_controls(moved.point, [3]) if m.tensor == "m")).max()
        > 0.01
    )


def test_posterior_controls_third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means of products of three over 30,000 narrow ReLU networks of two inputs are those of theory within 4.5 standard
    errors (false alarms: 59 means, 4e-4), and so is every other control. Negative control: without third cumulants."""
    settings = ["activation=relu", "network.depth=4", "network.width=8", "ensemble.networks=30000", "workers=1",
                "observables.record=[kernel,kernel_controls]", "ensemble.device=cpu"]  # fmt: skip
    data = simulate.run(*settings, f"output={tmp_path}", inputs=(X[:2], np.ones((2, 1))))
    point = Point(data)
    assert off(point) < 4.5
    expected = bayesian_controlled._expected_third
    monkeypatch.setattr(bayesian_controlled, "_expected_third", lambda *of: [0 * E for E in expected(*of)])
    assert off(point) > 20


def off(point: Point) -> float:
    """The largest mean of a control in its errors."""
    found = [m.estimate for m in bayesian.means_of_third.function(point, None)]
    return max(float((np.abs(e.value) / e.error).max()) for e in found)
