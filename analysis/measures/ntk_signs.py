"""D and F with the last layer's weights integrated out or signs, less controls: docs/theory.md (7.19).

`layer_law` tests that the controls have the mean zero, as the sampler is meant to make them.
"""

from collections.abc import Iterator

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.controls import all_layers_of_two_inputs, steps_of
from analysis.measures.differentials_controlled import fitted, of_mean_zero
from analysis.measures.measured import Layers, Measured, chosen_layers, measure
from analysis.measures.ntk import TENSORS, LayerColumns, predicted
from analysis.points import Point


def _products(point: Point) -> Array:
    """The products of two of the linear controls less their means, (M, products): v/n in one layer, zero in two."""
    controls, spreads, known = point.once("linear controls", of_mean_zero), [], []
    for step in steps_of(point):
        spreads.append(np.sqrt(step.v_at_K.diagonal() / step.n))
        known.append(step.v / step.n)
    pairs = len(spreads[0])
    columns = []
    for p in range(controls.shape[1]):
        for q in range(p + 1):
            product = controls[:, p] * controls[:, q]
            layer, i, j = p // pairs, p % pairs, q % pairs
            if q // pairs == layer:
                product = product - known[layer][:, i, j] / (spreads[layer][i] * spreads[layer][j])
            columns.append(product)
    return np.stack(columns, axis=1)


@measure(
    "F_signs",
    tensor="F",
    symbol="$F$",
    families=("F",),
    partner="layer_law",
    needs=all_layers_of_two_inputs,
    any_widths=True,
)
def F_signs(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E z_ia z_jb H_ij;cd is F_acbd of docs/theory.md (2.6), with the mean over the last layer's weights that
    docs/theory.md (7.19) gives, and the controls of docs/theory.md (7.18)."""
    for layer in chosen_layers(point, "F", layers):
        X, samples, x = predicted(point, "F", TENSORS, layer), point.columns("F"), point.read("F", layer)
        rest = x - fitted(x, point.once("linear controls", of_mean_zero))
        theory = np.array([X[a, c, b, d] for a, b, c, d in samples])
        groups = [((a, b), (c, d)) for a, b, c, d in samples]
        yield LayerColumns(point, layer).measured("F", groups, estimators.mean(rest), theory)


@measure(
    "D_signs",
    tensor="D",
    symbol="$D$",
    families=("Hs", "g"),
    partner="layer_law",
    needs=all_layers_of_two_inputs,
    any_widths=True,
)
def D_signs(point: Point, layers: Layers) -> Iterator[Measured]:
    """n Cov(g_ab, H_ii;cd) is D_abcd of docs/theory.md (2.6), with signs for the last layer's weights, docs/theory.md
    (7.19). The controls of docs/theory.md (7.18) are those of the kernels, and the products of two of them."""
    for layer in chosen_layers(point, ("Hs", "g"), layers):
        X = predicted(point, "D", TENSORS, layer)
        left, right = point.columns("g"), point.columns("Hs")
        both = np.concatenate([point.read("g", layer), point.read("Hs", layer)], axis=1)
        chosen = [(p, len(left) + q) for p in range(len(left)) for q in range(len(right))]
        centred = both - both.mean(axis=0)
        products = np.stack([centred[:, p] * centred[:, q] for p, q in chosen], axis=1)
        linear = point.once("linear controls", of_mean_zero)
        combined = fitted(products, np.concatenate([linear, _products(point)], axis=1))
        estimate = estimators.covariance(both, chosen) - estimators.mean(combined)
        groups = [(left[p], right[q - len(left)]) for p, q in chosen]
        theory = np.array([X[(*ab, *cd)] for ab, cd in groups])
        yield LayerColumns(point, layer).measured("D", groups, estimate, theory)
