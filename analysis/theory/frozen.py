"""Single networks whose NTK is the frozen one, trained on any loss from their own start, docs/theory.md (5.37)."""

from collections.abc import Sequence

import numpy as np

from analysis.stages import stages
from analysis.theory.activations import Array
from analysis.theory.losses import LOSSES


def frozen_outputs(
    Theta: Array,
    start: Array,
    targets: Array,
    loss: str,
    eta: float | Sequence[float] | Array,
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
    recursion, rates = stages(algorithm, momentum), np.asarray(eta, dtype=np.float64)
    N, slope = len(targets), LOSSES[loss].slope
    a = np.zeros((*start.shape[:2], N))  # minus the sum of eta times the slopes
    velocity, done, out = np.zeros_like(a), 0, []
    for step in steps:
        while done < step:
            rate = float(rates if rates.ndim == 0 else rates[done])
            for stage in recursion:
                at = a - rate * stage.look * velocity if stage.look else a
                z = start[..., :N] + at @ Theta[:N, :N]
                velocity = stage.keep * velocity + slope(z.swapaxes(1, 2), targets).swapaxes(1, 2)
                a = a - rate * stage.move * velocity
            done += 1
        out.append(start + a @ Theta[:N])
    return np.stack(out)
