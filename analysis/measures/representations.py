"""Representation learning: how kernels and the NTK move in training (docs/theory.md 5.8 to 5.10, PDLT ch. 11)."""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.measured import Measured, chosen_layers, label_of
from analysis.measures.trained import last_step, measured_at_end, require_arrival, rule_of, targets
from analysis.points import Point
from analysis.theory import nearly_kernel


def ntk_change(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E[H(T) - H(0)] of one output and one sample, trained by gradient flow to the end (theory.md 5.9)."""
    rule = rule_of(point)
    if rule["name"] != "gradient_flow" or point.D != 1 or point.settings["network"]["outputs"] != 1:
        right = "this test needs dynamics=gradient_flow, inputs.count=1, inputs.test=0, network.outputs=1"
        raise ValueError(f"{point.data.path}: {right}")
    require_arrival(point)
    flow = point.flow(nearly_kernel.TENSORS)
    predicted = np.array([nearly_kernel.ntk_change_of_flow(flow, float(targets(point)[0, 0]))])
    change = point.read("H", point.depth, last_step(point)) - point.read("H", point.depth, 0)
    estimate = estimators.mean(change).scaled(point.n)
    yield measured_at_end("n dH", point, [label_of((0, 0))], estimate, predicted, np.abs(predicted))


def ntk_change_of_step(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E[H_ab(1) - H_ab(0)] of one output after one step of gradient descent on all samples (theory.md 5.10)."""
    rule = rule_of(point)
    if rule["name"] != "gradient_descent" or 1 not in point.data.layout.steps or len(targets(point)) != point.D:
        right = "this test needs dynamics=gradient_descent, step 1 among observables.steps, inputs.test=0"
        raise ValueError(f"{point.data.path}: {right}")
    predicted = nearly_kernel.ntk_change_of_step(point.flow(nearly_kernel.TENSORS), targets(point), rule["eta"])
    pairs = [(a, b) for _, _, a, b in point.columns("H")]
    there = np.array([predicted[pair] for pair in pairs])
    change = point.read("H", point.depth, 1) - point.read("H", point.depth, 0)
    estimate, size = estimators.mean(change).scaled(point.n), np.full(len(pairs), np.abs(there).max())
    yield measured_at_end("n dH", point, [label_of(pair) for pair in pairs], estimate, there, size)


def _size(point: Point, family: str, layers: Sequence[int] | None) -> Iterator[Measured]:
    """log E of the squared change in training of a family's diagonal: falls as n^-2 (theory.md 5.8)."""
    rule_of(point)
    columns = point.columns(family)
    chosen = [k for k, index in enumerate(columns) if index[-1] == index[-2] and index[0] == index[len(index) // 2 - 1]]
    for layer in chosen_layers(point, family, layers):
        change = point.read(family, layer, last_step(point)) - point.read(family, layer, 0)
        estimate = estimators.mean(change[:, chosen] ** 2).log()
        labels = [label_of(columns[k][-2:]) for k in chosen]
        two: Array = np.full(len(chosen), 2.0)
        nothing = np.full(len(chosen), np.nan)
        name = "log dg^2" if family == "g" else "log dH^2 in training"
        yield Measured(name, layer, last_step(point), labels, estimate, two, np.ones(len(two)), nothing)


def kernel_change_size(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """Hidden representations: in every network the conditional kernel of a layer moves by order 1/n."""
    return _size(point, "g", layers)


def ntk_change_size(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """So does the NTK: in the mean and in every network (theory.md 5.8)."""
    return _size(point, "H", layers)
