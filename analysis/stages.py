"""Learning algorithms whose step is linear in the gradients so far, as the stages of one recursion.

Simulation and theory run the same recursion, docs/theory.md (5.24): the one on parameters, the other on what training
sums up. This module needs nothing, so that both import it at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One evaluation of the gradient, docs/theory.md (5.24), for a state X with a velocity vel that both start at zero.

    The gradient G is that at the point X - eta look vel. Then vel <- keep vel + G, and X <- X - eta move vel.
    """

    keep: float
    move: float
    look: float


# A Runge and Kutta scheme of order four with five stages and two registers: Carpenter and Kennedy, NASA TM 109112
# (1994), solution 3.
_RUNGE_KUTTA = (
    Stage(0.0, 1432997174477 / 9575080441755, 0.0),
    Stage(-567301805773 / 1357537059087, 5161836677717 / 13612068292357, 0.0),
    Stage(-2404267990393 / 2016746695238, 1720146321549 / 2090206949498, 0.0),
    Stage(-3550918686646 / 2091501179385, 3134564353537 / 4481467310338, 0.0),
    Stage(-1275806237668 / 842570457699, 2277821191437 / 14882151754819, 0.0),
)
# The stages of each algorithm for its momentum, which most of them do not have.
STAGES: dict[str, Callable[[float], tuple[Stage, ...]]] = {
    "gradient_descent": lambda momentum: (Stage(0.0, 1.0, 0.0),),
    "gradient_flow": lambda momentum: _RUNGE_KUTTA,
    "momentum": lambda momentum: (Stage(momentum, 1.0, 0.0),),
    "nesterov": lambda momentum: (Stage(momentum, 1.0, momentum),),
    "sgd": lambda momentum: (Stage(0.0, 1.0, 0.0),),
}


def stages(algorithm: str, momentum: float = 0.0) -> tuple[Stage, ...]:
    """The stages of one step of an algorithm, docs/theory.md (5.24).

    Those of sgd are the stages of descent: its errors are N / B times those of the samples of a batch, and zero for the
    others. Raises ValueError for an algorithm without stages.
    """
    if algorithm not in STAGES:
        raise ValueError(f"algorithm={algorithm!r}: linear in past gradients are {', '.join(STAGES)}")
    return STAGES[algorithm](momentum)
