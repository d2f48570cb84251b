"""Which products of derivatives enter at which order of 1/n: h_k = D^k H along a network's own gradient, docs/theory.md
(17.20).

A product of derivatives that are contracted over parameters is a tree, and h_k is a sum of trees of k + 2 vertices. The
mean of one with an even number of vertices m is of order n^-(m/2 - 1); where m is odd, the mean of its product with z
is of order n^-(m - 1)/2.
"""

from collections.abc import Iterator

import numpy as np

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.points import Point

TENSORS = ("P", "Q", "R", "S", "T", "U")
EXPONENTS = {"h1 z": 1.0, "h2": 1.0, "h3 z": 2.0, "h4": 2.0}


def _means(point: Point, layer: int) -> dict[str, Estimate]:
    """E h_1 z, E h_2, E h_3 z and E h_4 of one output at each sample, the mean over outputs."""
    layout, outputs = point.data.layout, range(point.settings["network"]["outputs"])
    places = {index: k for k, index in enumerate(layout.indices(point.data.family("DH")))}
    h, z = point.read("DH", layer), point.read("z", layer)
    of_z = {index: k for k, index in enumerate(layout.indices(point.data.family("z")))}
    found = {}
    for order, name in enumerate(EXPONENTS, start=1):
        columns = []
        for a in range(point.D):
            products = (h[:, places[order, i, a]] * (z[:, of_z[i, a]] if order % 2 else 1.0) for i in outputs)
            columns.append(sum(products) / len(outputs))
        found[name] = estimators.mean(np.stack(columns, axis=1))
    return found


def _predicted(point: Point, layer: int) -> dict[str, Array]:
    """The coefficients of 1/n of E h_1 z and E h_2 at each sample."""
    flow, a = point.flow(TENSORS), np.arange(point.D)
    P, Q, R, S, T, U = (flow[name][layer - 1][a, a, a, a] for name in TENSORS)
    return {"h1 z": 2 * (P + 2 * Q), "h2": 6 * R + 4 * (S + T + U)}


@measure(
    "derivative_coefficients",
    symbol={"h1 z": r"$n\,\mathrm{E}\,h_1 z$", "h2": r"$n\,\mathrm{E}\,h_2$"},
    families=("DH", "z"),
    smooth=True,
    any_widths=True,
)
def derivative_coefficients(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E h_1 z tends to 2 (P + 2 Q), and n E h_2 to 6 R + 4 (S + T + U), docs/theory.md (17.21)."""
    for layer in chosen_layers(point, ("DH", "z"), layers):
        means, n, labels = _means(point, layer), point.widths[layer - 2], [label_of((a, a)) for a in range(point.D)]
        for name, predicted in _predicted(point, layer).items():
            yield Measured(name, layer, 0, labels, means[name].scaled(n), predicted, np.abs(predicted))


@measure(
    "derivative_exponents",
    symbol={
        f"log {name}": rf"$\log\,|\mathrm{{E}}\,h_{name[1]}{' z' if name.endswith('z') else ''}|$" for name in EXPONENTS
    },
    model="exponent",
    families=("DH", "z"),
    smooth=True,
    any_widths=True,
)
def derivative_exponents(point: Point, layers: Layers) -> Iterator[Measured]:
    """E h_1 z and E h_2 fall as 1/n, E h_3 z and E h_4 as 1/n^2: docs/theory.md (17.20). Fourth and fifth derivatives
    of an output first enter with the latter two."""
    for layer in chosen_layers(point, ("DH", "z"), layers):
        for name, estimate in _means(point, layer).items():
            size, exponent = estimate.scaled(np.sign(estimate.value)).log(), np.full(point.D, EXPONENTS[name])
            labels = [label_of((a, a)) for a in range(point.D)]
            yield Measured(f"log {name}", layer, 0, labels, size, exponent, np.ones(point.D))
