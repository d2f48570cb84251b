"""Measures of random features on networks whose averages are known: docs/theory.md (16.15) and (16.16)."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from analysis.measures.measured import MEASURES
from tests.exact.measures.rows import Rows
from tests.exact.measures.test_bayesian import N_L, NOISE, Y, data, wide

ALL = np.array([*Y, [0.3, -0.6]])  # targets of the test sample, too
UPPER = [(p, q) for p in range(6) for q in range(p, 6)]


@lru_cache
def point(size: float = 0.04) -> Rows:
    found = data(size)
    return replace(found, given=(found.given[0], ALL, 2))


def predictors(rows: Rows) -> np.ndarray:
    """f of every network at all samples, (M, n_L, 3), by inverses."""
    pairs, g = rows.layout.indices(rows.family("g")), rows.values["g"][:, 0, 2]
    kernel = np.zeros((len(g), 3, 3))
    for k, (a, b) in enumerate(pairs):
        kernel[:, a, b] = kernel[:, b, a] = g[:, k]
    inverse = np.linalg.inv(kernel[:, :2, :2] + NOISE * np.eye(2))
    return np.einsum("mba,mac,ci->mib", kernel[:, :, :2], inverse, np.array(Y))


def check(name: str, value: np.ndarray, coefficient: np.ndarray) -> None:
    """A measure against the plain averages of numbers, up to the jackknife's correction of order 1/M, and its theory.
    Negative control: networks with half the signs."""
    (found,), (half,) = (MEASURES[name](rows.point, [3]) for rows in (point(), point(0.02)))
    np.testing.assert_allclose(found.estimate.value, 8 * value, rtol=1e-6, atol=0.02 * np.abs(8 * value).max())
    assert np.abs(half.estimate.value - 8 * value).max() > 0.3 * np.abs(8 * value).max()
    np.testing.assert_allclose(found.theory, coefficient, rtol=1e-9, atol=1e-13)


def test_features_mean() -> None:
    f = predictors(point())
    check("features_mean", (f.mean(axis=0) - wide().mean.T).ravel(), wide().features_mean1.T.ravel())


def test_features_covariance() -> None:
    f = predictors(point()).reshape(-1, 6)
    covariance, want = np.cov(f, rowvar=False, bias=True), wide().features_covariance1.reshape(6, 6)
    check("features_covariance", np.array([covariance[u] for u in UPPER]), np.array([want[u] for u in UPPER]))


def test_features_train_error() -> None:
    f, exact = predictors(point()), wide()
    errors = ((f - ALL.T)[:, :, :2] ** 2).sum(axis=2).mean(axis=0)
    check("features_train_error", errors - exact.train_error, exact.train_error1)


def test_features_test_error() -> None:
    f, exact = predictors(point())[:, :, 2], wide()
    before = (exact.mean[2] - ALL[2]) ** 2
    bias = 2 * (exact.mean[2] - ALL[2]) * exact.features_mean1[2]
    variance = np.array([exact.features_covariance1[i, 2, i, 2] for i in range(N_L)])
    check("features_test_error", ((f - ALL[2]) ** 2).mean(axis=0) - before, bias + variance)
