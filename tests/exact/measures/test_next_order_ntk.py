"""Measures of the NTK at order 1/n^2 take the leading order off the controlled estimates, once more times n."""

import numpy as np
import pytest

from analysis import theory
from analysis.measures.measured import Measure
from analysis.measures.next_order_ntk import (
    T3,
    A2_controlled,
    B2_controlled,
    D2_controlled,
    F2_controlled,
    Theta2_controlled,
)
from analysis.measures.ntk_controlled import (
    A_controlled,
    B_controlled,
    D_controlled,
    F_controlled,
    Theta1_controlled,
)
from analysis.theory.ntk_series import NtkSeries
from tests.exact.measures.rows import Rows, Wanted, expect, holds, inputs_of, rows, signs
from tests.exact.measures.test_ntk_controlled import BASE, CLOSE, made
from tests.exact.measures.three_layers import C_W, GRAM, K1, LAMBDA_B, LAMBDA_W, N1, N2


def series_of(sample: int) -> NtkSeries:
    K = float(K1[sample])
    return theory.ntk_next_order("sin", 3, 0.0, C_W, K, LAMBDA_B, LAMBDA_W, [1.0, N2 / N1])


def is_beyond(measure: Measure, controlled: Measure, leading: str, groups: int, changes: str) -> None:
    """n ( [controlled] - leading ) of docs/theory.md (17.12) is measured, with unequal widths and rates. Negative
    controls: other rows."""
    data, _ = made("sin")
    (first,) = controlled(data.point, None)
    series = [series_of(a) for a in range(2)]
    following = np.array([of[f"{leading.rstrip('1')}2"][-1] for of in series])
    values = N2 * (first.estimate.value - [of[leading][-1] for of in series])
    size = float(np.abs(following).max())
    labels = [",".join([f"{a}{a}"] * groups) for a in range(2)]
    components = {label: (float(values[a]), float(following[a]), size) for a, label in enumerate(labels)}

    def check(data: Rows) -> None:
        tensor = f"{leading.rstrip('1')}2 controlled"
        expect(list(measure(data.point, None)), Wanted(tensor, 3, 0, components), **CLOSE)

    holds(check, data, *(data.scaled(family) for family in changes))


def test_Theta2_controlled() -> None:
    is_beyond(Theta2_controlled, Theta1_controlled, "Theta1", 1, "ghy")


def test_A2_controlled() -> None:
    is_beyond(A2_controlled, A_controlled, "A", 2, "ghybw")


def test_B2_controlled() -> None:
    is_beyond(B2_controlled, B_controlled, "B", 2, "hb")


def test_D2_controlled() -> None:
    is_beyond(D2_controlled, D_controlled, "D", 2, "ghy")


def test_F2_controlled() -> None:
    is_beyond(F2_controlled, F_controlled, "F", 2, "ghy")


def test_T3() -> None:
    """n^2 times the mean of the column, in layers 2 and 3. In layer 2 T3 is C_W^3 <s'^6> Theta^3, docs/theory.md
    (17.11). Negative control: the exchange of samples."""
    record = [*BASE[:-1], "observables.record=[ntk_loops]", "activation=sin"]
    data, wanted = rows(*record, x=inputs_of(GRAM)), []
    for layer, n in ((2, N1), (3, N2)):
        predicted = [float(series_of(a)["T3"][layer - 1]) for a in range(2)]
        data.fill("t3", layer, lambda a, l=layer: (1 + a + l + 0.1 * signs(1)[0]) / 100)
        components = {
            f"{a}{a},{a}{a},{a}{a}": (n**2 * (1 + a + layer) / 100, predicted[a], predicted[a]) for a in (0, 1)
        }
        wanted.append(Wanted("T3", layer, 0, components))
        if layer == 2:
            g = K1[0]
            sixth = (10 + 15 * np.exp(-2 * g) + 6 * np.exp(-8 * g) + np.exp(-18 * g)) / 32  # <cos^6>
            Theta = LAMBDA_B[0] + LAMBDA_W[0] * GRAM[0, 0]
            assert predicted[0] == pytest.approx(C_W**3 * Theta**3 * sixth, rel=1e-9)

    def check(data: Rows) -> None:
        expect(list(T3(data.point, None)), *wanted, rtol=1e-9)

    holds(check, data, data.exchanged("t3", (0,), (1,)), data.scaled("t3"))
