"""The closed form of infinite-width gradient descent against the descent itself."""

import numpy as np
import pytest

from analysis import theory


def kernels(D: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((D, 8))
    flow = theory.flow("tanh", 3, 0.1, 1.2, x, 0.5, 1.0, tensors=["K", "Theta"])
    return flow.K[-1], flow.Theta[-1]


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_mean_and_covariance_are_the_iterated_linear_model(steps: int) -> None:
    K, Theta = kernels(5)
    y, eta = np.random.default_rng(1).standard_normal((3, 2)), 0.05
    mean, covariance = theory.gradient_descent(K, Theta, y, eta, steps)
    # z(t+1) = z - eta Theta[:, train] (z[train] - y), iterated on the mean and on a square root of the covariance
    m, root = np.zeros((5, 2)), np.linalg.cholesky(K)
    for _ in range(steps):
        m = m - eta * Theta[:, :3] @ (m[:3] - y)
        root = root - eta * Theta[:, :3] @ root[:3]
    np.testing.assert_allclose(mean, m, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(covariance, root @ root.T, rtol=1e-9, atol=1e-12)


def test_end_of_training_interpolates_and_forgets_eta() -> None:
    K, Theta = kernels(5)
    y = np.random.default_rng(2).standard_normal((3, 1))
    mean, covariance = theory.gradient_descent(K, Theta, y, 0.01, None)
    np.testing.assert_allclose(mean[:3], y, rtol=1e-9)
    np.testing.assert_allclose(covariance[:3, :3], 0, atol=1e-12)
    late, _ = theory.gradient_descent(K, Theta, y, 0.2, 5000)
    np.testing.assert_allclose(mean, late, rtol=1e-6)


def test_bayesian_limit() -> None:
    """Theta = K: the posterior of the Gaussian process (theory.md 5.3)."""
    K, _ = kernels(4)
    y = np.random.default_rng(3).standard_normal((2, 1))
    mean, covariance = theory.gradient_descent(K, K, y, 0.1, None)
    gain = K[:, :2] @ np.linalg.inv(K[:2, :2])
    np.testing.assert_allclose(mean, gain @ y, rtol=1e-9)
    np.testing.assert_allclose(covariance, K - gain @ K[:2], rtol=1e-9, atol=1e-12)


def test_divergent_descent_is_refused() -> None:
    K, Theta = kernels(3)
    with pytest.raises(ValueError, match="converges only below"):
        theory.gradient_descent(K, Theta, np.ones((3, 1)), 100.0, None)
