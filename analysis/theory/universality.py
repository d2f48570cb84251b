"""The growth of tensors with depth at criticality, by universality class: docs/theory.md (4.2), (4.3), (4.4) and
(17.15)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.theory.activations import Activation
from analysis.theory.activations import activation as named
from analysis.theory.criticality import critical, equal_shares
from analysis.theory.quadrature import mean1
from analysis.theory.recursion import flow
from analysis.theory.tensors import UNITS


@dataclass(frozen=True)
class Exponents:
    """Growth at criticality and large l, docs/theory.md (4.2), (4.3) and (4.4): K falls as l^-p_0, and each tensor, in
    UNITS of K and Theta at the same layer, grows as coefficient * l. A coefficient of 0 means slower growth.
    """

    universality_class: str
    p_0: float
    coefficient: dict[str, float]


def exponents(activation: str | Activation, phi: float = 0.5) -> Exponents:
    """The predicted depth exponents and coefficients for one input, docs/theory.md (4.2), (4.3) and (4.4).

    phi: the biases' share of the NTK, lambda_b / (lambda_b + lambda_W <s^2>) per layer, at the rates that give every
    layer an equal share: constant for scale-invariant activations, lambda_b / l for K* = 0, docs/theory.md (4.5).
    Left out are tensors that do not grow as l in these units, A, D, Q, R, S, T for half-stable activations (their
    chi_perp moves with K, and D grows as l^2), and those that have no known asymptotics: R, S, T, U for
    scale-invariant activations, all but V and G1 for K* = 0 ones that are not odd (p_perp differs from 1).
    Raises ValueError where no critical point exists, or phi is not between 0 and 1.
    """
    _refuse_no_share(phi)
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
        # At K*, <s s''> = 0 and Theta = w l; the sums over layers of docs/theory.md (2.12), (2.13), (3.13) and (3.15)
        # are these.
        K, C_W = point.K_star, point.C_W
        s0, s1, s2 = s.derivatives[:3]
        spread = mean1(lambda z: s0(z) ** 4, K) - mean1(lambda z: s0(z) ** 2, K) ** 2
        return Exponents(
            point.universality_class,
            0.0,
            {
                "V": C_W**2 * spread / K**2,
                "B": C_W**2 * mean1(lambda z: s1(z) ** 4, K) / 3,
                "F": C_W**2 * mean1(lambda z: s0(z) ** 2 * s1(z) ** 2, K) / (2 * K),
                "P": C_W**2 * mean1(lambda z: s2(z) * s1(z) ** 2 * s0(z), K) / 3,
                "U": C_W**2 * mean1(lambda z: s2(z) ** 2 * s1(z) ** 2, K) * K / 4,
            },
        )
    coefficient = {"V": 2 / 3, "G1": -1 / 3}
    odd = abs(float(s.derivatives[2](np.zeros(1))[0])) < 1e-14
    if odd:  # then a1 = b1, so p_perp = 1
        weights = 1 - phi
        coefficient |= {
            "Theta1": 5 / 18 * phi - 1 / 4,
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


def next_coefficients(phi: float = 0.5) -> dict[str, float]:
    """The coefficients of l^2 in the tensors of the next order at K* = 0 follow from docs/theory.md (17.8) and (17.15).

    They hold for odd activations, in units of K and Theta of the same layer: K for G2, K^2 for V2, K^3 for W, Theta for
    Theta2, Theta^2 for A2 and B2, K Theta for D2 and F2, K Theta^2 for Z and Theta^3 for T3.

    phi: as for `exponents`. Raises ValueError where phi is not between 0 and 1.
    """
    _refuse_no_share(phi)
    return {
        "G2": 1 / 15,
        "V2": -14 / 45,
        "W": 16 / 15,
        "Theta2": 1 / 30 - 47 / 900 * phi,
        "A2": 1 / 6 - phi / 24 - 2351 / 81000 * phi**2,
        "B2": -43 / 720 + 11 / 60 * phi + phi**2 / 27,
        "D2": 1 / 12 + 91 / 900 * phi,
        "F2": -2 / 15 + 11 / 270 * phi,
        "Z": 17 / 144,
        "T3": 1 / 5,
    }


def _refuse_no_share(phi: float) -> None:
    """Raises ValueError where phi is not between 0 and 1."""
    if not 0 <= phi <= 1:
        raise ValueError(f"phi={phi}: a share between 0 and 1")


def bias_share(activation: str | Activation, lambda_b: float, lambda_W: float, K: float) -> float:
    """The share phi of `exponents`, from the rates before their depth scaling and the kernel: docs/theory.md (4.2),
    (4.3) and (4.5). Raises ValueError where no critical point exists."""
    s, point = named(activation), critical(activation)
    if s.slopes is not None:
        square = (s.slopes[0] ** 2 + s.slopes[1] ** 2) / 2 * K
    elif point.universality_class == "half-stable":
        square = mean1(lambda z: s(z) ** 2, point.K_star)
    else:
        s1, s2, s3 = (float(f(np.zeros(1))[0]) for f in s.derivatives[1:4])
        square = s1**2 / -(s3 / s1 + 3 / 4 * (s2 / s1) ** 2)
    return lambda_b / (lambda_b + lambda_W * square)


def iterated(
    activation: str | Activation, lambda_b: float, lambda_W: float, K: float, tensors: Sequence[str], depth: int
) -> dict[str, float]:
    """The coefficients of l, in UNITS of K and Theta, that the recursions of docs/theory.md sections 1 to 3 have at
    large depth. Those of `exponents` are what they tend to: docs/theory.md (4.2) to (4.4).

    lambda_b, lambda_W: rates before the depth scaling of docs/theory.md (4.5). K: the kernel of layer 1. Corrections to
    a coefficient are of order log(l)/l and 1/l; X(l)/l at `depth` layers, a half and a quarter of them removes both.
    Raises ValueError for a depth that is no multiple of 4, where no critical point exists, and for what `flow` refuses.
    """
    if depth < 4 or depth % 4:
        raise ValueError(f"depth={depth}: a multiple of 4 is needed")
    point, (share_b, share_W) = critical(activation), equal_shares(activation, depth)
    if point.C_b >= K:
        raise ValueError(f"K={K}: a kernel above C_b = {point.C_b:.6g} is needed")
    x = np.full((1, 1), np.sqrt((K - point.C_b) / point.C_W))
    rates_b, rates_W = lambda_b * np.array(share_b), lambda_W * np.array(share_W)
    deep = flow(activation, depth, point.C_b, point.C_W, x, rates_b, rates_W, tensors=["Theta", *tensors])
    assert deep.Theta is not None
    layers = np.array([depth // 4, depth // 2, depth])
    found = {}
    for name in tensors:
        power_K, power_Theta = UNITS[name]
        units = deep.K[layers - 1, 0, 0] ** power_K * deep.Theta[layers - 1, 0, 0] ** power_Theta
        slope = deep[name][layers - 1].reshape(3) / units / layers
        once = 2 * slope[1:] - slope[:-1]  # without 1/l, and with a constant over l for log(l)/l
        found[name] = float(2 * once[1] - once[0])
    return found
