"""Measures with controls find what is planted in rows, by formulas that are written out here for three layers.

The chain of a linear network is polynomial; that of a network of sines has closed forms.
"""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from analysis import claims
from analysis.measures.measured import Measure
from analysis.measures.ntk_controlled import (
    A_controlled,
    B_controlled,
    D_controlled,
    F_controlled,
    Theta1_controlled,
    ntk_one_step,
)
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, expect, holds, inputs_of, rows

GRAM = np.array([[1.0, 0.3], [0.3, 0.8]])
N1, N2 = 8, 12
C_W, LAMBDA_B, LAMBDA_W = 1.3, (0.3, 0.5, 0.4), (0.7, 0.9, 1.1)
BASE = [
    "network.depth=3", f"network.width=[{N1},{N2}]", "initialization=gaussian", "initialization.C_b=0",
    f"initialization.C_W={C_W}", f"dynamics.lambda_b={list(LAMBDA_B)}", f"dynamics.lambda_W={list(LAMBDA_W)}",
    "observables.record=[kernel,ntk_sums]",
]  # fmt: skip
K1, THETA1 = C_W * GRAM.diagonal(), LAMBDA_B[0] + LAMBDA_W[0] * GRAM.diagonal()
PLACES = {"g": 0, "h": 1, "y": 2, "b": 3, "w": 4}
CLOSE = {"rtol": 1e-6, "atol": 1e-8}


def made(activation: str) -> tuple[Rows, Array]:
    """Rows of random numbers and their states (layer - 1, sample, 5, networks); layer 1 is that of the theory."""
    data = rows(*BASE, f"activation={activation}", x=inputs_of(GRAM))
    states = 1 + 0.3 * np.random.default_rng(5).uniform(-1, 1, (3, 2, 5, NETWORKS))
    states[0] = 0
    states[0, :, 0], states[0, :, 1] = K1[:, None], THETA1[:, None]
    for layer in (1, 2, 3):
        data.fill("g", layer, lambda a, b, l=layer: states[l - 1, a, 0] if a == b else 9.0)
        for prefix in "hybw":
            data.fill(prefix, layer, lambda a, l=layer, p=prefix: states[l - 1, a, PLACES[p]])
    return data, states


def linear_means(layer: int, state: Array) -> Array:
    """E (g, h, y, b) of layer `layer` + 1 of a linear network, docs/theory.md (17.11)."""
    g, h, y, b, _ = state
    own = 1 / (N1, N2)[layer - 1]
    return np.stack([
        C_W * g,
        LAMBDA_B[layer] + LAMBDA_W[layer] * g + C_W * h,
        C_W**2 * (own * (h * g + 2 * y) + (1 - own) * y),
        C_W**2 * (own * (h**2 + 2 * b) + (1 - own) * b),
    ])  # fmt: skip


def linear_covariance(layer: int, state: Array) -> Array:
    """The covariance of g and h of layer `layer` + 1 of a linear network, docs/theory.md (17.11)."""
    g, _, y, b, _ = state
    rate, n = LAMBDA_W[layer], (N1, N2)[layer - 1]
    gh = C_W * (2 * rate * g**2 + 2 * C_W * y)
    hh = 2 * rate**2 * g**2 + 4 * rate * C_W * y + 2 * C_W**2 * b
    return np.stack([np.stack([2 * C_W**2 * g**2, gh]), np.stack([gh, hh])]) / n


class Linear:
    """Increments and covariances of one sample of a linear network, and the response of layer 3 to layer 2."""

    def __init__(self, states: Array):
        one, two, three = states
        self.three = three
        self.center = linear_means(1, one)[:, 0]
        self.m2, self.m3 = two[:4] - linear_means(1, one), three[:4] - linear_means(2, two)
        self.C2, self.C3 = linear_covariance(1, one), linear_covariance(2, two)
        g, h = self.center[:2]
        own, rate = 1 / N2, LAMBDA_W[2]
        self.P = np.array([
            [C_W, 0, 0, 0],
            [rate, C_W, 0, 0],
            C_W**2 * np.array([h * own, g * own, 1 + own, 0]),
            C_W**2 * np.array([0, 2 * h * own, 0, 1 + own]),
        ])  # fmt: skip

    def mean(self, place: int, square: Array) -> float:
        """The mean of y or b less its control; `square` is its second-order part."""
        return float((self.three[place] - self.m3[place] - self.P[place] @ self.m2 - square).mean())

    def covariance(self, first: int, second: int) -> float:
        controls = self.m3[:2] + self.P[:2, :2] @ self.m2[:2]
        rest = self.three[:2] - controls
        known = self.C3 + np.einsum("ij,jkm,lk->ilm", self.P[:2, :2], self.C2, self.P[:2, :2])
        g, rate, (dg, _, dy, db) = self.center[0], LAMBDA_W[2], self.m2  # the answer of C3 to layer 2 has mean zero
        gg, gh = 4 * C_W**2 * g * dg, 4 * C_W * rate * g * dg + 2 * C_W**2 * dy
        hh = 4 * rate**2 * g * dg + 4 * rate * C_W * dy + 2 * C_W**2 * db
        known = known - np.array([[gg, gh], [gh, hh]]) / N2
        parts = [(controls[first], rest[second]), (rest[first], controls[second]), (rest[first], rest[second])]
        return float(known[first, second].mean() + sum(np.cov(*part)[0, 1] for part in parts))


class Flow:
    """Tensors of layers 2 and 3 of a linear network, docs/theory.md (2.12) to (2.15), for both samples."""

    def __init__(self) -> None:
        rho = N2 / N1
        self.K = [K1, C_W * K1, C_W**2 * K1]
        Theta2 = LAMBDA_B[1] + LAMBDA_W[1] * K1 + C_W * THETA1
        Theta3 = LAMBDA_B[2] + LAMBDA_W[2] * self.K[1] + C_W * Theta2
        self.Theta = [THETA1, Theta2, Theta3]
        self.V = [0 * K1, 2 * C_W**2 * K1**2]
        self.F = [0 * K1, C_W**2 * K1 * THETA1]
        self.B = [0 * K1, C_W**2 * THETA1**2]
        D2, A2 = 2 * C_W * LAMBDA_W[1] * K1**2, 2 * LAMBDA_W[1] ** 2 * K1**2
        r = LAMBDA_W[2]
        self.F.append(C_W**2 * (self.K[1] * Theta2 + rho * self.F[1]))
        self.B.append(C_W**2 * (Theta2**2 + rho * self.B[1]))
        self.D3 = 2 * C_W * r * self.K[1] ** 2 + rho * (C_W * r * self.V[1] + C_W**2 * D2)
        self.A3 = 2 * r**2 * self.K[1] ** 2 + rho * (r**2 * self.V[1] + 2 * C_W * r * D2 + C_W**2 * A2)


def check_linear(measure: Measure, name: str, estimate: Callable[[Linear], float], theory: Array, changes: str) -> None:
    """changes: families that change the estimate where they are changed. What a linear network's mean answers to in
    first order cancels, and its covariances are those of its controls, which follow from g, y and b."""
    data, states = made("linear")
    samples = [Linear(states[:, a]) for a in range(2)]
    components = {
        f"{a}{a},{a}{a}": (N2 * estimate(sample), float(theory[a]), float(np.abs(theory).max()))
        for a, sample in enumerate(samples)
    }

    def check(data: Rows) -> None:
        expect(list(measure(data.point, None)), Wanted(name, 3, 0, components), **CLOSE)

    wrong = [[data.scaled(family), data.exchanged(family, (0,), (1,))] for family in changes if family != "g"]
    holds(check, data, data.scaled("g"), *itertools.chain.from_iterable(wrong))


def test_F_controlled() -> None:
    """F of docs/theory.md (2.13); to second order y answers to g h of the layer below, docs/theory.md (17.16)."""

    def estimate(one: Linear) -> float:
        return one.mean(2, C_W**2 / N2 * (one.m2[0] * one.m2[1] - one.C2[0, 1]))

    check_linear(F_controlled, "F", estimate, Flow().F[2], "gh")


def test_B_controlled() -> None:
    """B of docs/theory.md (2.12); to second order b answers to h^2 of the layer below, docs/theory.md (17.16)."""

    def estimate(one: Linear) -> float:
        return one.mean(3, C_W**2 / N2 * (one.m2[1] ** 2 - one.C2[1, 1]))

    check_linear(B_controlled, "B", estimate, Flow().B[2], "gh")


def test_A_controlled() -> None:
    """A of docs/theory.md (2.15): the covariance of controls is known, docs/theory.md (17.11)."""
    check_linear(A_controlled, "A", lambda one: one.covariance(1, 1), Flow().A3, "gyb")


def test_D_controlled() -> None:
    """D of docs/theory.md (2.14): the covariance of controls is known, docs/theory.md (17.11)."""
    check_linear(D_controlled, "D", lambda one: one.covariance(0, 1), Flow().D3, "gy")


def test_Theta1_controlled() -> None:
    """Theta1 of docs/theory.md (2.16) of sines, where <sin^2> = (1 - exp(-2g))/2, with the controls of docs/theory.md
    (17.16). A scale-invariant activation has none."""
    data, states = made("sin")
    rho, wanted, predictions = N2 / N1, [], []
    for a in range(2):
        two, three = states[1:, a]
        S, e, R, Q4, q = sines(K1[a])
        variance, mixed = Q4 - S**2, THETA1[a] * (R - S * e)
        step = LAMBDA_W[1] * variance + C_W * mixed
        C_gg, C_gh = C_W**2 * variance / N1, C_W * step / N1
        center = np.array([C_W * S, LAMBDA_B[1] + LAMBDA_W[1] * S + C_W * THETA1[a] * e])
        y2, b2 = C_W**2 * THETA1[a] * R / N1, C_W**2 * THETA1[a] ** 2 * q / N1
        m2 = two[:4] - np.array([*center, y2, b2])[:, None]
        g, h, y = two[:3]
        S3, e3, *_ = sines(g)
        decay = np.exp(-2 * g)
        m3 = three[1] - (LAMBDA_B[2] + LAMBDA_W[2] * S3 + C_W * (h * e3 - 2 * y * decay))
        small, Theta = np.exp(-2 * center[0]), center[1]
        first = small * (LAMBDA_W[2] + C_W * (4 * y2 - Theta))
        bend = small * (-2 * LAMBDA_W[2] + C_W * (2 * Theta - 8 * y2))
        P = np.array([first, C_W * sines(center[0])[1], -2 * C_W * small, 0.0])
        squares = bend / 2 * (m2[0] ** 2 - C_gg) - C_W * small * (m2[0] * m2[1] - C_gh)
        frozen = LAMBDA_B[2] + LAMBDA_W[2] * sines(center[0])[0] + C_W * Theta * sines(center[0])[1]
        wanted.append(N2 * float((three[1] - frozen - m3 - P @ m2 - squares).mean()))
        V, D, F = C_W**2 * variance, C_W * step, C_W**2 * R * THETA1[a]
        predictions.append(rho * small * ((C_W * Theta - LAMBDA_W[2]) * V - C_W * (D + 2 * F)))
    size = float(np.abs(predictions).max())
    components = {f"{a}{a}": (wanted[a], float(predictions[a]), size) for a in range(2)}

    def check(data: Rows) -> None:
        expect(list(Theta1_controlled(data.point, None)), Wanted("Theta1", 3, 0, components), **CLOSE)

    holds(check, data, data.scaled("g"), data.scaled("h"), data.scaled("y"), data.exchanged("h", (0,), (1,)))
    linear, _ = made("linear")
    assert list(Theta1_controlled(linear.point, None)) == []


def sines(g: Array | float) -> tuple[Array, ...]:
    """<s^2>, <s'^2>, <s^2 s'^2>, <s^4> and <s'^4> of s = sin."""
    two, eight = np.exp(-2 * np.asarray(g)), np.exp(-8 * np.asarray(g))
    return (1 - two) / 2, (1 + two) / 2, (1 - eight) / 8, (3 - 4 * two + eight) / 8, (3 + 4 * two + eight) / 8


def test_ntk_one_step() -> None:
    """Each number is a deviation from the mean given the layer below, docs/theory.md (17.11), in its natural size."""
    data, states = made("linear")
    flow, wanted = Flow(), []
    for layer, n in ((2, N1), (3, N2)):
        components = {}
        for a in range(2):
            one = Linear(states[:, a])
            m, C = (one.m2, one.C2) if layer == 2 else (one.m3, one.C3)
            center = np.array([K1[a], THETA1[a], 0.0, 0.0]) if layer == 2 else one.center
            spread = np.sqrt(n * linear_covariance(layer - 1, np.append(center, 0.0)).diagonal())
            K, Theta, F, B = (float(t[layer - 1][a]) for t in (flow.K, flow.Theta, flow.F, flow.B))
            found = [("g", n * m[0], layer * K), ("h", n * m[1], layer * Theta), ("y", n * m[2], F), ("b", n * m[3], B)]
            for name, i, j in (("g g", 0, 0), ("g h", 0, 1), ("h h", 1, 1)):
                found.append((name, n * (m[i] * m[j] - C[i, j]), spread[i] * spread[j]))
            if layer == 3:
                below, root = states[1, a, 0] - flow.K[1][a], np.sqrt(flow.V[1][a])
                for k, (name, size) in enumerate(zip("ghyb", (spread[0], spread[1], F, B), strict=True)):
                    power = n**2 if name in "yb" else n
                    found.append((f"{name} times g below", power * m[k] * below, root * size))
            for name, numbers, size in found:
                components[f"{name} {a}"] = (float(np.mean(numbers)), 0.0, float(size))
        wanted.append(Wanted("ntk_one_step", layer, 0, components))

    def check(data: Rows) -> None:
        expect(list(ntk_one_step(data.point, None)), *wanted, **CLOSE)

    holds(check, data, data.scaled("g"), data.scaled("h"), data.scaled("y"), data.scaled("b"))


CONTROLLED = [A_controlled, B_controlled, D_controlled, F_controlled, Theta1_controlled]


@pytest.mark.parametrize("measure", CONTROLLED)
def test_controls_need_the_layers_below(measure: Measure) -> None:
    """Layer 2 is a control alone, and a layer that is left out is one that a control needs. Such claims are refused."""
    data = rows(*BASE, "activation=sin", x=inputs_of(GRAM))
    few = rows(*BASE, "activation=sin", "observables.layers=[1,3]", x=inputs_of(GRAM))
    name = measure.name
    assert list(measure.missing(data.point)) == []
    assert list(measure.missing(data.point, [2])) == [
        f"claim.tests.{name}.layers=[2]: layers from 3 on",
        f"observables.record=[kernel, ntk_sums]: {name} needs columns g and h and y and b and w together at a layer "
        "from 3 on",
    ]
    gap = "observables.layers=[1, 3]: all layers from 1 to the last one that is measured are needed"
    assert list(measure.missing(few.point)) == [gap]


def test_a_claim_with_controls_sees_what_they_hide() -> None:
    """A claim of controlled tensors alone is refused, before anything is drawn; with `ntk_one_step` it is not."""
    widths = [[*BASE[:1], f"network.width={n}", *BASE[2:], "activation=sin"] for n in (8, 12, 16, 24)]
    points = [rows(*overrides, x=inputs_of(GRAM)).point for overrides in widths]
    tests = {measure.name: {"precision": 0.1} for measure in CONTROLLED}
    hidden = "a fault that its controls hide is seen by ntk_one_step: add this test to the claim"
    assert list(claims.check({"tests": tests}, points)) == [f"claim.tests.{name}: {hidden}" for name in tests]
    assert list(claims.check({"tests": tests | {"ntk_one_step": {"precision": 0.1}}}, points)) == []
