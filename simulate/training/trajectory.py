"""A training run: steps of the algorithm, one by one or, on a CUDA device, as a captured graph."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from simulate.settings.training import ALGORITHMS, Dynamics
from simulate.training.algorithms import STEPS, Training

# On a CUDA device a step of small networks takes less time than launching its kernels one by one. A step of an
# algorithm that is replayable is captured once and replayed. Steps that depend on their number (batches, bias
# corrections) are not.
GRAPH = 16  # a graph pays for runs of at least so many steps
EAGER = 3  # so many steps run before the capture and allocate the buffers


def replays(dynamics: Dynamics, steps: int, cuda: bool) -> bool:
    """Whether a run of so many steps is captured as a graph, which has one eta for all of them."""
    return cuda and steps >= GRAPH and ALGORITHMS[dynamics.name].replayable and not dynamics.schedule


def trajectory(training: Training, steps: tuple[int, ...]) -> Iterator[int]:
    """Train in place; yields each chosen step when the parameters have reached it."""
    once: Callable[[], object] = partial(_step, training)
    graphed = replays(training.dynamics, steps[-1], training.x.is_cuda)
    for step in steps:
        while training.done < step:
            if graphed and training.done == EAGER:
                once = _replayed(once)
            once()
            training.done += 1
        yield step


def _step(training: Training) -> None:
    """One step with its own eta."""
    given = training.dynamics
    if given.schedule:  # an algorithm finds the eta of the present step where it finds a constant one
        training.dynamics = replace(given, eta=given.eta_at(training.done), schedule=())
    _kept_step(training)
    training.dynamics = given


def _kept_step(training: Training) -> None:
    """One step, which leaves networks that had arrived before it unchanged."""
    algorithm, start, training.resting = ALGORITHMS[training.dynamics.name], None, None
    if training.dynamics.tolerance and not algorithm.rests:
        start = [theta.clone() for theta in training.parameters.tensors]
    STEPS[algorithm.name](training)
    if start is not None and training.resting is not None:
        for theta, before in zip(training.parameters.tensors, start, strict=True):
            stays = training.resting.view(-1, *[1] * (theta.dim() - 1))
            theta.copy_(torch.where(stays, before, theta))


def _replayed(once: Callable[[], object]) -> Callable[[], object]:
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            once()
    except RuntimeError as error:
        warnings.warn(f"no CUDA graph, steps are launched one by one: {error}", stacklevel=2)
        return once
    return graph.replay
