"""The quadratic model to first order in epsilon against its exact descent, and its end against kernels."""

import numpy as np
import pytest

from analysis.theory import linear_model, quadratic_model

N, D, F, ETA = 3, 5, 8, 0.15
STEPS = (0, 1, 7, 40)


def model(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """phi, psi, y, theta(0)"""
    rng = np.random.default_rng(seed)
    psi = rng.standard_normal((D, F, F)) / F
    return (
        rng.standard_normal((D, F)) / np.sqrt(F),
        psi + psi.transpose(0, 2, 1),
        rng.standard_normal(N),
        rng.standard_normal(F),
    )


def outputs(phi: np.ndarray, psi: np.ndarray, epsilon: float, theta: np.ndarray) -> np.ndarray:
    return np.asarray(phi @ theta + epsilon / 2 * (psi @ theta) @ theta)


def descent(
    phi: np.ndarray,
    psi: np.ndarray,
    y: np.ndarray,
    epsilon: float,
    theta: np.ndarray,
    steps: tuple[int, ...],
    eta: float,
) -> list[np.ndarray]:
    """theta at each of the steps of the full nonlinear descent."""
    found = []
    for step in range(steps[-1] + 1):
        if step in steps:
            found.append(theta)
        error = outputs(phi, psi, epsilon, theta)[:N] - y
        theta = theta - eta * error @ (phi + epsilon * psi @ theta)[:N]
    return found


def coefficients(eta: float, wrong_psi: float = 1.0) -> tuple[float, ...]:
    """The largest deviations of z1, bent and kernel1 of one theta(0) from central differences of exact descent."""
    phi, psi, y, theta = model()
    first = quadratic_model.first_order(phi, wrong_psi * psi, y, ETA, STEPS, theta, np.zeros((F, F)))
    small, found = 1e-4, []
    for epsilon in (small, -small):
        way = descent(phi, psi, y, epsilon, theta, STEPS, eta)
        z = np.array([outputs(phi, psi, epsilon, at) for at in way])
        kernels = np.array([quadratic_model.effective_kernel(phi, psi, epsilon, at) for at in way])
        k = phi @ phi.T
        left = [np.linalg.matrix_power(np.eye(N) - eta * k[:N, :N], step) for step in STEPS]
        learnt = [k[:, :N] @ np.linalg.inv(k[:N, :N]) @ (np.eye(N) - share) for share in left]
        linear = np.array([z[0] - M @ (z[0, :N] - y) for M in learnt])
        found.append((z, z - linear, kernels - kernels[0]))
    differences = [(plus - minus) / (2 * small) for plus, minus in zip(*found, strict=True)]
    return tuple(
        float(np.abs(a - b).max()) for a, b in zip(differences, (first.z1, first.bent, first.kernel1), strict=True)
    )


def test_first_order_is_the_slope_of_exact_descent() -> None:
    """docs/theory.md (5.49) and (5.50) at early, middle and late steps. Controls: another step size, other meta
    features."""
    assert max(coefficients(ETA)) < 1e-6
    assert min(coefficients(1.02 * ETA)) > 1e-3
    assert min(coefficients(ETA, wrong_psi=1.01)) > 1e-3


def test_means_are_those_over_the_starts() -> None:
    """With a covariance, docs/theory.md (5.49) is the mean over theta(0): z1 is a quadratic polynomial in theta(0), so
    its mean is that over 2 f symmetric points. Control: half the covariance."""
    phi, psi, y, theta = model()
    A = np.random.default_rng(1).standard_normal((F, F)) / 2
    points = [theta + sign * np.sqrt(F) * column for column in A.T for sign in (1, -1)]
    each = [quadratic_model.first_order(phi, psi, y, ETA, STEPS, point, np.zeros((F, F))) for point in points]
    for factor, right in ((1.0, True), (0.5, False)):
        mean = quadratic_model.first_order(phi, psi, y, ETA, STEPS, theta, factor * A @ A.T)
        for name in ("z0", "z1", "bent", "kernel1"):
            over = np.mean([getattr(one, name) for one in each], axis=0)
            if name in ("z1", "bent"):
                assert np.allclose(getattr(mean, name)[1:, N:], over[1:, N:], rtol=1e-10, atol=1e-12) == right
            else:
                np.testing.assert_allclose(getattr(mean, name), over, rtol=1e-10, atol=1e-12)


def test_the_end_of_training() -> None:
    """docs/theory.md (5.51) is the recursion's limit at two step sizes, which differ; at theta(0) = 0 it is
    `linear_model.nearly_kernel` and a part that depends on the algorithm."""
    phi, psi, y, theta = model()
    ends = []
    for eta in (0.1, 0.4):
        ends.append(quadratic_model.at_the_end(phi, psi, y, eta, theta))
        last = quadratic_model.first_order(phi, psi, y, eta, (6000,), theta, np.zeros((F, F)))
        np.testing.assert_allclose(ends[-1], last.z1[0], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(ends[-1][:N], 0, atol=1e-11)
    assert np.abs(ends[0] - ends[1]).max() > 1e-3, "descent depends on its step"
    k = phi @ phi[:N].T
    _, nearly = linear_model.nearly_kernel(k, np.einsum("bi,aij,cj->abc", phi, psi, phi[:N]), y)
    assert np.abs(quadratic_model.at_the_end(phi, psi, y, 0.1, np.zeros(F)) - nearly)[N:].max() > 1e-3


def test_a_step_that_diverges_is_refused() -> None:
    phi, psi, y, theta = model()
    with pytest.raises(ValueError, match="descent converges only below"):
        quadratic_model.first_order(phi, psi, y, 9.0, STEPS, theta, np.zeros((F, F)))


def test_meta_features_are_symmetric_and_scale_with_the_rates() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3))
    psi = quadratic_model.meta_features(x, 1.0, 1.0, 20, 5)
    np.testing.assert_allclose(psi, psi.transpose(0, 2, 1), rtol=1e-12)
    scaled = quadratic_model.meta_features(x, 4.0, 9.0, 20, 5)
    root = np.array([2.0, 3.0, 3.0, 3.0])
    np.testing.assert_allclose(scaled, psi * np.outer(root, root), rtol=1e-12)
    assert not np.allclose(psi, quadratic_model.meta_features(x, 1.0, 1.0, 20, 6))
