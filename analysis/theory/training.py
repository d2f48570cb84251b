"""Infinite-width training: networks are linear in their parameters and gradient descent has a closed form."""

import numpy as np

from analysis.theory.activations import Array


def gradient_descent(K: Array, Theta: Array, targets: Array, eta: float, steps: int | None) -> tuple[Array, Array]:
    """Mean (D, n_L) and covariance (D, D) per output of z(t) after `steps` steps (theory.md 5.1, 5.2; PDLT ch. 10).

    K, Theta: (D, D) kernel and frozen NTK of the output layer, train samples first.
    targets: (N, n_L) of the first N samples. eta: step on Loss = 1/2 sum (z - y)^2. steps: None is the end
    of training. Raises ValueError where the descent diverges, eta >= 2 / lambda_max.
    """
    N = len(targets)
    values, vectors = np.linalg.eigh(Theta[:N, :N])
    if eta * values[-1] >= 2 and steps is None:
        raise ValueError(f"eta={eta}: gradient descent converges only below 2 / lambda_max = {2 / values[-1]:.4g}")
    # (1 - (1 - eta v)^t) / v, which is eta t where v -> 0
    if steps is None:
        learnt = 1 / values
    else:
        safe = np.where(np.abs(values) > 1e-12 * values[-1], values, 1.0)
        learnt = np.where(safe == values, (1 - (1 - eta * safe) ** steps) / safe, eta * steps)
    M = Theta[:, :N] @ (vectors * learnt) @ vectors.T
    covariance = K - M @ K[:N] - K[:, :N] @ M.T + M @ K[:N, :N] @ M.T
    return M @ targets, covariance
