"""Criticality: the (C_b, C_W) at which chi_parallel = chi_perp = 1, docs/theory.md section 4."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from analysis.theory.activations import Activation
from analysis.theory.activations import activation as named
from analysis.theory.quadrature import mean1


@dataclass(frozen=True)
class Critical:
    """A critical initialisation of docs/theory.md (4.1).

    K_star, the kernel's fixed point, is NaN where every kernel is one (scale-invariant).
    """

    C_b: float
    C_W: float
    K_star: float
    universality_class: str  # "scale-invariant", "K* = 0" or "half-stable"


def critical(activation: str | Activation, skip: float = 0.0, branch: float = 1.0) -> Critical:
    """The critical initialisation of an activation, by its class: docs/theory.md (4.2), (4.3) or (4.4). That of a
    residual network with the same skip gamma in every layer is docs/theory.md (11.3), and that with a branch alpha too
    docs/theory.md (11.2).

    Raises ValueError for an unknown activation, for one that has no critical initialisation (sigmoid and softplus,
    docs/theory.md (4.6)), for a skip that is not below 1, for a branch that is not above 0 and where C_W overflows.
    """
    if not 0 <= skip < 1:
        raise ValueError(f"skip={skip:g}: a number from 0 to below 1 has a critical initialisation")
    if not branch > 0:
        raise ValueError(f"branch={branch:g}: a number above 0 has a critical initialisation")
    s, plain = named(activation), skip == 0 and branch == 1
    try:
        point, share = _critical(s), 1 - skip**2
        point = point if plain else replace(point, C_b=share * point.C_b, C_W=share / branch**2 * point.C_W)
    except ArithmeticError:
        point = Critical(math.nan, math.nan, math.nan, "")
    if not 0 < point.C_W < math.inf:
        raise ValueError(f"{s.name}: at branch={branch:g} the critical C_W is beyond the range of float64")
    return point


@lru_cache(maxsize=256)
def _critical(s: Activation) -> Critical:
    """A claim asks at every point of a sweep: docs/theory.md (4.2), (4.3) or (4.4)."""
    if s.slopes is not None:
        A2 = (s.slopes[0] ** 2 + s.slopes[1] ** 2) / 2
        return Critical(0.0, 1 / A2, math.nan, "scale-invariant")
    s0, s1, s2, s3 = (float(f(np.zeros(1))[0]) for f in s.derivatives[:4])
    # K' = K + a1 K^2 near 0, so K* = 0 attracts only where a1 < 0: docs/theory.md (4.3).
    if s0 == 0 and s1 != 0 and s3 / s1 + 3 / 4 * (s2 / s1) ** 2 < 0:
        return Critical(0.0, 1 / s1**2, 0.0, "K* = 0")

    def asymmetry(log_K: float) -> float:
        """<s s''> = (chi_parallel - chi_perp) / C_W vanishes at K*, docs/theory.md (4.4)."""
        return mean1(lambda z: s.derivatives[0](z) * s.derivatives[2](z), math.exp(log_K))

    from scipy.optimize import brentq  # late: it takes a while, and the classes above need no root

    grid = np.linspace(math.log(1e-2), math.log(1e3), 60)
    values = [asymmetry(k) for k in grid]
    for low, high, left, right in zip(grid, grid[1:], values, values[1:], strict=False):
        if left * right < 0:
            K = math.exp(float(brentq(asymmetry, low, high, xtol=1e-15, rtol=1e-14)))
            C_W = 1 / mean1(lambda z: s.derivatives[1](z) ** 2, K)
            C_b = K - C_W * mean1(lambda z: s(z) ** 2, K)
            if C_b >= 0:
                return Critical(C_b, C_W, K, "half-stable")
    raise ValueError(
        f"{s.name} has no critical initialisation: chi_parallel = chi_perp = 1 holds at no kernel (PDLT sec. 5.3); "
        "choose C_b and C_W yourself"
    )


def equal_shares(activation: str | Activation, depth: int) -> tuple[list[float], list[float]]:
    """The factors of lambda_b and lambda_W, (b, W) with one number a layer each, of docs/theory.md (4.5).

    With them every layer has a like share of an NTK of order one at criticality. They are 1/L; for K* = 0 they are
    l^-p L^(p-1) and (L/l)^(p-1) with p = p_perp. Raises ValueError where no critical point exists.
    """
    s, point = named(activation), critical(activation)
    layers = range(1, depth + 1)
    if point.universality_class != "K* = 0":
        return [1 / depth] * depth, [1 / depth] * depth
    s1, s2, s3 = (float(f(np.zeros(1))[0]) for f in s.derivatives[1:4])
    p = (s3 / s1 + (s2 / s1) ** 2) / (s3 / s1 + 3 / 4 * (s2 / s1) ** 2)
    return [layer**-p * depth ** (p - 1) for layer in layers], [(depth / layer) ** (p - 1) for layer in layers]


def attractor(activation: str | Activation, C_b: float, C_W: float, K: float) -> tuple[float, float]:
    """The fixed point K* to which the kernel of one input flows from K, and chi_parallel(K*): (K*, chi).

    chi is the factor by which distances to K* shrink in a layer, docs/theory.md (1.7) and (4.6). K* is 0 where the
    kernel vanishes and infinity where it blows up. Raises ValueError where K* is not reached exponentially, as at
    criticality.
    """
    s = named(activation)
    for _ in range(10_000):
        if s.slopes is not None:
            A2 = (s.slopes[0] ** 2 + s.slopes[1] ** 2) / 2
            square, chi = A2 * K, C_W * A2
        else:
            square = mean1(lambda z: s(z) ** 2, K)
            chi = C_W * (mean1(lambda z: s(z) ** 2 * z**2, K) / K - square) / (2 * K)
        step = C_b + C_W * square - K
        if abs(step) < 1e-13 * K or not 1e-20 < K < 1e20:
            if abs(chi - 1) < 1e-6:
                break
            return (0.0 if K < 1e-20 else math.inf if K > 1e20 else K), chi
        K += step
    raise ValueError(f"{s.name}, C_b={C_b:g}, C_W={C_W:g}: the kernel does not flow exponentially from K={K:g}")
