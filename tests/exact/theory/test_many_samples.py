"""Bayesian inference at order 1/n with more samples than V has room for: docs/theory.md (16.5) and (16.12)."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis import theory

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "bayes_reference.json").read_text())


def by_series(name: str, x: np.ndarray, y: np.ndarray, noise: float, terms: int = 61) -> float:
    """The mean of the last sample's output at infinite width and depth 3, C_b = 0 and C_W = 1, from Mehler's series
    <s_a s_b> = sum_q c_q(K_aa) c_q(K_bb) rho_ab^q, of which 61 terms leave 4e-11 of an element."""
    s, (nodes, weights) = theory.activation(name), np.polynomial.hermite_e.hermegauss(200)

    def following(K: np.ndarray) -> np.ndarray:
        deviations, total = np.sqrt(np.diag(K)), np.zeros_like(K)
        values = s(deviations[:, None] * nodes) * weights / weights.sum()
        for q in range(terms):
            c = values @ np.polynomial.hermite_e.hermeval(nodes, np.eye(q + 1)[q]) / math.sqrt(math.factorial(q))
            total += np.outer(c, c) * (K / np.outer(deviations, deviations)) ** q
        return total

    K, N = following(following(x @ x.T / x.shape[1])), len(y)
    return float(K[-1, :N] @ np.linalg.solve(K[:N, :N] + noise * np.eye(N), y))


def digits(N: int) -> tuple[np.ndarray, np.ndarray]:
    """N train digits and one test digit, and the targets (N, 1)."""
    from simulate.api import read_one
    from simulate.inputs import load

    samples = load(read_one(["inputs=digits", f"inputs.count={N}", "inputs.test=1"]).inputs)
    return np.asarray(samples.x), samples.y[:N]


def test_ten_samples() -> None:
    """What learning adds to the test sample's mean with ten digits, docs/theory.md (16.10): .526(9) by another
    average over points, held at four standard errors, and the forecast of the share, docs/theory.md (16.5)."""
    x, y = digits(10)
    found = theory.posterior("tanh", 3, 0.0, 1.0, x, y, 0.1, points=2**14)
    want = REFERENCE["ten_samples"]
    mean = by_series("tanh", x, y[:, 0], 0.1)
    assert found.mean[10, 0] == pytest.approx(mean, rel=1e-9)
    # The reference itself has six digits: it is off the series of 35 and of 61 terms, and off quadrature, by 9.8e-7.
    assert want["m0"] == pytest.approx(mean, rel=2e-6)
    assert (found.mean1 - found.features_mean1)[10, 0] == pytest.approx(want["pred"], abs=4 * want["pred_err"])
    forecast = next(row for row in REFERENCE["forecast"] if row["N"] == 10 and row["noise"] == 0.1)
    assert found.share(64) == pytest.approx(forecast["forecast_64"], rel=0.02)
    assert found.share(256) == pytest.approx(forecast["measured_256"], rel=0.03)


@pytest.mark.parametrize(("N", "noise"), [(50, 0.1), (50, 0.01), (100, 0.1)])
def test_many_samples(N: int, noise: float) -> None:
    """v1 of docs/theory.md (16.5) of 50 and 100 digits, by the pull-back of docs/theory.md (16.12), is that of another
    average over points. Negative control: twice the noise."""
    x, y = digits(N)

    def v1(noise: float) -> float:
        return theory.weight_variance("tanh", 3, 0.0, 1.0, x[:N], y, noise)

    want = next(row["v1"] for row in REFERENCE["forecast"] if row["N"] == N and row["noise"] == noise)
    assert v1(noise) == pytest.approx(want, rel=0.05)
    assert abs(v1(2 * noise) / want - 1) > 0.2
