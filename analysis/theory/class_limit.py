"""The law of the kernel at a fixed aspect ratio r = L/n as n grows, for activations of the class K* = 0.

It is universal: no activation is left in it, docs/theory.md (12.6).
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are used

from analysis.theory.activations import Array
from analysis.theory.quadrature import legendre

NODES = 400  # of an integral over p, which is smooth and falls as exp(-p^2 r)
REACH = 7.0  # that factor is 1e-21 at p = REACH / sqrt(r)
HIGHEST = 20  # order of moments up to which digits suffice


@dataclass(frozen=True)
class LimitLaw:
    """Statistics of G = |a1| n g(L) at L = r n and n -> infinity, docs/theory.md (12.6).

    mean: E G. relative_variance: Var G/(E G)^2. log_mean, log_variance: those of log G.
    """

    mean: float
    relative_variance: float
    log_mean: float
    log_variance: float


def limit_law(ratio: float, start: float = math.inf) -> LimitLaw:
    """The limit law of the kernel at the aspect ratio r, docs/theory.md (12.6).

    start: |a1| n g(1); infinite where the kernel of layer 1 does not fall with n. The kernel K at infinite width is
    then 1/r in the units of G, so that E g/K is r times the mean. Raises ValueError for a ratio or a start that is not
    positive.
    """
    first, second = limit_moments(ratio, 2, start)
    p, weight = _spectrum(ratio, start)
    # E G^k is continued to k = 0: of the integral, with 1/Gamma(k) = k + gamma k^2 + .., two derivatives are needed,
    # and so they are of the residue at the pole that crosses the path where k falls below 1/2.
    density = weight * _gamma_squared(p, 0)
    integral = density.sum()
    slope = (density * 2 * scipy.special.digamma(-0.5 + 1j * p).real).sum()
    start_slope, start_curve = _start_at_zero(start)
    residue_slope = start_slope - np.euler_gamma - ratio
    residue_curve = 2 * (ratio - math.pi**2 / 4) + start_curve + residue_slope**2
    log_mean = residue_slope + integral
    log_square = residue_curve + 2 * np.euler_gamma * integral + 2 * slope
    return LimitLaw(first, second / first**2 - 1, float(log_mean), float(log_square - log_mean**2))


def limit_moments(ratio: float, moments: int, start: float = math.inf) -> list[float]:
    """The moments E G^k, k = 1..moments, of the limit law, docs/theory.md (12.6).

    Arguments and errors are those of `limit_law`; moments: 1 to HIGHEST, else ValueError.
    """
    if not 1 <= moments <= HIGHEST:
        raise ValueError(f"moments={moments}: 1 to {HIGHEST}")
    p, weight = _spectrum(ratio, start)
    return [float((weight * _gamma_squared(p, k)).sum() / scipy.special.gamma(k)) for k in range(1, moments + 1)]


def _gamma_squared(p: Array, k: int) -> Array:
    """(2/pi) p sinh(pi p) |Gamma(k - 1/2 + ip)|^2, whose factors overflow where p is large."""
    log_sinh = math.pi * p + np.log1p(-np.exp(-2 * math.pi * p)) - math.log(2)
    values: Array = 2 / math.pi * p * np.exp(2 * scipy.special.loggamma(k - 0.5 + 1j * p).real + log_sinh)
    return values


def _spectrum(ratio: float, start: float) -> tuple[Array, Array]:
    """Nodes p, and exp(-(p^2 + 1/4) r) dp times the share sqrt(G(1)/pi) exp(G(1)/2) K_ip(G(1)/2) of a finite start."""
    if not (ratio > 0 and math.isfinite(ratio)):
        raise ValueError(f"ratio={ratio}: a finite number above 0")
    if not start > 0:
        raise ValueError(f"start={start}: a number above 0, or infinity")
    x, w = legendre(NODES)
    top = REACH / math.sqrt(ratio)
    p = top * (x + 1) / 2
    weight = top / 2 * w * np.exp(-(p**2 + 0.25) * ratio)
    if math.isfinite(start):
        u, bessel = _bessel(start, math.pi / (top + 60))  # the step resolves cos(pu) at the largest p
        weight = weight * (np.cos(p[:, None] * u) @ bessel)
    return p, weight


def _bessel(start: float, step: float) -> tuple[Array, Array]:
    """u and weights of the mean over u >= 0 that gives sqrt(G/pi) exp(G/2) K_a(G/2) of cosh(a u), at G = start."""
    reach = math.acosh(1 + 80 / start) + 2  # exp(-G/2 (cosh u - 1)) is below 1e-17 beyond
    u = np.arange(0.0, reach, min(step, 0.02 / (1 + math.sqrt(start) / 4)))
    weight = math.sqrt(start / math.pi) * np.exp(-start / 2 * (np.cosh(u) - 1)) * (u[1] - u[0])
    weight[0] /= 2
    return u, weight


def _start_at_zero(start: float) -> tuple[float, float]:
    """First and second derivative in k, at k = 0, of the logarithm of a finite start's share at p = i (k - 1/2)."""
    if math.isinf(start):
        return 0.0, 0.0
    u, weight = _bessel(start, 0.02)
    slope = float(weight @ (u * np.sinh(-u / 2)))
    return slope, float(weight @ (u**2 * np.cosh(u / 2))) - slope**2
