"""How every tensor grows with depth at criticality, by universality class (theory.md 4.2, 4.3, 4.4)."""

from dataclasses import dataclass

import numpy as np

from analysis.theory.activations import Activation
from analysis.theory.activations import activation as named
from analysis.theory.critical import critical
from analysis.theory.gaussian import mean1

# Powers of (K, Theta) by which a tensor is divided; what is left is of order l.
UNITS: dict[str, tuple[int, int]] = {
    "V": (2, 0),
    "G1": (1, 0),
    "A": (0, 2),
    "B": (0, 2),
    "D": (1, 1),
    "F": (1, 1),
    "P": (0, 2),
    "Q": (0, 2),
    "R": (-1, 3),
    "S": (-1, 3),
    "T": (-1, 3),
    "U": (-1, 3),
}


@dataclass(frozen=True)
class Exponents:
    """At criticality and large l: K ~ l^-p_0, and each tensor, in UNITS of K and Theta at the same layer, ~
    coefficient * l^1 (its exponent is 1 in every class; a coefficient of 0 means slower growth)."""

    universality_class: str
    p_0: float
    coefficient: dict[str, float]


def exponents(activation: str | Activation, phi: float = 0.5) -> Exponents:
    """The predicted depth exponents and coefficients, one input.

    phi: the biases' share of the NTK, lambda_b / (lambda_b + lambda_W <s^2>) per layer, at the rates that give every
    layer an equal share: constant for scale-invariant activations, lambda_b / l for K* = 0 (theory.md 4.5).
    Tensors that theory.md gives no asymptotics for are left out: all but V for half-stable activations, R, S, T,
    U for scale-invariant ones, all but V and G1 for K* = 0 activations that are not odd (p_perp differs from 1).
    Raises ValueError where no critical point exists, or phi is not between 0 and 1.
    """
    if not 0 <= phi <= 1:
        raise ValueError(f"phi={phi}: a share between 0 and 1")
    s, point = named(activation), critical(activation)
    if s.slopes is not None:
        A2, A4 = ((s.slopes[0] ** k + s.slopes[1] ** k) / 2 for k in (2, 4))
        ratio = A4 / A2**2
        nu, weights = 3 * ratio - 1, 1 - phi
        drift = weights * nu + ratio - 1
        return Exponents(
            point.universality_class,
            0.0,
            {
                "V": nu,
                "G1": 0.0,
                "B": ratio / 3,
                "F": ratio / 2,
                "D": drift / 2,
                "A": (ratio - 1 + weights * drift) / 3,
                "P": 0.0,
                "Q": weights * ratio / 6,
            },
        )
    if point.universality_class == "half-stable":
        K = point.K_star
        spread = mean1(lambda z: s(z) ** 4, K) - mean1(lambda z: s(z) ** 2, K) ** 2
        return Exponents(point.universality_class, 0.0, {"V": point.C_W**2 * spread / K**2})
    coefficient = {"V": 2 / 3, "G1": -1 / 3}
    if abs(float(s.derivatives[2](np.zeros(1))[0])) < 1e-14:  # odd: a1 = b1, so p_perp = 1
        weights = 1 - phi
        coefficient |= {
            "B": 1 / 3,
            "F": 1 / 4,
            "D": -2 / 9 * phi,
            "A": 4 / 27 * phi**2,
            "P": -1 / 12,
            "Q": -phi / 16,
            "R": -(1 / 16 + weights / 48),
            "S": weights / 12,
            "T": phi**2 / 32,
            "U": 0.0,
        }
    return Exponents(point.universality_class, 1.0, coefficient)
