"""The recursion of an algorithm that is linear in past gradients, docs/theory.md (5.24), on any arrays."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from analysis.stages import Stage
from analysis.theory.activations import Array

Eta = float | Sequence[float] | Array  # of every step, or of each
Gradient = Callable[[list[Array], int], Sequence[Array]]


def each_eta(eta: Eta, steps: int) -> Array:
    """eta of each of so many steps of docs/theory.md (5.24), (steps,): a number is that of every step, and a sequence
    has one for each.

    Raises ValueError where a sequence has fewer.
    """
    if np.ndim(eta) == 0:
        return np.full(steps, eta, dtype=np.float64)
    if len(np.asarray(eta)) < steps:
        raise ValueError(f"eta: {len(np.asarray(eta))} numbers for steps={steps}, one for each step is needed")
    return np.asarray(eta, dtype=np.float64)[:steps]


def along(
    start: Sequence[Array], gradient: Gradient, etas: Array, steps: Sequence[int], stages: Sequence[Stage]
) -> Iterator[list[Array]]:
    """The arrays X of docs/theory.md (5.24) after each of the steps, which ascend; the velocity starts at zero.

    gradient(X, step): the increments G at X, with the shapes of X, in the step of this number, counted from 0. etas:
    one for each step.
    """
    X, velocity, done = list(start), [np.zeros_like(x) for x in start], 0
    for step in steps:
        while done < step:
            for stage in stages:
                point = X
                if stage.look:
                    point = [x - etas[done] * stage.look * v for x, v in zip(X, velocity, strict=True)]
                velocity = [stage.keep * v + g for v, g in zip(velocity, gradient(point, done), strict=True)]
                X = [x - etas[done] * stage.move * v for x, v in zip(X, velocity, strict=True)]
            done += 1
        yield X
