"""A training run: steps of the algorithm, one by one or, on a CUDA device, as a captured graph."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import torch

from simulate.training.algorithms import STEPS, Training

# On a CUDA device a step of small networks takes less time than its launches, one by one: from this many steps on it is
# captured once and replayed. Not sgd, whose batches have a new address in every step.
GRAPH, EAGER = 16, 3  # steps to go from which on it pays; steps that are made before, so that all buffers are there


def trajectory(training: Training, steps: tuple[int, ...]) -> Iterator[int]:
    """Trains in place and yields each chosen step when the parameters have reached it."""
    once: Callable[[], object] = partial(_step, training)
    graphed = training.x.is_cuda and training.rule.name != "sgd" and steps[-1] >= GRAPH
    for step in steps:
        while training.done < step:
            if graphed and training.done == EAGER:
                once = _replayed(once)
            once()
            training.done += 1
        yield step


def _step(training: Training) -> None:
    STEPS[training.rule.name](training)


def _replayed(once: Callable[[], object]) -> Callable[[], object]:
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            once()
    except RuntimeError as error:
        warnings.warn(f"no CUDA graph, steps are launched one by one: {error}", stacklevel=2)
        return once
    return graph.replay
