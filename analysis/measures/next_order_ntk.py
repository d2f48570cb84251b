"""The coefficients of 1/n^2 of the NTK at single samples, docs/theory.md (17.12), and the mean of T_3.

The leading order is subtracted from the controlled estimates of `ntk_controlled`, and what is left is multiplied by n
once more. No exact law of the NTK is known but for scale-invariant activations, so that fits float higher orders.
"""

from collections.abc import Iterator

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.next_order import beyond
from analysis.measures.ntk import TENSORS
from analysis.measures.ntk_controlled import LOWEST, chained, no_scale, of_chains
from analysis.measures.ntk_controls import FAMILIES
from analysis.points import Point
from analysis.theory.ntk_series import OF_ONE_INPUT


def _predicted(point: Point, name: str, layer: int) -> Array:
    """A tensor of each sample alone at one layer, (D,)."""
    flows = (point.flow((*TENSORS, *OF_ONE_INPUT), a) for a in range(point.D))
    return np.array([float(flow[name][layer - 1].item()) for flow in flows])


def _beyond(point: Point, leading: str, name: str, layers: Layers, groups: int) -> Iterator[Measured]:
    """n ( n [estimate] - leading ) at each layer. groups: pairs of samples in its label."""
    for layer in (layer for layer in chosen_layers(point, FAMILIES, layers) if layer >= LOWEST):
        theory, n = _predicted(point, name, layer), float(point.widths[layer - 2])
        estimate = beyond(of_chains(point).tensors[leading, layer], 1, n, _predicted(point, leading, layer))
        labels = [label_of(*[(a, a)] * groups) for a in range(point.D)]
        yield Measured(f"{name} controlled", layer, 0, labels, estimate, theory, np.full(point.D, np.abs(theory).max()))


@chained("Theta2_controlled", tensor="Theta2 controlled", symbol=r"$\Theta^{\{2\}}$", undefined=no_scale)
def Theta2_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """Theta2 = n ( n (E h - Theta) - Theta1 ), docs/theory.md (17.12), with the controls of docs/theory.md (17.16)."""
    return _beyond(point, "Theta1", "Theta2", layers, 1)


@chained("A2_controlled", tensor="A2 controlled", symbol=r"$A^{\{2\}}$")
def A2_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """A2 = n ( n Var h - A ), docs/theory.md (17.12), with the controls of docs/theory.md (17.16)."""
    return _beyond(point, "A", "A2", layers, 2)


@chained("B2_controlled", tensor="B2 controlled", symbol=r"$B^{\{2\}}$")
def B2_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """B2 = n ( n E b - B ), docs/theory.md (17.12), with the controls of docs/theory.md (17.16)."""
    return _beyond(point, "B", "B2", layers, 2)


@chained("D2_controlled", tensor="D2 controlled", symbol=r"$D^{\{2\}}$")
def D2_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """D2 = n ( n Cov(g, h) - D ), docs/theory.md (17.12), with the controls of docs/theory.md (17.16)."""
    return _beyond(point, "D", "D2", layers, 2)


@chained("F2_controlled", tensor="F2 controlled", symbol=r"$F^{\{2\}}$")
def F2_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """F2 = n ( n E y - F ), docs/theory.md (17.12), with the controls of docs/theory.md (17.16)."""
    return _beyond(point, "F", "F2", layers, 2)


@measure("T3", symbol="$T_3$", families=("t3",), lowest=2, any_widths=True)
def T3(point: Point, layers: Layers) -> Iterator[Measured]:
    """n^2 E H_ij H_jk H_ki of three outputs is T3 of docs/theory.md (17.12); the last layer's weights are integrated
    out, docs/theory.md (17.9)."""
    for layer in (layer for layer in chosen_layers(point, "t3", layers) if layer >= 2):
        predicted, n = _predicted(point, "T3", layer), float(point.widths[layer - 2])
        estimate = estimators.mean(point.read("t3", layer)).scaled(n**2)
        labels = [label_of(*[(a, a)] * 3) for a in range(point.D)]
        yield Measured("T3", layer, 0, labels, estimate, predicted, predicted)
