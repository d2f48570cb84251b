"""Closed forms of training against iteration, reference numbers and numerical optima."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import minimize

from analysis import theory
from analysis.theory import linear_model, nearly_kernel

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "theory_reference.json").read_text())


def kernels(D: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((D, 8))
    flow = theory.flow("tanh", 3, 0.1, 1.2, x, 0.5, 1.0, tensors=["K", "Theta"])
    return flow.K[-1], flow.Theta[-1]


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_mean_and_covariance_are_the_iterated_linear_model(steps: int) -> None:
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
    K, Theta = kernels(5)
    y = np.random.default_rng(2).standard_normal((3, 1))
    mean, covariance = theory.trained(K, Theta, y, 0.01, None)
    np.testing.assert_allclose(mean[:3], y, rtol=1e-9)
    np.testing.assert_allclose(covariance[:3, :3], 0, atol=1e-12)
    late, _ = theory.trained(K, Theta, y, 0.2, 5000)
    np.testing.assert_allclose(mean, late, rtol=1e-6)


def test_bayesian_limit() -> None:
    """Theta = K: the posterior of the Gaussian process (theory.md 5.3)."""
    K, _ = kernels(4)
    y = np.random.default_rng(3).standard_normal((2, 1))
    mean, covariance = theory.trained(K, K, y)
    gain = K[:, :2] @ np.linalg.inv(K[:2, :2])
    np.testing.assert_allclose(mean, gain @ y, rtol=1e-9)
    np.testing.assert_allclose(covariance, K - gain @ K[:2], rtol=1e-9, atol=1e-12)


def test_divergent_descent_is_refused() -> None:
    K, Theta = kernels(3)
    with pytest.raises(ValueError, match="converges only below"):
        theory.trained(K, Theta, np.ones((3, 1)), 100.0, None)


def test_momentum_is_the_iterated_linear_model() -> None:
    K, Theta = kernels(5)
    y, eta, mu = np.random.default_rng(1).standard_normal((3, 2)), 0.05, 0.7
    z, v = np.zeros((5, 2)), np.zeros((3, 2))
    for _ in range(25):
        v = mu * v + z[:3] - y  # of the parameters' velocity what each train sample's gradient carries
        z = z - eta * Theta[:, :3] @ v
    mean, _ = theory.trained(K, Theta, y, eta, 25, "momentum", momentum=mu)
    np.testing.assert_allclose(mean, z, rtol=1e-9, atol=1e-12)


def test_flow_is_the_matrix_exponential() -> None:
    K, Theta = kernels(5)
    y, eta, steps = np.random.default_rng(1).standard_normal((3, 1)), 0.05, 30
    mean, _ = theory.trained(K, Theta, y, eta, steps, "gradient_flow")
    left = expm(-eta * steps * Theta[:3, :3])
    want = Theta[:, :3] @ np.linalg.inv(Theta[:3, :3]) @ (np.eye(3) - left) @ y
    np.testing.assert_allclose(mean, want, rtol=1e-9)
    small = [theory.trained(K, Theta, y, eta / k, steps * k)[0] for k in (100, 200)]
    np.testing.assert_allclose(2 * small[1] - small[0], mean, rtol=1e-5)


def test_the_end_forgets_the_algorithm() -> None:
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


# ------------------------------------------------------------------- order 1/n


PIECES = {"Theta1": "Th1", "fluctuation": "delta", "dH": "dN", "ddI": "I", "ddII": "II"}


@pytest.mark.parametrize(
    ("name", "depth", "tolerance"), [("nearly_kernel_tanh_L2", 2, 4e-4), ("nearly_kernel_tanh_L3", 3, 6e-5)]
)
def test_nearly_kernel_reference(name: str, depth: int, tolerance: float) -> None:
    """Every piece (5.16) to (5.20), one and two outputs, flow and two step sizes. The reference's integrals over three
    inputs end there (Gauss and Hermite, 80 nodes an axis); ours move by less than 1e-9 on a finer grid."""
    case = REFERENCE[name]
    x, y = np.array(case["X_columns_are_samples"]).T, np.array(case["y_rows_are_outputs"])
    rates = case["lambda_b"], case["lambda_W"]
    flow = theory.flow("tanh", depth, case["C_b"], case["C_W"], x, *rates, tensors=nearly_kernel.TENSORS)
    for one in case["cases"]:
        targets = y[: one["n_L"]].T
        pieces = nearly_kernel.trained_mean_pieces(flow, targets, one["eta"])
        for piece, known in PIECES.items():
            np.testing.assert_allclose(pieces[piece][2], one["projected_pieces_test"][known], atol=tolerance)
            np.testing.assert_allclose(pieces[piece][:2], 0, atol=1e-12)
        total = nearly_kernel.trained_mean(flow, targets, one["eta"])[2]
        np.testing.assert_allclose(total, one["projected_pieces_test"]["tot"], atol=2 * tolerance)


def test_nearly_kernel_of_a_network_of_one_layer_vanishes() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    flow = theory.flow("tanh", 1, 0.1, 1.2, x, 0.5, 1.0, tensors=nearly_kernel.TENSORS)
    np.testing.assert_array_equal(nearly_kernel.trained_mean(flow, np.ones((2, 1)), 0.1), 0)


def test_ntk_change_of_small_steps_is_that_of_the_flow() -> None:
    """(5.6) and (5.7) averaged over z(0) and summed step by step, at two small eta extrapolated to none, end at (5.9);
    their first step is (5.10)."""
    flow = theory.flow("tanh", 3, 0.0, 1.0, np.ones((1, 4)), 1.0, 1.0, tensors=nearly_kernel.TENSORS)
    K, Theta, y = float(flow.K[-1, 0, 0]), float(flow.Theta[-1, 0, 0]), 0.7
    P, Q, R, S, T, U = (float(np.ravel(getattr(flow, name)[-1])[0]) for name in "PQRSTU")
    first, second, e = P + 2 * Q, S + T + U, K + y**2
    ends = []
    for eta in (2e-3, 1e-3):
        total, dH, left = 0.0, 0.0, 1.0  # dH e(0) moves by what ddI + 2 ddII make of it
        for step in range(10_000):
            change = -2 * eta * left * (first + dH) + eta**2 * left**2 * (3 * R + second) * e
            if step == 0:
                one = nearly_kernel.ntk_change_of_step(flow, np.array([[y]]), eta)[0, 0]
                assert abs(one / change - 1) < 1e-12
            total += change
            dH -= eta * left * (3 * R + 2 * second) * e
            left *= 1 - eta * Theta
        ends.append(total)
    assert abs((2 * ends[1] - ends[0]) / nearly_kernel.ntk_change_of_flow(flow, y) - 1) < 1e-4


def test_nearly_kernel_refuses() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    flow = theory.flow("tanh", 2, 0.1, 1.2, x, 0.5, 1.0, tensors=nearly_kernel.TENSORS)
    with pytest.raises(ValueError, match="converges only below"):
        nearly_kernel.trained_mean(flow, np.ones((2, 1)), 100.0)
    with pytest.raises(ValueError, match="at most 6"):
        nearly_kernel.trained_mean(flow, np.ones((7, 1)), 0.1)
    with pytest.raises(ValueError, match="B is needed"):
        nearly_kernel.trained_mean(theory.flow("tanh", 2, 0.1, 1.2, x, tensors=["Theta1", "A"]), np.ones((2, 1)), 0.1)


# ------------------------------------------------------------------- linear and nearly linear models


@pytest.mark.parametrize(("N", "f", "ridge"), [(12, 5, 0.0), (5, 12, 0.0), (5, 12, 0.3), (12, 5, 0.3)])
def test_primal_is_dual(N: int, f: int, ridge: float) -> None:
    rng = np.random.default_rng(0)
    phi, y = rng.standard_normal((N + 3, f)), rng.standard_normal(N)
    a = linear_model.primal(phi, phi[:N], y, ridge)
    b = linear_model.dual(linear_model.kernel(phi, phi[:N]), linear_model.kernel(phi[:N], phi[:N]), y, ridge)
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_gradient_descent_on_features_arrives_at_the_optimum() -> None:
    rng = np.random.default_rng(0)
    phi, y, theta = rng.standard_normal((4, 9)), rng.standard_normal(4), np.zeros(9)
    for _ in range(20_000):
        theta -= 0.02 * phi.T @ (phi @ theta - y)
    np.testing.assert_allclose(theta, linear_model.optimum(phi, y), rtol=1e-9)


def test_layer_features_have_the_ntk_as_kernel() -> None:
    x = np.random.default_rng(0).standard_normal((4, 7))
    flow = theory.flow("linear", 1, 0.0, 1.0, x, 0.4, 0.9, tensors=["Theta"])
    phi = linear_model.layer_features(x, 0.4, 0.9)
    assert flow.Theta is not None
    np.testing.assert_allclose(linear_model.kernel(phi, phi), flow.Theta[0], rtol=1e-12)


def _quadratic(rng: np.random.Generator, D: int, f: int) -> tuple[np.ndarray, np.ndarray]:
    psi = rng.standard_normal((D, f, f))
    return rng.standard_normal((D, f)), psi + psi.transpose(0, 2, 1)


def test_nearly_linear_is_the_minimum_to_first_order() -> None:
    """Against numerical minimisation at two small epsilon: what is left falls as epsilon^2."""
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
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
