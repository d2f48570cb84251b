"""P to U have their symmetries and follow the scalar equations; kinked activations do not have these tensors."""

import numpy as np
import pytest

from analysis import theory
from tests.exact.theory.reference import KINKED, mean


def test_kinked_differentials_are_refused_not_nan() -> None:
    """docs/theory.md (3.7) to (3.12) contain second derivatives of s, which are delta functions at a kink."""
    for tensor in ("P", "Q", "R", "S", "T", "U"):
        with pytest.raises(ValueError, match="smooth s only"):
            theory.flow("relu", 3, 0.0, 2.0, np.ones((1, 2)), tensors=[tensor])
    x = np.random.default_rng(6).standard_normal((3, 4))
    flow = theory.flow("leaky_relu(slope=0.1)", 4, 0.1, 1.9, x, 0.3, 1.0, tensors=KINKED)
    assert all(np.all(np.isfinite(getattr(flow, key))) for key in KINKED)


def test_symmetries_of_the_tensors() -> None:
    """The symmetries T_acdb = T_bdca of docs/theory.md (3.12), of R under c <-> d of docs/theory.md (3.5), and of S
    under the exchange of the two Hessians of docs/theory.md (3.6) hold although the code does not impose them."""
    x = np.random.default_rng(5).standard_normal((3, 6))
    flow = theory.flow("gelu", 3, 0.1, 1.7, x, 0.4, 0.9, tensors=["T", "R", "S"])
    T, R, S = flow.T[2], flow.R[2], flow.S[2]
    np.testing.assert_allclose(T, T.transpose(3, 2, 1, 0), rtol=1e-9)
    np.testing.assert_allclose(R, R.transpose(0, 1, 3, 2), rtol=1e-9)
    np.testing.assert_allclose(S, S.transpose(1, 0, 3, 2), rtol=1e-9)
    assert not np.allclose(R, R.transpose(1, 0, 2, 3))
    assert not np.allclose(S, S.transpose(1, 0, 2, 3))


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_one_input_follows_the_scalar_equations(name: str) -> None:
    """docs/theory.md (3.13) to (3.16) as scalars, at one width, with rates that differ between layers."""
    s, C_b, C_W = theory.activation(name), 0.1, 1.3
    lb, lW = [0.3, 0.5, 0.2, 0.7, 0.4], [1.1, 0.9, 1.3, 0.8, 1.0]
    tensors = ("K", "Theta", "B", "F", *"PQRSTU")
    flow = theory.flow(name, 5, C_b, C_W, np.full((1, 2), 0.9), lb, lW, tensors=tensors)
    P = Q = R = S = T = U = 0.0
    for layer in range(4):
        K, Theta, B, F = (flow[key][layer].item() for key in ("K", "Theta", "B", "F"))
        weight, F_above = lW[layer + 1], flow.F[layer + 1].item()

        def m(*orders: int, K: float = K) -> float:
            """<s^(orders[0]) s^(orders[1]) ...>"""
            return mean(lambda z: np.prod([s.derivatives[k](z) for k in orders], axis=0), K)

        e1, g1, g2 = m(1, 1), m(1, 1) + m(0, 2), m(2, 2) + m(1, 3)
        perp, parallel = C_W * e1, C_W * g1
        h = C_W / (2 * K) * mean(lambda z: z * s.derivatives[1](z) * s.derivatives[2](z), K)
        mu = C_W * m(2, 1, 1, 0) * Theta**2
        bend = C_W**2 * m(2, 2, 1, 1) * Theta**3
        straight = weight * e1 + C_W * Theta * m(2, 2)
        squares = m(1, 1, 0, 0) * Theta + g1**2 * F
        cross = mu + C_W * Theta * g1 * g2 * F + perp * g1 * Q
        curved = e1**2 * T + Theta**2 * g2**2 * F + 2 * Theta * e1 * g2 * Q
        T = weight**2 * squares + 2 * weight * cross + bend + C_W**2 * curved
        R = weight * mu + C_W**2 * m(3, 1, 1, 1) * Theta**3 + perp**2 * R
        R += perp * (weight * m(2, 0) + C_W * Theta * m(3, 1)) * (B + P) + perp * straight * P
        S = weight * C_W * m(1, 1, 1, 1) * Theta**2 + bend + perp * straight * B + perp**2 * S
        U = bend + perp**2 * U
        Q = C_W * mu + weight / C_W * F_above + 2 * h * parallel * Theta * F + perp * parallel * Q
        P = C_W * mu + C_W * perp * m(2, 0) * B + perp * parallel * P
        for key, want in zip("PQRSTU", (P, Q, R, S, T, U), strict=True):
            assert flow[key][layer + 1].item() == pytest.approx(want, rel=1e-8, abs=1e-13), (key, layer + 2)
