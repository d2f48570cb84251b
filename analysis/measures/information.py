"""Mutual information between neurons of one layer, from the kernels of networks: docs/theory.md section 13."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from analysis import theory
from analysis.estimators import BLOCKS, Array, Estimate, enough
from analysis.measures.aspect_ratio import (
    diagonal,
    first_kernels,
    has_closed_form,
    in_units,
    of_live_kernels,
    up_to_largest,
)
from analysis.measures.measured import Layers, Measured, label_of
from analysis.points import Point
from analysis.theory import information

PARTS = ((1, 1), (4, 4))  # numbers of neurons that share the information
SMALL = 0.01  # Var g/(E g)^2 up to which the third order of the information is good to half a percent
Law = tuple[Array, Array]


@lru_cache(maxsize=64)
def _rules(activation: str, depth: int, C_b: float, C_W: float, K1: float, n: int) -> list[Law]:
    return theory.exact_rule(activation, depth, C_b, C_W, K1, n)


def law_at(point: Point, K1: float, layer: int, deepest: int) -> Law:
    """Nodes and weights of the exact law of g, by docs/theory.md (12.1) or (17.5)."""
    start, n = point.settings["initialization"], int(point.n)
    if has_closed_form(point):
        return theory.aspect_ratio.kernel_law(point.activation, [n] * (layer - 1), start["C_W"], float(K1))
    return _rules(point.activation, deepest, start["C_b"], start["C_W"], float(K1), n)[layer - 1]


def measured(g: Array, m1: int, m2: int) -> Estimate:
    """The information in a sample of kernels (M,). ValueError for few networks."""
    g = g[g > 0]
    enough(len(g))
    values = information.informations(g, m1, m2, min(BLOCKS, len(g)))
    return Estimate(values[:1], values[1:, None], len(g))


@of_live_kernels("information_exact", tensor="information / exact", symbol=r"$I$ over exact")
def exact(point: Point, layers: Layers) -> Iterator[Measured]:
    """The mutual information of one and one, and of four and four neurons of a layer, docs/theory.md (13.1), over that
    of the exact law of g, which rises with r, docs/theory.md (13.4), is one up to r = 1."""
    chosen, kernels = up_to_largest(point, "g", layers), first_kernels(point)
    for layer in chosen:
        g = point.read("g", layer)
        for column, a in diagonal(point):
            law = law_at(point, kernels[a], layer, max(chosen))
            for m1, m2 in PARTS:
                estimate = measured(g[:, column], m1, m2).scaled(1 / information.mutual_information(*law, m1, m2))
                yield in_units("information / exact", layer, [f"{m1},{m2} {label_of((a, a))}"], estimate)


@of_live_kernels("information_expansion", tensor="information / third order", symbol=r"$I$ over its third order")
def expansion(point: Point, layers: Layers) -> Iterator[Measured]:
    """The mutual information of two neurons over m1 m2 mu2^2/8 (1 - (20 + 3m) mu2/6), docs/theory.md (13.2), is one
    where the exact mu2 is at most SMALL."""
    chosen, kernels = up_to_largest(point, "g", layers), first_kernels(point)
    for layer in chosen:
        g = point.read("g", layer)
        for column, a in diagonal(point):
            nodes, weight = law_at(point, kernels[a], layer, max(chosen))
            mean = float(weight @ nodes)
            mu2 = float(weight @ (nodes / mean - 1) ** 2)
            if mu2 <= SMALL:
                estimate = measured(g[:, column], 1, 1).scaled(1 / information.expansion(mu2, 1, 1))
                yield in_units("information / third order", layer, [label_of((a, a))], estimate)


@of_live_kernels("information_past_optimum", tensor="I(2r*)/I(r*) / exact", symbol=r"$I(2r^*)/I(r^*)$ over exact")
def past_optimum(point: Point, layers: Layers) -> Iterator[Measured]:
    """The mutual information at twice the r* of docs/theory.md (6.8), over that at r*, is above one, and has its exact
    value, docs/theory.md (13.4). A maximum at r* would make it smaller than one.

    r* is that of the parts' number of neurons, at the recorded layers that are nearest.
    """
    chosen, kernels = up_to_largest(point, "g", layers), first_kernels(point)
    nu = theory.universality.exponents(point.activation).coefficient["V"]
    for m1, m2 in PARTS:
        r = information.optimal_ratio(nu, m1 + m2)
        at, twice = (min(chosen, key=lambda layer: abs(np.log((layer - 1) / (k * r * point.n)))) for k in (1, 2))
        if at == twice:
            continue
        for column, a in diagonal(point):
            first, second = (measured(point.read("g", layer)[:, column], m1, m2) for layer in (at, twice))
            laws = [law_at(point, kernels[a], layer, max(chosen)) for layer in (at, twice)]
            low, high = (information.mutual_information(*law, m1, m2) for law in laws)
            ratio = Estimate(second.value / first.value, second.replicates / first.replicates, first.networks)
            estimate = ratio.scaled(low / high)
            yield in_units("I(2r*)/I(r*) / exact", twice, [f"{m1},{m2} {label_of((a, a))}"], estimate)
