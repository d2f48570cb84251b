"""Linear and nearly linear models agree with each other, iterated descent and numerical minimization."""

import numpy as np
import pytest
from scipy.optimize import minimize

from analysis import theory
from analysis.theory import linear_model


@pytest.mark.parametrize(("N", "f", "ridge"), [(12, 5, 0.0), (5, 12, 0.0), (5, 12, 0.3), (12, 5, 0.3)])
def test_primal_is_dual(N: int, f: int, ridge: float) -> None:
    """Both forms of docs/theory.md (5.4) are one prediction."""
    rng = np.random.default_rng(0)
    phi, y = rng.standard_normal((N + 3, f)), rng.standard_normal(N)
    a = linear_model.primal(phi, phi[:N], y, ridge)
    b = linear_model.dual(linear_model.kernel(phi, phi[:N]), linear_model.kernel(phi[:N], phi[:N]), y, ridge)
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_gradient_descent_on_features_arrives_at_the_optimum() -> None:
    """Descent from zero ends at the minimum-norm interpolation of docs/theory.md (5.4)."""
    rng = np.random.default_rng(0)
    phi, y, theta = rng.standard_normal((4, 9)), rng.standard_normal(4), np.zeros(9)
    for _ in range(20_000):
        theta -= 0.02 * phi.T @ (phi @ theta - y)
    np.testing.assert_allclose(theta, linear_model.optimum(phi, y), rtol=1e-9)


def test_layer_features_have_the_ntk_as_kernel() -> None:
    """The kernel of docs/theory.md (5.4) for a network of one layer is its NTK, docs/theory.md (2.1)."""
    x = np.random.default_rng(0).standard_normal((4, 7))
    flow = theory.flow("linear", 1, 0.0, 1.0, x, 0.4, 0.9, tensors=["Theta"])
    phi = linear_model.layer_features(x, 0.4, 0.9)
    assert flow.Theta is not None
    np.testing.assert_allclose(linear_model.kernel(phi, phi), flow.Theta[0], rtol=1e-12)


def _quadratic(rng: np.random.Generator, D: int, f: int) -> tuple[np.ndarray, np.ndarray]:
    psi = rng.standard_normal((D, f, f))
    return rng.standard_normal((D, f)), psi + psi.transpose(0, 2, 1)


def test_nearly_linear_is_the_minimum_to_first_order() -> None:
    """The difference from a numerical minimum at two small epsilon falls as epsilon^2."""
    rng, N, f, ridge = np.random.default_rng(0), 5, 4, 0.5
    (phi, psi), y = _quadratic(rng, N + 2, f), rng.standard_normal(N)
    z0, z1 = linear_model.nearly_linear(phi, psi, phi[:N], psi[:N], y, ridge)
    left = []
    for epsilon in (1e-2, 5e-3):

        def z(theta: np.ndarray, epsilon: float = epsilon) -> np.ndarray:
            return phi @ theta + epsilon / 2 * (psi @ theta) @ theta

        def loss(theta: np.ndarray) -> float:
            return float(((z(theta)[:N] - y) ** 2).sum() / 2 + ridge / 2 * theta @ theta)

        found = minimize(loss, linear_model.optimum(phi[:N], y, ridge), method="BFGS", options={"gtol": 1e-11})
        left.append(np.abs(z(found.x) - z0 - epsilon * z1).max())
    assert 3 < left[0] / left[1] < 5
    with pytest.raises(ValueError, match="ridge=0"):
        linear_model.nearly_linear(phi, psi, phi[:N], psi[:N], y, 0)


def test_nearly_kernel_is_nearly_linear_without_ridge() -> None:
    rng, N, f = np.random.default_rng(0), 4, 9
    (phi, psi), y = _quadratic(rng, N + 2, f), rng.standard_normal(N)
    a = linear_model.nearly_linear(phi, psi, phi[:N], psi[:N], y, 1e-6)
    k = linear_model.kernel(phi, phi[:N])
    b = linear_model.nearly_kernel(k, np.einsum("bi,aij,cj->abc", phi, psi, phi[:N]), y)
    np.testing.assert_allclose(b[0][:N], y, rtol=1e-9)
    np.testing.assert_allclose(b[1][:N], 0, atol=1e-9 * np.abs(b[1]).max())
    for from_features, from_kernel in zip(a, b, strict=True):
        np.testing.assert_allclose(from_features, from_kernel, rtol=1e-4, atol=1e-4)
