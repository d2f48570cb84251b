"""Bayesian inference with many train samples, by particle filters: what `simulate.particle_filter` returns."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from simulate import inputs
from simulate.running.filters import filter_of, moments_of
from simulate.running.jobs import Job
from simulate.running.prepare import resolved
from simulate.running.process import one_thread
from simulate.settings import Settings
from simulate.settings.reader import SettingsError

FEWEST = 16  # filters that an error is made of
FEWEST_EFFECTIVE = 100  # effective networks below which nothing is reported
HALF = 0.5  # the share of the filters that their estimates of p(y) have to weigh as much as
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Filtered:
    """The posterior of networks at their own width, with standard errors, docs/theory.md (16.20): the evidence, and
    mean and variance (D, n_L) of outputs without noise.

    log_Z: (B,), the logarithm of each filter's unbiased estimate of p(y). share: (B,), the lowest effective share of
    each filter's particles at any stage. effective: the number of independent networks that all particles weigh as much
    as.
    """

    log_evidence: float
    log_evidence_error: float
    mean: Array
    mean_error: Array
    variance: Array
    variance_error: Array
    log_Z: Array
    share: Array
    effective: float


def filtered(
    settings: Settings,
    given: inputs.Given | None,
    targets: ArrayLike | None,
    noise: float,
    per_filter: int,
    groups: int,
) -> Filtered:
    """Filters over networks first .. first + networks - 1 of the seed, so many of them each: docs/theory.md (16.20).

    given: as of `simulate.running.prepare.prepare`. Raises SettingsError for a setting that is not possible, and
    ValueError where the particles cannot carry an estimate.
    """
    bare = replace(settings, observables=replace(settings.observables, record=("outputs",)))
    job = resolved(bare, given)
    _check(job, noise, per_filter, groups)
    with torch.inference_mode(), one_thread():
        return _found(job, _targets(job, targets), noise, per_filter, groups)


def _targets(job: Job, targets: ArrayLike | None) -> Tensor:
    """(N, n_L) float64 of the first N samples: those given, or those of the train samples."""
    x, of_samples, train = job.samples.x, job.samples.y, job.samples.train
    if targets is None and of_samples is None:
        right = f"inputs={job.settings.inputs.source} has none of its own; give those of the first N samples"
        raise SettingsError("targets", None, right)
    y = np.asarray(targets if of_samples is None or targets is not None else of_samples[:train], dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or not 1 <= len(y) <= len(x) or not y.shape[1] or not np.isfinite(y).all():
        raise SettingsError("targets", y.shape, f"finite numbers (N, n_L) for the first N of {len(x)} samples")
    return torch.from_numpy(y)


def _check(job: Job, noise: float, per_filter: int, groups: int) -> None:
    s, first, networks = job.settings, job.first, job.settings.ensemble.networks
    for name, count, lowest in (("particles", per_filter, 2), ("groups", groups, 1)):
        if not isinstance(count, int) or count < lowest:
            raise SettingsError(name, count, f"a number >= {lowest}")
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 < noise < math.inf:
        raise SettingsError("noise", noise, "the variance of a target, above zero")
    laws = {"initialization": s.initialization.weights, "initialization.first": s.initialization.first}
    whole = f"{FEWEST} filters or more of {per_filter} particles each, all whole"
    checks: tuple[tuple[object, str, object, str], ...] = (
        (networks % per_filter or networks < FEWEST * per_filter, "ensemble.networks", networks, whole),
        (first % per_filter, "ensemble.first", first, f"a multiple of the {per_filter} particles of a filter"),
        (s.network.skips, "network.skip", s.network.skip, "filters move kernels, which are no chain with skips"),
        *((law != "gaussian", key, law, "filters draw neurons of Gaussian weights") for key, law in laws.items()),
        (s.ensemble.sampler != "law", "ensemble.sampler", s.ensemble.sampler, "law: filters draw no weights"),
    )
    for wrong, key, value, right in checks:
        if wrong:
            raise SettingsError(key, value, right)


def _found(job: Job, y: Tensor, noise: float, per_filter: int, groups: int) -> Filtered:
    found = []
    for number in range(job.first // per_filter, job.last // per_filter):
        one = filter_of(job, y, noise, number, per_filter, groups)
        found.append((one.log_mean(), moments_of(one, y, noise), one.share, one.effective_ancestors()))
    return _of_filters(*(np.array(column) for column in zip(*found, strict=True)))


def _of_filters(log_Z: Array, moments: Array, share: Array, independent: Array) -> Filtered:
    """From the estimates of B filters: log_Z, share, independent (B,), moments (B, 2, D, n_L). ValueError where they
    carry none together."""
    B, top = len(log_Z), log_Z.max()
    Z = np.exp(log_Z - top)
    effective = Z.sum() ** 2 / np.sum(Z**2 / independent)
    filters = Z.sum() ** 2 / np.sum(Z**2)
    if not (effective >= FEWEST_EFFECTIVE and filters >= HALF * B):  # or singular kernels have made NaN
        raise ValueError(
            f"underpowered: the particles weigh as much as {effective:.3g} independent networks, and {B} filters as "
            f"much as {filters:.3g}; at least {FEWEST_EFFECTIVE} and {HALF * B:g} are needed: more particles, wider "
            "networks, more noise or fewer train samples"
        )
    of_Z = _jackknife(Z[:, None], lambda s, b: top + np.log(s / b))

    def mean(s: Array, b: int) -> Array:
        return s[:, 1] / s[:, 0]

    def variance(s: Array, b: int) -> Array:
        return s[:, 2] / s[:, 0] - mean(s, b) ** 2

    weighted = Z[:, None, None, None] * np.concatenate([np.ones_like(moments[:, :1]), moments], axis=1)
    of_mean, of_variance = (_jackknife(weighted, of) for of in (mean, variance))
    return Filtered(float(of_Z[0][0]), float(of_Z[1][0]), *of_mean, *of_variance, log_Z, share, float(effective))


def _jackknife(x: Array, of: Callable[[Array, int], Array]) -> tuple[Array, Array]:
    """A function of sums (rows, ...) over filters of x (B, ...) and of their number, without its bias of order 1/B, and
    its error: docs/theory.md (7.8)."""
    B, total = len(x), x.sum(axis=0)
    without = of(total - x, B - 1)
    value = B * of(total[None], B)[0] - (B - 1) * without.mean(axis=0)
    return value, np.sqrt((B - 1) / B * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
