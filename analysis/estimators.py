"""Unbiased estimators over networks, with delete-a-block jackknife replicates.

Networks are the independent unit: everything of one network (layers, pairs, neurons, steps) stays in one block, so that
joined estimates keep their covariance, docs/theory.md (7.8). M counts networks, B blocks, k components.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis import tails

Array = NDArray[np.float64]
BLOCKS = 256  # number of jackknife blocks; fewer networks make as many blocks as networks
FEWEST = 32  # lower bound on the number of networks for an error bar


@dataclass(frozen=True)
class Estimate:
    """An estimate (k,) of k numbers with replicates (B, k), each of which leaves out one block of networks.

    networks: how many there are in all; None where it is not known.
    """

    value: Array
    replicates: Array
    networks: int | None = None

    @property
    def covariance(self) -> Array:
        """The jackknife covariance (k, k), docs/theory.md (7.8): (B - 1)/B sum (x_b - mean)(x_b - mean)^T."""
        B = len(self.replicates)
        centred = self.replicates - self.replicates.mean(axis=0)
        return (B - 1) / B * centred.T @ centred

    @property
    def error(self) -> Array:
        """The standard errors (k,)."""
        return np.sqrt(np.maximum(self.covariance.diagonal(), 0.0))

    @property
    def tail_dominated(self) -> NDArray[np.bool_]:
        """Whether a few networks carry each estimate (k,), so that its error is not to be shown (`analysis.tails`)."""
        return tails.dominated(self.replicates, self.networks)

    def scaled(self, factor: float | Array) -> "Estimate":
        """The estimate times a constant, or times constants (k,)."""
        return replace(self, value=factor * self.value, replicates=factor * self.replicates)

    def chosen(self, components: Sequence[int]) -> "Estimate":
        """The estimate of some of the numbers."""
        chosen = list(components)
        return replace(self, value=self.value[chosen], replicates=self.replicates[:, chosen])

    def averaged(self, groups: Sequence[Sequence[int]]) -> "Estimate":
        """The averages of some of the numbers, one for each group of components."""
        weights = np.zeros((len(self.value), len(groups)))
        for k, group in enumerate(groups):
            weights[list(group), k] = 1 / len(group)
        return replace(self, value=self.value @ weights, replicates=self.replicates @ weights)

    def __add__(self, other: "Estimate") -> "Estimate":
        """The sum of two estimates from the same networks, replicate by replicate."""
        return replace(self, value=self.value + other.value, replicates=self.replicates + other.replicates)

    def __sub__(self, other: "Estimate") -> "Estimate":
        return self + other.scaled(-1.0)

    def log(self) -> "Estimate":
        """The logarithm of the estimate, replicate by replicate."""
        return replace(self, value=np.log(self.value), replicates=np.log(self.replicates))


def join(estimates: Sequence[Estimate]) -> Estimate:
    """The components of several estimates, which must come from the same networks, in one estimate."""
    return Estimate(
        np.concatenate([e.value for e in estimates]),
        np.concatenate([e.replicates for e in estimates], axis=1),
        estimates[0].networks,
    )


def _leave_out(x: Array) -> tuple[Array, Array]:
    """The sums (B, k) of x (M, k) over all networks outside each block, and the numbers (B, 1) of those networks.

    Raises ValueError for fewer than FEWEST networks.
    """
    M = len(x)
    if M < FEWEST:
        raise ValueError(f"{M} networks: at least {FEWEST} are needed for an error bar")
    edges = np.linspace(0, M, min(BLOCKS, M) + 1).astype(int)
    sums = np.add.reduceat(x, edges[:-1], axis=0)
    return sums.sum(axis=0) - sums, (M - np.diff(edges))[:, None]


def mean(x: Array) -> Estimate:
    """The mean over networks of x (M, k). Raises ValueError for fewer than FEWEST networks, as all estimators do."""
    rest, count = _leave_out(np.asarray(x, dtype=np.float64))
    return Estimate(np.mean(x, axis=0, dtype=np.float64), rest / count, len(x))


def covariance(x: Array, pairs: Sequence[tuple[int, int]]) -> Estimate:
    """The unbiased covariance (k-statistic, 1/(M - 1)) of the two columns of x (M, C) in each pair."""
    x = np.asarray(x, dtype=np.float64)
    x = x - x.mean(axis=0)  # a constant shift changes no covariance, and less is lost to rounding
    left, right = (x[:, [pair[side] for pair in pairs]] for side in (0, 1))
    M = len(x)
    product_rest, count = _leave_out(left * right)
    rest, _ = _leave_out(x)
    means = rest / count
    replicates = (product_rest - count * means[:, [p[0] for p in pairs]] * means[:, [p[1] for p in pairs]]) / (
        count - 1
    )
    return Estimate((left * right).sum(axis=0) / (M - 1), replicates, M)


def connected(products: Array, x: Array, pairs: Sequence[tuple[int, int]]) -> Estimate:
    """The unbiased E products_k - E x_i E x_j for the k-th pair (i, j), from products (M, k) and x (M, C).

    The product of the two means is taken between different networks, docs/theory.md (7.7).
    """
    single, double = mean(products), mean(x)
    spread = covariance(x, pairs)
    left, right = [p[0] for p in pairs], [p[1] for p in pairs]
    M, B = len(x), len(single.replicates)
    edges = np.linspace(0, M, B + 1).astype(int)
    kept = (M - np.diff(edges))[:, None]
    return Estimate(
        single.value - double.value[left] * double.value[right] + spread.value / M,
        single.replicates - double.replicates[:, left] * double.replicates[:, right] + spread.replicates / kept,
        M,
    )


def third_cumulant(x: Array) -> Estimate:
    """The unbiased third cumulant (k-statistic k3) of each column of x (M, C)."""
    x = np.asarray(x, dtype=np.float64)
    x = x - x.mean(axis=0)

    def k3(sums: list[Array], m: Array) -> Array:
        s1, s2, s3 = sums
        return (2 * s1**3 - 3 * m * s1 * s2 + m**2 * s3) / (m * (m - 1) * (m - 2))

    rest, count = zip(*(_leave_out(x**k) for k in (1, 2, 3)), strict=True)
    total = [(x**k).sum(axis=0) for k in (1, 2, 3)]
    return Estimate(k3(total, np.asarray(float(len(x)))), k3(list(rest), count[0].astype(np.float64)), len(x))


def fourth_cumulant(x: Array) -> Estimate:
    """The unbiased fourth cumulant (k-statistic k4) of each column of x (M, C).

    For a neuron it is its connected four-point function, docs/theory.md (7.2).
    """
    x = np.asarray(x, dtype=np.float64)
    x = x - x.mean(axis=0)

    def k4(sums: list[Array], m: Array) -> Array:
        s1, s2, s3, s4 = sums
        numerator = -6 * s1**4 + 12 * m * s1**2 * s2 - 3 * m * (m - 1) * s2**2 - 4 * m * (m + 1) * s1 * s3
        return (numerator + m**2 * (m + 1) * s4) / (m * (m - 1) * (m - 2) * (m - 3))

    rest, count = zip(*(_leave_out(x**k) for k in (1, 2, 3, 4)), strict=True)
    total = [(x**k).sum(axis=0) for k in (1, 2, 3, 4)]
    return Estimate(k4(total, np.asarray(float(len(x)))), k4(list(rest), count[0].astype(np.float64)), len(x))


def distinct_neurons(m2_ab: Array, m2_cd: Array, m4_abcd: Array, n: int) -> Array:
    """The mean (M, k) of z_ia z_ib z_jc z_jd over neurons i != j of each network, docs/theory.md (7.1).

    m2_ab, m2_cd, m4_abcd: (M, k), means over the n neurons. Raises ValueError for fewer than two neurons.
    """
    if n < 2:
        raise ValueError("distinct neurons need a layer of at least two")
    return (n * m2_ab * m2_cd - m4_abcd) / (n - 1)
