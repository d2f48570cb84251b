"""Representation learning: how kernels and the NTK move in training (docs/theory.md (5.8) to (5.10), PDLT ch. 11)."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.solved import (
    arrived,
    closed_form_known,
    last_step,
    order_n,
    order_n_known,
    targets,
)
from analysis.measures.trained import measured_at_end
from analysis.points import Point


def one_sample_by_flow(point: Point) -> Iterator[str]:
    """Needs of the change that is known for one output and one sample at the end of gradient flow."""
    rule, outputs = point.settings["dynamics"], point.settings["network"]["outputs"]
    if point.trained and rule["name"] != "gradient_flow":
        yield f"dynamics={rule['name']}: gradient_flow is needed"
    if point.D != 1:
        yield f"inputs: {point.D} samples: inputs.count=1 and inputs.test=0 are needed"
    if outputs != 1:
        yield f"network.outputs={outputs}: one output is needed"
    yield from arrived(point)


def first_step_of_descent(point: Point) -> Iterator[str]:
    """Needs of the change that is known for one output after one step of descent on all samples."""
    rule, steps = point.settings["dynamics"], list(point.data.layout.steps)
    outputs = point.settings["network"]["outputs"]
    if outputs != 1:
        yield f"network.outputs={outputs}: one output is needed"
    if point.trained and rule["name"] != "gradient_descent":
        yield f"dynamics={rule['name']}: gradient_descent is needed"
    if 1 not in steps:
        yield f"observables.steps={steps}: step 1 is needed"
    if point.trained and len(targets(point)) != point.D:
        yield f"inputs.test={point.D - len(targets(point))}: 0 is needed"
    yield from closed_form_known(point)


_in_training = partial(measure, steps="both")
_mean_change = partial(_in_training, smooth=True)
_size_of_change = partial(_in_training, model="exponent", needs=closed_form_known)


@_mean_change(
    "ntk_change", tensor="n dH", symbol=r"$n\,\mathrm{E}[H(T)-H(0)]$", families=("H",), needs=one_sample_by_flow
)
def ntk_change(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E[H(T) - H(0)] of one output and one sample, trained by gradient flow to the end (docs/theory.md (5.9))."""
    return _changed(point, estimators.mean(_change(point, "H")))


@_mean_change(
    "ntk_change_controlled",
    tensor="n dH",
    symbol=r"$n\,\mathrm{E}[H(T)-H(0)]$",
    families=("H", "dHs", "dHu"),
    needs=one_sample_by_flow,
    partner="ntk_mean",
)
def ntk_change_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """The same less a multiple of what docs/theory.md (5.9) says of each network to second order at its start. The mean
    of that is measured on untrained networks, so that the difference has the mean zero at every width.

    The multiple is the one that leaves least variance. It is estimated on the same networks, which makes a bias of
    order one over their number, and none in 1/n.
    """
    control = point.read("dHs", point.depth, 0) - point.read("dHu", point.depth, 0)
    both = np.concatenate([_change(point, "H"), control], axis=1)
    mean, (crossed, spread) = estimators.mean(both), estimators.covariance(both, [(0, 1), (1, 1)]).value
    return _changed(point, mean.chosen([0]) - mean.chosen([1]).scaled(crossed / spread))


def _change(point: Point, family: str) -> Array:
    """What training changes in a family at layer L of every network, (M, columns)."""
    return point.read(family, point.depth, last_step(point)) - point.read(family, point.depth, 0)


def _changed(point: Point, estimate: Estimate) -> Iterator[Measured]:
    """n times an estimate of E[H(T) - H(0)] of one sample, docs/theory.md (5.9)."""
    predicted = order_n(point).ntk_change[-1, 0]
    yield measured_at_end("n dH", point, [label_of((0, 0))], estimate.scaled(point.n), predicted, np.abs(predicted))


def deeper(point: Point, reference: Point) -> Iterator[str]:
    """Growth is predicted from a network to a deeper one, whose next orders are the larger ones."""
    if point.depth <= reference.depth:
        yield f"network.depth={point.depth}: more than the {reference.depth} of the reference are needed"


@_mean_change(
    "movement_growth",
    symbol={"p of dH": r"$p_{\Delta H}$", "p of dg": r"$p_{\Delta g}$"},
    families=("H", "g"),
    paired=True,
    needs=one_sample_by_flow,
    undefined=deeper,
    says="{name} grows as L^p with p = {value}",
)
def movement_growth(point: Point, reference: Point, layers: Layers) -> Iterator[Measured]:
    """The powers of L with which E[H(T) - H(0)]/Theta and E[g(T) - g(0)]/K of the last hidden kernel grow from the
    depth of the reference, in units of E(z(T) - z(0))^2/K = 1 + y^2/K: docs/theory.md (5.53), one at large depth."""
    lever = np.log(point.depth / reference.depth)
    for tensor, family in (("p of dH", "H"), ("p of dg", "g")):
        (found, predicted), (before, of_before) = (_in_units(trained, family) for trained in (point, reference))
        power, expected = (found.log() - before.log()).scaled(1 / lever), np.log(predicted / of_before) / lever
        yield measured_at_end(tensor, point, [label_of((0, 0))], power, expected, np.ones(1))


def _in_units(point: Point, family: str) -> tuple[Estimate, Array]:
    """n times the mean change of H or of the last g, and its prediction (1,), relative to Theta or K and in units of
    1 + y^2/K, both with the sign that makes the prediction positive."""
    flow, end = point.flow(("K", "Theta")), order_n(point)
    assert flow.Theta is not None
    K, Theta = flow.K[-1, 0], flow.Theta[-1, 0]
    predicted, size = (end.ntk_change[-1, 0], Theta) if family == "H" else (end.kernel_change[-1, -1, 0], K)
    unit = size * (1 + targets(point)[0] ** 2 / K) * np.sign(predicted)
    return estimators.mean(_change(point, family)).scaled(point.n / unit), predicted / unit


@_mean_change(
    "ntk_change_of_step",
    tensor="n dH",
    symbol=r"$n\,\mathrm{E}[H(1)-H(0)]$",
    families=("H",),
    needs=first_step_of_descent,
)
def ntk_change_of_step(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E[H_ab(1) - H_ab(0)] of one output after one step of gradient descent on all samples: docs/theory.md (5.10)."""
    predicted = order_n(point).ntk_change[list(point.data.layout.steps).index(1)]
    pairs = [(a, b) for _, _, a, b in point.columns("H")]
    expected = np.array([predicted[pair] for pair in pairs])
    change = point.read("H", point.depth, 1) - point.read("H", point.depth, 0)
    estimate, size = estimators.mean(change).scaled(point.n), np.full(len(pairs), np.abs(expected).max())
    yield measured_at_end("n dH", point, [label_of(pair) for pair in pairs], estimate, expected, size)


def movement_known(point: Point) -> Iterator[str]:
    """Needs of the movement that is known at every step."""
    outputs = point.settings["network"]["outputs"]
    if outputs != 1:
        yield f"network.outputs={outputs}: one output is needed"
    yield from order_n_known(point)


def _moved(point: Point, family: str, tensor: str, layer: int, predicted: Array | None) -> Iterator[Measured]:
    """n times the mean change of a family's columns at a layer, at every recorded step of training, in units of the
    largest that is predicted, or that is measured where nothing is. predicted: (S, D, D), or None."""
    pairs = [index[-2:] for index in point.columns(family)]
    for k, step in enumerate(point.data.layout.steps):
        if not step:
            continue
        change = point.read(family, layer, step) - point.read(family, layer, 0)
        estimate = estimators.mean(change).scaled(point.n)
        expected = np.full(len(pairs), np.nan)
        if predicted is not None:
            expected = np.array([predicted[k][pair] for pair in pairs])
        size = np.abs(estimate.value if predicted is None else expected).max()
        yield Measured(
            tensor=tensor,
            layer=layer,
            step=step,
            samples=[label_of(pair) for pair in pairs],
            estimate=estimate,
            theory=expected,
            scale=np.full(len(pairs), size),
        )


@_mean_change(
    "ntk_movement",
    tensor="n dH(t)",
    symbol=r"$n\,\mathrm{E}[H(t)-H(0)]$",
    families=("H",),
    needs=movement_known,
    residual=True,
    below=(),
    orthogonal=True,
)
def ntk_movement(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E[H_ab(t) - H_ab(0)] of one output at every recorded step (docs/theory.md (5.33), PDLT ch. 11). It is measured
    where a network has skips or orthogonal weights, for which no theory is at hand."""
    return _moved(point, "H", "n dH(t)", point.depth, order_n(point).ntk_change if point.plain else None)


@_mean_change(
    "kernel_movement", tensor="n dg(t)", symbol=r"$n\,\mathrm{E}[g(t)-g(0)]$", families=("g",), needs=movement_known
)
def kernel_movement(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E[g_ab(t) - g_ab(0)] of the conditional kernel of each layer at every recorded step (docs/theory.md (5.36),
    PDLT ch. 11)."""
    for layer in chosen_layers(point, "g", layers):
        yield from _moved(point, "g", "n dg(t)", layer, order_n(point).kernel_change[:, layer - 2])


def _size(point: Point, family: str, tensor: str, layers: Layers) -> Iterator[Measured]:
    """log E of the squared change in training of a family's diagonal, all outputs averaged: falls as n^-2
    (docs/theory.md (5.8))."""
    diagonal: dict[int, list[int]] = {}  # the columns of each sample, one an output
    for k, index in enumerate(point.columns(family)):
        rows = list(zip(*np.reshape(index, (-1, 2)), strict=True))  # (output, sample), or (sample,), of each index
        if rows[0] == rows[1]:
            diagonal.setdefault(index[-1], []).append(k)
    predicted: Array = np.full(len(diagonal), 2.0)
    for layer in chosen_layers(point, family, layers):
        change = point.read(family, layer, last_step(point)) - point.read(family, layer, 0)
        squares = np.stack([np.square(change[:, columns]).mean(axis=1) for columns in diagonal.values()], axis=1)
        yield Measured(
            tensor=tensor,
            layer=layer,
            step=last_step(point),
            samples=[label_of((a, a)) for a in diagonal],
            estimate=estimators.mean(squares).log(),
            theory=predicted,
            scale=np.ones(len(predicted)),
        )


@_size_of_change("kernel_change_size", tensor="log dg^2", symbol=r"$\log\mathrm{E}\,(\Delta g)^2$", families=("g",))
def kernel_change_size(point: Point, layers: Layers) -> Iterator[Measured]:
    """The conditional kernel of a hidden layer moves by order 1/n in every network, docs/theory.md (5.8)."""
    return _size(point, "g", "log dg^2", layers)


@_size_of_change(
    "ntk_change_size", tensor="log dH^2 in training", symbol=r"$\log\mathrm{E}\,(\Delta H)^2$", families=("H",)
)
def ntk_change_size(point: Point, layers: Layers) -> Iterator[Measured]:
    """The NTK moves by order 1/n in the mean and in every network, docs/theory.md (5.8)."""
    return _size(point, "H", "log dH^2 in training", layers)
