"""Infinite-width training: networks are linear in their parameters, and every algorithm has a closed form.

See docs/theory.md (5.1) to (5.3). Losses are 1/2 sum (z - y)^2; K and Theta are those of the output layer, (D, D),
train samples first; targets (N, n_L) are those of the first N samples.
"""

import numpy as np

from analysis.theory.activations import Array

ALGORITHMS = ("gradient_descent", "gradient_flow", "momentum")


def remaining(algorithm: str, values: Array, eta: float, steps: int | None, momentum: float = 0.0) -> Array:
    """Share of the error along an eigenvector of the NTK of that value that is left after `steps` steps: a_t(v) of
    docs/theory.md (5.1).

    gradient_descent (1 - eta v)^t; gradient_flow exp(-eta v t); momentum by its recursion, a velocity that starts at
    zero. steps: None is the end of training. Raises ValueError where training does not end there.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm={algorithm!r}: known are {', '.join(ALGORITHMS)}")
    bound = {"gradient_descent": 2.0, "momentum": 2 * (1 + momentum)}.get(algorithm, np.inf)
    if steps is None:
        if eta * values.max() >= bound:
            raise ValueError(f"eta={eta}: {algorithm} converges only below {bound / values.max():.4g}")
        return np.zeros_like(values)
    if algorithm == "gradient_descent":
        return np.asarray((1 - eta * values) ** steps)
    if algorithm == "gradient_flow":
        return np.exp(-eta * values * steps)
    left, velocity = np.ones_like(values), np.zeros_like(values)
    for _ in range(steps):
        velocity = momentum * velocity + values * left
        left = left - eta * velocity
    return left


def trained(
    K: Array,
    Theta: Array,
    targets: Array,
    eta: float = 0.0,
    steps: int | None = None,
    algorithm: str = "gradient_descent",
    momentum: float = 0.0,
) -> tuple[Array, Array]:
    """Mean (D, n_L) and covariance (D, D) per output of z(t), M y and that of z(0) - M z_train(0): docs/theory.md
    (5.2).

    At the end of training (steps=None) neither depends on eta nor on the algorithm. With Theta=K it is exact Bayesian
    inference, docs/theory.md (5.3). Raises ValueError where training diverges.
    """
    M = response(Theta, len(targets), eta, steps, algorithm, momentum)
    N = len(targets)
    covariance = K - M @ K[:N] - K[:, :N] @ M.T + M @ K[:N, :N] @ M.T
    return M @ targets, covariance


def response(
    Theta: Array,
    N: int,
    eta: float = 0.0,
    steps: int | None = None,
    algorithm: str = "gradient_descent",
    momentum: float = 0.0,
) -> Array:
    """M (D, N) of z(t) = z(0) - M (z_train(0) - y) is Theta_{.,t} Theta_tt^-1 [1 - a_t(Theta_tt)], docs/theory.md
    (5.1)."""
    values, vectors = np.linalg.eigh(Theta[:N, :N])
    left = remaining(algorithm, values, eta, steps, momentum)
    # (1 - a_t(v)) / v; where v is rounding of zero nothing is learnt, and nothing is there to learn.
    learnt = np.where(values > 1e-12 * values[-1], (1 - left) / np.where(values == 0, 1.0, values), 0.0)
    return np.asarray(Theta[:, :N] @ (vectors * learnt) @ vectors.T)
