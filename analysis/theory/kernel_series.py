"""The kernel g of one input to any order in 1/n, docs/theory.md (17.4), and what the outputs' law is made of.

The law of g in a layer stands in the moments of d = g - K, each a polynomial in 1/n. One layer's conditional moments
are polynomials in d and 1/n. A power d^a counts as a/2 powers of 1/n, and what is beyond the order is dropped.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.polynomial.hermite_e import hermeval

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.second_order import half_fourth

HIGHEST = 5  # order in 1/n of activations whose averages are integrated: Hermite polynomials up to the twentieth
REACH = 14.0  # half-range of a whitened axis, beyond which the twentieth power of z carries 1e-20
NAMES = "KVWX"  # leading coefficients of the first four cumulants of g


@dataclass(frozen=True)
class KernelSeries:
    """Coefficients of 1/n^p, p = 0..P, in the law of g(l), l = 1..depth, docs/theory.md (17.4).

    moments (depth, 2P + 1, P + 1): of E (g - K)^a. cumulants (depth, P + 1, P + 1): of kappa_k(g), k = 1..P + 1.
    n is the width n_{l-1} of the layer below.
    """

    moments: Array
    cumulants: Array

    @property
    def order(self) -> int:
        """The order P in 1/n."""
        return self.moments.shape[-1] - 1

    def __getitem__(self, name: str) -> Array:
        """A coefficient by its name in docs/theory.md (17.2), (depth,): K, G1, G2, .. of E g, V, V2, V3, .. of Var g,
        W, W2, .. of the third and X, X2, .. of the fourth cumulant. Raises KeyError for one beyond the order."""
        match = re.fullmatch(r"K|G([1-9])|([VWX])([2-9]?)", name)
        k = NAMES.index(match[2] or "K") if match else 0
        p = int(match[1] or 0) if match and not k else k - 1 + int((match and match[3]) or 1)
        if not match or k > self.order or p > self.order:
            raise KeyError(f"{name}: not among the coefficients of order 1/n^{self.order} and below")
        return self.cumulants[:, k, p]

    def at(self, n: float, order: int | None = None) -> Array:
        """The cumulants of g at the width n with powers up to `order`, all by default, docs/theory.md (17.4), (depth,
        P + 1)."""
        return self.cumulants @ self._powers(n, order)

    def output_cumulants(self, n: float, order: int | None = None) -> Array:
        """The cumulants kappa_2k(z) = (2k - 1)!! kappa_k(g) of one output, k = 1..P + 1, docs/theory.md (17.6), (depth,
        P + 1)."""
        return self.at(n, order) * [math.prod(range(2 * k - 1, 0, -2)) for k in range(1, self.order + 2)]

    @property
    def kurtosis(self) -> Array:
        """The coefficients of 1/n^p in E z^4/(E z^2)^2, docs/theory.md (17.6), (depth, P + 1)."""
        return 3 * self.spread

    @property
    def spread(self) -> Array:
        """The coefficients of 1/n^p in E g^2/(E g)^2, docs/theory.md (17.6), (depth, P + 1)."""
        return np.array([_quotient(_square(c[0]) + c[1], _square(c[0])) for c in self.cumulants])

    def density(self, z: Array, layer: int, n: float, order: int | None = None) -> Array:
        """The density of m outputs z (..., m) of a layer at the width n with powers up to `order`, docs/theory.md
        (17.7), (...).

        It is a polynomial times the density at infinite width and may be negative far in the tails. Raises ValueError
        for a layer or an order that the series does not have.
        """
        if not 1 <= layer <= len(self.moments):
            raise ValueError(f"layer={layer}: 1 to {len(self.moments)}")
        from scipy.special import eval_genlaguerre  # late: it takes a while

        K, m, R = self.cumulants[layer - 1, 0, 0], z.shape[-1], np.square(z).sum(axis=-1)
        highest = 2 * (self.order if order is None else order)
        M = (self.moments[layer - 1] @ self._powers(n, order))[: highest + 1]
        terms = ((-1) ** k * M[k] / K**k * eval_genlaguerre(k, m / 2 - 1, R / (2 * K)) for k in range(len(M)))
        return np.asarray(sum(terms) * np.exp(-R / (2 * K)) / (2 * math.pi * K) ** (m / 2))

    def _powers(self, n: float, order: int | None) -> Array:
        highest = self.order if order is None else order
        if not 0 <= highest <= self.order:
            raise ValueError(f"order={order}: 0 to {self.order}, the order of the series")
        if not n > 0:
            raise ValueError(f"n={n}: a width, larger than zero")
        p = np.arange(self.order + 1)
        return np.where(p <= highest, float(n) ** -p, 0.0)


def chain(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    K1: float,
    order: int,
    width_ratios: Sequence[float] | None = None,
) -> KernelSeries:
    """The law of g of one input in layers 1..depth to any order in 1/n, docs/theory.md (17.4).

    K1: the kernel of layer 1. width_ratios: n_l/n_{l-1} for l = 1..depth-1 (the first never matters); None means one
    width. Order 2 is `next_order`. The series of scale-invariant activations ends, docs/theory.md (17.8): a larger
    order is then the exact law. Raises ValueError for settings that make no sense, for a kernel of zero where
    derivatives are taken, and for orders above 5 of activations that are not scale-invariant.
    """
    s = named(activation)
    if depth < 1:
        raise ValueError(f"depth={depth}: one layer or more")
    if order < 1 or (order > HIGHEST and s.slopes is None):
        raise ValueError(f"order={order}: 1 to {HIGHEST} for {s.name}; scale-invariant activations have any from 1 on")
    if not (K1 > 0 or (K1 == 0 and s.slopes is not None)):
        raise ValueError(f"K1={K1}: a kernel above zero, at which derivatives are taken")
    ratios = [1.0] * (depth - 1) if width_ratios is None else [float(rho) for rho in width_ratios]
    if len(ratios) != depth - 1 or not all(rho > 0 for rho in ratios):
        raise ValueError(f"width_ratios={width_ratios!r}: {depth - 1} numbers > 0, n_l / n_(l-1) for l = 1..L-1")
    moments = np.zeros((2 * order + 1, order + 1))
    moments[0, 0] = 1.0
    K, rows, kernels = K1, [moments], [K1]
    for rho in ratios:
        cumulants = _neuron(s, C_b, C_W, K, order)
        K, cumulants[0, 0] = cumulants[0, 0], 0.0
        moments = _step(cumulants, moments * rho ** np.arange(order + 1), order)
        rows.append(moments)
        kernels.append(K)
    found = np.array([_cumulants(m, order) for m in rows])
    found[:, 0, 0] = kernels
    return KernelSeries(np.array(rows), found)


def _neuron(s: Activation, C_b: float, C_W: float, K: float, order: int) -> Array:
    """The coefficients of d^a, a = 0..2 order, in the cumulants of C_W s^2 of one neuron of variance K + d, the first
    with C_b, (order + 1, 2 order + 1)."""
    length = 2 * order + 1
    mean = C_W ** np.arange(1, order + 2)[:, None] * _averages(s, K, order + 1, length)
    found: list[Array] = []
    for j in range(1, order + 2):
        lower = (math.comb(j - 1, i - 1) * np.convolve(found[i - 1], mean[j - i - 1])[:length] for i in range(1, j))
        found.append(mean[j - 1] - sum(lower))
    found[0][0] += C_b
    return np.array(found)


def _averages(s: Activation, K: float, powers: int, length: int) -> Array:
    """The coefficients of d^a in <s^2i> at variance K + d, i = 1..powers, docs/theory.md (17.1), (powers, length)."""
    if s.slopes is not None:
        rows = []
        for i in range(1, powers + 1):
            A = math.prod(range(2 * i - 1, 0, -2)) * (s.slopes[0] ** (2 * i) + s.slopes[1] ** (2 * i)) / 2
            rows.append([A * math.comb(i, a) * K ** (i - a) if a <= i else 0.0 for a in range(length)])
        return np.array(rows)
    xi = np.arange(-REACH, REACH, min(0.02, 0.1 / math.sqrt(K)))
    weight = np.exp(-(xi**2) / 2)
    weight /= weight.sum()
    z = math.sqrt(K) * xi
    factorial = np.array([math.factorial(a) for a in range(length)], dtype=np.float64)
    hermite = hermeval(xi, np.eye(2 * length - 1)[:, ::2]) * weight / (2 * K) ** np.arange(length)[:, None]
    f = s(z) ** (2 * np.arange(1, powers + 1)[:, None])
    out = f @ hermite.T / factorial
    # From its second derivative on, <s^2> goes through (s^2)'''', which keeps digits at small K.
    out[0, 2:] = hermite[: length - 2] @ half_fourth(s, z) / factorial[2:]
    return np.asarray(out)


def _step(cumulants: Array, below: Array, order: int) -> Array:
    """Moments of layer l + 1 from one neuron's cumulants as polynomials in d and the moments of layer l, both with
    powers of 1/n_l."""
    length = 2 * order + 1
    keep = np.arange(length)[:, None] / 2 + np.arange(order + 1) <= order
    # conditional[k][a, p] is the coefficient of d^a/n^p in E[(g' - K')^k | g].
    conditional = [np.zeros((length, order + 1))]
    conditional[0][0, 0] = 1.0
    for k in range(1, length):
        total = np.zeros((length, order + 1))
        for j in range(1, min(k, order + 1) + 1):  # the j-th cumulant of g' has n^(1 - j)
            factor = math.comb(k - 1, j - 1) * cumulants[j - 1]
            for a in np.flatnonzero(factor):
                total[a:, j - 1 :] += factor[a] * conditional[k - j][: length - a, : order + 2 - j]
        conditional.append(np.where(keep, total, 0.0))
    new = np.zeros_like(below)
    for k in range(length):
        for q in range(order + 1):
            new[k, q:] += conditional[k][:, q] @ below[:, : order + 1 - q]
    return new


def _cumulants(moments: Array, order: int) -> Array:
    """The cumulants of d, k = 1..order + 1, from its moments as polynomials in 1/n, (order + 1, order + 1)."""
    found: list[Array] = []
    for k in range(1, order + 2):
        lower = (math.comb(k - 1, j - 1) * np.convolve(found[j - 1], moments[k - j])[: order + 1] for j in range(1, k))
        found.append(moments[k] - sum(lower))
    return np.array(found)


def _square(series: Array) -> Array:
    return np.convolve(series, series)[: len(series)]


def _quotient(upper: Array, lower: Array) -> Array:
    """The power series of a quotient of two."""
    out = np.zeros_like(upper)
    for p in range(len(out)):
        out[p] = (upper[p] - out[:p] @ lower[p:0:-1]) / lower[0]
    return out


def universal_moments(order: int, highest: int) -> list[list[Fraction]]:
    """The coefficients of r^j, j = 0..order, in E (g/K)^k, k = 0..highest, at large depth where K* = 0, docs/theory.md
    (17.8), exact for all activations of the class.

    r = l/n. Each coefficient is a polynomial P_j(k) of degree 2j. Raises ValueError for negative numbers.
    """
    if order < 0 or highest < 0:
        raise ValueError(f"order={order}, highest={highest}: whole numbers, zero or larger")
    polynomials = [[Fraction(1)]]
    for j in range(1, order + 1):
        last = polynomials[-1]
        right = [Fraction(0)] * (2 * j + 1)  # k (k - 1) P_(j-1)
        for m, c in enumerate(last):
            right[m + 2] += c
            right[m + 1] -= c
        found = [Fraction(0)] * (2 * j + 1)
        for m in range(2 * j, 0, -1):  # k ( (k + 1)^i - k^i ) has binom(i, m - 1) k^m
            above = sum((found[i] * math.comb(i, m - 1) for i in range(m + 1, 2 * j + 1)), Fraction(0))
            found[m] = (right[m] - above) / (j + m)
        polynomials.append(found)
    return [[sum((c * k**m for m, c in enumerate(P)), Fraction(0)) for P in polynomials] for k in range(highest + 1)]
