"""The posterior of networks that record the weights of targets instead of kernels: what `analysis.recorded_posterior`
returns."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.estimators import Array, jackknife
from analysis.points import Point
from analysis.weights import Weights
from simulate.store.sets import DataSet, open_data_set


@dataclass(frozen=True)
class Recorded:
    """The posterior of networks at their own width, with standard errors, docs/theory.md (16.1) and (16.2).

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
    second = m**2 + np.tile(variances, outputs)
    sums, P = weights.sums(np.concatenate([np.ones((len(m), 1)), m, second], axis=1)), m.shape[1]

    def first(s: Array) -> Array:
        return s[:, 1 : P + 1] / s[:, :1]

    found = [jackknife(sums, of, len(m)) for of in (first, lambda s: s[:, P + 1 :] / s[:, :1] - first(s) ** 2)]
    (mean, mean_error), (variance, variance_error) = (
        [x.reshape(outputs, D).T for x in (estimate.value, estimate.error)] for estimate in found
    )
    evidence = weights.log_evidence()
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
