"""The posterior of networks that record the weights of targets instead of kernels: what `analysis.recorded_posterior`
returns."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis import theory
from analysis.estimators import Array, jackknife, less_controls
from analysis.points import Point
from analysis.weights import Weights
from simulate.store.sets import DataSet, open_data_set

POINTS = 2**17  # of the means of controls; v1 of 20 to 100 digits is that of half as many to 0.1 to 0.4 %


@dataclass(frozen=True)
class Controls:
    """The second-order polynomial in the linear parts x of log w and y of the means, docs/theory.md (16.6), whose
    elements have mean zero at every width. of_weights: (M, 2), x and x^2 - E x^2. of_means: (M, 2, n_L D), y and
    x y - E x y."""

    of_weights: Array
    of_means: Array

    def leave(self, w: Array, of_means: Array) -> Array:
        """w (M,) less its regression, and products of w with k numbers of each output and sample (k, M, n_L D):
        (M, 1 + k n_L D)."""
        left = np.empty_like(of_means)
        for p in range(of_means.shape[2]):
            controls = np.concatenate([self.of_weights, self.of_means[:, :, p]], axis=1)
            left[:, :, p] = less_controls(of_means[:, :, p].T, controls).T
        return np.concatenate([less_controls(w[:, None], self.of_weights), *left], axis=1)


@dataclass(frozen=True)
class Recorded:
    """The posterior of networks at their own width, with standard errors, docs/theory.md (16.1) and (16.2), which are
    those with controls where observables.record has weight_controls.

    log_evidence; mean and variance (D, n_L) of outputs without noise. networks: the addresses (M,) of the finite
    networks. log_w: (M,), the log weight of each. effective: the effective number of networks.
    """

    log_evidence: float
    log_evidence_error: float
    mean: Array
    mean_error: Array
    variance: Array
    variance_error: Array
    networks: NDArray[np.int64]
    log_w: Array
    effective: float


def recorded_posterior(data: str | Path | DataSet, noise: float) -> Recorded:
    """The posterior of the networks of a data set with observables=posterior, at one of its noises: docs/theory.md
    (16.1), (16.2) and (16.5). Networks of a tilted law are weighted back to the prior, docs/theory.md (16.21).

    Raises ValueError where nothing was recorded at this noise, and where the weighted networks cannot carry an
    estimate: fewer than 100 effective ones, or one with more than 5 % of the weight.
    """
    point = Point(data if isinstance(data, DataSet) else open_data_set(data))
    weights = weights_of(point, noise)
    weights.check()
    k, D, outputs = place_of(point, noise), point.D, point.data.layout.outputs
    m, variances = (_of_noise(point, prefix, k) for prefix in ("mu", "var"))
    centre = weights.w @ m  # rounding and controls act on what is left
    d = m - centre
    of_means = weights.w[:, None] * np.stack([d, d**2 + np.tile(variances, outputs)])
    controls, P = controls_of(point, noise), m.shape[1]
    if controls is None:
        columns = np.concatenate([weights.w[:, None], *of_means], axis=1)
    else:
        columns = controls.leave(weights.w, of_means)
    sums = np.add.reduceat(columns, weights.edges()[:-1], axis=0)

    def first(s: Array) -> Array:
        return s[:, 1 : P + 1] / s[:, :1]

    def of_mean(s: Array) -> Array:
        return centre + first(s)

    found = [jackknife(sums, of, len(m)) for of in (of_mean, lambda s: s[:, P + 1 :] / s[:, :1] - first(s) ** 2)]
    (mean, mean_error), (variance, variance_error) = (
        [x.reshape(outputs, D).T for x in (estimate.value, estimate.error)] for estimate in found
    )
    evidence = weights.log_evidence(columns[:, 0])
    addresses = np.concatenate([np.arange(first, last) for first, last in point.addresses[1]])
    return Recorded(
        log_evidence=float(evidence.value[0]),
        log_evidence_error=float(evidence.error[0]),
        mean=mean,
        mean_error=mean_error,
        variance=variance,
        variance_error=variance_error,
        networks=addresses[point.finite],
        log_w=weights.log_w,
        effective=weights.effective,
    )


def weights_of(point: Point, noise: float) -> Weights:
    """The weights of the networks of a point that records them, docs/theory.md (16.1). ValueError where it does not."""
    return Weights.of(_of_noise(point, "lw", place_of(point, noise))[:, 0])


def controls_of(point: Point, noise: float) -> Controls | None:
    """The controls of a point at one of its noises; None where they are not recorded."""
    if not point.records("x", point.depth):
        return None
    x, y = (_of_noise(point, prefix, place_of(point, noise)) for prefix in ("x", "xm"))
    inputs, targets, train = point.samples
    assert targets is not None
    means = _expected(point.network(inputs), tuple(map(tuple, targets[:train].tolist())), noise) / point.widths[-1]
    return Controls(np.concatenate([x, x**2 - means[0]], axis=1), np.stack([y, x * y - means[1:]], axis=1))


@lru_cache(maxsize=16)
def _expected(network: tuple[Any, ...], y: tuple[tuple[float, ...], ...], noise: float) -> Array:
    """n times E x^2 and E x y of the linear parts, (1 + n_L D,), docs/theory.md (16.12)."""
    activation, depth, C_b, C_W, inputs, _, _, ratios = network
    return theory.weight_covariances(activation, depth, C_b, C_W, inputs, y, noise, ratios, POINTS)


def place_of(point: Point, noise: float) -> int:
    """The place of a noise among those that are recorded. ValueError where it is none of them."""
    noises = point.settings["observables"]["noises"]
    if noise not in noises:
        raise ValueError(f"noise={noise!r}: {point.data.path} records observables.noises={noises}")
    return int(noises.index(noise))


def _of_noise(point: Point, prefix: str, k: int) -> Array:
    """The columns of the k-th noise, by output and sample, (M, columns)."""
    chosen = [place for place, index in enumerate(point.columns(prefix)) if index[0] == k]
    return point.read(prefix, point.depth)[:, chosen]
