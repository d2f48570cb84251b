"""Measures against the exact law find planted values; deep linear networks have closed forms at every width.

Var g = K^2 ((1 + 2/n)^(l-1) - 1) at C_b = 0 and C_W = 1 (docs/theory.md (6.4)).
"""

import numpy as np
import pytest

from analysis.measures.exact import cumulant_over_exact, mean_less_exact, six_point_over_exact, variance_over_exact
from analysis.measures.measured import Measure
from tests.exact.measures.rows import NETWORKS, Rows, Wanted, drawn, expect, holds, inputs_of, rows, signs

n = 8
K = np.array([[1.0, 0.3], [0.3, 0.8]])
LINEAR = ["activation=linear", "initialization=critical", "network.depth=3", f"network.width={n}"]
VARIANCE = np.diag(K) ** 2 * ((1 + 2 / n) ** 2 - 1)


def planted(mean: list[float], variance: list[float]) -> Rows:
    data = rows(*LINEAR, "observables=kernel", "observables.layers=[3]", x=inputs_of(K))
    values = drawn(mean, np.diag(variance))
    return data.fill("g", 3, lambda a, b: values[a] if a == b else 0.1 + 0 * values[a])


def test_V_exact() -> None:
    data = planted([1.0, 0.8], [1.1 * VARIANCE[0], 0.7 * VARIANCE[1]])
    wanted = Wanted("Var g / exact", 3, 0, {"00,00": (1.1, 1.0, 1.0), "11,11": (0.7, 1.0, 1.0)})
    holds(lambda d: expect(list(variance_over_exact(d.point, None)), wanted, rtol=1e-6), data, data.scaled("g"))


def test_mean_exact() -> None:
    data = planted([1.0 + 0.2 * np.sqrt(VARIANCE[0]), 0.8], [VARIANCE[0], VARIANCE[1]])
    wanted = Wanted("E g - exact", 3, 0, {"00": (0.2, 0.0, 1.0), "11": (0.0, 0.0, 1.0)})
    holds(lambda d: expect(list(mean_less_exact(d.point, None)), wanted, rtol=1e-6, atol=1e-6), data, data.scaled("g"))


def test_six_point_exact() -> None:
    """E s^3 of s = (two signs of a product) is skew; the exact third cumulant is E g^3 - 3 E g^2 K + 2 K^3."""
    first, second = signs(2)
    skew = first + second + first * second  # values 3, -1, -1, -1: third moment 6
    data = rows(*LINEAR, "observables=kernel", "observables.layers=[3]", x=inputs_of([[1.0]]))
    data.fill("g", 3, lambda a, b: 1.0 + 0.1 * skew)
    step2, step3 = 1 + 2 / n, (1 + 2 / n) * (1 + 4 / n)
    exact = step3**2 - 3 * step2**2 + 2
    k3 = NETWORKS**2 / ((NETWORKS - 1) * (NETWORKS - 2)) * 6e-3
    wanted = Wanted("kappa3 / exact", 3, 0, {"000000": (k3 / exact, 1.0, 1.0)})
    holds(lambda d: expect(list(six_point_over_exact(d.point, None)), wanted, rtol=1e-6), data, data.scaled("g"))


def test_cumulant_exact() -> None:
    """k_4 = -2 M^2 / ((M - 1)(M - 3)) of signs, averaged over two outputs."""
    data = rows(*LINEAR, "network.outputs=2", "observables.record=[kernel,outputs]", x=inputs_of([[1.0]]))
    first, second = signs(2)
    data.fill("z", 3, lambda i, a: 0.3 + first if i == 0 else 2 * second)
    k4 = -2 * NETWORKS**2 / ((NETWORKS - 1) * (NETWORKS - 3))
    wanted = Wanted("kappa4(z) / exact", 3, 0, {"0000": (k4 * (1 + 16) / 2 / (3 * VARIANCE[0]), 1.0, 1.0)})
    holds(lambda d: expect(list(cumulant_over_exact(d.point, None)), wanted, rtol=1e-6), data, data.scaled("z"))


@pytest.mark.parametrize("tested", [variance_over_exact, mean_less_exact, six_point_over_exact, cumulant_over_exact])
def test_out_of_range(tested: Measure) -> None:
    """Theory's refusal is a reason not to test, before anything is drawn."""
    data = rows("activation=sin", "initialization=gaussian", "initialization.C_W=1.0", "network.depth=3",
                "network.width=8", "observables.record=[kernel,outputs]", x=inputs_of([[1e6]]))  # fmt: skip
    assert any(tested.name in reason for reason in tested.missing(data.point))
