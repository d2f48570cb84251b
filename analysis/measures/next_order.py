"""The coefficients of 1/n^2 of the kernel, measured with the controls of `analysis.measures.controls`.

The leading order is subtracted from a controlled estimate, and what is left is multiplied by n once more. The tests
whose names end in `_controlled` float higher orders in a fit. Those in `_corrected` subtract what the exact law of one
input has beyond the next order, and measure the same number at every width. `V_collapse_exact` takes all orders of V.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from analysis import theory
from analysis.estimators import Array, Estimate
from analysis.measures.controls import (
    all_layers_of_two_inputs,
    components_of,
    controlled,
    noisy,
    of_samples,
    with_controls,
)
from analysis.measures.exact import fluctuating, laws_of
from analysis.measures.measured import Layers, Measured, label_of
from analysis.points import Point
from analysis.theory import KernelSeries

TENSORS = ("K", "G1", "V", "G2", "V2", "W")
ZERO = 1e-9  # a share of V2/K below which G2 is that of a scale-invariant activation, which has none


@lru_cache(maxsize=64)
def _series(activation: str, depth: int, C_b: float, C_W: float, K1: float) -> KernelSeries:
    return theory.chain(activation, depth, C_b, C_W, K1, 3)


def _all_series(point: Point) -> list[KernelSeries]:
    """The series of g_aa to order 1/n^3 for each sample a."""
    start, K1 = point.settings["initialization"], np.diagonal(point.flow(False).K[0])
    return [_series(point.activation, point.depth, start["C_b"], start["C_W"], float(K)) for K in K1]


def controls_and_law(point: Point) -> Iterator[str]:
    """The needs of the controls, and a kernel that fluctuates with a known exact law."""
    yield from all_layers_of_two_inputs(point)
    yield from fluctuating(point)


_with_law = partial(with_controls, model="constant", needs=controls_and_law)


def beyond(estimate: Estimate, order: int, n: float, leading: Array) -> Estimate:
    """The estimate times n^order less its leading order, times n once more."""
    shifted = estimate.scaled(n**order)
    return replace(shifted, value=shifted.value - leading, replicates=shifted.replicates - leading).scaled(n)


def _plus(estimate: Estimate, constant: Array) -> Estimate:
    return replace(estimate, value=estimate.value + constant, replicates=estimate.replicates + constant)


def _size_of_G2(G2: Array, V2: Array, K: Array) -> Array:
    """The size of G2, or V2/K where it vanishes, as it does for scale-invariant activations."""
    natural = np.abs(V2) / K
    return np.where(np.abs(G2) > ZERO * natural, np.abs(G2), natural)


@with_controls("G2_controlled", tensor="G2 controlled", symbol="$G^{\\{2\\}}$")
def metric_beyond(point: Point, layers: Layers) -> Iterator[Measured]:
    """G2_ab = n ( n (E g_ab - K_ab) - G1_ab ), docs/theory.md (17.3), with the controls of docs/theory.md (7.12)."""
    flow, pairs = point.flow(TENSORS), point.columns("g")
    for layer in noisy(point, layers):
        K, G1, G2 = (np.array([flow[name][(layer - 1, *pair)] for pair in pairs]) for name in ("K", "G1", "G2"))
        V2 = np.array([flow["V2"][(layer - 1, *pair, *pair)] for pair in pairs])
        size = float(_size_of_G2(np.abs(G2).max(), np.abs(V2).max(), np.abs(K).max()))
        estimate = beyond(controlled(point, layer).mean, 1, point.n, G1)
        labels = [label_of(pair) for pair in pairs]
        yield Measured("G2 controlled", layer, 0, labels, estimate, theory=G2, scale=np.full(len(pairs), size))


@with_controls("V2_controlled", tensor="V2 controlled", symbol="$V^{\\{2\\}}$")
def vertex_beyond(point: Point, layers: Layers) -> Iterator[Measured]:
    """V2_(ab)(cd) = n ( n Cov(g_ab, g_cd) - V_(ab)(cd) ), docs/theory.md (17.3), with the controls of docs/theory.md
    (7.13)."""
    flow, pairs = point.flow(TENSORS), point.columns("g")
    components = [(*pairs[p], *pairs[q]) for p, q in components_of(pairs)]
    for layer in noisy(point, layers):
        V, V2 = (np.array([flow[name][(layer - 1, *c)] for c in components]) for name in ("V", "V2"))
        estimate = beyond(controlled(point, layer).covariance, 1, point.n, V)
        labels = [label_of(c[:2], c[2:]) for c in components]
        scale = np.full(len(components), np.abs(V2).max())
        yield Measured("V2 controlled", layer, 0, labels, estimate, theory=V2, scale=scale)


@with_controls("W2_controlled", tensor="W2 controlled", symbol="$W^{\\{2\\}}$")
def third_beyond(point: Point, layers: Layers) -> Iterator[Measured]:
    """W2 = n ( n^2 kappa_3(g_aa) - W ), docs/theory.md (17.4), with the controls of docs/theory.md (7.14)."""
    series = _all_series(point)
    for layer in noisy(point, layers):
        W, W2 = (np.array([of[name][layer - 1] for of in series]) for name in ("W", "W2"))
        estimate = beyond(controlled(point, layer).third, 2, point.n, W)
        labels = [label_of((a,) * 6) for a in range(len(series))]
        yield Measured("W2 controlled", layer, 0, labels, estimate, theory=W2, scale=np.abs(W2))


@dataclass(frozen=True)
class Cumulant:
    """A cumulant of g_aa of which docs/theory.md (17.4) has two orders and docs/theory.md (17.5) all.

    estimate: its name among the controlled estimates. exact: its name in the exact law. order: the power of 1/n of its
    next order. groups: how often each group of its label names the sample.
    """

    estimate: str
    exact: str
    order: int
    groups: tuple[int, ...]


def _corrected(point: Point, layers: Layers, name: str, of: Cumulant) -> Iterator[Measured]:
    """The next order of a cumulant of each sample: what is measured, less what the exact law has beyond it."""
    series, laws = _all_series(point), laws_of(point)
    labels = [label_of(*((a,) * times for times in of.groups)) for a in range(len(laws))]
    for layer in noisy(point, layers):
        K, V2, theory = (np.array([each[letter][layer - 1] for each in series]) for letter in ("K", "V2", name))
        exact = np.array([getattr(law, of.exact)[layer - 1] for law in laws])
        estimate = _plus(getattr(of_samples(point, layer), of.estimate), -exact).scaled(point.n**of.order)
        scale = _size_of_G2(theory, V2, K) if name == "G2" else np.abs(theory)
        yield Measured(f"{name} corrected", layer, 0, labels, _plus(estimate, theory), theory, scale)


@_with_law("G2_corrected", tensor="G2 corrected", symbol="$G^{\\{2\\}}$")
def metric_corrected(point: Point, layers: Layers) -> Iterator[Measured]:
    """G2 of each sample, as in `metric_beyond`, less what docs/theory.md (17.5) has beyond docs/theory.md (17.4) at
    order 1/n^2."""
    return _corrected(point, layers, "G2", Cumulant("mean", "shift", 2, (2,)))


@_with_law("V2_corrected", tensor="V2 corrected", symbol="$V^{\\{2\\}}$")
def vertex_corrected(point: Point, layers: Layers) -> Iterator[Measured]:
    """V2 of each sample, as in `vertex_beyond`, less what docs/theory.md (17.5) has beyond docs/theory.md (17.4) at
    order 1/n^2."""
    return _corrected(point, layers, "V2", Cumulant("covariance", "variance", 2, (2, 2)))


@_with_law("W2_corrected", tensor="W2 corrected", symbol="$W^{\\{2\\}}$")
def third_corrected(point: Point, layers: Layers) -> Iterator[Measured]:
    """W2 of each sample, as in `third_beyond`, less what docs/theory.md (17.5) has beyond docs/theory.md (17.4) at
    order 1/n^3."""
    return _corrected(point, layers, "W2", Cumulant("third", "third", 3, (6,)))


def same_sign_at_order_one(point: Point) -> Iterator[str]:
    """Where order 1/n has the sign of the exact E g - K of layer L already, or order 1/n^2 has it not, there is no
    change of sign to see."""
    for a, (series, law) in enumerate(zip(_all_series(point), laws_of(point), strict=True)):
        first = series["G1"][-1] / point.n
        second, exact = first + series["G2"][-1] / point.n**2, law.shift[-1]
        if not (first * exact < 0 < second * exact):
            yield (
                f"network.width={point.widths}: sample {a} has E g - K = {exact:.3g}; order 1/n says {first:.3g} and "
                f"order 1/n^2 {second:.3g}"
            )


@_with_law(
    "sign_of_G2", tensor="(E g - K) / exact", symbol=r"$(\mathrm{E}\,g-K)/(G_n-K)$", undefined=same_sign_at_order_one
)
def sign_of_metric(point: Point, layers: Layers) -> Iterator[Measured]:
    """E g - K of layer L over its exact value, docs/theory.md (17.5), is one where G1/n of docs/theory.md (1.6) has the
    other sign and G1/n + G2/n^2 of docs/theory.md (17.2) has this one. A ratio below zero is what order 1/n says."""
    laws, layer = laws_of(point), point.depth
    if layer not in noisy(point, layers):
        return
    exact = np.array([law.shift[-1] for law in laws])
    estimate = of_samples(point, layer).mean.scaled(1 / exact)
    labels, one = [label_of((a, a)) for a in range(len(laws))], np.ones(len(laws))
    yield Measured("(E g - K) / exact", layer, 0, labels, estimate, theory=one, scale=one)


@_with_law(
    "V_collapse_exact",
    tensor="V / exact controlled",
    symbol=r"$V/V_{\mathrm{theory}}$ over its exact corrections",
    model="one_constant",
)
def collapse(point: Point, layers: Layers) -> Iterator[Measured]:
    """V_(aa)(aa) over its exact value at this width, docs/theory.md (17.5), is one at all layers alike.

    Over its leading order, docs/theory.md (1.5), it is one curve in l/n only up to docs/theory.md (17.2), whose share
    changes with depth.
    """
    one = np.ones(point.D)
    for layer in noisy(point, layers):
        estimate = of_samples(point, layer).covariance
        exact = np.array([law.variance[layer - 1] for law in laws_of(point)])
        labels = [label_of((a, a), (a, a)) for a in range(point.D)]
        yield Measured("V / exact controlled", layer, 0, labels, estimate.scaled(1 / exact), theory=one, scale=one)
