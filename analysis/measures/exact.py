"""Preactivations at initialization against the exact law of one input at finite width: no expansion in 1/n.

Each diagonal g_aa is a Markov chain of one number, so that several samples are judged one by one. All values are in
units of what the exact law says, and one constant is fitted to all widths.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.needs import outputs_of_last_layer
from analysis.points import Point
from analysis.theory import ExactLaw

VANISHING = 1e-3  # a shift E g - K below this share of Var g/K is taken for zero


@lru_cache(maxsize=64)
def _law(activation: str, depth: int, C_b: float, C_W: float, K1: float, widths: tuple[int, ...]) -> ExactLaw:
    return theory.exact_law(activation, depth, C_b, C_W, K1, widths)


def laws_of(point: Point) -> list[ExactLaw]:
    """The exact law of g_aa for each sample a."""
    s = point.settings["initialization"]
    kernels = np.diagonal(point.flow(("K", "Theta")).K[0])
    return [_law(point.activation, point.depth, s["C_b"], s["C_W"], float(K1), tuple(point.widths)) for K1 in kernels]


def fluctuating(point: Point) -> Iterator[str]:
    """The exact law is known, and g fluctuates in every layer from 2 on."""
    for a, law in enumerate(laws_of(point)):
        if point.depth > 1 and not law.variance[1:].min() > 0:
            yield f"inputs: sample {a}: its kernel does not fluctuate at activation={point.activation}"


def with_outputs(point: Point) -> Iterator[str]:
    """The need of `fluctuating`, and outputs of the last layer."""
    yield from outputs_of_last_layer(point)
    yield from fluctuating(point)


_with_law = partial(measure, model="constant", any_widths=True)
_of_kernels = partial(_with_law, families=("g",), needs=fluctuating)


def _diagonal(point: Point, layer: int) -> tuple[Array, list[int]]:
    """g_aa of the networks, (M, D), and the samples a."""
    chosen = [(column, a) for column, (a, b) in enumerate(point.columns("g")) if a == b]
    return point.read("g", layer)[:, [column for column, _ in chosen]], [a for _, a in chosen]


def _against(tensor: str, layer: int, samples: list[str], estimate: Estimate, prediction: float) -> Measured:
    one = np.ones(len(samples))
    return Measured(tensor, layer, 0, samples, estimate, theory=prediction * one, scale=one)


@_of_kernels("V_exact", tensor="V / exact", symbol=r"$n\,\mathrm{Var}\,g/V_n$")
def vertex(point: Point, layers: Layers) -> Iterator[Measured]:
    """Var g_aa over its exact value at this width, docs/theory.md (17.5), is one at every width."""
    laws = laws_of(point)
    for layer in chosen_layers(point, "g", layers):
        g, samples = _diagonal(point, layer)
        exact = np.array([laws[a].variance[layer - 1] for a in samples])
        estimate = estimators.covariance(g, [(k, k) for k in range(len(samples))])
        labels = [label_of((a, a), (a, a)) for a in samples]
        yield _against("V / exact", layer, labels, estimate.scaled(1 / exact), 1.0)


@_of_kernels("G1_exact", tensor="G - exact", symbol=r"$(\mathrm{E}\,g - G_n)/|G_n - K|$")
def metric(point: Point, layers: Layers) -> Iterator[Measured]:
    """E g_aa less its exact value at this width, docs/theory.md (17.5), is zero.

    The unit is the size of the exact E g - K, or l K/n where that vanishes, as it does in layer 2 and for
    scale-invariant activations.
    """
    laws = laws_of(point)
    for layer in chosen_layers(point, "g", layers):
        g, samples = _diagonal(point, layer)
        K, shift, variance = (
            np.array([getattr(laws[a], name)[layer - 1] for a in samples]) for name in ("K", "shift", "variance")
        )
        vanishes = np.abs(shift) < VANISHING * variance / K
        unit = np.where(vanishes, layer * K / point.widths[layer - 2], np.abs(shift))
        estimate = estimators.mean((g - K - shift) / unit)
        yield _against("G - exact", layer, [label_of((a, a)) for a in samples], estimate, 0.0)


@_of_kernels("spread_exact", tensor="spread / exact", symbol=r"$\mathrm{Var}\,g/(\mathrm{E}\,g)^2$ over exact")
def spread(point: Point, layers: Layers) -> Iterator[Measured]:
    """Var g_aa/(E g_aa)^2, a third of the excess kurtosis of an output, docs/theory.md (17.6), over its exact value at
    this width, docs/theory.md (17.5), is one."""
    laws = laws_of(point)
    for layer in chosen_layers(point, "g", layers):
        g, samples = _diagonal(point, layer)
        exact = np.array([laws[a].excess_kurtosis[layer - 1] for a in samples]) / 3
        variance, mean = estimators.covariance(g, [(k, k) for k in range(len(samples))]), estimators.mean(g)
        ratio = replace(
            variance,
            value=variance.value / mean.value**2 / exact,
            replicates=variance.replicates / mean.replicates**2 / exact,
        )
        yield _against("spread / exact", layer, [label_of((a, a), (a, a)) for a in samples], ratio, 1.0)


@_of_kernels("six_point_exact", tensor="six-point / exact", symbol=r"$\kappa_3(g)/\kappa_3$")
def six_point(point: Point, layers: Layers) -> Iterator[Measured]:
    """The third cumulant of g_aa, the connected six-point function of three neurons, over its exact value at this
    width, docs/theory.md (17.5), is one."""
    laws = laws_of(point)
    for layer in chosen_layers(point, "g", layers):
        g, samples = _diagonal(point, layer)
        exact = np.array([laws[a].third[layer - 1] for a in samples])
        labels = [label_of((a,) * 6) for a in samples]
        yield _against("six-point / exact", layer, labels, estimators.third_cumulant(g).scaled(1 / exact), 1.0)


@_with_law(
    "kurtosis_exact",
    tensor="kurtosis / exact",
    symbol=r"$\kappa_4(z)/\kappa_2(z)^2$ over exact",
    families=("z",),
    needs=with_outputs,
)
def kurtosis(point: Point, layers: Layers) -> Iterator[Measured]:
    """The excess kurtosis kappa_4/kappa_2^2 of an output over 3 Var g/(E g)^2, docs/theory.md (17.6), is one.

    Both cumulants are averaged over outputs, which have one law.
    """
    laws, L = laws_of(point), point.depth
    z, samples = point.read("z", L), list(range(point.D))
    outputs = [[k for k, (_, b) in enumerate(point.columns("z")) if b == a] for a in samples]
    exact = np.array([law.excess_kurtosis[L - 1] for law in laws])
    fourth = estimators.fourth_cumulant(z).averaged(outputs)
    second = estimators.covariance(z, [(k, k) for k in range(z.shape[1])]).averaged(outputs)
    ratio = replace(
        fourth,
        value=fourth.value / second.value**2 / exact,
        replicates=fourth.replicates / second.replicates**2 / exact,
    )
    yield _against("kurtosis / exact", L, [label_of((a,) * 4) for a in samples], ratio, 1.0)
