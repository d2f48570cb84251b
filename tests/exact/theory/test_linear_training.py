"""Closed forms of training at infinite width agree with iterated steps."""

import numpy as np
import pytest
from scipy.linalg import expm

from analysis import theory


def kernels(D: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((D, 8))
    flow = theory.flow("tanh", 3, 0.1, 1.2, x, 0.5, 1.0, tensors=["K", "Theta"])
    return flow.K[-1], flow.Theta[-1]


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_mean_and_covariance_are_the_iterated_linear_model(steps: int) -> None:
    """docs/theory.md (5.1) and (5.2) at a finite time."""
    K, Theta = kernels(5)
    y, eta = np.random.default_rng(1).standard_normal((3, 2)), 0.05
    mean, covariance = theory.trained(K, Theta, y, eta, steps)
    # z(t+1) = z - eta Theta[:, train] (z[train] - y), iterated on the mean and on a square root of the covariance
    m, root = np.zeros((5, 2)), np.linalg.cholesky(K)
    for _ in range(steps):
        m = m - eta * Theta[:, :3] @ (m[:3] - y)
        root = root - eta * Theta[:, :3] @ root[:3]
    np.testing.assert_allclose(mean, m, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(covariance, root @ root.T, rtol=1e-9, atol=1e-12)


def test_end_of_training_interpolates_and_forgets_eta() -> None:
    """The end of docs/theory.md (5.2) does not depend on eta."""
    K, Theta = kernels(5)
    y = np.random.default_rng(2).standard_normal((3, 1))
    mean, covariance = theory.trained(K, Theta, y, 0.01, None)
    np.testing.assert_allclose(mean[:3], y, rtol=1e-9)
    np.testing.assert_allclose(covariance[:3, :3], 0, atol=1e-12)
    late, _ = theory.trained(K, Theta, y, 0.2, 5000)
    np.testing.assert_allclose(mean, late, rtol=1e-6)


def test_bayesian_limit() -> None:
    """With Theta = K training ends at the posterior of the Gaussian process, docs/theory.md (5.3)."""
    K, _ = kernels(4)
    y = np.random.default_rng(3).standard_normal((2, 1))
    mean, covariance = theory.trained(K, K, y)
    gain = K[:, :2] @ np.linalg.inv(K[:2, :2])
    np.testing.assert_allclose(mean, gain @ y, rtol=1e-9)
    np.testing.assert_allclose(covariance, K - gain @ K[:2], rtol=1e-9, atol=1e-12)


def test_divergent_descent_is_refused() -> None:
    """Descent converges only for eta < 2 / lambda_max, docs/theory.md (5.1)."""
    K, Theta = kernels(3)
    with pytest.raises(ValueError, match="converges only below"):
        theory.trained(K, Theta, np.ones((3, 1)), 100.0, None)


def test_momentum_is_the_iterated_linear_model() -> None:
    """The mean of docs/theory.md (5.2) under momentum, at a finite time."""
    K, Theta = kernels(5)
    y, eta, mu = np.random.default_rng(1).standard_normal((3, 2)), 0.05, 0.7
    z, v = np.zeros((5, 2)), np.zeros((3, 2))
    for _ in range(25):
        v = mu * v + z[:3] - y  # the velocity's coefficient along each train sample's gradient
        z = z - eta * Theta[:, :3] @ v
    mean, _ = theory.trained(K, Theta, y, eta, 25, "momentum", momentum=mu)
    np.testing.assert_allclose(mean, z, rtol=1e-9, atol=1e-12)


def test_flow_is_the_matrix_exponential() -> None:
    """Gradient flow is docs/theory.md (5.1) with exp(-Tt tau), and the limit of small steps."""
    K, Theta = kernels(5)
    y, eta, steps = np.random.default_rng(1).standard_normal((3, 1)), 0.05, 30
    mean, _ = theory.trained(K, Theta, y, eta, steps, "gradient_flow")
    left = expm(-eta * steps * Theta[:3, :3])
    want = Theta[:, :3] @ np.linalg.inv(Theta[:3, :3]) @ (np.eye(3) - left) @ y
    np.testing.assert_allclose(mean, want, rtol=1e-9)
    small = [theory.trained(K, Theta, y, eta / k, steps * k)[0] for k in (100, 200)]
    np.testing.assert_allclose(2 * small[1] - small[0], mean, rtol=1e-5)


def test_the_end_forgets_the_algorithm() -> None:
    """The end of docs/theory.md (5.2) does not depend on descent, flow or momentum."""
    K, Theta = kernels(5)
    y = np.random.default_rng(2).standard_normal((3, 1))
    ends = [
        theory.trained(K, Theta, y, 0.05, None, name, **dict.fromkeys(form.options, 0.5))[0]
        for name, form in theory.CLOSED_FORMS.items()
    ]
    for end in ends[1:]:
        np.testing.assert_array_equal(end, ends[0])
    with pytest.raises(ValueError, match="algorithm='adam'"):
        theory.trained(K, Theta, y, 0.05, None, "adam")


def test_training_the_last_layer_alone_is_bayesian() -> None:
    """With rates C_b and C_W in the last layer and none below, Theta is K: docs/theory.md (5.3). Negative control: a
    rate in another layer."""
    x = np.random.default_rng(0).standard_normal((3, 8))
    rates = [0.0, 0.0, 0.1], [0.0, 0.0, 1.2]
    flow = theory.flow("tanh", 3, 0.1, 1.2, x, *rates, tensors=["K", "Theta"])
    np.testing.assert_allclose(flow["Theta"][-1], flow["K"][-1], rtol=1e-12)
    rates[1][1] = 1.2
    flow = theory.flow("tanh", 3, 0.1, 1.2, x, *rates, tensors=["K", "Theta"])
    assert not np.allclose(flow["Theta"][-1], flow["K"][-1], rtol=0.1)
