"""Measures with controls find what is planted in rows, by the formulas of `three_layers`."""

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
    ntk_mean_controlled,
    ntk_one_step,
)
from analysis.theory import ntk_next_order
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, expect, holds, inputs_of, rows
from tests.exact.measures.three_layers import (
    C_W,
    GRAM,
    K1,
    LAMBDA_B,
    LAMBDA_W,
    N1,
    N2,
    THETA1,
    Flow,
    Linear,
    Sines,
    linear_covariance,
    sines,
)

BASE = [
    "network.depth=3", f"network.width=[{N1},{N2}]", "initialization=gaussian", "initialization.C_b=0",
    f"initialization.C_W={C_W}", f"dynamics.lambda_b={list(LAMBDA_B)}", f"dynamics.lambda_W={list(LAMBDA_W)}",
    "observables.record=[kernel,ntk_sums]",
]  # fmt: skip
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


def following(activation: str, name: str, leading: Array) -> Array:
    """A tensor with its next order in 1/n, docs/theory.md (17.12), at both samples."""
    given = LAMBDA_B, LAMBDA_W, [1.0, N2 / N1]
    series = [ntk_next_order(activation, 3, 0.0, C_W, float(K), *given) for K in K1]
    return leading + np.array([of[f"{name.rstrip('1')}2"][-1] for of in series]) / N2


def check_linear(measure: Measure, name: str, estimate: Callable[[Linear], float], theory: Array, changes: str) -> None:
    """changes: families that change the estimate where they are changed. What a linear network answers to in first
    order cancels."""
    data, states = made("linear")
    samples = [Linear(states[:, a]) for a in range(2)]
    components = {
        f"{a}{a},{a}{a}": (N2 * estimate(sample), float(theory[a]), float(np.abs(theory).max()))
        for a, sample in enumerate(samples)
    }

    def check(data: Rows) -> None:
        expect(list(measure(data.point, None)), wanted, **CLOSE)

    wanted = Wanted(name, 3, 0, components, following("linear", name, theory))
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


def check_covariance(measure: Measure, name: str, first: int, second: int, theory: Array, changes: str) -> None:
    """Of a linear network, against its theory, and of a network of sines, where these families make a difference."""
    check_linear(measure, name, lambda one: one.covariance(first, second), theory, "g")
    data, states = made("sin")
    want = [N2 * Sines(states[:, a]).covariance(first, second) for a in range(2)]

    def check(data: Rows) -> None:
        (measured,) = measure(data.point, None)
        np.testing.assert_allclose(measured.estimate.value, want, **CLOSE)

    holds(check, data, *(data.scaled(family) for family in changes), data.exchanged("y", (0,), (1,)))


def test_A_controlled() -> None:
    """A of docs/theory.md (2.15): the covariance of controls is known, docs/theory.md (17.11) and (17.16)."""
    check_covariance(A_controlled, "A", 1, 1, Flow().A3, "ghybw")


def test_D_controlled() -> None:
    """D of docs/theory.md (2.14): the covariance of controls is known, docs/theory.md (17.11) and (17.16)."""
    check_covariance(D_controlled, "D", 0, 1, Flow().D3, "ghy")


def mean_of_sines(states: Array, a: int) -> tuple[float, float]:
    """Theta of a sample in layer 3, and the mean of h less that and less its control."""
    one = Sines(states[:, a])
    S2, e2, *_ = sines(one.center[0])
    Theta = LAMBDA_B[2] + LAMBDA_W[2] * S2 + C_W * one.center[1] * e2
    rest = one.three[1] - Theta - one.m3[1] - one.P[1] @ one.m2 - one.second[1]
    return float(Theta), float(rest.mean())


def test_ntk_mean_controlled() -> None:
    """Theta of docs/theory.md (2.3) of sines and what the controls of docs/theory.md (17.16) leave beyond it."""
    data, states = made("sin")
    found = {f"{a}{a}": mean_of_sines(states, a) for a in range(2)}

    def check(data: Rows) -> None:
        components = {label: (Theta + rest, Theta, Theta) for label, (Theta, rest) in found.items()}
        expect(list(ntk_mean_controlled(data.point, None)), Wanted("H", 3, 0, components), **CLOSE)

    holds(check, data, data.scaled("g"), data.scaled("h"), data.scaled("y"), data.exchanged("h", (0,), (1,)))
    linear, _ = made("linear")
    assert list(ntk_mean_controlled(linear.point, None)) == []


def test_Theta1_controlled() -> None:
    """Theta1 of docs/theory.md (2.16) of sines, where <sin^2> = (1 - exp(-2g))/2, with the controls of docs/theory.md
    (17.16). A scale-invariant activation has none."""
    data, states = made("sin")
    rho, estimates, predictions = N2 / N1, [], []
    for a in range(2):
        one = Sines(states[:, a])
        S, e, R, Q4, _ = sines(K1[a])
        small, Theta = np.exp(-2 * one.center[0]), one.center[1]
        estimates.append(N2 * mean_of_sines(states, a)[1])
        V, F = C_W**2 * (Q4 - S**2), C_W**2 * R * THETA1[a]
        D = C_W * (LAMBDA_W[1] * (Q4 - S**2) + C_W * THETA1[a] * (R - S * e))
        predictions.append(rho * small * ((C_W * Theta - LAMBDA_W[2]) * V - C_W * (D + 2 * F)))
    size = float(np.abs(predictions).max())
    components = {f"{a}{a}": (estimates[a], float(predictions[a]), size) for a in range(2)}

    def check(data: Rows) -> None:
        wanted = Wanted("Theta1", 3, 0, components, following("sin", "Theta1", np.array(predictions)))
        expect(list(Theta1_controlled(data.point, None)), wanted, **CLOSE)

    holds(check, data, data.scaled("g"), data.scaled("h"), data.scaled("y"), data.exchanged("h", (0,), (1,)))
    linear, _ = made("linear")
    assert list(Theta1_controlled(linear.point, None)) == []


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


CONTROLLED = [A_controlled, B_controlled, D_controlled, F_controlled, Theta1_controlled, ntk_mean_controlled]


@pytest.mark.parametrize("measure", CONTROLLED)
def test_controls_need_the_layers_below(measure: Measure) -> None:
    """Layer 2 is a control alone, and a layer that is left out is one that a control needs. Such claims are refused."""
    data = rows(*BASE, "activation=sin", x=inputs_of(GRAM))
    few = rows(*BASE, "activation=sin", "observables.layers=[1,3]", x=inputs_of(GRAM))
    name = measure.name
    assert list(measure.missing(data.point)) == []
    assert list(measure.missing(data.point, [2])) == [
        f"claim.tests.{name}.layers=[2]: layers from 3 on can be judged",
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
