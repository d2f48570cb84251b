"""Single networks whose NTK is the frozen one, trained on any loss from their own start, docs/theory.md (5.37), and
what they change by to first order in their own NTK, docs/theory.md (5.38)."""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.stages import stages
from analysis.theory.activations import Array
from analysis.theory.losses import LOSSES
from analysis.theory.path import Eta, along, each_eta


def frozen_outputs(
    Theta: Array,
    start: Array,
    targets: Array,
    loss: str,
    eta: Eta,
    steps: Sequence[int],
    algorithm: str = "gradient_descent",
    momentum: float = 0.0,
) -> Array:
    """Outputs (M, S, n_L, D) after each of the steps, which ascend, from those at the start (M, n_L, D).

    Theta: (D, D) at infinite width, train samples first. targets: (N, n_L). Other arguments are those of
    `trained_to_order_n`. At infinite width this is what trained networks do, docs/theory.md (5.37).
    Raises ValueError for a loss without a slope and for algorithms that have no stages or draw batches.
    """
    sums = _sums(Theta, None, start, targets, loss, eta, steps, algorithm, momentum)
    return np.stack([start + a @ Theta[: len(targets)] for (a,) in sums], axis=1)


def own_answers(
    Theta: Array,
    kernels: Array,
    start: Array,
    targets: Array,
    loss: str,
    eta: Eta,
    steps: Sequence[int],
    algorithm: str = "gradient_descent",
    momentum: float = 0.0,
) -> Array:
    """What `frozen_outputs` gain to first order if each network has its own NTK: (M, S, n_L, D), the answer of
    docs/theory.md (5.38) to fH = H(0) - Theta.

    kernels: H(0) (M, P, P) over joint indices, output first. Other arguments and errors are those of
    `frozen_outputs`.
    """
    n_L, N, D = start.shape[1], len(targets), len(Theta)
    moved = kernels - np.kron(np.eye(n_L), Theta)
    moved = moved.reshape(len(start), n_L * D, n_L, D)[..., :N].reshape(len(start), n_L * D, n_L * N)
    sums = _sums(Theta, moved, start, targets, loss, eta, steps, algorithm, momentum)
    return np.stack([_gained(moved, a, D) + b @ Theta[:N] for a, b in sums], axis=1)


def _gained(moved: Array, a: Array, D: int) -> Array:
    """What the sums a (M, n_L, N) give by a change of the NTK (M, n_L D, n_L N): (M, n_L, D)."""
    M, n_L, _ = a.shape
    return (moved @ a.reshape(M, -1, 1)).reshape(M, n_L, D)


def _sums(
    Theta: Array,
    moved: Array | None,
    start: Array,
    targets: Array,
    loss: str,
    eta: Eta,
    steps: Sequence[int],
    algorithm: str,
    momentum: float,
) -> Iterator[list[Array]]:
    """Minus the sums of eta times the slopes (M, n_L, N) after each of the steps, docs/theory.md (5.37), and their
    first-order answer to a change of the NTK, if one is given."""
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r}: known are {', '.join(LOSSES)}")
    if algorithm == "sgd":
        raise ValueError("algorithm='sgd': the batches of a network are not known; an algorithm without them is needed")
    N, derivatives = len(targets), LOSSES[loss]

    def gradient(x: list[Array], step: int) -> list[Array]:
        z = (start[..., :N] + x[0] @ Theta[:N, :N]).swapaxes(1, 2)
        slopes = [derivatives.slope(z, targets).swapaxes(1, 2)]
        if moved is not None:
            change = _gained(moved, x[0], len(Theta))[..., :N] + x[1] @ Theta[:N, :N]
            slopes.append(np.einsum("mkij,mjk->mik", derivatives.curvature(z, targets), change))
        return slopes

    zeros = [np.zeros_like(start[..., :N])] * (1 if moved is None else 2)
    return along(zeros, gradient, each_eta(eta, steps[-1]), steps, stages(algorithm, momentum))
