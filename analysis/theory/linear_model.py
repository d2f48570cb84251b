"""Linear and nearly linear models: features, normal equations and kernels, docs/theory.md (5.4).

z(x) = theta . phi(x) is trained on A(theta) = 1/2 sum_a (z_a - y_a)^2 + (ridge/2) |theta|^2. phi are features, (N, f)
of train samples or (D, f) of all; y is (N,), or (N, k) for k models that differ in their targets. ridge > 0, or 0 for
the solution of least |theta|, where descent from 0 ends.

A nearly linear model adds (epsilon/2) theta . psi(x) . theta with symmetric meta features psi (N, f, f). It is the
quadratic model of docs/theory.md (5.8), solved to first order in epsilon.
"""

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.linear_training import remaining
from analysis.theory.path import Eta

# Eigenvalues below this share of the largest one are rounding: features or samples of which there are too many.
ROUNDING = 1e-12


def normal_matrix(phi: Array, ridge: float = 0.0) -> Array:
    """The matrix M_ij = sum_a phi_ai phi_aj + ridge delta_ij, (f, f), of the normal equations M theta = phi^T y that
    docs/theory.md (5.4) solves."""
    return np.asarray(phi.T @ phi + ridge * np.eye(phi.shape[1]))


def optimum(phi: Array, y: Array, ridge: float = 0.0) -> Array:
    """The parameters theta* (f,) that solve the normal equations of docs/theory.md (5.4); where these leave a choice,
    those of least |theta|."""
    return np.asarray(np.linalg.pinv(normal_matrix(phi, ridge), rcond=ROUNDING, hermitian=True) @ phi.T @ y)


def primal(phi: Array, phi_train: Array, y: Array, ridge: float = 0.0) -> Array:
    """The prediction z* = phi theta*, (D,), is the first form of docs/theory.md (5.4); it inverts a matrix of features
    by features."""
    return np.asarray(phi @ optimum(phi_train, y, ridge))


def kernel(phi: Array, other: Array) -> Array:
    """The kernel k(x, x') = phi(x) . phi(x') of docs/theory.md (5.4)."""
    return np.asarray(phi @ other.T)


def dual(k: Array, k_train: Array, y: Array, ridge: float = 0.0) -> Array:
    """The prediction z* = k (k_train + ridge)^-1 y, (D,), is the second form of docs/theory.md (5.4); it needs no
    features."""
    inverse = np.linalg.pinv(k_train + ridge * np.eye(len(y)), rcond=ROUNDING, hermitian=True)
    return np.asarray(k @ inverse @ y)


def left(phi: Array, ridge: float, algorithm: str, eta: Eta, steps: int, **options: float) -> float:
    """The largest share of the way from any start to theta* that is left after so many steps of an algorithm with a
    closed form, docs/theory.md (5.46). Without a ridge nothing moves along parameters that no train sample sees."""
    values: Array = np.asarray(np.linalg.svd(phi, compute_uv=False) ** 2, dtype=np.float64)
    values = values[values > ROUNDING * values[0]]
    if ridge and len(values) < phi.shape[1]:
        values = np.append(values, 0.0)
    return float(np.abs(remaining(algorithm, values + ridge, eta, steps, **options)).max())


def layer_features(x: Array, lambda_b: float, lambda_W: float) -> Array:
    """The features of a network of one layer, (D, n_0 + 1), docs/theory.md (5.4).

    Their kernel is its NTK lambda_b + lambda_W x.x'/n_0: gradient descent with these rates moves
    theta = (b / sqrt(lambda_b), W / sqrt(lambda_W / n_0)) at one rate.
    """
    scaled = np.sqrt(lambda_W / x.shape[1]) * x
    return np.concatenate([np.full((len(x), 1), np.sqrt(lambda_b)), scaled], axis=1)


def nearly_linear(
    phi: Array, psi: Array, phi_train: Array, psi_train: Array, y: Array, ridge: float
) -> tuple[Array, Array]:
    """The predictions z* = z0 + epsilon z1 of the quadratic model: (z0, z1), each (D,). psi is (D, f, f).

    z0 is docs/theory.md (5.4). z1 belongs to the stationary point at first order, theta1 = M^-1 (-phi^T q - Psi^T r)
    with q_a = theta0 psi_a theta0 / 2 and Psi_a = psi_a theta0, where r = phi theta0 - y is the error that the linear
    model leaves. Raises ValueError for ridge <= 0, where the minimum is not one point.
    """
    if ridge <= 0:
        raise ValueError(f"ridge={ridge}: a number > 0")
    theta = optimum(phi_train, y, ridge)
    bent = psi_train @ theta
    quadratic = bent @ theta / 2
    # This is phi theta0 - y, without the difference, which for a small ridge would be rounding error.
    rest = -ridge * np.linalg.solve(kernel(phi_train, phi_train) + ridge * np.eye(len(y)), y)
    change = np.linalg.solve(normal_matrix(phi_train, ridge), -phi_train.T @ quadratic - bent.T @ rest)
    return phi @ theta, phi @ change + (psi @ theta) @ theta / 2


def nearly_kernel(k: Array, mu: Array, y: Array) -> tuple[Array, Array]:
    """The predictions of `nearly_linear` for ridge -> 0 and more features than samples: (z0, z1), each (D,).

    They need kernels alone: k (D, N) is the kernel of docs/theory.md (5.4), train samples first, and
    mu[x, x', x''] = phi(x') . psi(x) . phi(x'') is the meta kernel, (D, D, N). Of all parameters that fit, these are of
    least |theta|; gradient descent, which is nonlinear, ends at others at first order, docs/theory.md (5.21).
    """
    N = len(y)
    weights = np.linalg.solve(k[:N], y)
    bent = (mu[:, :N] @ weights) @ weights / 2  # contribution of psi at the test input
    moved = np.einsum("axc,a,c->x", mu[:N], weights, weights)  # contribution of theta outside the span of the features
    raw = bent + moved
    return k @ weights, raw - k @ np.linalg.solve(k[:N], raw[:N])
