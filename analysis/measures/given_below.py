"""Means over a layer's weights, given the layers below, of products of its preactivations."""

from collections.abc import Sequence
from typing import cast

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.points import Point


def pair_means(point: Point, layer: int) -> Array:
    """E[z_ia z_ib | layers below], averaged over the layer's neurons, of each pair of the columns g, (M, pairs).

    It is g, and with a skip gamma into the layer g + gamma^2 mean z_ia z_ib of the layer below, docs/theory.md (11.10).
    """
    g = point.read("g", layer)
    if not (gamma := point.skip_into(layer)):
        return g
    return g + gamma**2 * _moments(point, "m2", layer - 1, point.columns("g"))


def pair_products(point: Point, layer: int, components: Sequence[tuple[int, int]]) -> Array | None:
    """E[z_ia z_ib z_jc z_jd | layers below], averaged over the layer's neurons i != j, (M, components).

    components: pairs of columns of g. None where it is the product of two of `pair_means`, because neurons are
    independent and alike given the layers below. With a skip it is docs/theory.md (11.10), and with orthogonal weights
    docs/theory.md (14.3).
    """
    if point.weights == "orthogonal" and layer > 1:
        return _of_frames(point, layer, components)
    if not (gamma := point.skip_into(layer)):
        return None
    pairs, g = point.columns("g"), point.read("g", layer)
    first, second = ([c[side] for c in components] for side in (0, 1))
    m2 = gamma**2 * _moments(point, "m2", layer - 1, pairs)
    m4 = gamma**4 * _moments(point, "m4", layer - 1, [pairs[p] + pairs[q] for p, q in components])
    same = g[:, first] * g[:, second] + g[:, first] * m2[:, second] + m2[:, first] * g[:, second] + m4
    both = g + m2
    return estimators.distinct_neurons(both[:, first], both[:, second], same, point.widths[layer - 1])


def _of_frames(point: Point, layer: int, components: Sequence[tuple[int, int]]) -> Array:
    """`pair_products` of orthogonal weights: two rows of a Haar matrix on the layer below, and Gaussian biases."""
    n, C_b = point.widths[layer - 2], point.settings["initialization"]["C_b"]
    pairs, q = point.columns("g"), point.read("g", layer) - C_b

    def product(first: Sequence[int], second: Sequence[int]) -> Array:
        left, right = pairs.index(tuple(sorted(first))), pairs.index(tuple(sorted(second)))
        return cast(Array, q[:, left] * q[:, right])

    found = []
    for ab, cd in ((pairs[p], pairs[r]) for p, r in components):
        (a, b), (c, d) = ab, cd
        mismatched = product((a, c), (b, d)) + product((a, d), (b, c))
        of_weights = n * ((n + 1) * product(ab, cd) - mismatched) / ((n - 1) * (n + 2))
        found.append(of_weights + C_b * (q[:, pairs.index(ab)] + q[:, pairs.index(cd)]) + C_b**2)
    return np.stack(found, axis=1)


def _moments(point: Point, prefix: str, layer: int, samples: Sequence[tuple[int, ...]]) -> Array:
    """The neuron moments of these samples, (M, len(samples))."""
    columns = point.columns(prefix)
    return point.read(prefix, layer)[:, [columns.index(tuple(sorted(chosen))) for chosen in samples]]
