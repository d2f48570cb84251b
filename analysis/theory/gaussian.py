"""Gaussian expectations <f>_K of products of one neuron's activations and their derivatives at several inputs.

docs/theory.md section 0 defines them. Smooth activations go by quadrature (`analysis.theory.quadrature`), kinked ones
by `analysis.theory.kinks`. Inputs are assumed distinct: `analysis.theory.recursion` removes repetitions first.
"""

import itertools
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from analysis.theory.activations import Activation, Array
from analysis.theory.hermite import Means
from analysis.theory.kinks import kinked_mean, kinked_pair
from analysis.theory.quadrature import Grid, calibrate_step, pivoted_cholesky, sine_mean

# Key: the samples of a product, each with the orders of the derivatives of s that it carries.
Key = tuple[tuple[int, tuple[int, ...]], ...]


SMALL = 0.01  # covariances are centred for kernels up to this
AT_A_TIME = 4096  # points of which products are held in memory
FEW = 4  # means of pairs of more samples are summed as series
TERMS = (128, 512)  # numbers of terms of a series, tried in turn
TAIL = 1e-16  # relative size of the last terms of a series that has converged
NEAR = 2e-3  # |z| up to which a function less its value at zero is summed as a Taylor series


@lru_cache
def rest(s: Activation, order: int) -> Callable[[Array], Array]:
    """The function s^(order)(z) - s^(order)(0), without cancellation at small z, docs/theory.md section 8."""
    f, *higher = s.derivatives[order:]
    coefficients = [float(g(np.zeros(1))[0]) / math.factorial(k) for k, g in enumerate(higher, start=1)]

    def value(z: Array) -> Array:
        series = np.zeros_like(z)
        for coefficient in reversed(coefficients):
            series = (series + coefficient) * z
        return np.where(np.abs(z) < NEAR, series, f(z) - f(np.zeros(1)))

    return value


def gaussian_points(K: Array, count: int) -> Array:
    """Points z (count, D) whose averages approach those over N(0, K), docs/theory.md section 0; their second moments
    are K exactly. count: a power of two, half of which are the negatives of the other half. Raises ValueError for
    another count."""
    if count < 2 or count & (count - 1):
        raise ValueError(f"points={count}: a power of two")
    from scipy.special import ndtri  # late: these take a while, and the simulation needs none of them
    from scipy.stats import qmc

    C, order = pivoted_cholesky(K)
    rank = C.shape[1]
    half = ndtri(qmc.Sobol(rank, seed=0).random_base2(count.bit_length() - 2))
    if len(half) <= rank:
        raise ValueError(f"points={count}: more than {2 * rank} are needed for {rank} inputs")
    half = np.linalg.solve(np.linalg.cholesky(half.T @ half / len(half)), half.T)
    z = np.empty((count, len(K)))
    z[:, order] = np.concatenate([half.T, -half.T]) @ C.T
    return z


@lru_cache(maxsize=8)
def _means(K: float, terms: int) -> Means:
    """Hermite means, which the orders of one kernel K_aa share, docs/theory.md (11.4)."""
    return Means(K, terms)


class Expectations:
    """Means of products of derivatives of s at a kernel K (D, D), docs/theory.md section 0, each computed once.

    `tensor(0, 0, 1, 1)[a, b, c, d]` is <s_a s_b s'_c s'_d>; a product has two to four factors. Derivatives of a kinked
    activation from the second on are distributions: `tensor` gives their Gaussian averages for pairs by Stein's lemma,
    docs/theory.md (1.4), and refuses them in products of three or four factors.

    points: where given, products of three and four factors are averaged over so many points of a scrambled Sobol
    sequence, which has a fixed seed, instead of by quadrature. Their cost grows as points D^4, and not as 10^7 D^4.
    """

    def __init__(self, s: Activation, K: Array, points: int | None = None):
        self.s, self.K, self.D, self.points = s, K, len(K), points
        self.top = float(K.diagonal().max(initial=0.0))
        self.step, self.graded = (0.5, False) if s.kinked or self.top <= 0 else calibrate_step(s, self.top)
        self.functions = (*s.derivatives, *(rest(s, order) for order in range(2)))
        self.z: Array | None = None
        self.averages: dict[tuple[int, ...], tuple[Array, Array, Array]] = {}
        self.cache: dict[Key, float] = {}
        self.tensors: dict[tuple[int, ...], Array] = {}
        self.grids: dict[tuple[int, ...], Grid] = {}
        self.coefficients: dict[tuple[int, int], Array] = {}

    def tensor(self, *orders: int) -> Array:
        """The mean <s^(orders[0])_a s^(orders[1])_b ...> has shape (D,) * len(orders), and is read-only.

        Raises ValueError for what a kinked activation does not have.
        """
        if orders not in self.tensors:
            self.tensors[orders] = self._tensor(*orders)
            self.tensors[orders].flags.writeable = False
        return self.tensors[orders]

    def _tensor(self, *orders: int) -> Array:
        if self.s.kinked and len(orders) == 2:
            return self._kinked_pairs(*orders)
        if self.points is not None and len(orders) > 2:
            return self._at_points(orders)[0]
        if len(orders) == 2 and self.D > FEW and self.K.diagonal().min() > 0:
            pairs = self._series(*orders)
            if pairs is not None:
                return pairs
        out = np.empty((self.D,) * len(orders))
        for samples in itertools.product(range(self.D), repeat=len(orders)):
            carried: dict[int, list[int]] = {}
            for sample, order in zip(samples, orders, strict=True):
                carried.setdefault(sample, []).append(order)
            key = tuple((k, tuple(sorted(v))) for k, v in sorted(carried.items()))
            if key not in self.cache:
                self.cache[key] = self._mean(key)
            out[samples] = self.cache[key]
        return out

    def connected(self, i: int, j: int, k: int, l: int) -> Array:
        """The covariance <s^(i)_a s^(j)_b s^(k)_c s^(l)_d> - <s^(i)_a s^(j)_b><s^(k)_c s^(l)_d>, (D, D, D, D), for
        orders 0 and 1.

        At small K the two terms agree in most digits. There each product is taken less its value at z = 0, which drops
        out of the covariance and is subtracted before averaging.
        """
        if self.points is not None:
            product, first, second = self._at_points((i, j, k, l))
            return product - np.multiply.outer(first, second)
        if self.s.kinked or self.top > SMALL:
            return self.tensor(i, j, k, l) - np.multiply.outer(self.tensor(i, j), self.tensor(k, l))
        n = len(self.s.derivatives)
        at_zero = [float(f(np.zeros(1))[0]) for f in self.s.derivatives]
        c, e = at_zero[i], at_zero[k]
        # s^(i)_a s^(j)_b - its value at zero is r^(i)_a s^(j)_b + c r^(j)_b, with r = s - s(0).
        product = (
            self.tensor(n + i, j, n + k, l)
            + e * self.tensor(n + i, j, n + l)[:, :, None, :]
            + c * self.tensor(n + j, n + k, l)[None]
            + c * e * self.tensor(n + j, n + l)[None, :, None, :]
        )
        first = self.tensor(n + i, j) + c * self.tensor(n + j)
        second = self.tensor(n + k, l) + e * self.tensor(n + l)
        return product - np.multiply.outer(first, second)

    def _at_points(self, orders: tuple[int, ...]) -> tuple[Array, Array, Array]:
        """Averages over the points: of a product, of its first two factors, and of the others."""
        if orders not in self.averages:
            self.averages[orders] = self._average(orders)
        return self.averages[orders]

    def _average(self, orders: tuple[int, ...]) -> tuple[Array, Array, Array]:
        if self.z is None:
            self.z = gaussian_points(self.K, self.points or 0)
        if self.s.kinked and max(orders) > 1:
            raise ValueError(f"products with derivatives {orders} of {self.s.name} are not known at points")
        D, half = self.D, len(orders) - 2
        total, first, second = np.zeros((D**2, D**half)), np.zeros(D**2), np.zeros(D**half)
        for z in np.array_split(self.z, math.ceil(len(self.z) / AT_A_TIME)):
            values = {order: self.functions[order](z) for order in set(orders)}
            left = np.einsum("ma,mb->mab", values[orders[0]], values[orders[1]]).reshape(-1, D**2)
            right = values[orders[2]]
            if half == 2:
                right = np.einsum("mc,md->mcd", right, values[orders[3]]).reshape(-1, D**2)
            total += left.T @ right
            first += left.sum(axis=0)
            second += right.sum(axis=0)
        shape = (D,) * len(orders)
        count = len(self.z)
        return (total / count).reshape(shape), (first / count).reshape(shape[:2]), (second / count).reshape(shape[2:])

    def _series(self, i: int, j: int) -> Array | None:
        """<s^(i)_a s^(j)_b> by Mehler's series, docs/theory.md (17.18), for all pairs at once; None where it does not
        converge."""
        for terms in TERMS:
            first, second = (self._coefficients(order, terms) for order in (i, j))
            if all((c[-16:] ** 2).sum() <= TAIL * (c**2).sum() for c in (first, second)):
                break
        else:
            return None
        deviations = np.sqrt(self.K.diagonal())
        rho = np.clip(self.K / np.outer(deviations, deviations), -1.0, 1.0)
        out = np.zeros_like(rho)
        for left, right in zip(first[::-1], second[::-1], strict=True):
            out *= rho
            out += np.outer(left, right)
        return out

    def _coefficients(self, order: int, terms: int) -> Array:
        """The Hermite coefficients (terms, D) of s^(order) at each K_aa."""
        if (order, terms) not in self.coefficients:
            means = _means(self.top, terms)
            z = np.outer(means.z, np.sqrt(self.K.diagonal() / self.top))
            self.coefficients[order, terms] = means.coefficients(self.functions[order](z))
        return self.coefficients[order, terms]

    def _mean(self, key: Key) -> float:
        support = tuple(sample for sample, _ in key)
        if self.s.sine and self.graded:
            return sine_mean(self.K[np.ix_(support, support)], [carried for _, carried in key])
        if support not in self.grids:
            block = self.K[np.ix_(support, support)]
            self.grids[support] = Grid(self.functions, block, self.top, self.step, self.graded)
        orders = [carried for _, carried in key]
        return kinked_mean(self.s, self.grids[support], orders) if self.s.kinked else self.grids[support].mean(orders)

    def _kinked_pairs(self, i: int, j: int) -> Array:
        if (i + j) % 2:
            raise ValueError(f"odd order {i + j} of a kinked activation is not needed and not given")
        K = self.K
        rows = [
            [kinked_pair(self.s, K[a, a], K[a, b], K[b, b], a == b)[i, j] for b in range(self.D)] for a in range(self.D)
        ]
        return np.array(rows)
