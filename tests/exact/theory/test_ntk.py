"""Theta, B, F, D, A and Theta1 agree with exact laws and scalar equations, and have their symmetries."""

import numpy as np
import pytest

from analysis import theory
from analysis.theory.finite_width import ntk_moments
from tests.exact.theory.reference import mean


def test_symmetries_of_the_tensors() -> None:
    """A, D and B have the symmetries of docs/theory.md (2.5) and (2.6), which the code does not impose."""
    x = np.random.default_rng(5).standard_normal((3, 6))
    flow = theory.flow("gelu", 3, 0.1, 1.7, x, 0.4, 0.9, tensors=["A", "D", "B"])
    A, D, B = flow.A[2], flow.D[2], flow.B[2]
    np.testing.assert_allclose(A, A.transpose(2, 3, 0, 1), rtol=1e-9)
    np.testing.assert_allclose(D, D.transpose(1, 0, 2, 3), rtol=1e-9)
    np.testing.assert_allclose(D, D.transpose(0, 1, 3, 2), rtol=1e-9)
    np.testing.assert_allclose(B, B.transpose(2, 3, 0, 1), rtol=1e-9)
    assert not np.allclose(D, D.transpose(2, 3, 0, 1))


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_ntk_tensors_at_unequal_widths_against_the_exact_law(name: str) -> None:
    """A, B, D and F of docs/theory.md (2.5) and (2.6) by the exact law of docs/theory.md (6.7) at widths N (1, 2, 0.5)
    have the leading order of docs/theory.md (2.7) to (2.10) with those ratios."""
    C_W = theory.critical(name).C_W
    flow = theory.flow(name, 4, 0.0, C_W, np.ones((1, 2)), 0.6, 0.8, [1.0, 2.0, 0.25], tensors=["A", "B", "D", "F"])
    N = 10**5
    widths = [N, 2 * N, N // 2]
    m = ntk_moments(name, widths, C_W, C_W, 0.6, 0.8, 1.0)
    got = {"A": m.HH - m.H**2, "B": m.H2, "D": m.z2H - m.z2 * m.H, "F": m.zzH}
    for key, value in got.items():
        assert widths[-1] * value == pytest.approx(getattr(flow, key)[3].item(), rel=5e-4), key


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_one_input_follows_the_scalar_equations(name: str) -> None:
    """docs/theory.md (2.3), (2.4) and (2.12) to (2.16), with h of docs/theory.md (1.8), as scalars: moments with powers
    of z where the flow takes derivatives of s, and rates and widths that differ between layers."""
    s, C_b, C_W, ratios = theory.activation(name), 0.1, 1.3, [1.0, 2.0, 0.5, 3.0]
    lb, lW = [0.3, 0.5, 0.2, 0.7, 0.4], [1.1, 0.9, 1.3, 0.8, 1.0]
    tensors = ("K", "G1", "V", "Theta", "Theta1", "A", "B", "D", "F")
    flow = theory.flow(name, 5, C_b, C_W, np.full((1, 2), 0.9), lb, lW, ratios, tensors=tensors)
    Theta, Theta1, A, B, D, F = lb[0] + lW[0] * 0.81, 0.0, 0.0, 0.0, 0.0, 0.0
    for layer in range(4):
        K, V, G1 = (flow[key][layer].item() for key in ("K", "V", "G1"))
        rho, bias, weight = ratios[layer], lb[layer + 1], lW[layer + 1]

        def slope2(z: np.ndarray) -> np.ndarray:
            return s.derivatives[1](z) ** 2

        def Omega(z: np.ndarray, Theta: float = Theta, weight: float = weight) -> np.ndarray:
            return weight * s(z) ** 2 + C_W * Theta * s.derivatives[1](z) ** 2

        parallel = C_W / (2 * K**2) * mean(lambda z, K=K: s(z) ** 2 * (z**2 - K), K)
        perp = C_W * mean(slope2, K)
        h = C_W / (4 * K**2) * mean(lambda z, K=K: s.derivatives[1](z) ** 2 * (z**2 - K), K)
        bend = mean(lambda z, K=K: s.derivatives[1](z) ** 2 * ((z**2 / K) ** 2 - 6 * z**2 / K + 3), K) / K**2
        r = weight * parallel / C_W + 2 * h * Theta
        mixed = mean(lambda z: s(z) ** 2 * s.derivatives[1](z) ** 2, K)
        shift = rho * (perp * Theta1 + Theta * (2 * h * G1 + C_W / 8 * bend * V) + 2 * h * (D + 2 * F))
        Theta1 = weight / C_W * flow.G1[layer + 1].item() + shift
        spread = mean(lambda z, f=Omega: f(z) ** 2, K) - mean(Omega, K) ** 2
        A = spread + rho * (r**2 * V + 2 * perp * r * D + perp**2 * A)
        source = mean(lambda z, f=Omega: s(z) ** 2 * f(z), K) - mean(lambda z: s(z) ** 2, K) * mean(Omega, K)
        D = C_W * source + rho * (parallel * r * V + parallel * perp * D)
        F = C_W**2 * mixed * Theta + rho * parallel**2 * F
        B = C_W**2 * mean(lambda z: s.derivatives[1](z) ** 4, K) * Theta**2 + rho * perp**2 * B
        Theta = bias + weight * mean(lambda z: s(z) ** 2, K) + perp * Theta
        for key, want in (("Theta", Theta), ("Theta1", Theta1), ("A", A), ("B", B), ("D", D), ("F", F)):
            assert flow[key][layer + 1].item() == pytest.approx(want, rel=1e-8, abs=1e-13), (key, layer + 2)
