"""Flow with depth: how kernels approach fixed points, and how tensors grow at criticality (theory.md section 4)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Measure, Measured, chosen_layers, label_of
from analysis.points import Point


def flow_on_criticality(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """log E g_aa against log l, of slope -p_0 at criticality (theory.md 4.3); nothing off it."""
    if not point.critical:
        return
    p_0 = theory.exponents(point.activation).p_0
    diagonal = [(k, a) for k, (a, b) in enumerate(point.columns("g")) if a == b]
    predicted = np.full(len(diagonal), p_0)
    for layer in chosen_layers(point, "g", layers):
        estimate = estimators.mean(point.read("g", layer)[:, [k for k, _ in diagonal]]).log()
        labels = [label_of((a, a)) for _, a in diagonal]
        yield Measured("log K", layer, 0, labels, estimate, predicted, np.maximum(predicted, 1.0), predicted * np.nan)


def flow_off_criticality(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """log of a kernel's distance to its fixed point against l, of slope log chi_parallel(K*) (theory.md 4.6); nothing
    at criticality.

    For K* = 0 (or infinite) the distance is E g_00 itself; else that of samples 0 and 1, E g_00 - E g_11, which has
    the same rate and in which the 1/n shift of the fixed point drops out (inputs=ray: else chaos parts them).
    """
    if point.critical:
        return
    s = point.settings["initialization"]
    pairs, K = point.columns("g"), point.flow(False).K[0]
    K_star, chi = theory.attractor(point.activation, s["C_b"], s["C_W"], float(K[0, 0]))
    shifts = 0 < K_star < math.inf
    if shifts and (point.D < 2 or abs(K[0, 0] - K[1, 1]) < 1e-3 * K[0, 0]):
        raise ValueError(
            f"{point.data.path}: inputs: this test needs samples 0 and 1 of different length, as inputs=ray"
        )
    predicted = np.array([-math.log(chi)])
    for layer in chosen_layers(point, "g", layers):
        g = point.read("g", layer)
        one = g[:, pairs.index((0, 0))]
        if shifts:
            one = one - g[:, pairs.index((1, 1))]
            one = one if K[0, 0] > K[1, 1] else -one
        name, label = ("log dK", "00-11") if shifts else ("log K", "00")
        estimate = estimators.mean(one[:, None]).log()
        yield Measured(name, layer, 0, [label], estimate, predicted, np.abs(predicted), predicted * np.nan)


def _in_units(point: Point, measure: Measure, layers: Sequence[int] | None) -> Iterator[tuple[Measured, float]]:
    """Components of one sample over UNITS of K and Theta at their layer and input, and the class's coefficient of l.

    Nothing where theory.md gives none.
    """
    if not point.critical:
        raise ValueError(f"{point.data.path}: initialization: tensors grow as their class predicts at criticality only")
    shares = theory.equal_shares(point.activation, point.depth)
    rates = [np.array(point.settings["dynamics"][name]) for name in ("lambda_b", "lambda_W")]
    scaled = [rate / share for rate, share in zip(rates, shares, strict=True)]
    lambda_b, lambda_W = (float(rate[0]) for rate in scaled)
    if point.records("H") and not all(np.allclose(rate, rate[0]) for rate in scaled):
        raise ValueError(f"{point.data.path}: dynamics.scaling: classes compare with rates scaled as critical")
    flow = point.flow(("K", "Theta"))
    assert flow.Theta is not None
    phi = theory.bias_share(point.activation, lambda_b, lambda_W, float(flow.K[0, 0, 0]))
    coefficients = theory.exponents(point.activation, phi).coefficient
    for m in measure(point, layers):
        if m.tensor not in coefficients:
            return
        alike = [(k, int(text[0])) for k, text in enumerate(m.samples) if len(set(text) - {","}) == 1]
        power_K, power_Theta = theory.UNITS[m.tensor]
        K, Theta = (np.array([X[m.layer - 1, a, a] for _, a in alike]) for X in (flow.K, flow.Theta))
        unit = K**power_K * Theta**power_Theta
        k = [k for k, _ in alike]
        estimate = Estimate(m.estimate.value[k] / unit, m.estimate.replicates[:, k] / unit)
        nothing, labels = np.full(len(k), np.nan), [m.samples[i] for i in k]
        yield replace(m, samples=labels, estimate=estimate, theory_next=nothing), coefficients[m.tensor]


def slope_of(measure: Measure) -> Measure:
    """X / (K^a Theta^b (l - 1)) of a tensor X tends at large depth to the coefficient of its universality class.

    Half-stable activations have it at their K*.
    """

    def measured(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
        for m, coefficient in _in_units(point, measure, layers):
            predicted = np.full(len(m.samples), coefficient)
            scale = np.abs(predicted) if coefficient else np.ones(len(predicted))
            estimate = m.estimate.scaled(1 / (m.layer - 1))
            yield replace(m, tensor=f"{m.tensor} slope", estimate=estimate, theory=predicted, scale=scale)

    return measured


def exponent_of(measure: Measure) -> Measure:
    """log |X / (K^a Theta^b)| against log l: all tensors grow as l^1, so that p = -1 in l^-p; nothing where the class's
    coefficient of l vanishes."""

    def measured(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
        for m, coefficient in _in_units(point, measure, layers):
            if coefficient == 0:
                return
            one: Array = np.ones(len(m.samples))
            estimate = m.estimate.scaled(math.copysign(1.0, coefficient)).log()
            yield replace(m, tensor=f"log {m.tensor}", estimate=estimate, theory=-one, scale=one)

    return measured
