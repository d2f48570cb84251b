"""The series of the kernel in 1/n agrees with tables, exact laws, closed forms and rational limits."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.theory.finite_width import kernel_moments
from analysis.theory.resummation import pade

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "next_order_reference.json").read_text())
KEYS = ("K", "G1", "G2", "G3", "V", "V2", "V3", "W", "W2", "X")
GELU = theory.critical("gelu")


@pytest.mark.parametrize("name", ["tanh", "relu", "linear", "gelu"])
def test_reference(name: str) -> None:
    """Tables of docs/theory.md (17.4) to order 1/n^3, of ten digits. Negative control: another weight variance."""
    table = REFERENCE["chain"][name]
    layers = table["layers"].values()
    right, wrong = (
        theory.chain(name, len(layers), table["C_b"], C_W, table["K1"], 3)
        for C_W in (table["C_W"], 1.001 * table["C_W"])
    )
    for key in KEYS:
        want = np.array([row[key] for row in layers])
        np.testing.assert_allclose(right[key], want, rtol=1e-8, atol=2e-10, err_msg=key)
        assert np.abs(want).max() < 1e-9 or np.abs(wrong[key] - want).max() > 1e-4 * np.abs(want).max()


def test_unequal_widths() -> None:
    """Tables of docs/theory.md (17.4) with ratios of widths. Negative control: one width."""
    table = REFERENCE["chain_unequal_widths"]
    unequal = theory.chain("tanh", 6, 0.0, 1.0, 1.0, 3, table["rho"][1:])
    equal = theory.chain("tanh", 6, 0.0, 1.0, 1.0, 3)
    for key in KEYS[1:]:
        want = np.array([row[key] for row in table["tanh"]])
        np.testing.assert_allclose(unequal[key], want, rtol=1e-8, atol=1e-11, err_msg=key)
        assert np.abs(equal[key] - want).max() > 1e-4


def test_order_two_is_the_next_order() -> None:
    """docs/theory.md (17.4) at order two has docs/theory.md (17.2), and a higher order changes no lower one."""
    for name in ("softplus", "sin"):
        want = theory.next_order(name, 5, 0.1, 1.3, 0.9)
        for order in (2, 4):
            got = theory.chain(name, 5, 0.1, 1.3, 0.9, order)
            for key in ("K", "G1", "G2", "V", "V2", "W"):
                np.testing.assert_allclose(got[key], getattr(want, key), rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_every_order_brings_the_exact_law_nearer(name: str) -> None:
    """What is left of docs/theory.md (17.5) after the orders of docs/theory.md (17.4) falls with the width as the first
    order that is left out. Negative control: the order below does not fall so fast."""
    C_b, C_W, K1 = (0.0, 1.0, 1.0) if name == "tanh" else (GELU.C_b, GELU.C_W, GELU.K_star)
    series, widths = theory.chain(name, 3, C_b, C_W, K1, 3), (128, 256)
    laws = [theory.exact_law(name, 3, C_b, C_W, K1, n) for n in widths]
    exact = np.array([[law.shift[2], law.variance[2]] for law in laws])
    for order in (1, 2):
        left = exact - [series.at(n, order)[2, :2] - [series["K"][2], 0] for n in widths]
        power = np.log2(np.abs(left[0] / left[1]))
        np.testing.assert_allclose(power, order + 1, atol=0.35)
    assert np.all(np.abs(power - 2) > 0.35)


def test_scale_invariant_series_end() -> None:
    """At a large enough order docs/theory.md (17.4) is the exact law of docs/theory.md (6.4) at unequal widths, and its
    coefficients are those of docs/theory.md (17.8). Negative control: one order less."""
    for name, C_W, nu, mu in (("relu", 2.0, 5, 44), ("linear", 1.0, 2, 8)):
        for order, near in ((9, True), (5, False)):
            series = theory.chain(name, 4, 0.0, C_W, 0.7, order, [1.0, 2.0, 0.5])
            first, second, third = kernel_moments(name, [6, 12, 6], C_W, 0.7)
            got = series.at(6)[3, :3]
            want = [first, second - first**2, third - 3 * first * second + 2 * first**3]
            assert np.allclose(got, want, rtol=1e-12) == near
        N, K = np.arange(6), 0.7
        series, pairs = theory.chain(name, 6, 0.0, C_W, K, 5), N * (N - 1) / 2
        for k, key in enumerate(("V", "V2", "V3"), start=1):
            np.testing.assert_allclose(series[key], [nu**k * K**2 * math.comb(m, k) for m in N], rtol=1e-12)
        np.testing.assert_allclose(series["W"], K**3 * (mu * N + 6 * nu**2 * pairs), rtol=1e-12)
        triples = pairs * (N - 2) / 3
        np.testing.assert_allclose(series["W2"], K**3 * (6 * nu * mu * pairs + 24 * nu**3 * triples), rtol=1e-12)


def test_universal_series() -> None:
    """Rationals of docs/theory.md (17.8), and deep tanh networks tend to them. Negative control: another depth."""
    table = REFERENCE["kstar0_universal_series_in_r"]
    ones, squares, cubes = theory.universal_moments(5, 3)[1:]
    assert [str(c) for c in ones] == table["kstar0_Eg"]
    assert [str(c) for c in squares] == table["kstar0_Eg2"]
    assert cubes[0] == 1
    assert theory.universal_moments(3, 0) == [[Fraction(1), 0, 0, 0]]
    depth = 400
    series = theory.chain("tanh", depth, 0.0, 1.0, 1.0, 2)
    for key, power, want in (("G2", 1, 1 / 15), ("V2", 2, -14 / 45), ("W", 3, 16 / 15)):
        got = series[key] / series["K"] ** power / np.arange(1, depth + 1) ** 2
        assert got[-1] == pytest.approx(want, rel=0.04)
        assert abs(got[49] / want - 1) > 1.5 * abs(got[-1] / want - 1)


def test_cumulants_and_kurtosis_of_outputs() -> None:
    """docs/theory.md (17.6): factors 1, 3, 15, 105, and the ratio E z^4/(E z^2)^2 to order 1/n^2."""
    series = theory.chain("tanh", 4, 0.0, 1.0, 1.0, 3)
    np.testing.assert_allclose(series.output_cumulants(16), series.at(16) * [1, 3, 15, 105])
    K, G1, V, V2 = (series[key] for key in ("K", "G1", "V", "V2"))
    want = 3 * np.array([np.ones(4), V / K**2, V2 / K**2 - 2 * V * G1 / K**3]).T
    np.testing.assert_allclose(series.kurtosis[:, :3], want, rtol=1e-12, atol=1e-14)
    law = theory.exact_law("tanh", 4, 0.0, 1.0, 1.0, 64)
    left = [
        series.kurtosis[:, : order + 1] @ 64.0 ** -np.arange(order + 1) - 3 - law.excess_kurtosis for order in (1, 3)
    ]
    assert abs(left[1][3]) < 2e-4 * law.excess_kurtosis[3] < abs(left[0][3])


def test_density_has_the_moments_and_the_tails() -> None:
    """docs/theory.md (17.7): its even moments are those of docs/theory.md (17.6), and its share beyond three standard
    deviations is that of the table's simulation. Negative control: order 1/n misses it."""
    series, n, layer = theory.chain("tanh", 4, 0.0, 1.0, 1.0, 2), 16, 4
    K = series["K"][3]
    z = np.linspace(-14, 14, 28001)[:, None] * math.sqrt(K)
    width = float(z[1, 0] - z[0, 0])
    for order in (0, 1, 2):
        p = series.density(z, layer, n, order)
        got = [width * float(p @ z[:, 0] ** k) for k in (0, 2, 4, 6)]
        m = series.moments[3] @ np.where(np.arange(3) <= order, 16.0 ** -np.arange(3), 0)
        want = [1, K + m[1], 3 * (K**2 + 2 * K * m[1] + m[2]), 15 * (K**3 + 3 * K**2 * m[1] + 3 * K * m[2] + m[3])]
        np.testing.assert_allclose(got, want, rtol=1e-9)
    simulated, error = 0.004428, 0.000010
    beyond = {order: _beyond(series.density(z, layer, n, order), z[:, 0] / math.sqrt(K), 3.0) for order in (0, 1, 2)}
    np.testing.assert_allclose([beyond[k] for k in (0, 1, 2)], [0.00270, 0.00469, 0.00436], atol=6e-6)
    assert abs(beyond[2] - simulated) < 8 * error < abs(beyond[1] - simulated)


def _beyond(p: np.ndarray, u: np.ndarray, edge: float) -> float:
    step = np.diff(u).mean()
    total = p.sum()
    return float(1 - (p[np.abs(u) < edge - step / 4].sum() + p[np.isclose(np.abs(u), edge)].sum() / 2) / total)


def test_density_of_several_outputs() -> None:
    """docs/theory.md (17.7) of two outputs is that of one where the other is integrated out."""
    series = theory.chain("relu", 3, 0.0, 2.0, 1.0, 2)
    other = np.linspace(-12, 12, 4001)
    for z in (0.0, 0.8, 2.5):
        both = series.density(np.stack([np.full_like(other, z), other], axis=1), 3, 32)
        alone = series.density(np.array([[z]]), 3, 32)[0]
        assert np.trapezoid(both, other) == pytest.approx(alone, rel=1e-9)


def test_resummed_lines() -> None:
    """Figures of docs/theory.md (17.19). Negative control: the series without resummation is further off."""
    universal = np.array([[float(c) for c in theory.universal_moments(2, 1)[1]]])
    for r in (0.125, 0.5, 2.0):
        assert pade(universal, 1 / r)[0] == pytest.approx((15 - 2 * r) / (15 + 3 * r), rel=1e-14)
    tanh = theory.chain("tanh", 32, 0.0, 1.0, 1.0, 3)
    for n, mean, vertex in ((32, 0.76689, 0.71556), (16, 0.59115, 0.5248)):
        line = theory.resummed("tanh", tanh, n)
        assert line.method == "Pade"
        assert line.mean[-1] / tanh["K"][-1] == pytest.approx(mean, abs=6e-6)
        assert n * line.relative_variance[-1] * line.mean[-1] ** 2 / tanh["V"][-1] == pytest.approx(vertex, abs=6e-5)
    series, law = theory.chain("tanh", 10, 0.0, 1.0, 1.0, 2), theory.exact_law("tanh", 10, 0.0, 1.0, 1.0, 10)
    left = abs(theory.resummed("tanh", series, 10).mean[-1] - law.mean[-1])
    assert left < 0.4 * abs(series.at(10)[-1, 0] - law.mean[-1])
    gelu = theory.chain("gelu", 8, GELU.C_b, GELU.C_W, GELU.K_star, 2)
    line = theory.resummed("gelu", gelu, 32)
    exact = theory.exact_law("gelu", 8, GELU.C_b, GELU.C_W, GELU.K_star, 32).excess_kurtosis[-1] / 3
    assert line.method == "exponential"
    assert (line.relative_variance[-1], exact) == (pytest.approx(1.60, abs=6e-3), pytest.approx(1.660, abs=6e-4))
    assert line.excess_kurtosis[-1] == 3 * line.relative_variance[-1]
    assert abs(line.relative_variance[-1] - exact) < 0.5 * abs(gelu.spread[-1] @ 32.0 ** -np.arange(3) - 1 - exact)


def test_why_each_class_has_its_own_resummation() -> None:
    """docs/theory.md (17.19): a Pade approximant of ReLU's E g^2 has a pole where the law has none, and
    the exponential of tanh's series is worse than its approximant."""
    relu = theory.chain("relu", 33, 0.0, 2.0, 1.0, 2)
    for n in (64, 70, 80, 96):  # nu r = 5 * 32/n passes two, where the approximant of e^x has its pole
        exact = (1 + 5 / n) ** 32
        right, wrong = theory.resummed("relu", relu, n).relative_variance[-1] + 1, pade(relu.spread[-1:], n)[0]
        assert abs(right / exact - 1) < 0.1 < abs(wrong / exact - 1)
    tanh = theory.chain("tanh", 10, 0.0, 1.0, 1.0, 3)
    exact = theory.exact_law("tanh", 10, 0.0, 1.0, 1.0, 10).excess_kurtosis[-1] / 3
    right = theory.resummed("tanh", tanh, 10).relative_variance[-1]
    wrong = theory.resummed("linear", tanh, 10).relative_variance[-1]  # linear networks take the exponential
    assert abs(right - exact) < 0.2 * abs(wrong - exact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth=0"),
        ({"order": 0}, "order=0: 1 to 5 for tanh"),
        ({"order": 6}, "order=6: 1 to 5 for tanh"),
        ({"K1": 0.0}, "K1=0.0: a kernel above zero"),
        ({"K1": math.nan}, "K1=nan"),
        ({"width_ratios": [1.0]}, r"width_ratios=\[1.0\]: 2 numbers"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        theory.chain(**({"activation": "tanh", "depth": 3, "C_b": 0.0, "C_W": 1.0, "K1": 1.0, "order": 2} | change))


def test_what_a_series_does_not_have() -> None:
    series = theory.chain("tanh", 3, 0.0, 1.0, 1.0, 1)
    for name in ("V2", "W", "G2", "G", "K1", "V1", "Y", ""):
        with pytest.raises(KeyError, match="order 1/n\\^1 and below"):
            series[name]
    for call, message in (
        (lambda: series.at(8, 2), "order=2: 0 to 1"),
        (lambda: series.at(0), "n=0: a width"),
        (lambda: series.density(np.zeros((1, 1)), 4, 8), "layer=4: 1 to 3"),
        (lambda: theory.resummed("tanh", series, 8), "order=1: a series of order 2"),
        (lambda: theory.universal_moments(-1, 1), "order=-1"),
        (lambda: pade(np.ones(4), 8), "coefficients: 2 or 3 of them, got 4"),
    ):
        with pytest.raises(ValueError, match=message):
            call()  # type: ignore[no-untyped-call]
