"""Single networks whose NTK is the frozen one, trained on any loss from their own start, docs/theory.md (5.37)."""

from collections.abc import Sequence

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
    """Outputs (S, M, n_L, D) after each of the steps, which ascend, from those at the start (M, n_L, D).

    Theta: (D, D) at infinite width, train samples first. targets: (N, n_L). Other arguments are those of
    `trained_to_order_n`. At infinite width this is what trained networks do, docs/theory.md (5.37).
    Raises ValueError for a loss without a slope and for algorithms that have no stages or draw batches.
    """
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r}: known are {', '.join(LOSSES)}")
    if algorithm == "sgd":
        raise ValueError("algorithm='sgd': the batches of a network are not known; an algorithm without them is needed")
    N, slope = len(targets), LOSSES[loss].slope

    def gradient(x: list[Array], step: int) -> list[Array]:
        z = start[..., :N] + x[0] @ Theta[:N, :N]
        return [slope(z.swapaxes(1, 2), targets).swapaxes(1, 2)]

    zero = np.zeros((*start.shape[:2], N))  # minus the sum of eta times the slopes
    sums = along([zero], gradient, each_eta(eta, steps[-1]), steps, stages(algorithm, momentum))
    return np.stack([start + a @ Theta[:N] for (a,) in sums])
