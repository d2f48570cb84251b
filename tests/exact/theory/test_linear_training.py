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


@pytest.mark.parametrize("algorithm", ["gradient_descent", "momentum", "nesterov"])
def test_each_step_may_have_its_own_eta(algorithm: str) -> None:
    """The mean of docs/theory.md (5.2) is that of the iterated linear model under a schedule. Negative controls: the
    mean eta in every step, and the other of momentum and Nesterov."""
    K, Theta = kernels(5)
    y, mu, etas = np.random.default_rng(1).standard_normal((3, 2)), 0.7, 0.05 * np.linspace(1.5, 0.1, 9)
    options = {} if algorithm == "gradient_descent" else {"momentum": mu}
    z, v = np.zeros((5, 2)), np.zeros((3, 2))
    for eta in etas:
        ahead = z[:3] - eta * Theta[:3, :3] @ (mu * v) * (algorithm == "nesterov")
        v = mu * v * bool(options) + ahead - y
        z = z - eta * Theta[:, :3] @ v
    mean, _ = theory.trained(K, Theta, y, etas, 9, algorithm, **options)
    np.testing.assert_allclose(mean, z, rtol=1e-9, atol=1e-12)
    wrong = [theory.trained(K, Theta, y, etas.mean(), 9, algorithm, **options)[0]]
    wrong += [theory.trained(K, Theta, y, etas, 9, "momentum", momentum=mu)[0]] * (algorithm == "nesterov")
    assert not any(np.allclose(other, z, rtol=1e-3) for other in wrong)


def test_a_flow_with_a_schedule_is_the_flow_of_the_whole_time() -> None:
    """docs/theory.md (5.1) for steps of different times, in any order, up to the solver's error of order four."""
    K, Theta = kernels(4)
    y, etas = np.ones((2, 1)), [0.1, 0.4, 0.2]
    other_order = theory.trained(K, Theta, y, etas[::-1], 3, "gradient_flow")[0]
    np.testing.assert_allclose(theory.trained(K, Theta, y, etas, 3, "gradient_flow")[0], other_order, rtol=1e-12)
    errors = []
    for parts in (8, 16):
        finer = np.repeat(np.array(etas) / parts, parts)
        by_steps, at_once = (
            theory.trained(K, Theta, y, eta, 3 * parts, "gradient_flow")[0] for eta in (finer, 0.7 / 3 / parts)
        )
        errors.append(np.abs(by_steps - at_once).max())
    assert 12 < errors[0] / errors[1] < 20, "16 = 2^4"
    with pytest.raises(ValueError, match="eta: 3 numbers for steps=4, one for each step is needed"):
        theory.trained(K, Theta, y, etas, 4, "gradient_flow")
    with pytest.raises(ValueError, match="steps=None: the end of training is known for one eta of all steps"):
        theory.trained(K, Theta, y, etas, None)


def test_flow_is_the_matrix_exponential() -> None:
    """Gradient flow is docs/theory.md (5.1) with exp(-Tt tau), up to its solver, and the limit of small steps."""
    K, Theta = kernels(5)
    y, eta, steps = np.random.default_rng(1).standard_normal((3, 1)), 0.05, 30
    mean, _ = theory.trained(K, Theta, y, eta / 16, steps * 16, "gradient_flow")
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
