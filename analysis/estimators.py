"""Unbiased estimators over networks, with delete-a-block jackknife replicates.

Networks are the independent unit: everything of one network (layers, pairs, neurons, steps) stays in one block, so that
joined estimates keep their covariance, docs/theory.md (7.8). M counts networks, B blocks, k components.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from analysis import tails
from analysis.sums import WALK, Bins, Of, Sums, ends, in_blocks, shift_of
from simulate.system import counted

Array = NDArray[np.float64]
BLOCKS = 256  # number of jackknife blocks; fewer networks make as many blocks as networks
RANK = 1e-10  # relative size below which a combination of controls is none
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


def _sums(x: Array, of: Of, fewest: int | None = None) -> Sums:
    """The sums of `of` of x (M, C) less a shift over each block of networks, of all networks where `analysis.sums.Walk`
    gives them in ranges.

    Raises ValueError for fewer networks, as `enough` does.
    """
    walk = WALK.get()
    if walk is not None:
        found = walk.add(x, of)
        enough(found.networks.item(), fewest)
        return found
    x = np.asarray(x, dtype=np.float64)
    enough(len(x), fewest)
    edges, shift = np.linspace(0, len(x), min(BLOCKS, len(x)) + 1).astype(np.intp), shift_of(x, of)
    return Sums(in_blocks(x, shift, of, edges), np.diff(edges)[:, None].astype(np.float64), shift)


def enough(networks: float, fewest: int | None = None) -> None:
    """ValueError for fewer networks than an error bar needs: FEWEST where nothing else is given."""
    if networks < (fewest := fewest or FEWEST):
        raise ValueError(f"{counted(networks, 'network')}: at least {fewest} are needed for an error bar")


def _estimate(sums: Sums, of: Callable[[Array, Array], Array]) -> Estimate:
    """A function (rows, k) of sums (rows, columns) and numbers (rows, 1) of networks: of all, and without each
    block."""
    value, replicates = of(sums.total, sums.networks)[0], of(sums.rest, sums.kept)
    return Estimate(value, replicates, sums.number)


def jackknife(sums: Array, of: Callable[[Array], Array], networks: int | None) -> Estimate:
    """An estimate of a function (rows, k) of sums (rows, columns) over networks, given by block (B, columns).

    Its replicates leave out one block, and its value is that of the jackknife, without the bias of order one over the
    effective number: docs/theory.md (7.8).
    """
    total, B = sums.sum(axis=0), len(sums)
    replicates = of(total - sums)
    return Estimate(B * of(total[None])[0] - (B - 1) * replicates.mean(axis=0), replicates, networks)


def less_controls(values: Array, controls: Array) -> Array:
    """values (M, k) less their regression on controls (M, c) whose means are zero, so that their own means stay what
    they are. Slopes are those about the means of the sample, or they would fall short by c/M."""
    spread = controls.std(axis=0)
    x = controls / np.where(spread > 0, spread, 1.0)
    centred = x - x.mean(axis=0)
    beta = np.linalg.lstsq(centred.T @ centred, centred.T @ (values - values.mean(axis=0)), rcond=RANK)[0]
    return np.asarray(values - x @ beta)


def extremes(*columns: Array) -> tuple[Array, Array]:
    """The least and the largest of each of k arrays of numbers of all networks, (k,) each."""
    walk = WALK.get()
    low, high = ends(columns) if walk is None else walk.ends(columns)
    return low, high


def mean(x: Array) -> Estimate:
    """The mean over networks of x (M, k). Raises ValueError for fewer than FEWEST networks, as all estimators do."""
    sums = _sums(x, lambda d: d)
    return _estimate(sums, lambda s, m: sums.shift + s / m)


def moments(x: Array) -> Estimate:
    """The mean over networks of x (M, k) and the mean square about it, (2k,), to be shown: two networks will do."""
    sums = _sums(x, lambda d: np.concatenate([d, d**2], axis=1), fewest=2)
    k = len(sums.shift)

    def both(s: Array, m: Array) -> Array:
        first, second = s[:, :k] / m, s[:, k:] / m
        return np.concatenate([sums.shift + first, second - first**2], axis=1)

    return _estimate(sums, both)


def shares(x: Array, edges: Array) -> Estimate:
    """The shares (k,) of networks with x (M,) in each of k bins between rising edges, to be shown, as `moments`."""
    return _estimate(_sums(x[:, None], Bins(edges), fewest=2), lambda s, m: s / m)


def weighted_mean(w: Array, x: Array) -> Estimate:
    """The mean over networks of x (M, k) with weights w (M,), as the jackknife has it: without the bias of a ratio,
    which is of order one over the effective number, docs/theory.md (7.8)."""
    sums = _sums(np.concatenate([w[:, None], x], axis=1), lambda d: np.concatenate([d, d[:, :1] * d[:, 1:]], axis=1))
    unit, shift, k = sums.shift[0], sums.shift[1:], x.shape[1]

    def apart(s: Array) -> Array:
        return np.asarray((s[:, k + 2 :] + unit * s[:, 2 : k + 2]) / (s[:, 1:2] + unit * s[:, :1]))

    found = jackknife(np.concatenate([sums.counts, sums.sums], axis=1), apart, sums.number)
    return replace(found, value=shift + found.value, replicates=shift + found.replicates)


def covariance(x: Array, pairs: Sequence[tuple[int, int]]) -> Estimate:
    """The unbiased covariance (k-statistic, 1/(M - 1)) of the two columns of x (M, C) in each pair."""
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    # A constant shift changes no covariance, and less is lost to rounding.
    sums = _sums(x, lambda d: np.concatenate([d, d[:, left] * d[:, right]], axis=1))
    return _estimate(sums, lambda s, m: _covariance(s, m, left, right))


def _covariance(s: Array, m: Array, left: list[int], right: list[int]) -> Array:
    C = s.shape[1] - len(left)
    return np.asarray((s[:, C:] - s[:, left] * s[:, right] / m) / (m - 1))


def _among(kept: NDArray[np.bool_], columns: Array, of: Callable[[Array, Array], Array]) -> Estimate:
    """A function (rows, k) of sums (rows, c) of columns (M, c) over the networks that are kept, and of their numbers
    (rows, 1): by a mask, so that it is one of sums over all networks. kept: (M, C), true in all columns. Raises
    ValueError for fewer of them than an error bar needs."""
    whole = cast(NDArray[np.bool_], kept.all(axis=1))[:, None]
    given = np.concatenate([whole.astype(np.float64), np.where(whole, columns, 0.0)], axis=1)
    sums = _sums(given, lambda d: d)

    def unshifted(s: Array, m: Array) -> Array:
        return s + m * sums.shift

    number = unshifted(sums.total, sums.networks)[0, 0]
    enough(number)
    found = _estimate(sums, lambda s, m: of(unshifted(s, m)[:, 1:], unshifted(s, m)[:, :1]))
    return replace(found, networks=round(number) if sums.known else None)


def mean_among(kept: NDArray[np.bool_], x: Array) -> Estimate:
    """The mean of x (M, k) over the networks that are kept (M, C), in all columns."""
    return _among(kept, x, lambda s, m: s / m)


def covariance_among(kept: NDArray[np.bool_], x: Array, pairs: Sequence[tuple[int, int]]) -> Estimate:
    """`covariance` over the networks that are kept (M, C), in all columns. The means of x (M, k) should not be large in
    standard deviations, since products have no shift."""
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    products = np.concatenate([x, x[:, left] * x[:, right]], axis=1)
    return _among(kept, products, lambda s, m: _covariance(s, m, left, right))


def connected(products: Array, x: Array, pairs: Sequence[tuple[int, int]]) -> Estimate:
    """The unbiased E products_k - E x_i E x_j for the k-th pair (i, j), from products (M, k) and x (M, C).

    The product of the two means is taken between different networks, docs/theory.md (7.7).
    """
    single, double, left, right = mean(products), mean(x), [p[0] for p in pairs], [p[1] for p in pairs]
    sums = _sums(x, lambda d: np.concatenate([d, d[:, left] * d[:, right]], axis=1))
    spread = _estimate(sums, lambda s, m: _covariance(s, m, left, right) / m)
    products_of_means = double.value[left] * double.value[right]
    return Estimate(
        single.value - products_of_means + spread.value,
        single.replicates - double.replicates[:, left] * double.replicates[:, right] + spread.replicates,
        single.networks,
    )


def _powers(x: Array, most: int) -> Sums:
    return _sums(x, lambda d: np.concatenate([d**k for k in range(1, most + 1)], axis=1))


def third_cumulant(x: Array) -> Estimate:
    """The unbiased third cumulant (k-statistic k3) of each column of x (M, C)."""

    def k3(s: Array, m: Array) -> Array:
        s1, s2, s3 = np.split(s, 3, axis=1)
        return np.asarray((2 * s1**3 - 3 * m * s1 * s2 + m**2 * s3) / (m * (m - 1) * (m - 2)))

    return _estimate(_powers(x, 3), k3)


def fourth_cumulant(x: Array) -> Estimate:
    """The unbiased fourth cumulant (k-statistic k4) of each column of x (M, C).

    For a neuron it is its connected four-point function, docs/theory.md (7.2).
    """

    def k4(s: Array, m: Array) -> Array:
        s1, s2, s3, s4 = np.split(s, 4, axis=1)
        numerator = -6 * s1**4 + 12 * m * s1**2 * s2 - 3 * m * (m - 1) * s2**2 - 4 * m * (m + 1) * s1 * s3
        return np.asarray((numerator + m**2 * (m + 1) * s4) / (m * (m - 1) * (m - 2) * (m - 3)))

    return _estimate(_powers(x, 4), k4)


def distinct_neurons(m2_ab: Array, m2_cd: Array, m4_abcd: Array, n: int) -> Array:
    """The mean (M, k) of z_ia z_ib z_jc z_jd over neurons i != j of each network, docs/theory.md (7.1).

    m2_ab, m2_cd, m4_abcd: (M, k), means over the n neurons. Raises ValueError for fewer than two neurons.
    """
    if n < 2:
        raise ValueError("distinct neurons need a layer of at least two")
    return (n * m2_ab * m2_cd - m4_abcd) / (n - 1)
