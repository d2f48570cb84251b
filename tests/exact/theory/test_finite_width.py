"""Exact laws at finite width agree with tables, and with the flow as the width grows."""

import math

import numpy as np
import pytest

from analysis import theory
from analysis.theory.finite_width import kernel_moments, ntk_moments, six_point, vertex
from tests.exact.theory.reference import REFERENCE


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_exact_ntk_moments_reference(name: str) -> None:
    """The moments of docs/theory.md (6.7) give the tables of exact finite-width values of docs/theory.md section 8."""
    for n in ("16", "64"):
        for layer in range(2, 7):
            want = REFERENCE[f"exact_{name}"][n][str(layer)]
            C_W = theory.critical(name).C_W
            m = ntk_moments(name, [int(n)] * (layer - 1), C_W, C_W, 1.0, 1.0, 1.0)
            got = {
                "V": m.z2z2 - m.z2**2,
                "A": m.HH - m.H**2,
                "B": m.H2,
                "D": m.z2H - m.z2 * m.H,
                "F": m.zzH,
            }
            for key, value in got.items():
                assert int(n) * value == pytest.approx(want[key], rel=1e-9), (n, layer, key)


def test_exact_six_point_leading_order() -> None:
    """n^2 kappa_3(g) of docs/theory.md (6.6) tends to docs/theory.md (1.12), here iterated by hand for linear
    networks."""
    W, V = 0.0, 0.0
    for _ in range(4):
        # m' = 1, m'' = 0, v = 2 K^2 so v' = 4, t = <(z^2 - 1)^3> = 8 (K = 1)
        W, V = 8 + 3 * 4 * V + W, 2 + V
    n = 10**4
    assert n**2 * six_point("linear", [n] * 4, 1.0, 1.0) == pytest.approx(W, rel=2e-3)
    assert theory.six_point("linear", 5, 0.0, 1.0, 1.0)[4] == pytest.approx(W, rel=1e-12)


def test_deep_linear_moments() -> None:
    """docs/theory.md (6.4) is E g^k = K^k prod_l prod_j (1 + 2j/n_l) of docs/theory.md (6.2) for linear networks.
    Negative control: ReLU."""
    widths, C_W, K1 = [5, 9, 3], 1.1, 0.8
    K = C_W**3 * K1
    want = [K**k * math.prod(1 + 2 * j / n for n in widths for j in range(k)) for k in (1, 2, 3)]
    assert kernel_moments("linear", widths, C_W, K1) == pytest.approx(want, rel=1e-12)
    assert vertex("linear", widths, C_W, K1) == pytest.approx(widths[-1] * (want[1] - K**2), rel=1e-12)
    assert kernel_moments("relu", widths, 2 * C_W, K1)[1] > 1.5 * want[1]


@pytest.mark.parametrize(("name", "nu"), [("linear", 2.0), ("relu", 5.0)])
def test_large_width_at_fixed_aspect_ratio(name: str, nu: float) -> None:
    """The moments of log g/K -> Normal(-nu r/2, nu r) of docs/theory.md (6.5), to third order: E (g/K)^k tends to
    exp(k (k - 1) nu r / 2), twice as near at twice the width."""
    r, C_W = 0.4, theory.critical(name).C_W
    errors = []
    for n in (1000, 2000):
        moments = np.array(kernel_moments(name, [n] * int(r * n), C_W, C_W)) / C_W ** np.array([1, 2, 3])
        errors.append(np.log(moments) - nu * r * np.array([0, 1, 3]))
    assert np.abs(errors[1]).max() < 0.05
    assert errors[0][1:] / errors[1][1:] == pytest.approx([2, 2], rel=1e-2)
