"""What grows with the aspect ratio r = L/n at criticality: exact laws of single networks, and where order 1/n ends.

Scale-invariant activations of one input with C_b = 0, docs/theory.md (12.1) to (12.5). `widths` are n_1..n_{l-1}, those
of the layers below the one that a result belongs to; t = (l - 1)/n.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are used

from analysis.theory.activations import activation
from analysis.theory.finite_width import second_moments
from analysis.theory.quadrature import legendre

POINTS, SPREAD = 8192, 60.0  # of the law of log g; its left tail, which is an exponential, ends in so many deviations
ROUNDING = 1e-13  # part of the largest density below which it is rounding
NEGLIGIBLE = 1e-30  # probability of a number of active neurons that is left out
NODES = 200  # of an integral over layers, whose integrand is a sum of exponentials


def _slopes(name: str) -> tuple[float, float]:
    s = activation(name)
    if s.slopes is None:
        raise ValueError(f"{s.name} is not scale-invariant: docs/theory.md (12.6) has the law of the class K* = 0")
    return s.slopes


def _mean_over_active(name: str, n: int, least: int, f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The mean of f(k) over the number k of active neurons among n, given that k >= least."""
    plus, minus = (abs(slope) for slope in _slopes(name))
    if n < least or not plus + minus:
        raise ValueError(f"width={n}: {least} active neurons or more are needed")
    if plus == minus:
        return f(np.array([float(n)]))[..., 0]
    if plus * minus:
        raise ValueError(f"{name}: its slopes differ in size and none is 0, for which no closed form is known")
    k = np.arange(least, n + 1)
    weight = scipy.stats.binom.pmf(k, n, 0.5)
    k, weight = k[weight > NEGLIGIBLE], weight[weight > NEGLIGIBLE]
    mean: np.ndarray = (f(k.astype(float)) * weight).sum(axis=-1) / weight.sum()
    return mean


def log_kernel(name: str, widths: Sequence[int], C_W: float, K1: float) -> tuple[float, float]:
    """The exact mean and variance of log g(l), given that no layer is dead, docs/theory.md (12.1).

    K1 = C_W |x|^2 / n_0 is the kernel of layer 1. A layer of n ReLU neurons is dead with probability 2^-n. Raises
    ValueError for an activation that is not scale-invariant, and for slopes of different size that are not 0.
    """
    scale = max(abs(slope) for slope in _slopes(name))
    mean, variance = math.log(K1), 0.0
    for n, layers in Counter(widths).items():
        psi, psi_squared, trigamma = _mean_over_active(
            name,
            n,
            1,
            lambda k: np.stack(
                [scipy.special.digamma(k / 2), scipy.special.digamma(k / 2) ** 2, scipy.special.polygamma(1, k / 2)]
            ),
        )
        mean += layers * (float(psi) + math.log(2 * C_W * scale**2 / n))
        variance += layers * float(trigamma + psi_squared - psi**2)
    return mean, variance


def kernel_law(name: str, widths: Sequence[int], C_W: float, K1: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the exact law of g(l), given that no layer is dead, docs/theory.md (12.1).

    log g is a sum of independent numbers, whose characteristic functions are gamma functions; their product is
    transformed back. Arguments and errors are those of `log_kernel`.
    """
    scale, (mean, variance) = max(abs(slope) for slope in _slopes(name)), log_kernel(name, widths, C_W, K1)
    if not variance:
        return np.array([K1]), np.ones(1)
    u = (np.arange(POINTS) - POINTS // 2) * (2 * SPREAD / POINTS)  # log g in standard deviations from its mean
    frequency = math.pi / SPREAD / math.sqrt(variance) * np.arange(POINTS // 2 + 1)
    log_phi = 1j * frequency * (math.log(K1) - mean)
    for n, layers in Counter(widths).items():
        phi = _mean_over_active(
            name,
            n,
            1,
            lambda k: np.exp(scipy.special.loggamma(k / 2 + 1j * frequency[:, None]) - scipy.special.gammaln(k / 2)),
        )
        log_phi = log_phi + layers * np.log(np.where(phi == 0, np.finfo(float).tiny, phi))
        log_phi = log_phi + layers * 1j * frequency * math.log(2 * C_W * scale**2 / n)
    density = np.fft.fftshift(np.fft.irfft(np.conj(np.exp(log_phi)), POINTS))
    seen, mode = density > density.max() * ROUNDING, int(density.argmax())
    seen[mode + int(np.argmin(seen[mode:])) :] = False  # what is rounding there would weigh much in moments of g
    return np.exp(mean + math.sqrt(variance) * u[seen]), density[seen] / density[seen].sum()


def breakdown(deviation: float, statistic: str = "vertex") -> float:
    """The nu r at which order 1/n is low by this relative deviation, for scale-invariant s, docs/theory.md (12.2).

    statistic: "vertex" for V/(nK^2), which is nu r at order 1/n and exp(nu r) - 1 in full, or "second_moment" for
    E g^2/K^2. Raises ValueError for another statistic, and for a deviation that is not between 0 and 1.
    """
    ratios: dict[str, Callable[[float], float]] = {
        "vertex": lambda x: x / math.expm1(x),
        "second_moment": lambda x: (1 + x) * math.exp(-x),
    }
    if statistic not in ratios:
        raise ValueError(f"statistic={statistic!r}: one of {', '.join(ratios)}")
    if not 0 < deviation < 1:
        raise ValueError(f"deviation={deviation}: between 0 and 1")
    return float(scipy.optimize.brentq(lambda x: ratios[statistic](x) - 1 + deviation, 1e-12, 100.0, xtol=1e-14))


@dataclass(frozen=True)
class NTKAtRatio:
    """Second moments of preactivation and NTK of two outputs i != j at fixed t, in units of K and E H_ii,
    docs/theory.md (12.3): E z_i^2 H_jj, E z_i z_j H_ij, E H_ii H_jj and E H_ij^2."""

    z2H: float
    zzH: float
    HH: float
    H2: float


def ntk_at_ratio(name: str, t: float, phi: float) -> NTKAtRatio:
    """The NTK's second moments at fixed t = (l - 1)/n and n -> infinity, docs/theory.md (12.3).

    All layers have the same rates, and phi is the biases' share lambda_b/(lambda_b + lambda_W A2 K). Raises ValueError
    for an activation that is not scale-invariant, for t that is not positive and phi outside 0 to 1.
    """
    if not (t > 0 and 0 <= phi <= 1):
        raise ValueError(f"t={t}, phi={phi}: t above 0, phi from 0 to 1")
    A2, A4 = (sum(abs(slope) ** k for slope in _slopes(name)) / 2 for k in (2, 4))
    nu = 3 * A4 / A2**2 - 1

    def delta(u: np.ndarray | float, other: float) -> np.ndarray:
        """E z_i^2 H_jj (other = 2) or E z_i z_j H_ij (other = -1) in units of K w n."""
        biases = (np.expm1(nu * u) / nu - other * np.expm1(-np.asarray(u))) / 3
        weights = (u * np.exp(nu * u) + other * (np.exp(nu * u) - np.exp(-np.asarray(u))) / (nu + 1)) / 3
        total: np.ndarray = phi * biases + (1 - phi) * weights
        return total

    x, w = legendre(NODES)
    u = t * (x + 1) / 2
    source = t / 2 * w * (2 * phi * u + 2 * (1 - phi) * delta(u, 2.0)) / 3
    grown, decayed = np.exp(nu * (t - u)), np.exp(u - t)
    alpha, beta = source @ (grown + 2 * decayed), source @ (grown - decayed)
    return NTKAtRatio(float(delta(t, 2.0)) / t, float(delta(t, -1.0)) / t, float(alpha) / t**2, float(beta) / t**2)


def relative_error(order: int, log_variance: float, networks: int) -> float:
    """The standard error of the mean of g^k over networks, over E g^k, for log-normal g, docs/theory.md (12.4).

    log_variance: Var log g = nu r.
    """
    return math.sqrt(math.expm1(order**2 * log_variance) / networks)


def reach(order: int, log_variance: float, networks: int) -> float:
    """How far out the networks lie that carry E g^k, over the farthest of so many networks, docs/theory.md (12.4).

    Above about 0.5 the mean of g^k over networks is low in most samples, and its error bar does not show it.
    log_variance: Var log g = nu r. Raises ValueError for fewer than two networks.
    """
    if networks < 2:
        raise ValueError(f"networks={networks}: two or more")
    return order * math.sqrt(log_variance) / math.sqrt(2 * math.log(networks))


def alignment(name: str, widths: Sequence[int], n: int) -> float:
    """E log sin^2 of the angle between z(l) of n neurons and its response to a change of the input at right angles to
    the input, docs/theory.md (12.5).

    Of a linear network it is also E log(1 - rho^2) of two inputs at right angles. Raises ValueError for activations as
    `log_kernel`, and for fewer than two neurons in a layer.
    """
    inside = sum(
        layers
        * float(
            _mean_over_active(
                name, width, 2, lambda k: scipy.special.digamma((k - 1) / 2) - scipy.special.digamma(k / 2)
            )
        )
        for width, layers in Counter(widths).items()
    )
    if n < 2:
        raise ValueError(f"n={n}: an angle needs two neurons or more")
    return inside + float(scipy.special.digamma((n - 1) / 2) - scipy.special.digamma(n / 2))


def jacobian_moments(name: str, widths: Sequence[int], n: int, C_W: float) -> tuple[float, float, float]:
    """E tr JJ^T, E (tr JJ^T)^2 and E tr (JJ^T)^2 of J = dz(l)/dz(1) of n neurons, exact at finite width, follow from
    docs/theory.md (6.7) without rates above layer 1, as docs/theory.md (12.5) says.

    Raises ValueError for an activation that is not scale-invariant.
    """
    mean, a, b = second_moments(name, widths, C_W)
    same = a + 2 * b  # E (JJ^T)_ii^2, since the outputs of a Gaussian layer may be rotated
    return n * mean, n * same + n * (n - 1) * a, n * same + n * (n - 1) * b


def effective_rank(name: str, t: float) -> float:
    """E (tr JJ^T)^2 / E tr (JJ^T)^2 of the Jacobian of layer l in layer 1 as n -> infinity at fixed t = (l - 1)/n,
    docs/theory.md (12.5).

    Raises ValueError for an activation that is not scale-invariant, and for t that is not positive.
    """
    if not t > 0:
        raise ValueError(f"t={t}: a number above 0; at t = 0 it is the number of neurons")
    A2, A4 = (sum(abs(slope) ** k for slope in _slopes(name)) / 2 for k in (2, 4))
    growth = math.expm1(3 * A4 / A2**2 * t)
    return (growth + 3) / growth
