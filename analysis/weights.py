"""Bayesian inference by weighting networks of the prior, exactly at any width.

It is that of docs/theory.md (16.1), (16.2) and (16.5). Given the kernel g of its last layer, a network's outputs are
Gaussian. So its evidence and its prediction are known, and averages over the posterior are averages over networks with
the evidence as weight. M counts networks, B blocks, D samples, N train samples, n_L outputs.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis import estimators
from analysis.estimators import BLOCKS, Array, Estimate, jackknife

FEWEST_EFFECTIVE = 100  # effective networks below which nothing is reported
LARGEST_WEIGHT = 0.05  # the largest share of the weight that one network may have
AT_A_TIME = 2**23  # so many elements of kernels are factorised together


@dataclass(frozen=True)
class Kernels:
    """The kernels g of the last layer of M networks at all D samples: columns (M, pairs), and the sample pairs."""

    columns: Array
    pairs: Sequence[tuple[int, ...]]

    @property
    def D(self) -> int:
        return max(b for _, b in self.pairs) + 1

    def __len__(self) -> int:
        return len(self.columns)

    def between(self, first: int, last: int | None) -> Array:
        """(networks, D, D) of a range of networks."""
        D = self.D
        place = np.zeros((D, D), dtype=np.intp)
        for k, (a, b) in enumerate(self.pairs):
            place[a, b] = place[b, a] = k
        return np.asarray(self.columns[first:last, place], dtype=np.float64)


@dataclass(frozen=True)
class Mixture:
    """The Gaussian process of each of M networks: log w (M,), the log evidence; the means of outputs (M, n_L, D); and
    the covariance of each output (M, D, D), or the variances (M, D)."""

    log_w: Array
    means: Array
    covariances: Array


def processes(g: Array, targets: Array, noise: float) -> Mixture:
    """The Gaussian process with each kernel g (M, D, D), given targets (N, n_L) with noise of this variance at the
    first N samples: docs/theory.md (16.1) and (16.2).

    Raises ValueError where a kernel with the noise has no Cholesky factor, or the evidence overflows.
    """
    N, outputs = targets.shape
    try:
        C = np.linalg.cholesky(g[:, :N, :N] + noise * np.eye(N))
    except np.linalg.LinAlgError:
        raise ValueError(
            f"noise={noise:g}: the kernel of {N} train samples is singular in some network; more noise helps"
        ) from None
    sides = np.concatenate([np.broadcast_to(targets, (len(g), N, outputs)), g[:, :N]], axis=2)
    solved = np.linalg.solve(C, sides)  # C^-1 y and C^-1 g_A., of which all that follows is made
    of_y, of_g = solved[:, :, :outputs], solved[:, :, outputs:]
    log_det = 2 * np.log(np.diagonal(C, axis1=1, axis2=2)).sum(axis=1)
    with np.errstate(over="ignore"):
        log_w = -0.5 * (of_y**2).sum(axis=(1, 2)) - outputs / 2 * (log_det + N * math.log(2 * math.pi))
    if not np.isfinite(log_w).all():
        raise ValueError(f"targets: as large as {np.abs(targets).max():.3g}: the evidence is beyond all numbers")
    turned = of_g.swapaxes(1, 2)
    return Mixture(log_w, (turned @ of_y).swapaxes(1, 2), g - turned @ of_g)


def mixture(kernels: Kernels, targets: Array, noise: float) -> Mixture:
    """The process of every network, with the variances of outputs alone, docs/theory.md (16.1) and (16.2).

    Raises ValueError as `processes` does.
    """
    M, D, outputs = len(kernels), kernels.D, targets.shape[1]
    found = Mixture(np.empty(M), np.empty((M, outputs, D)), np.empty((M, D)))
    size = max(1, AT_A_TIME // D**2)
    for start in range(0, M, size):
        part = slice(start, start + size)
        each = processes(kernels.between(start, start + size), targets, noise)
        found.log_w[part], found.means[part] = each.log_w, each.means
        found.covariances[part] = np.diagonal(each.covariances, axis1=1, axis2=2)
    return found


def block_edges(M: int) -> NDArray[np.intp]:
    """The first network of each jackknife block, and M. ValueError for fewer networks than an error needs."""
    estimators.enough(M)
    return np.linspace(0, M, min(BLOCKS, M) + 1).astype(np.intp)


def _enough(networks: int, effective: float, largest: float) -> None:
    """ValueError where too few networks carry the weight, of which the heaviest has the share `largest`."""
    if effective < FEWEST_EFFECTIVE or largest > LARGEST_WEIGHT:
        raise ValueError(
            f"underpowered: {networks:,} networks weigh as much as {effective:.3g}, and the heaviest has "
            f"{largest:.1%} of the weight; at least {FEWEST_EFFECTIVE} and at most {LARGEST_WEIGHT:.0%} are "
            "needed: more networks, wider ones, more noise or fewer train samples"
        )


def average(log_w: Array, values: Array) -> Estimate:
    """E_w of values (M, k), docs/theory.md (16.2), where weights are evidences with these logarithms (M,): of all
    networks where `analysis.sums.Walk` gives them in ranges. Raises ValueError as `Weights.check` does."""
    w = np.exp(log_w - estimators.extremes(log_w)[1])
    sizes = estimators.mean(np.stack([w, w**2], axis=1))
    if sizes.networks:  # they are known, and the heaviest w is 1
        first, second = sizes.value
        _enough(sizes.networks, float(sizes.networks * first**2 / second), float(1 / (sizes.networks * first)))
    return estimators.weighted_mean(w, values)


@dataclass(frozen=True)
class Weights:
    """Normalised weights w (M,) of networks, whose sum is one, and the log evidence that they come from (M,)."""

    log_w: Array
    w: Array

    @classmethod
    def of(cls, log_w: Array) -> "Weights":
        """From log evidences, less their maximum, docs/theory.md (16.5)."""
        w = np.exp(log_w - log_w.max())
        return cls(log_w, w / w.sum())

    @property
    def effective(self) -> float:
        """The effective number of networks, (sum w)^2/sum w^2 of docs/theory.md (16.5)."""
        return float(1 / np.sum(self.w**2))

    def check(self) -> None:
        """ValueError where too few networks carry the weight for an estimate with an error bar."""
        _enough(len(self.w), self.effective, float(self.w.max()))

    def edges(self) -> NDArray[np.intp]:
        """`block_edges` of these networks."""
        return block_edges(len(self.w))

    def sums(self, values: Array) -> Array:
        """The sums of w values over the networks of each block, (B, k) of values (M, k)."""
        return np.add.reduceat(self.w[:, None] * values, self.edges()[:-1], axis=0)

    def average(self, values: Array) -> Estimate:
        """E_w of values (M, k), docs/theory.md (16.2), as an estimate without the bias of a ratio."""
        return estimators.weighted_mean(self.w, values)

    def log_evidence(self, w: Array | None = None) -> Estimate:
        """log p(y) of docs/theory.md (16.1), (1,). w: (M,) of the same mean as the weights, and with less noise."""
        top = float(self.log_w.max() + np.log(np.mean(np.exp(self.log_w - self.log_w.max()))))
        counts = np.diff(self.edges())
        of_blocks = np.add.reduceat(self.w if w is None else w, self.edges()[:-1])
        sums = np.stack([counts / len(self.w), of_blocks], axis=1)
        return jackknife(sums, lambda s: top + np.log(s[:, 1:] / s[:, :1]), len(self.w))


@dataclass(frozen=True)
class Moments:
    """Estimates of the posterior mean (n_L D,) of outputs, and of their covariance ((n_L D)^2,). Outputs come before
    samples."""

    mean: Estimate
    covariance: Estimate


def moments(weights: Weights, kernels: Kernels, targets: Array, noise: float) -> Moments:
    """Mean and covariance of outputs under the posterior, docs/theory.md (16.2)."""
    D, outputs, edges = kernels.D, targets.shape[1], weights.edges()
    P, same, size = outputs * D, np.eye(outputs), max(1, AT_A_TIME // kernels.D**2)
    centre = processes(kernels.between(0, 1), targets, noise).means.reshape(P)  # rounding acts on what is left
    sums = np.zeros((len(edges) - 1, 1 + P + P**2))
    for block, (low, high) in enumerate(itertools.pairwise(edges.tolist())):
        for first in range(low, high, size):
            last = min(first + size, high)
            w, each = weights.w[first:last], processes(kernels.between(first, last), targets, noise)
            d, S = each.means.reshape(-1, P) - centre, np.einsum("m,mbc->bc", w, each.covariances)
            second = (d * w[:, None]).T @ d + np.einsum("ij,bc->ibjc", same, S).reshape(P, P)
            sums[block] += np.concatenate([[w.sum()], w @ d, second.ravel()])

    def mean(s: Array) -> Array:
        return centre + s[:, 1 : P + 1] / s[:, :1]

    def covariance(s: Array) -> Array:
        first = s[:, 1 : P + 1] / s[:, :1]
        return s[:, P + 1 :] / s[:, :1] - (first[:, :, None] * first[:, None, :]).reshape(len(s), -1)

    return Moments(*(jackknife(sums, of, len(kernels)) for of in (mean, covariance)))
