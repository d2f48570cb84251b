"""The next order in 1/n of the kernel of one input agrees with tables, closed forms and universal limits."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.theory.finite_width import kernel_moments
from analysis.theory.second_order import _averages, derivative
from tests.exact.theory.reference import mean

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "next_order_reference.json").read_text())


@pytest.mark.parametrize("name", ["tanh", "relu", "linear", "gelu"])
def test_reference(name: str) -> None:
    """Tables of docs/theory.md (17.2), of ten digits. Negative control: another weight variance."""
    table = REFERENCE["chain"][name]
    layers = table["layers"].values()
    keys = ("K", "G1", "G2", "V", "V2", "W")
    want = np.array([[row[key] for row in layers] for key in keys])

    def got(C_W: float) -> np.ndarray:
        order = theory.next_order(name, len(layers), table["C_b"], C_W, table["K1"])
        return np.array([getattr(order, key) for key in keys])

    np.testing.assert_allclose(got(table["C_W"]), want, rtol=1e-8, atol=1e-11)
    assert np.abs(got(1.001 * table["C_W"]) / np.where(want, want, np.inf) - 1)[1:].max() > 1e-3


def test_leading_order_is_that_of_the_flow() -> None:
    """K, V and G1 of docs/theory.md (17.2) are those of docs/theory.md (1.10), and W is that of docs/theory.md
    (1.12)."""
    for name in ("tanh", "softplus", "relu"):
        order = theory.next_order(name, 6, 0.1, 1.3, 0.9)
        flow = theory.flow(name, 6, 0.1, 1.3, np.full((1, 1), math.sqrt(0.8 / 1.3)))
        for got, want in ((order.K, flow.K), (order.V, flow.V), (order.G1, flow.G1)):
            np.testing.assert_allclose(got, want.reshape(6), rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(order.W, theory.six_point(name, 6, 0.1, 1.3, 0.9), rtol=1e-10)


def test_derivatives_without_derivatives() -> None:
    """docs/theory.md (17.1) gives derivatives of <sin^2> = (1 - e^{-2K})/2, and of <|z|> = sqrt(2K/pi), whose kink has
    no second derivative. Negative control: the wrong order."""
    K = 0.7
    for k in range(1, 5):
        want = -((-2.0) ** k) * math.exp(-2 * K) / 2
        assert derivative(lambda z: np.sin(z) ** 2, K, k) == pytest.approx(want, rel=1e-11)
        root = math.sqrt(2 / math.pi) * math.prod(0.5 - j for j in range(k)) * K ** (0.5 - k)
        assert derivative(np.abs, K, k) == pytest.approx(root, rel=1e-3)
        assert abs(derivative(np.abs, K, k) / root - 1) < 0.1 * abs(derivative(np.abs, K, k - 1) / root - 1)


@pytest.mark.parametrize("name", ["tanh", "gelu", "swish"])
def test_derivatives_of_averages(name: str) -> None:
    """The averages that docs/theory.md (17.2) takes through (s^2)'''' are those of docs/theory.md (17.1) for s^2
    itself, and keep their digits at small K, where these lose them."""
    s = theory.activation(name)
    square, fourth, sixth = _averages(s, 0.8)
    for k in range(5):
        assert square[k] == pytest.approx(derivative(lambda z: s(z) ** 2, 0.8, k), rel=1e-8, abs=1e-10)
    for k in range(3):
        assert fourth[k] == pytest.approx(derivative(lambda z: s(z) ** 4, 0.8, k), rel=1e-9)
    assert sixth == pytest.approx(mean(lambda z: s(z) ** 6, 0.8), rel=1e-10)


def test_digits_at_small_kernels() -> None:
    """Fourth derivatives of docs/theory.md (17.1) at K = 1e-4 are those of the sine's closed form to 1e-7."""
    square, fourth, _ = _averages(theory.activation("sin"), 1e-4)
    for k in range(1, 5):
        assert square[k] == pytest.approx(-((-2.0) ** k) * math.exp(-2e-4) / 2, rel=1e-7)
    for k in (1, 2):  # sin^4 = 3/8 - cos(2z)/2 + cos(4z)/8
        want = -((-2.0) ** k) * math.exp(-2e-4) / 2 + (-8.0) ** k * math.exp(-8e-4) / 8
        assert fourth[k] == pytest.approx(want, rel=1e-7)


@pytest.mark.parametrize(("name", "q4", "q6"), [("linear", 1.0, 1.0), ("relu", 2.0, 4.0)])
def test_scale_invariant_activations_have_closed_forms(name: str, q4: float, q6: float) -> None:
    """docs/theory.md (17.8): V_k = nu^k K^2 binom(N, k), G1 = G2 = 0 and W = K^3 (mu N + 6 nu^2 binom(N, 2)). The two
    V_k are all of docs/theory.md (6.4) for two neurons below. Negative control: one layer more."""
    K, depth = 0.6, 9
    nu, mu = 3 * q4 - 1, 15 * q6 - 9 * q4 + 2
    C_W = theory.critical(name).C_W
    order = theory.next_order(name, depth, 0.0, C_W, K)
    N = np.arange(depth)
    pairs = N * (N - 1) / 2
    np.testing.assert_allclose([order.G1, order.G2], 0, atol=1e-14)
    np.testing.assert_allclose(order.V, nu * K**2 * N, rtol=1e-12)
    np.testing.assert_allclose(order.V2, nu**2 * K**2 * pairs, rtol=1e-12)
    np.testing.assert_allclose(order.W, K**3 * (mu * N + 6 * nu**2 * pairs), rtol=1e-12)
    first, second, _ = kernel_moments(name, [7, 7], C_W, K)
    assert second - first**2 == pytest.approx(order.V[2] / 7 + order.V2[2] / 49, rel=1e-12)
    assert order.V2[3] > 2 * order.V2[2]


def universal(power: int, orders: int = 3) -> list[Fraction]:
    """The first coefficients in r = l/n of m_k = E (g/K)^k for K* = 0, docs/theory.md (17.8), k = power."""

    def solve(values: list[Fraction], j: int) -> list[Fraction]:
        """The polynomial P_j of degree 2j with j P_j(k) + k (P_j(k+1) - P_j(k)) = k(k-1) P_{j-1}(k), by its values."""
        degree = 2 * j
        rows = []
        for k in range(degree + 1):
            left = [j * Fraction(k) ** p + k * (Fraction(k + 1) ** p - Fraction(k) ** p) for p in range(degree + 1)]
            right = k * (k - 1) * sum(c * Fraction(k) ** p for p, c in enumerate(values))
            rows.append([*left, Fraction(right)])
        for column in range(degree + 1):
            pivot = next(r for r in range(column, degree + 1) if rows[r][column])
            rows[column], rows[pivot] = rows[pivot], rows[column]
            rows[column] = [x / rows[column][column] for x in rows[column]]
            for r in range(degree + 1):
                if r != column:
                    rows[r] = [x - rows[r][column] * y for x, y in zip(rows[r], rows[column], strict=True)]
        return [row[-1] for row in rows]

    polynomial, out = [Fraction(1)], [Fraction(1)]
    for j in range(1, orders):
        polynomial = solve(polynomial, j)
        out.append(sum((c * Fraction(power) ** p for p, c in enumerate(polynomial)), Fraction(0)))
    return out


def test_universal_series() -> None:
    """E g/K = 1 - r/3 + r^2/15 and Var g/K^2 = 2r/3 - 14 r^2/45 for K* = 0 solve the recursion of docs/theory.md
    (17.8)."""
    assert universal(1) == [1, Fraction(-1, 3), Fraction(1, 15)]
    first, second = universal(1), universal(2)
    variance = [second[j] - sum(first[i] * first[j - i] for i in range(j + 1)) for j in range(3)]
    assert variance == [0, Fraction(2, 3), Fraction(-14, 45)]
    assert [str(c) for c in universal(1, 4)] == REFERENCE["kstar0_universal_series_in_r"]["kstar0_Eg"][:4]


@pytest.mark.parametrize("name", ["tanh", "sin"])
def test_universal_growth(name: str) -> None:
    """For K* = 0 the coefficients of docs/theory.md (17.2) grow as docs/theory.md (17.8) says for every activation:
    G2/K -> l^2/15, V2/K^2 -> -14 l^2/45, W/K^3 -> 16 l^2/15, with corrections that halve when l grows threefold or
    so."""
    order = theory.next_order(name, 801, 0.0, 1.0, 1.0)
    limits = np.array([1 / 15, -14 / 45, 16 / 15])

    def error(layer: int) -> np.ndarray:
        K = order.K[layer - 1]
        got = np.array([order.G2[layer - 1] / K, order.V2[layer - 1] / K**2, order.W[layer - 1] / K**3])
        return np.asarray(got / layer**2 / limits - 1)

    assert np.abs(error(801)).max() < 0.03
    assert np.all(np.abs(error(801)) < 0.7 * np.abs(error(267)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"depth": 0}, "depth=0: one layer or more"),
        ({"K1": -1.0}, "K1=-1.0: a kernel, zero or larger"),
        ({"K1": 0.0}, "activation=tanh: K=0: derivatives in K are taken at K > 0"),
        ({"activation": "cosine"}, "activation='cosine': known are"),
    ],
)
def test_wrong_arguments(change: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        theory.next_order(**({"activation": "tanh", "depth": 3, "C_b": 0.0, "C_W": 1.0, "K1": 1.0} | change))
