"""Preactivations of single inputs against their exact law at every width, without an expansion in 1/n.

The kernel g_aa of one input is a chain of its own, whose law is known at any width (docs/theory.md (17.5)), also where
no expansion in L/n converges.
"""

from collections.abc import Iterator

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.needs import outputs_of_last_layer
from analysis.points import Point
from analysis.theory.kernel_chain import ExactLaw


def laws(point: Point) -> list[ExactLaw]:
    """The exact law of each sample's kernel. ValueError where rules do not agree."""
    return point.once("exact laws", _laws)


def _laws(point: Point) -> list[ExactLaw]:
    start, K1 = point.settings["initialization"], np.diagonal(point.flow(False).K[0])
    arguments = point.activation, point.depth, start["C_b"], start["C_W"]
    return [theory.exact_law(*arguments, K, point.widths) for K in K1]


def exact_law_is_known(point: Point) -> Iterator[str]:
    """Needs of the comparison; theory answers with a ValueError where it is out of its range."""
    laws(point)
    yield from ()


def outputs_and_exact_law(point: Point) -> Iterator[str]:
    yield from outputs_of_last_layer(point)
    yield from exact_law_is_known(point)


def _diagonal(point: Point, layer: int) -> Array:
    """g_aa (M, D) of a layer."""
    return point.read("g", layer)[:, [k for k, (a, b) in enumerate(point.columns("g")) if a == b]]


@measure(
    "V_exact",
    tensor="Var g / exact",
    symbol=r"$\mathrm{Var}\,g/\mathrm{exact}$",
    model="constant",
    families=("g",),
    needs=exact_law_is_known,
)
def variance_over_exact(point: Point, layers: Layers) -> Iterator[Measured]:
    """Var g_aa over its exact value, which is one at every n: docs/theory.md (17.5)."""
    one = np.ones(point.D)
    for layer in chosen_layers(point, "g", layers):
        exact = np.array([law.variance[layer - 1] for law in laws(point)])
        variance = estimators.covariance(_diagonal(point, layer), [(a, a) for a in range(point.D)])
        yield Measured(
            tensor="Var g / exact",
            layer=layer,
            step=0,
            samples=[label_of((a, a), (a, a)) for a in range(point.D)],
            estimate=variance.scaled(1 / exact),
            theory=one,
            scale=one,
        )


@measure(
    "mean_exact",
    tensor="E g - exact",
    symbol=r"$(\mathrm{E}\,g-\mathrm{exact})/\sigma_g$",
    model="constant",
    families=("g",),
    needs=exact_law_is_known,
)
def mean_less_exact(point: Point, layers: Layers) -> Iterator[Measured]:
    """E g_aa less its exact value, in standard deviations of one network, is zero at every n: docs/theory.md (17.5)."""
    one = np.ones(point.D)
    for layer in chosen_layers(point, "g", layers):
        found = [(law.K[layer - 1], law.shift[layer - 1], law.variance[layer - 1]) for law in laws(point)]
        K, shift, variance = np.array(found).T
        yield Measured(
            tensor="E g - exact",
            layer=layer,
            step=0,
            samples=[label_of((a, a)) for a in range(point.D)],
            estimate=estimators.mean((_diagonal(point, layer) - K - shift) / np.sqrt(variance)),
            theory=0 * one,
            scale=one,
        )


@measure(
    "six_point_exact",
    tensor="kappa3 / exact",
    symbol=r"$\kappa_3(g)/\mathrm{exact}$",
    model="constant",
    families=("g",),
    needs=exact_law_is_known,
)
def six_point_over_exact(point: Point, layers: Layers) -> Iterator[Measured]:
    """The third cumulant of g_aa over its exact value, which is one at every n: docs/theory.md (17.5)."""
    one = np.ones(point.D)
    for layer in chosen_layers(point, "g", layers):
        exact = np.array([law.third[layer - 1] for law in laws(point)])
        yield Measured(
            tensor="kappa3 / exact",
            layer=layer,
            step=0,
            samples=[label_of((a,) * 6) for a in range(point.D)],
            estimate=estimators.third_cumulant(_diagonal(point, layer)).scaled(1 / exact),
            theory=one,
            scale=one,
        )


@measure(
    "cumulant_exact",
    tensor="kappa4(z) / exact",
    symbol=r"$\kappa_4(z)/\mathrm{exact}$",
    model="constant",
    families=("z",),
    needs=outputs_and_exact_law,
)
def cumulant_over_exact(point: Point, layers: Layers) -> Iterator[Measured]:
    """The fourth cumulant of an output, averaged over outputs, over its exact value 3 Var g: docs/theory.md (17.6)."""
    L, columns = point.depth, point.columns("z")
    exact = np.array([3 * law.variance[L - 1] for law in laws(point)])
    of_sample = [[k for k, (_, b) in enumerate(columns) if b == a] for a in range(point.D)]
    one = np.ones(point.D)
    yield Measured(
        tensor="kappa4(z) / exact",
        layer=L,
        step=0,
        samples=[label_of((a,) * 4) for a in range(point.D)],
        estimate=estimators.fourth_cumulant(point.read("z", L)).averaged(of_sample).scaled(1 / exact),
        theory=one,
        scale=one,
    )
