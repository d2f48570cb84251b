"""Correlation lengths: over how many layers the distance of two inputs changes, docs/theory.md (1.8) and (4.6)."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.points import Point

Pairs = list[tuple[int, ...]]
SMALLEST = 1e-4  # share of K_aa + K_bb below which rounding of float32 can be seen in a squared distance


def samples_apart(point: Point) -> Iterator[str]:
    """Needs of the change of a distance from layer to layer."""
    recorded = point.layers("g")
    if len(recorded) < 2:
        yield f"observables.layers={list(point.data.layout.layers)}: kernels of two layers are needed"
    elif not any(_apart(point, ends) for ends in pairwise(recorded)):
        yield f"inputs: two samples are needed that theory keeps apart, |z_a - z_b|^2 > {SMALLEST:g} (K_aa + K_bb)"


@measure(
    "correlation_length",
    tensor="1/xi_perp",
    symbol=r"$1/\xi_\perp$",
    families=("g",),
    needs=samples_apart,
    any_widths=True,
)
def correlation_length(point: Point, layers: Layers) -> Iterator[Measured]:
    """1/xi_perp: from the layer that was recorded before, the squared distance of two samples, d = E (g_aa + g_bb -
    2 g_ab), falls as exp(-l/xi_perp); it grows where 1/xi_perp is negative.

    Theory is log(d(l')/d(l)) / (l - l') of the same samples. Where these are close and of one length it is -log
    chi_perp, docs/theory.md (1.8) and (4.6). The inverse is measured because xi_perp itself diverges at criticality,
    and has no error there. Samples that theory has closer than SMALLEST are left out.
    """
    columns, chosen, ends = point.columns("g"), chosen_layers(point, "g", layers), pairwise(point.layers("g"))
    for below, layer in (pair for pair in ends if pair[1] in chosen):
        pairs = _apart(point, (below, layer))
        if not pairs:
            continue
        squares = _squares(columns, pairs)
        first, last = (estimators.mean(point.read("g", l) @ squares).log() for l in (below, layer))
        with np.errstate(invalid="ignore"):  # the order 1/n of a small width may bring samples past each other
            start, end = (np.log(_kernels(point, l) @ squares) for l in (below, layer))
        leading, following = (start - end) / (layer - below)
        yield Measured(
            tensor="1/xi_perp",
            layer=layer,
            step=0,
            samples=[label_of(pair) for pair in pairs],
            estimate=(first - last).scaled(1 / (layer - below)),
            theory=leading,
            scale=np.ones(len(pairs)),
            theory_next=following,
        )


def _squares(columns: Pairs, pairs: Pairs) -> Array:
    """The coefficients (columns, pairs) of columns g_ab in the squared distances of pairs of samples."""
    return np.array([[-2.0 * (c == p) + (c[0] == c[1] and c[0] in p) for p in pairs] for c in columns])


def _kernels(point: Point, layer: int) -> Array:
    """The columns of E g at leading order and with the next one, (2, columns); NaN where that is not known."""
    flow = point.flow()
    G1 = np.full_like(flow.K, np.nan) if flow.G1 is None else flow.G1
    K, shift = (np.array([tensor[layer - 1][pair] for pair in point.columns("g")]) for tensor in (flow.K, G1))
    return np.array([K, K + shift / point.widths[layer - 2]])


def _apart(point: Point, layers: Sequence[int]) -> Pairs:
    """The pairs of samples that theory keeps apart at all of these layers."""
    columns = point.columns("g")
    pairs = [pair for pair in columns if pair[0] != pair[1]]
    squares = _squares(columns, pairs)
    shares = [_kernels(point, layer)[0] @ np.stack([squares, np.maximum(squares, 0)]) for layer in layers]
    return [pair for k, pair in enumerate(pairs) if all(d[k] > SMALLEST * size[k] for d, size in shares)]
