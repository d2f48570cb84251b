"""Measures of the flow with depth find planted values, and rates and coefficients that are known in closed form."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.optimize import brentq

from analysis import claims, theory
from analysis.measures import depth
from analysis.measures.depth import (
    class_coefficient,
    exponent_of,
    flow_off_criticality,
    flow_on_criticality,
    slope_of,
)
from analysis.measures.measured import MEASURES, Measure
from tests.exact.measures.rows import Array, Rows, Wanted, expect, holds, inputs_of, rows, signs

GROWING = [measure for measure in MEASURES.values() if measure.grows]
MEANS = {(0, 0): 0.5, (0, 1): 0.3, (1, 1): 0.2}


def kernels(*overrides: str) -> Rows:
    """Rows of g at layers 1 to 3, with means that fall as 1/l."""
    data = rows(
        "initialization=gaussian",
        "network.depth=3",
        "network.width=8",
        "observables=kernel",
        *overrides,
        x=[[np.sqrt(0.8)] * 2, [np.sqrt(0.2)] * 2],  # on one ray
    )
    for layer in (1, 2, 3):
        data.fill("g", layer, lambda *pair, l=layer: MEANS[pair] / l * (1 + 0.1 * signs(1)[0]))
    return data


@pytest.mark.parametrize(("activation", "C_W", "p_0"), [("sin", 1.0, 1.0), ("tanh", 1.0, 1.0), ("relu", 2.0, 0.0)])
def test_K_power_law(activation: str, C_W: float, p_0: float) -> None:
    """K falls as 1/l where K* = 0, and not at all where s is scale-invariant."""
    data = kernels(f"activation={activation}", f"initialization.C_W={C_W}")

    def check(data: Rows) -> None:
        wanted = [
            Wanted("log K", l, 0, {f"{a}{a}": (np.log(MEANS[a, a] / l), p_0, 1.0) for a in (0, 1)}) for l in (2, 3)
        ]
        expect(list(flow_on_criticality(data.point, None)), *wanted)

    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (0, 1)))


def test_each_flow_is_measured_where_it_is_predicted() -> None:
    critical, off = kernels("activation=sin"), kernels("activation=sin", "initialization.C_W=0.8")
    assert not list(flow_on_criticality(off.point, None))
    assert not list(flow_off_criticality(critical.point, None))


def test_K_exponential_to_zero() -> None:
    """Below criticality K falls as C_W^l for s'(0) = 1: the kernel of sample 0 itself is measured."""
    data = kernels("activation=sin", "initialization.C_W=0.8")

    def check(data: Rows) -> None:
        rate = -np.log(0.8)
        wanted = [Wanted("log K", l, 0, {"00": (np.log(0.5 / l), rate, rate)}) for l in (2, 3)]
        expect(list(flow_off_criticality(data.point, None)), *wanted)

    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (1, 1)))


def sine_kernel(K: float, C_W: float) -> float:
    """C_W <sin^2> = C_W (1 - e^-2K) / 2"""
    return C_W * (1 - np.exp(-2 * K)) / 2


def test_K_exponential() -> None:
    """Above criticality K flows to K* = C_W (1 - e^-2K*)/2, and the distance of two samples falls by C_W e^-2K*."""
    C_W = 1.5
    data = kernels("activation=sin", f"initialization.C_W={C_W}")
    K_star = brentq(lambda K: sine_kernel(K, C_W) - K, 0.1, 2.0, xtol=1e-14)
    rate = -np.log(C_W * np.exp(-2 * K_star))

    def check(data: Rows) -> None:
        wanted = [Wanted("log dK", l, 0, {"00-11": (np.log(0.3 / l), rate, rate)}) for l in (2, 3)]
        expect(list(flow_off_criticality(data.point, None)), *wanted)

    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (0, 1)))


@dataclass(frozen=True)
class Grown:
    """Rows at layers 2 and 3 of one sample of a critical network of sines, such that each tensor has the sign of its
    coefficient; K and Theta by hand."""

    data: Rows
    K: dict[int, float]
    Theta: dict[int, float]


@pytest.fixture(scope="module")
def grown() -> Grown:
    depth, K1 = 3, 0.7
    data = rows(
        "activation=sin",
        "initialization=critical",
        f"network.depth={depth}",
        "network.width=8",
        "network.outputs=2",
        "dynamics.lambda_b=1.0",
        "dynamics.lambda_W=1.0",
        "dynamics.scaling=critical",
        "observables.record=[kernel,outputs,ntk,dntk,ddntk]",
        "observables.output_layers=[2,3]",
        x=inputs_of([[K1]]),
    )
    random = np.random.default_rng(0)
    common = random.normal(size=data.networks)  # of g and H, so that A is positive and D negative
    signed = {"g": 1 - common, "z": 1.0, "H": 1 + common, "dH": -1.0, "ddI": -1.0, "ddII": 1.0}
    for prefix, value in signed.items():
        for layer in (2, 3):
            data.fill(prefix, layer, lambda *index, value=value: value + 0.1 * random.normal(size=data.networks))
    K, Theta = {1: K1}, {1: 1.0 + K1}  # lambda_b/l and lambda_W give every layer an equal share
    for layer in (2, 3):
        below = K[layer - 1]
        K[layer] = sine_kernel(below, 1.0)
        Theta[layer] = 1 / layer + K[layer] + (1 + np.exp(-2 * below)) / 2 * Theta[layer - 1]
    return Grown(data, K, Theta)


# Powers of K and Theta in the unit, and the coefficient of l at K* = 0 with half of the NTK by biases (docs/theory.md
# (4.3), (4.4)): sin has s''' = -s', so that phi = 1/2.
CLASS = {
    "V": (2, 0, 2 / 3),
    "A": (0, 2, 1 / 27),
    "B": (0, 2, 1 / 3),
    "D": (1, 1, -1 / 9),
    "F": (1, 1, 1 / 4),
    "P": (0, 2, -1 / 12),
    "Q": (0, 2, -1 / 32),
    "R": (-1, 3, -7 / 96),
    "S": (-1, 3, 1 / 24),
    "T": (-1, 3, 1 / 128),
    "U": (-1, 3, 0.0),
}


def in_units(measure: Measure, grown: Grown) -> dict[int, tuple[str, Array]]:
    """At each layer, the label of the measure's component, and its value and replicates over K^a Theta^b."""
    power_K, power_Theta, _ = CLASS[measure.name]
    found = {}
    for m in measure(grown.data.point, None):
        (label,) = m.samples
        unit = grown.K[m.layer] ** power_K * grown.Theta[m.layer] ** power_Theta
        found[m.layer] = label, np.append(m.estimate.value, m.estimate.replicates[:, 0]) / unit
    return found


@pytest.mark.parametrize("measure", GROWING, ids=lambda measure: measure.name)
def test_slope(measure: Measure, grown: Grown) -> None:
    """NAME_slope is the tensor in units of its class over l - 1; a coefficient of zero is quoted relative to one."""
    slope, coefficient = slope_of(measure), CLASS[measure.name][2]
    reduced = in_units(measure, grown)

    def check(data: Rows) -> None:
        found = list(slope(data.point, None))
        wanted = [
            Wanted(measure.name + " slope", l, 0, {label: (x[0] / (l - 1), coefficient, abs(coefficient) or 1.0)})
            for l, (label, x) in reduced.items()
        ]
        expect(found, *wanted, rtol=1e-8)
        for m, (_, x) in zip(found, reduced.values(), strict=True):
            np.testing.assert_allclose(m.estimate.replicates[:, 0], x[1:] / (m.layer - 1), rtol=1e-8)

    holds(check, grown.data, grown.data.scaled(measure.families[0]))


@pytest.mark.parametrize("measure", GROWING, ids=lambda measure: measure.name)
def test_exponent(measure: Measure, grown: Grown) -> None:
    """NAME_exponent is the logarithm of the tensor's size in these units, and nothing where the coefficient is zero."""
    exponent, coefficient = exponent_of(measure), CLASS[measure.name][2]
    reduced = in_units(measure, grown)

    def check(data: Rows) -> None:
        found = list(exponent(data.point, None))
        assert [m.layer for m in found] == [*reduced]
        for m, (label, x) in zip(found, reduced.values(), strict=True):
            assert (m.tensor, m.samples, m.theory, m.scale) == (f"log {measure.name}", [label], [-1.0], [1.0])
            np.testing.assert_allclose(m.estimate.value, np.log(np.abs(x[:1])), rtol=1e-8)
            np.testing.assert_allclose(m.estimate.replicates[:, 0], np.log(np.abs(x[1:])), rtol=1e-8)

    if coefficient == 0:
        assert not list(exponent(grown.data.point, None))
        return
    holds(check, grown.data, grown.data.scaled(measure.families[0]))


def test_every_measure_that_grows_has_its_class() -> None:
    assert set(CLASS) == {measure.name for measure in GROWING}
    derived = set(claims.tests()) - set(MEASURES)
    assert derived == {f"{name}_{kind}" for name in CLASS for kind in ("slope", "exponent")}


def test_units_hold_for_one_sample_at_a_time() -> None:
    """Of two samples, only components of a single sample have units."""
    data = rows(
        "activation=linear", "initialization=critical", "network.depth=2", "network.width=8", x=inputs_of(np.eye(2))
    )
    data.fill("g", 2, lambda a, b: 1 + 0.1 * signs(3)[a + b])
    (slope,) = slope_of(MEASURES["V"])(data.point, None)
    assert slope.samples == ["00,00", "11,11"]


def test_class_coefficient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of linear networks the recursions have the coefficients of docs/theory.md (4.2) to order 1/l^2 at any depth: V is
    2 (l - 1), and B is (l - 1)(2l - 1)/6l. Negative control: a class with another coefficient."""
    layers = 16
    monkeypatch.setattr(depth, "DEEPEST", layers)
    point = rows(
        "activation=linear", "initialization=critical", "network.depth=3", "network.width=8", "observables=kernel",
        "dynamics.lambda_b=1.0", "dynamics.lambda_W=1.0", "dynamics.scaling=critical", x=inputs_of([[1.0]]),
    ).point  # fmt: skip
    l = layers / np.array([4, 2, 1])
    b = (l - 1) * (2 * l - 1) / (6 * l) / l
    b = 4 * b[2] - 4 * b[1] + b[0]  # twice 2 X(2l) - X(l)
    (measured,) = class_coefficient(point, None)
    assert (measured.tensor, measured.layer, measured.samples) == ("recursion / class", layers, list("VABDF"))
    np.testing.assert_allclose(measured.estimate.value[[0, 2]], [0, abs(3 * b - 1)], atol=1e-12)
    assert measured.estimate.value.max() < 0.05
    assert np.ptp(measured.estimate.replicates, axis=0).max() == 0
    np.testing.assert_array_equal([measured.theory, measured.scale], [np.zeros(5), np.ones(5)])

    of_class = theory.exponents
    monkeypatch.setattr(theory, "exponents", lambda *given: replace(of_class(*given), coefficient={"V": 3.0}))
    (wrong,) = class_coefficient(point, None)
    assert wrong.samples == ["V"]
    np.testing.assert_allclose(wrong.estimate.value, [1 / 3])
