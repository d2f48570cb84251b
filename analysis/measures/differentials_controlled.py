"""P to U from products that are averaged over a last layer of signs, less controls: docs/theory.md (7.17), (7.18).

The controls are linear in the kernels of all layers less their means given the layer below. `layer_law` tests that
these have the mean zero, as the sampler is meant to make them.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.controls import all_layers_of_two_inputs, steps_of
from analysis.measures.differentials import DIFFERENTIALS
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.ntk import predicted
from analysis.points import Point


def of_mean_zero(point: Point) -> Array:
    """The kernels of all layers less their means given the layer below, in units of their spread, (M, controls)."""
    columns = [step.m / np.sqrt(step.v_at_K.diagonal() / step.n) for step in steps_of(point)]
    return np.concatenate(columns, axis=1)


def fitted(x: Array, controls: Array) -> Array:
    """The linear combinations (M, k) of controls (M, c) that fit x (M, k) best, docs/theory.md (7.18).

    The coefficients for either half of the networks are those of the other half, so that they make no bias.
    """
    M = len(x)
    halves = slice(None, M // 2), slice(M // 2, None)
    out = np.empty_like(x)
    for here, other in (halves, halves[::-1]):
        design = np.column_stack([np.ones(len(controls[other])), controls[other]])
        coefficients = np.linalg.lstsq(design, x[other], rcond=None)[0]
        out[here] = controls[here] @ coefficients[1:]
    return out


def _means(point: Point, layers: Layers, tensor: str, order: Sequence[int]) -> Iterator[Measured]:
    """n times the mean of each recorded component, of which the others are copies by symmetry.

    order: which of a, b, c, d each index of the tensor is.
    """
    for layer in chosen_layers(point, tensor, layers):
        X = predicted(point, tensor, DIFFERENTIALS, layer)
        samples = point.columns(tensor)
        theory = np.array([X[tuple(abcd[k] for k in order)] for abcd in samples])
        x = point.read(tensor, layer)
        rest = x - fitted(x, point.once("linear controls", of_mean_zero))
        yield Measured(
            tensor=tensor,
            layer=layer,
            step=0,
            samples=[label_of(abcd) for abcd in samples],
            estimate=estimators.mean(rest).scaled(float(point.widths[layer - 2])),
            theory=theory,
            scale=np.full(len(samples), np.abs(theory).max()),
        )


_controlled = partial(measure, smooth=True, partner="layer_law", needs=all_layers_of_two_inputs, any_widths=True)


@_controlled("P_controlled", tensor="P", symbol="$P$", families=("P",))
def P_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E dH_011;abc z_0;d is P_abcd of docs/theory.md (3.4), by docs/theory.md (7.17) and (7.18)."""
    return _means(point, layers, "P", (0, 1, 2, 3))


@_controlled("Q_controlled", tensor="Q", symbol="$Q$", families=("Q",))
def Q_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E dH_001;abc z_1;d is Q_abcd of docs/theory.md (3.4), by docs/theory.md (7.17) and (7.18)."""
    return _means(point, layers, "Q", (0, 1, 2, 3))


@_controlled("R_controlled", tensor="R", symbol="$R$", families=("R",))
def R_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddI_0011;abcd is R_abcd of docs/theory.md (3.5), by docs/theory.md (7.17) and (7.18)."""
    return _means(point, layers, "R", (0, 1, 2, 3))


@_controlled("S_controlled", tensor="S", symbol="$S$", families=("S",))
def S_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddII_0011;abcd is S_abcd of docs/theory.md (3.6), by docs/theory.md (7.17) and (7.18)."""
    return _means(point, layers, "S", (0, 1, 2, 3))


@_controlled("T_controlled", tensor="T", symbol="$T$", families=("T",))
def T_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddII_0101;abcd is T_acdb of docs/theory.md (3.6), by docs/theory.md (7.17) and (7.18)."""
    return _means(point, layers, "T", (0, 2, 3, 1))


@_controlled("U_controlled", tensor="U", symbol="$U$", families=("U",))
def U_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddII_0110;abcd is U_adbc of docs/theory.md (3.6), by docs/theory.md (7.17) and (7.18)."""
    return _means(point, layers, "U", (0, 3, 1, 2))
