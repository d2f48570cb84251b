"""The quadratic model of representation learning to first order in epsilon, at every step: docs/theory.md (5.47) to
(5.51), PDLT ch. 11.

z(x) = theta.phi(x) + (epsilon/2) theta.psi(x).theta, one output, is trained by gradient descent on the MSE, with one
rate for all of theta. D samples, the N train samples first, f parameters. phi: (D, f); psi: (D, f, f), symmetric.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.linear_model import ROUNDING


@dataclass(frozen=True)
class FirstOrder:
    """Means over theta(0) at each of the T steps, docs/theory.md (5.49) and (5.50).

    z0: (T, D) at epsilon = 0. z1: (T, D) the coefficient of epsilon. bent: (T, D) the part of z1 by which outputs leave
    the linear model that starts where they start. kernel1: (T, D, D) the coefficient of epsilon of the effective
    kernel, less that at the start.
    """

    z0: Array
    z1: Array
    bent: Array
    kernel1: Array


def meta_features(x: Array, lambda_b: float, lambda_W: float, rank: int, seed: int) -> Array:
    """psi of a data set, (D, n_0 + 1, n_0 + 1), for theta = (b/sqrt(lambda_b), W/sqrt(lambda_W/n_0)): docs/theory.md
    (5.47)."""
    n_0, rng = x.shape[1], np.random.default_rng(seed)
    v = rng.standard_normal((rank, n_0 + 1)) / math.sqrt(n_0 + 1)
    w, c = rng.standard_normal((rank, n_0)), rng.standard_normal(rank)
    g = np.tanh(x @ w.T / math.sqrt(n_0) + c) / math.sqrt(rank)
    v = v * np.sqrt(np.array([lambda_b, *[lambda_W] * n_0]))
    return np.einsum("ar,ri,rj->aij", g, v, v)


def effective_kernel(phi: Array, psi: Array, epsilon: float, theta: Array) -> Array:
    """k^E_ab = phi^E_a . phi^E_b with phi^E = phi + epsilon psi theta, (D, D): docs/theory.md (5.48)."""
    bent = phi + epsilon * psi @ theta
    return np.asarray(bent @ bent.T)


def first_order(
    phi: Array, psi: Array, y: Array, eta: float, steps: tuple[int, ...], mean: Array, covariance: Array
) -> FirstOrder:
    """The expansion of descent with step eta, docs/theory.md (5.49) and (5.50), for random theta(0), or for one
    theta(0) where the covariance is zero.

    y: (N,); steps: rising; mean: (f,) and covariance: (f, f) of theta(0). The recursion has as many steps as training.
    Raises ValueError where descent diverges at epsilon = 0.
    """
    N = len(y)
    k, train = phi @ phi.T, phi[:N]
    largest = np.linalg.eigvalsh(k[:N, :N])[-1]
    if not 0 < eta * largest < 2:
        raise ValueError(f"eta={eta}: descent converges only below {2 / largest:.4g}")
    P, q = np.eye(len(mean)), np.array(mean, dtype=float)  # theta at order 0 is P (theta(0) - mean) + q
    second = covariance + np.outer(q, q)  # E theta theta^T at order 0
    z1 = np.einsum("aij,ij->a", psi, second) / 2
    start, began = z1.copy(), q.copy()
    left = np.eye(N)  # (1 - eta k)^t of the train samples
    found: list[tuple[Array, Array, Array, Array]] = []
    for step in range(steps[-1] + 1):
        if step in steps:
            learnt = k[:, :N] @ _divided(k[:N, :N], np.eye(N) - left)
            linear = start - learnt @ start[:N]
            bent = np.einsum("ai,bij,j->ab", phi, psi, q - began)
            found.append((phi @ q, z1.copy(), z1 - linear, bent + bent.T))
        error = second @ train.T - np.outer(q, y)  # (f, N): E theta e_a at order 0
        square = train @ error - np.outer(y, train @ q - y)  # (N, N): E e_a e_b
        of_features = np.einsum("bi,aij,ja->b", phi, psi[:N], error)  # E sum_a e_a phi_b.psi_a.theta
        of_outputs = np.einsum("bij,ai,ja->b", psi, train, error)  # E sum_a e_a phi_a.psi_b.theta
        curved = np.einsum("bij,ai,cj,ac->b", psi, train, train, square) / 2
        z1 = z1 - eta * (k[:, :N] @ z1[:N] + of_features + of_outputs) + eta**2 * curved
        left = left - eta * left @ k[:N, :N]
        P, q = P - eta * train.T @ (train @ P), q - eta * train.T @ (train @ q - y)
        second = P @ covariance @ P.T + np.outer(q, q)
    return FirstOrder(*(np.stack(each) for each in zip(*found, strict=True)))


def _divided(k: Array, matrix: Array) -> Array:
    """k^-1 matrix, on the directions in which k is not zero."""
    return np.asarray(np.linalg.pinv(k, rcond=ROUNDING, hermitian=True) @ matrix)


def at_the_end(phi: Array, psi: Array, y: Array, eta: float, theta: Array) -> Array:
    """The coefficient of epsilon of fully trained outputs, (D,), from theta(0) = theta (f,), with more features than
    samples: docs/theory.md (5.51), the nearly-kernel prediction and its part that depends on the algorithm."""
    N, train = len(y), phi[: len(y)]
    k = phi @ train.T
    h = np.linalg.inv(k[:N])
    error = train @ theta - y
    values, vectors = np.linalg.eigh(k[:N])
    along = vectors.T @ error
    X2 = 1 / (values[:, None] + values - eta * np.outer(values, values))
    left = np.outer(along, along) * X2 / values  # (1 x h) X2 e0 e0 in the eigenbasis
    Y2 = np.outer(h @ error, h @ error) - vectors @ left @ vectors.T
    end = theta - train.T @ (h @ error)
    raw = np.einsum("bij,i,j->b", psi, end, end) / 2
    raw -= np.einsum("bi,aij,j,a->b", phi, psi[:N], theta, h @ error)
    raw += np.einsum("bi,aij,cj,ac->b", phi, psi[:N], train, Y2)
    return np.asarray(raw - k @ (h @ raw[:N]))
