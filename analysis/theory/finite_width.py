"""Exact laws at any finite width for scale-invariant networks, one input and C_b = 0, docs/theory.md section 6.

They hold every power of 1/n. `widths` are the hidden widths n_1..n_{L-1}; every result belongs to the output layer L.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.theory.activations import Array, activation


def _moments(name: str) -> tuple[float, float, float]:
    """A2, A4 and A6 of docs/theory.md (4.2) and (6.4) are means of even powers of the two slopes."""
    s = activation(name)
    if s.slopes is None:
        raise ValueError(f"{s.name} is not scale-invariant: no closed form is known; exact_law computes g")
    plus, minus = s.slopes
    A2, A4, A6 = ((abs(plus) ** k + abs(minus) ** k) / 2 for k in (2, 4, 6))
    return A2, A4, A6


def kernel_moments(name: str, widths: Sequence[int], C_W: float, K1: float) -> tuple[float, float, float]:
    """The moments (E g, E g^2, E g^3) of the conditional kernel g(L) are docs/theory.md (6.4), for linear networks
    docs/theory.md (6.2).

    K1 = C_W |x|^2 / n_0 is the kernel of layer 1. Raises ValueError for an activation that is not scale-invariant.
    """
    A2, A4, A6 = _moments(name)
    out = np.array([K1, K1**2, K1**3])
    for n in widths:
        out = out * [
            C_W * A2,
            C_W**2 * (A2**2 + (3 * A4 - A2**2) / n),
            C_W**3 * (n * (n - 1) * (n - 2) * A2**3 + 9 * n * (n - 1) * A2 * A4 + 15 * n * A6) / n**3,
        ]
    return float(out[0]), float(out[1]), float(out[2])


def vertex(name: str, widths: Sequence[int], C_W: float, K1: float) -> float:
    """The four-point vertex with every power of 1/n is n_{L-1} Var g(L), docs/theory.md (1.11) and (6.4).

    Raises ValueError for an activation that is not scale-invariant.
    """
    first, second, _ = kernel_moments(name, widths, C_W, K1)
    return (widths[-1] if widths else 1) * (second - first**2)


def six_point(name: str, widths: Sequence[int], C_W: float, K1: float) -> float:
    """The connected six-point function of three neurons is the third cumulant of g(L), docs/theory.md (6.6).

    Raises ValueError for an activation that is not scale-invariant.
    """
    first, second, third = kernel_moments(name, widths, C_W, K1)
    return third - 3 * first * second + 2 * first**3


def residual_vertex(layer: int, n: int, C_W: float, K1: float, skip: float) -> float:
    """V of hidden layer `layer` of a linear residual network of one width n with every power of 1/n, docs/theory.md
    (11.8): n times E z_i^2 z_j^2 less the square of E z^2.

    K1: the kernel of layer 1. skip: gamma of all steps.
    """
    growth = skip**2 + C_W
    fourth = growth**2 + (4 * skip**2 * C_W + 2 * C_W**2) / n
    return n * K1**2 * (fourth ** (layer - 1) - growth ** (2 * layer - 2))


def orthogonal_vertex(name: str, layer: int, n: int, C_W: float, K1: float, n_0: float = float("inf")) -> float:
    """V of a layer of n neurons with orthogonal weights above layers of as many, with every power of 1/n,
    docs/theory.md (14.3): n ( E q^2 n/(n+2) - (E q)^2 ), q = |z|^2/n.

    n_0: the number of inputs where the weights of layer 1 are orthogonal, too; infinite where they are Gaussian. K1:
    the kernel of layer 1. Raises ValueError for an activation that is not scale-invariant, and for n_0 below n.
    """
    A2, A4, _ = _moments(name)
    if n_0 < n:
        raise ValueError(f"n_0={n_0:g}: orthogonal weights of layer 1 need as many inputs as its {n} neurons")
    second = K1**2 * (1 + 2 / n) / (1 + 2 / n_0) * (C_W**2 * (3 * A4 + (n - 1) * A2**2) / (n + 2)) ** (layer - 1)
    return float(n * (second * n / (n + 2) - K1**2 * (C_W * A2) ** (2 * layer - 2)))


@dataclass(frozen=True)
class NTKMoments:
    """Second moments of preactivation and NTK at two outputs i != j, the state of docs/theory.md (6.7)."""

    z2: float  # E z_i^2
    z2z2: float  # E z_i^2 z_j^2
    H: float  # E H_ii
    z2H: float  # E z_i^2 H_jj
    zzH: float  # E z_i z_j H_ij
    HH: float  # E H_ii H_jj
    H2: float  # E H_ij^2


def ntk_moments(
    name: str, widths: Sequence[int], C_W: float, K1: float, lambda_b: float, lambda_W: float, x2: float
) -> NTKMoments:
    """The exact second moments at the output follow from docs/theory.md (6.7).

    One input with |x|^2 / n_0 = x2; all layers have the same rates. Raises ValueError for an activation that is not
    scale-invariant.
    """
    return NTKMoments(*_iterated(name, [1 / N for N in widths], C_W, K1, lambda_b, lambda_W, x2))


def ntk_orders(
    name: str, depth: int, C_W: float, K1: float, lambda_b: float, lambda_W: float, x2: float
) -> dict[str, Array]:
    """The coefficients of n^-p, p = 0, 1, .., in Var g, Cov(H_ii, H_jj), E H_ij^2,
    Cov(z_i^2, H_jj) and E z_i z_j H_ij at layer `depth` of one
    width n, named V, A, B, D and F: docs/theory.md (6.7) as polynomials in 1/n, docs/theory.md (17.14).

    The series end, so that they hold every order. Arguments as of `ntk_moments`. Raises ValueError for an activation
    that is not scale-invariant.
    """
    eps = np.polynomial.Polynomial([0.0, 1.0])
    z2, v, H, d, f, a, b = _iterated(name, [eps] * (depth - 1), C_W, K1, lambda_b, lambda_W, x2)
    found = {"V": v - z2**2, "A": a - H**2, "B": b, "D": d - z2 * H, "F": f}
    return {key: (value + 0 * eps).coef for key, value in found.items()}


def _iterated(
    name: str, inverses: Sequence[Any], C_W: float, K1: float, lambda_b: float, lambda_W: float, x2: float
) -> tuple[Any, ...]:
    """The state of docs/theory.md (6.7), in the order of `NTKMoments`, from 1/n of each hidden layer: numbers, or
    polynomials in one variable."""
    A2, A4, _ = _moments(name)
    Theta1 = lambda_b + lambda_W * x2
    state: tuple[Any, ...] = (K1, K1**2, Theta1, K1 * Theta1, 0.0, Theta1**2, 0.0)
    for own in inverses:
        z2, v, H, d, f, a, b = state
        rest = (1 - own) * A2**2
        q, q2, t = A2 * z2, (3 * A4 * own + rest) * v, A2 * H
        qt, y = (A4 * own * (d + 2 * f) + rest * x for x in (d, f))
        t2, u = (A4 * own * (a + 2 * b) + rest * x for x in (a, b))
        square = lambda_b**2 + 2 * lambda_b * lambda_W * q + lambda_W**2 * q2
        state = (
            C_W * q,
            C_W**2 * q2,
            lambda_b + lambda_W * q + C_W * t,
            C_W * (lambda_b * q + lambda_W * q2) + C_W**2 * qt,
            C_W**2 * y,
            square + 2 * C_W * (lambda_b * t + lambda_W * qt) + C_W**2 * t2,
            C_W**2 * u,
        )
    return state


def second_moments(name: str, widths: Sequence[int], C_W: float) -> tuple[float, float, float]:
    """E H_ii, E H_ii H_jj and E H_ij^2 of two outputs i != j where layer 1 alone has rates, with H(1) = 1: these parts
    of docs/theory.md (6.7) then are closed. H is J J^T of the Jacobian J of the outputs in z(1).

    Raises ValueError for an activation that is not scale-invariant.
    """
    A2, A4, _ = _moments(name)
    H, a, b = 1.0, 1.0, 0.0
    for N in widths:
        a, b = (C_W**2 * (A4 * (a + 2 * b) + (N - 1) * A2**2 * x) / N for x in (a, b))
        H *= C_W * A2
    return H, a, b
