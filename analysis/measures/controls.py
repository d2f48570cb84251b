"""Preactivations at initialisation, measured with martingale controls (docs/theory.md (7.11) to (7.14)).

Given the layer below, a kernel has a known mean. What is left of it, carried to layer l by the linearised recursion,
has mean zero at every width and nearly all of the noise of g(l). The plain estimates are those of
`analysis.measures.preactivations`. Controls would hide a wrong sampler from the coefficients, so a claim that uses them
also tests their own means by `layer_law`.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.following import with_next_order
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.points import Point
from analysis.theory.conditional import Conditional

LOWEST = 3  # the kernel of layer 2 is its control, so that nothing is left to measure


@dataclass(frozen=True)
class Step:
    """What one layer adds to the kernels of all networks.

    n: the width of the layer below. m: g(l) - F(g(l-1)), (M, pairs). drift: F(g(l-1)) - K(l), (M, pairs). v: (M,
    pairs, pairs), with Cov(m | below) = v/n. t: (M, samples), with kappa_3(m_aa | below) = t/n^2. first, second: the
    derivatives of F at K(l-1). v_at_K: v of the kernel K(l-1). V: (pairs, pairs), n Cov g(l) at leading order.
    """

    n: float
    m: Array
    drift: Array
    v: Array
    t: Array
    first: Array
    second: Array
    v_at_K: Array
    V: Array


@dataclass(frozen=True)
class Controlled:
    """Estimates of one layer with controls: of E g - K (pairs), Cov g (components) and kappa_3(g_aa) (samples)."""

    mean: Estimate
    covariance: Estimate
    third: Estimate


def steps_of(point: Point) -> list[Step]:
    """The steps to layers 2, 3, .. that are recorded, computed once."""
    return point.once("steps", _steps)


def _steps(point: Point) -> list[Step]:
    start, pairs = point.settings["initialization"], point.columns("g")
    diagonal = [k for k, (a, b) in enumerate(pairs) if a == b]
    K = point.flow(False).K
    steps: list[Step] = []
    below, V = point.read("g", 1), np.zeros((len(pairs), len(pairs)))
    layers = range(2, max(point.layers("g")) + 1)
    sizes = (point.read("g", layer - 1)[:, diagonal] for layer in layers)
    # All neurons of a narrow ReLU layer may be off; that needs no table.
    lows, highs = estimators.extremes(*(size[size > 0] for size in sizes))
    for layer, low, high in zip(layers, lows, highs, strict=True):
        at = np.array([K[layer - 2][pair] for pair in pairs])
        own = at[diagonal]
        table = min(low, own[own > 0].min(initial=np.inf)), max(high, own.max())
        law = Conditional.around(point.activation, start["C_b"], start["C_W"], pairs, *table)
        mean, v = law.mean_and_covariance(below)
        here = point.read("g", layer)
        first, second = law.derivatives(at)
        v_at_K = law.mean_and_covariance(at[None])[1][0]
        n = float(point.widths[layer - 2])
        ratio = n / steps[-1].n if steps else 1.0
        V = v_at_K + ratio * first @ V @ first.T
        steps.append(
            Step(
                n=n,
                m=here - mean,
                drift=mean - np.array([K[layer - 1][pair] for pair in pairs]),
                v=v,
                t=np.stack([law.third(below[:, k]) for k in diagonal], axis=1),
                first=first,
                second=second,
                v_at_K=v_at_K,
                V=V,
            )
        )
        below = here
    return steps


def controls(steps: list[Step]) -> tuple[Array, Array, Array, Array]:
    """Controls of the kernel of the layer of the last step, whose means are known at every n, docs/theory.md (7.11).

    Returns (M, pairs) linear controls Y and their second order Y2, both of mean zero; the conditional covariance (M,
    pairs, pairs) whose mean is that of Y Y^T; and (M, samples) whose mean is that of Y_aa^3.
    """
    pairs = steps[-1].m.shape[1]
    samples = steps[-1].t.shape[1]
    diagonal = [0, 2][:samples]  # of the pairs 00, 01, 11, which are always all recorded
    coefficients, P, Q = [], np.eye(pairs), np.zeros((pairs, pairs, pairs))
    for step in reversed(steps):  # from the layer itself down to layer 2
        coefficients.append((P, Q))
        P, Q = (
            P @ step.first,
            np.einsum("ad,dbc->abc", P, step.second) + np.einsum("ade,db,ec->abc", Q, step.first, step.first),
        )
    linear, second = np.zeros_like(steps[-1].m), np.zeros_like(steps[-1].m)
    covariance, third = np.zeros_like(steps[-1].v), np.zeros_like(steps[-1].t)
    for step, (P, Q) in zip(steps, reversed(coefficients), strict=True):
        C = P + (step.drift @ Q.reshape(-1, pairs).T).reshape(-1, pairs, pairs)
        variance = C @ step.v @ C.transpose(0, 2, 1) / step.n
        at_K = np.einsum("ab,bc,dc->ad", P, step.v_at_K, P) / step.n
        for k, A in enumerate(diagonal):
            third[:, k] += C[:, A, A] ** 3 * step.t[:, k] / step.n**2
            third[:, k] += 3 * linear[:, A] * (variance[:, A, A] - at_K[A, A])
        covariance += variance
        linear += (C @ step.m[:, :, None])[:, :, 0]
        excess = step.m[:, :, None] * step.m[:, None, :] - step.v / step.n
        second += excess.reshape(-1, pairs**2) @ Q.reshape(pairs, -1).T / 2
    return linear, second, covariance, third


def controlled(point: Point, layer: int) -> Controlled:
    """The controlled estimates at one layer. They are computed for all layers of the point at once, and kept."""
    return point.once("controls", _controlled)[layer]


def components_of(pairs: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """The components of the covariance of pairs: the places of both pairs."""
    return list(itertools.combinations_with_replacement(range(len(pairs)), 2))


def of_samples(point: Point, layer: int) -> Controlled:
    """The controlled estimates of g_aa alone, all three (samples)."""
    found, pairs = controlled(point, layer), point.columns("g")
    diagonal = [p for p, (a, b) in enumerate(pairs) if a == b]
    variances = [k for k, (p, q) in enumerate(components_of(pairs)) if p == q and p in diagonal]
    return Controlled(found.mean.chosen(diagonal), found.covariance.chosen(variances), found.third)


def _controlled(point: Point) -> dict[int, Controlled]:
    pairs, K = point.columns("g"), point.flow(False).K
    diagonal = [k for k, (a, b) in enumerate(pairs) if a == b]
    components = components_of(pairs)
    found = {}
    steps = steps_of(point)
    for layer in range(2, len(steps) + 2):
        g = point.read("g", layer) - np.array([K[layer - 1][pair] for pair in pairs])
        linear, second, covariance, third = controls(steps[: layer - 1])
        known = np.stack([covariance[:, p, q] for p, q in components], axis=1)
        plain, of_linear = (estimators.covariance(x, components) for x in (g, linear))
        third_plain, third_linear = (estimators.third_cumulant(x[:, diagonal]) for x in (g, linear))
        found[layer] = Controlled(
            estimators.mean(g - linear - second),
            plain - of_linear + estimators.mean(known),
            third_plain - third_linear + estimators.mean(third),
        )
    return found


def noisy(point: Point, layers: Layers) -> list[int]:
    return [layer for layer in chosen_layers(point, "g", layers) if layer >= LOWEST]


def all_layers_of_two_inputs(point: Point) -> Iterator[str]:
    """Needs of the controls."""
    recorded = point.layers("g")
    if recorded != list(range(1, max(recorded, default=0) + 1)):
        yield f"observables.layers={list(point.data.layout.layers)}: all layers from 1 on are needed"
    if point.D > 2:
        yield f"inputs: {point.D} samples; controls are known for one or two"
    if point.D == 2 and theory.activation(point.activation).kinked:
        yield f"activation={point.activation}: controls of two samples need a smooth activation"


with_controls = partial(measure, families=("g",), lowest=LOWEST, partner="layer_law", needs=all_layers_of_two_inputs)
_at_order_one = partial(with_controls, table="start", table_samples=2, any_widths=True)


@_at_order_one("G1_controlled", tensor="G1 controlled", symbol="$G^{\\{1\\}}$")
def metric_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """G1_ab = n (E g_ab - K_ab), docs/theory.md (1.6), with the controls of docs/theory.md (7.12)."""
    flow, pairs = point.flow(True), point.columns("g")
    assert flow.G1 is not None
    for layer in noisy(point, layers):
        K, G1 = flow.K[layer - 1], flow.G1[layer - 1]
        # Where theory says zero (two layers, or a scale-invariant activation) the natural size is that of K l.
        scale = np.abs(G1).max() if np.abs(G1).max() > 1e-9 * K.max() else layer * K.max()
        yield Measured(
            tensor="G1 controlled",
            layer=layer,
            step=0,
            samples=[label_of(pair) for pair in pairs],
            estimate=controlled(point, layer).mean.scaled(point.widths[layer - 2]),
            theory=(leading := np.array([G1[pair] for pair in pairs])),
            scale=np.full(len(pairs), scale),
            theory_next=with_next_order(point, "G1", layer, leading, pairs),
        )


@_at_order_one("V_controlled", tensor="V controlled", symbol="$V$")
def vertex_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """V_(ab)(cd) = n Cov(g_ab, g_cd), docs/theory.md (1.11), with the controls of docs/theory.md (7.13)."""
    pairs, V = point.columns("g"), point.flow(True).V
    assert V is not None
    components = components_of(pairs)
    for layer in noisy(point, layers):
        predicted = np.array([[V[(layer - 1, *a, *b)] for b in pairs] for a in pairs])
        size = np.sqrt(predicted.diagonal())
        yield Measured(
            tensor="V controlled",
            layer=layer,
            step=0,
            samples=[label_of(pairs[p], pairs[q]) for p, q in components],
            estimate=controlled(point, layer).covariance.scaled(point.widths[layer - 2]),
            theory=(leading := np.array([predicted[c] for c in components])),
            scale=np.array([size[p] * size[q] for p, q in components]),
            theory_next=with_next_order(point, "V", layer, leading, [(*pairs[p], *pairs[q]) for p, q in components]),
        )


@with_controls("six_point_controlled", tensor="six-point controlled", symbol=r"$n^2\kappa_3(g)$")
def six_point_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n^2 kappa_3(g_aa) is W of docs/theory.md (1.12), with the controls of docs/theory.md (7.14)."""
    start, K1 = point.settings["initialization"], np.diagonal(point.flow(False).K[0])
    W = [theory.six_point(point.activation, point.depth, start["C_b"], start["C_W"], K) for K in K1]
    for layer in noisy(point, layers):
        predicted = np.array([w[layer - 1] for w in W])
        yield Measured(
            tensor="six-point controlled",
            layer=layer,
            step=0,
            samples=[label_of((a,) * 6) for a in range(len(K1))],
            estimate=controlled(point, layer).third.scaled(float(point.n) ** 2),
            theory=predicted,
            scale=np.abs(predicted),
        )
