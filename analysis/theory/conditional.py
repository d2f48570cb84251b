"""The law of one layer's kernel given the layer below, exact at every width, docs/theory.md section 17.

Given g(l), the kernel g(l+1) is C_b plus the mean over n_l neurons of C_W s_a s_b. Its conditional cumulants are
Gaussian averages over z ~ N(0, g(l)), which are computed here for arrays of kernels, one for each network: with one
input from a table in log g, with two from tables of Hermite coefficients.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache

import numpy as np

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.log_table import LogTable, chunks, tabulated

HALF_RANGE = 13.0  # of the trapezoidal rule; the square root of the Gaussian weight at its ends is below 1e-18
STEPS = (0.04, 0.02, 0.01, 0.005, 0.0025)  # of the trapezoidal rule, of which the first that has converged is taken
MOST_TERMS = 800  # of Mehler's series
DEGREES = (15, 31, 63, 127)  # of a table in log g, tried in turn
NEGLIGIBLE = 1e-7  # relative size below which a coefficient, of which products are taken, is left out
TAIL = 1e-14  # relative size at which a series is cut
POWERS = (1, 2, 3)  # of s, whose Hermite coefficients are tabulated
Pair = tuple[int, ...]


@lru_cache(maxsize=8)
def _hermite(terms: int, step: float) -> tuple[Array, Array]:
    """Nodes u (N,), and the weights (N, terms) with which a sum over nodes is <f(u) He_k(u)>/sqrt(k!)."""
    count = round(HALF_RANGE / step)
    u = np.linspace(-HALF_RANGE, HALF_RANGE, 2 * count + 1)
    h = np.empty((len(u), terms))
    h[:, 0] = np.exp(-(u**2) / 2)
    h[:, 0] /= h[:, 0].sum()
    for k in range(1, terms):
        h[:, k] = u * h[:, k - 1] / math.sqrt(k)
        if k > 1:
            h[:, k] -= math.sqrt((k - 1) / k) * h[:, k - 2]
    return u, h


class Conditional:
    """Cumulants of g(l+1) given g(l) for kernels of one or two inputs, docs/theory.md section 17.

    pairs: the components of a kernel, as (0, 0), (0, 1), (1, 1). low, high: the range of the kernels g_aa. Raises
    ValueError where activations with a kink have two inputs, and where the tables do not converge.
    """

    def __init__(
        self, activation: str | Activation, C_b: float, C_W: float, pairs: Sequence[Pair], low: float, high: float
    ):
        self.s, self.C_b, self.C_W, self.pairs = named(activation), C_b, C_W, list(pairs)
        if not 0 < low <= high:
            raise ValueError(f"kernels between {low:.3g} and {high:.3g}: positive ones are needed")
        self.crossed = any(a != b for a, b in pairs)
        if self.crossed and self.s.kinked:
            raise ValueError(f"activation={self.s.name}: conditional means of two inputs need a smooth activation")
        # Tables reach a little farther, for derivatives at the ends and where all kernels are equal.
        self.low, self.high = low / 1.05, high * 1.05
        self.step = self._step() if self.s.slopes is None or self.crossed else STEPS[0]
        self._moments = None if self.s.slopes else self._table(lambda z: [z**2, z**4, z**6], 1)
        self.terms = max(self._terms(p) for p in POWERS) if self.crossed else 0
        self._series = self._table(lambda z: [z**p for p in POWERS], self.terms) if self.crossed else None

    def _step(self) -> float:
        """The step of the trapezoidal rule at which averages at the largest kernel have converged."""
        old = np.full(4, np.nan)
        for step in STEPS:
            u, h = _hermite(3, step)
            square = self.s(math.sqrt(self.high) * u) ** 2
            new = np.array([square @ h[:, 0], square @ h[:, 2], square**2 @ h[:, 0], square**3 @ h[:, 0]])
            if (np.abs(new - old) <= TAIL * np.abs(new).max()).all():
                return step
            old = new
        raise ValueError(f"{self.s.name}: averages at K={self.high:.3g} do not converge")

    def _terms(self, power: int) -> int:
        """The number of terms of Mehler's series of s^power at the largest kernel."""
        u, h = _hermite(MOST_TERMS, min(self.step, 0.02))
        c = (self.s(math.sqrt(self.high) * u) ** power) @ h
        rest = np.cumsum(c[::-1] ** 2)[::-1] / max(float(c @ c), 1e-300)
        small = np.flatnonzero(rest < TAIL)
        if not len(small):
            raise ValueError(f"{self.s.name}: Mehler's series at K={self.high:.3g} needs more than {MOST_TERMS} terms")
        return int(small[0]) + 1

    def _table(self, functions: Callable[[Array], list[Array]], terms: int) -> LogTable:
        """<f(s(z)) He_k(z/sqrt g)>/sqrt(k!) for each of the functions and k below `terms`."""
        u, h = _hermite(terms, self.step)

        def values(g: Array) -> Array:
            s = self.s(np.sqrt(g)[:, None] * u)
            return np.concatenate([f @ h[:, :terms] for f in functions(s)], axis=1)

        def converged(coefficients: Array) -> bool:
            return bool((np.abs(coefficients[-2:]) <= 10 * TAIL * np.abs(coefficients).max()).all())

        found = tabulated(values, self.low, self.high, DEGREES, converged)
        if found is None:
            raise ValueError(f"{self.s.name}: averages between K={self.low:.3g} and {self.high:.3g} do not converge")
        return found

    @classmethod
    def around(
        cls, activation: str, C_b: float, C_W: float, pairs: Sequence[Pair], low: float, high: float
    ) -> "Conditional":
        """One that covers kernels from low to high, and is kept: ends are rounded to powers of two and halves."""
        ends = [2.0 ** (rounded(2 * math.log2(end)) / 2) for rounded, end in ((math.floor, low), (math.ceil, high))]
        return _kept(activation, C_b, C_W, tuple(pairs), *ends)

    def moments(self, g: Array) -> Array:
        """<s^2>, <s^4> and <s^6> at kernels g (M,), shape (M, 3)."""
        if self.s.slopes is not None:
            plus, minus = self.s.slopes
            factors = [odd * (plus**p + minus**p) / 2 for p, odd in ((2, 1), (4, 3), (6, 15))]
            return np.stack([f * g**k for k, f in enumerate(factors, start=1)], axis=1)
        assert self._moments is not None
        return self._moments(g)

    def mehler(self, powers: Sequence[tuple[int, int]], g_aa: Array, g_bb: Array, g_ab: Array) -> Array:
        """<s_a^p s_b^q> of docs/theory.md (17.18) for each p and q, at kernels (M,): (powers, M)."""
        assert self._series is not None
        found = np.zeros((len(powers), len(g_ab)))
        for rows in chunks(len(g_ab)):
            a, b = (self._series.columns(g[rows]).reshape(len(POWERS), self.terms, -1) for g in (g_aa, g_bb))
            rho = np.clip(g_ab[rows] / np.sqrt(g_aa[rows] * g_bb[rows]), -1.0, 1.0)
            for total, (p, q) in zip(found, powers, strict=True):
                of_order = a[p - 1] * b[q - 1]
                for k in reversed(range(self.terms)):
                    total[rows] *= rho
                    total[rows] += of_order[k]
        return found

    @cached_property
    def terms_that_count(self) -> tuple[list[int], LogTable]:
        """The orders k of c_k[s] of docs/theory.md (17.18), without those that are negligible at all kernels of the
        table, and the table of these: an odd function has none of even order."""
        assert self._series is not None
        coefficients = self._series.coefficients[:, : self.terms]
        bounds = np.abs(coefficients).sum(axis=0)
        orders = np.flatnonzero(bounds > NEGLIGIBLE * bounds.max())
        return orders.tolist(), LogTable(self._series.low, self._series.high, coefficients[:, orders])

    def products(self, g: Array) -> dict[tuple[int, ...], Array]:
        """<s_a s_b> and <s_a s_b s_c s_d> by sorted samples, each (M,), at kernels g (M, pairs)."""
        column = {pair: g[:, k] for k, pair in enumerate(self.pairs)}
        found: dict[tuple[int, ...], Array] = {}
        for a in sorted({a for pair in self.pairs for a in pair}):
            square, fourth, _ = self.moments(column[a, a]).T
            found |= {(a, a): square, (a, a, a, a): fourth}
        for a, b in self.pairs:
            if a != b:
                of = column[a, a], column[b, b], column[a, b]
                names = [(a, b), (a, a, b, b), (a, a, a, b), (a, b, b, b)]
                found |= dict(zip(names, self.mehler([(1, 1), (2, 2), (3, 1), (1, 3)], *of), strict=True))
        return found

    def mean(self, g: Array) -> Array:
        """F_ab = C_b + C_W <s_a s_b> at kernels g (M, pairs), shape (M, pairs), docs/theory.md (7.10)."""
        return self.mean_and_covariance(g)[0]

    def mean_and_covariance(self, g: Array) -> tuple[Array, Array]:
        """F (M, pairs), and v (M, pairs, pairs) with Cov(g(l+1) | g(l)) = v/n_l, docs/theory.md (7.10)."""
        found = self.products(g)
        mean = np.stack([found[pair] for pair in self.pairs], axis=1)
        fourth = [[found[tuple(sorted((*p, *q)))] for q in self.pairs] for p in self.pairs]
        v = np.moveaxis(np.array(fourth), 2, 0) - mean[:, :, None] * mean[:, None, :]
        return self.C_b + self.C_W * mean, self.C_W**2 * v

    def third(self, g: Array) -> Array:
        """t with kappa_3(g(l+1) | g(l)) = t/n_l^2 of one input, at kernels g (M,), docs/theory.md (1.12)."""
        q, q2, q3 = self.moments(g).T
        return np.asarray(self.C_W**3 * (q3 - 3 * q * q2 + 2 * q**3))

    def derivatives(self, K: Array) -> tuple[Array, Array]:
        """The first two derivatives of F at one kernel K (pairs,), shapes (pairs, pairs) and (pairs, pairs, pairs).

        They are central differences. As coefficients of controls they need not be exact.
        """
        sizes = [float(np.sqrt(K[self.pairs.index((a, a))] * K[self.pairs.index((b, b))])) for a, b in self.pairs]
        step, P = 1e-3 * np.diag(sizes), len(K)
        places = [K, *(K + sign * step[A] for A in range(P) for sign in (1, -1))]
        corners = [(A, B) for A in range(P) for B in range(A)]
        places += [K + x * step[A] + y * step[B] for A, B in corners for x in (1, -1) for y in (1, -1)]
        F = self.mean(np.array(places))
        first, second = np.empty((P, P)), np.empty((P, P, P))
        for A in range(P):
            up, down = F[1 + 2 * A], F[2 + 2 * A]
            first[:, A] = (up - down) / (2 * step[A, A])
            second[:, A, A] = (up - 2 * F[0] + down) / step[A, A] ** 2
        for k, (A, B) in enumerate(corners):
            mixed = F[1 + 2 * P + 4 * k : 5 + 2 * P + 4 * k]
            mixed = (mixed[0] - mixed[1] - mixed[2] + mixed[3]) / (4 * step[A, A] * step[B, B])
            second[:, A, B] = second[:, B, A] = mixed
        return first, second


def next_mean(activation: str, C_b: float, C_W: float, pairs: Sequence[Pair], g: Array) -> Array:
    """F_ab = C_b + C_W <s_a s_b> at kernels g (M, pairs) of any number of inputs, docs/theory.md (7.10), (M, pairs).

    Each element is a mean of two inputs, by docs/theory.md (17.18) or, with a kink at zero, in closed form. Raises
    ValueError as `Conditional` does.
    """
    s = named(activation)
    if s.slopes is None:
        sizes = g[:, [k for k, (a, b) in enumerate(pairs) if a == b]]
        law = Conditional.around(activation, C_b, C_W, [(0, 0), (0, 1), (1, 1)], float(sizes.min()), float(sizes.max()))
        means = np.concatenate([_means_of_products(law, pairs, g[rows]) for rows in chunks(len(g))])
    else:
        left, right = ([pairs.index((pair[side],) * 2) for pair in pairs] for side in (0, 1))
        root = np.sqrt(np.maximum(g[:, left] * g[:, right] - g**2, 0.0))
        mean, jump = (s.slopes[0] + s.slopes[1]) / 2, s.slopes[0] - s.slopes[1]
        means = mean**2 * g + jump**2 / (2 * math.pi) * (root + g * np.arctan2(g, root))
    return C_b + C_W * means


def _means_of_products(law: Conditional, pairs: Sequence[Pair], g: Array) -> Array:
    """<s_a s_b> of docs/theory.md (17.18) at kernels g (M, pairs), (M, pairs), all at once: see `chunks`."""
    column, out = {pair: g[:, k] for k, pair in enumerate(pairs)}, np.empty_like(g)
    orders, table = law.terms_that_count
    series = {a: table.columns(column[a, a]) for a, b in pairs if a == b}
    gaps = np.diff(orders, prepend=0).tolist()
    for k, (a, b) in enumerate(pairs):
        if a == b:
            out[:, k] = law.moments(column[a, a])[:, 0]
            continue
        rho, total = column[a, b] / np.sqrt(column[a, a] * column[b, b]), np.zeros(len(g))
        for of_order, gap in zip((series[a] * series[b])[::-1], gaps[::-1], strict=True):
            total = (total + of_order) * rho**gap
        out[:, k] = total
    return out


@lru_cache(maxsize=32)
def _kept(activation: str, C_b: float, C_W: float, pairs: tuple[Pair, ...], low: float, high: float) -> Conditional:
    """The widths and layers of a sweep share tables, docs/theory.md (7.10)."""
    return Conditional(activation, C_b, C_W, pairs, low, high)
