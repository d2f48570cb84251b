"""The posterior of a data set's networks given targets: what `analysis.posterior` returns."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.measured import label_of
from analysis.points import FOUR_POINT_SAMPLES, OUT_OF_RANGE, Point
from analysis.weights import AT_A_TIME, Kernels, Mixture, Weights, mixture, moments
from simulate.processes import check_memory
from simulate.store.sets import DataSet, open_data_set


@dataclass(frozen=True, repr=False)
class Inferred:
    """The posterior of networks at their own width, with standard errors, docs/theory.md (16.1) and (16.2).

    log_evidence, mean (D, n_L) and covariance (n_L, D, n_L, D) of outputs, each with its error. networks: the addresses
    (M,) of the finite networks. log_w: (M,), the log evidence of each. effective: the effective number of networks.
    targets: (N, n_L). noise: the variance of a target.
    """

    log_evidence: float
    log_evidence_error: float
    mean: Array
    mean_error: Array
    covariance: Array
    covariance_error: Array
    networks: NDArray[np.int64]
    log_w: Array
    effective: float
    targets: Array
    noise: float
    weights: Weights
    processes: Mixture
    point: Point

    def average(self, values: ArrayLike) -> tuple[Array, Array]:
        """The posterior mean of any numbers of the layers below the last, given by network (M, ...) in the order of
        `networks`, and its error: docs/theory.md (16.2). Outputs and the NTK of layer L are none of these."""
        x = np.asarray(values, dtype=np.float64)
        if len(x) != len(self.networks):
            raise ValueError(f"values: {len(x)} rows for {len(self.networks)} networks that are finite")
        found = self.weights.average(x.reshape(len(x), -1))
        return found.value.reshape(x.shape[1:]), found.error.reshape(x.shape[1:])

    def density(self, sample: int, z: ArrayLike, output: int = 0) -> Array:
        """The posterior density of one output at a sample, at each of the z: docs/theory.md (16.2). The output is
        without noise; a train sample without noise has no density."""
        mean = self.processes.means[:, output, sample]
        variance = self.processes.covariances[:, sample]
        points = np.asarray(z, dtype=np.float64)
        if not variance.min() > 0:
            raise ValueError(f"sample={sample}: its output has no variance in some network, and no density")
        flat = [
            self.weights.w @ (np.exp(-((one - mean) ** 2) / (2 * variance)) / np.sqrt(2 * math.pi * variance))
            for one in points.ravel()
        ]
        return np.array(flat).reshape(points.shape)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each number: quantity, layer, samples (output and sample of outputs), estimate, error, the same
        before inference as `prior`, at infinite width as `infinite_width`, and by theory to order 1/n as `theory`, for
        up to four samples; NaN where there is none."""
        return pd.DataFrame(_rows(self))

    def log_weights(self) -> pd.DataFrame:
        """The columns network and log_w: what other numbers of the same networks are weighted by."""
        return pd.DataFrame({"network": self.networks, "log_w": self.log_w})

    def __repr__(self) -> str:
        return (
            f"Inferred({str(self.point.data.path)!r}: log evidence {self.log_evidence:.6g} +- "
            f"{self.log_evidence_error:.2g}, {len(self.targets)} train samples, noise {self.noise:g}, "
            f"{len(self.networks):,} networks weigh as much as {self.effective:,.0f})"
        )


@dataclass(frozen=True)
class Rescaled(Point):
    """The networks of a point with another C_W, docs/theory.md (16.17): where activations are scale-invariant and there
    are no biases, g of layer l is (C_W/C_W')^l times what was drawn with C_W'. Raises ValueError where they are not."""

    C_W: float

    def __post_init__(self) -> None:
        C_b, C_W = self.data.settings["initialization"]["C_b"], self.C_W
        if isinstance(C_W, bool) or not isinstance(C_W, int | float) or not (math.isfinite(C_W) and C_W > 0):
            raise ValueError(f"C_W={C_W!r}: a number above zero")
        if C_b or theory.activation(self.activation).slopes is None:
            given = f"activation={self.activation}, initialization.C_b={C_b}"
            raise ValueError(
                f"C_W={C_W:g}: {given}: kernels scale for scale-invariant activations without biases alone"
            )

    @property
    def settings(self) -> dict[str, Any]:
        drawn = self.data.settings
        return drawn | {"initialization": drawn["initialization"] | {"C_W": float(self.C_W)}}

    def read(self, prefix: str, layer: int, step: int = 0) -> Array:
        """Kernels g as they are with this C_W; others do not scale."""
        if prefix != "g":
            raise ValueError(f"C_W={self.C_W:g}: columns {prefix} are those of the C_W that was drawn")
        return super().read(prefix, layer, step) * (self.C_W / self.data.settings["initialization"]["C_W"]) ** layer


def posterior(
    data: str | Path | DataSet, targets: ArrayLike | None = None, noise: float = 0.0, C_W: float | None = None
) -> Inferred:
    """The posterior of the networks of a data set that records kernels of its last layer, by weighting them:
    docs/theory.md (16.1), (16.2) and (16.5). Exact at any width and for any activation.

    targets: (N, n_L) or (N,) for the first N samples; None takes those that the data set has for its train samples, one
    set of rows serves all. noise: the variance >= 0 of a target about its output. C_W: that of other networks which the
    same rows stand for (`Rescaled`). The cost is a Cholesky factor of an N x N matrix a network. The memory grows with
    the number of networks (`bytes_of`), because each has its own weight.

    Raises ValueError where targets or noise make no sense or the kernels were not recorded, and where the weighted
    networks cannot carry an estimate: fewer than 100 effective ones, one with more than 5 % of the weight, or no noise
    where a hidden layer has at most N + n_L - 1 neurons; and where the memory is not there.
    """
    opened = data if isinstance(data, DataSet) else open_data_set(data)
    point = Point(opened) if C_W is None else Rescaled(opened, C_W)
    y = targets_of(point, targets)
    kernels = kernels_of(point, y)
    check(point, y, noise)
    each = mixture(kernels, y, noise)
    weights = Weights.of(each.log_w)
    weights.check()
    found, evidence = moments(weights, kernels, y, noise), weights.log_evidence()
    D, outputs = point.D, y.shape[1]
    addresses = np.concatenate([np.arange(first, last) for first, last in point.addresses[1]])
    return Inferred(
        log_evidence=float(evidence.value[0]),
        log_evidence_error=float(evidence.error[0]),
        mean=found.mean.value.reshape(outputs, D).T,
        mean_error=found.mean.error.reshape(outputs, D).T,
        covariance=found.covariance.value.reshape(outputs, D, outputs, D),
        covariance_error=_errors(found.covariance).reshape(outputs, D, outputs, D),
        networks=addresses[point.finite],
        log_w=each.log_w,
        effective=weights.effective,
        targets=y,
        noise=noise,
        weights=weights,
        processes=each,
        point=point,
    )


def bytes_of(point: Point, targets: Array) -> int:
    """An upper bound on the memory that the posterior of these networks takes: rows as they are read and put together,
    numbers of each network, and kernels that are factorised together."""
    layout, pairs, D = point.data.layout, len(point.columns("g")), point.D
    rows = 2 * np.dtype(layout.dtype).itemsize * pairs * len(layout.steps) * len(layout.layers)
    numbers = 8 * (3 * pairs + D * (targets.shape[1] + 2) + 8)
    return point.networks * (rows + numbers) + 64 * min(point.networks * D**2, AT_A_TIME)


def _errors(estimate: Estimate) -> Array:
    """The errors of very many numbers, without their covariance."""
    B, apart = len(estimate.replicates), estimate.replicates - estimate.replicates.mean(axis=0)
    return np.asarray(np.sqrt((B - 1) / B * (apart**2).sum(axis=0)))


def targets_of(point: Point, targets: ArrayLike | None) -> Array:
    """Targets (N, n_L) of the first N samples. ValueError where they are not finite numbers for 1 to D samples."""
    _, given, train = point.samples
    if targets is None:
        if given is None:
            raise ValueError(f"targets=None: {point.data.path} has none of its own; give those of the first N samples")
        targets = given[:train]
    y = np.asarray(targets, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or not 1 <= len(y) <= point.D or not y.shape[1] or not np.all(np.isfinite(y)):
        raise ValueError(f"targets: shape {y.shape}: finite numbers (N, n_L) for the first N of {point.D} samples")
    return y


def kernels_of(point: Point, targets: Array) -> Kernels:
    """The kernels of layer L at step 0. ValueError where they were not recorded, or where there is no memory for the
    posterior given these targets."""
    if point.quadratic:
        raise ValueError(f"{point.data.path}: quadratic models have no kernel of a last layer")
    if point.records("lw") and not point.records("g", point.depth):
        raise ValueError(f"{point.data.path}: it records weights instead of kernels: analysis.recorded_posterior")
    if not point.records("g", point.depth) or 0 not in point.data.layout.steps:
        raise ValueError(
            f"{point.data.path}: the kernel of layer {point.depth} at step 0 is needed: observables.record with kernel "
            f"and observables.layers with {point.depth}"
        )
    check_memory(bytes_of(point, targets), f"{point.data.path}: the weights of {point.networks:,} networks")
    return Kernels(point.read("g", point.depth), point.columns("g"))


def check(point: Point, targets: Array, noise: float) -> None:
    """ValueError for a noise that is no variance, and for none where weights have no finite variance, docs/theory.md
    (16.5); and for networks whose neurons are not independent and alike given g."""
    if not point.plain:
        given = f"network.skip={point.settings['network']['skip']}, initialization={point.weights}"
        why = "neurons are independent and alike given g there alone"
        raise ValueError(f"{given}: inference is known for networks without skips and with Gaussian weights: {why}")
    if (tilt := point.settings["ensemble"]["tilt"]) is not None:
        right = "networks of a tilted law count by weights that they record: analysis.recorded_posterior"
        raise ValueError(f"ensemble.tilt.noise={tilt['noise']}: {right}")
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise={noise!r}: a variance, zero or larger")
    fewest = len(targets) + targets.shape[1]
    if noise == 0 and point.widths and min(point.widths) < fewest:
        raise ValueError(
            f"noise=0: with {len(targets)} train samples of {targets.shape[1]} outputs every hidden layer needs "
            f"{fewest} neurons, and network.width={min(point.widths)}; more noise or wider networks"
        )


def _rows(inferred: Inferred) -> Iterator[dict[str, Any]]:
    point, y, n = inferred.point, inferred.targets, inferred.point.widths[-1] if inferred.point.widths else math.inf
    D, outputs = point.D, y.shape[1]
    exact = _order_n(inferred)
    K = point.flow(False).K
    try:
        wide = theory.bayes.Given.of(K[-1], y, inferred.noise)
    except OUT_OF_RANGE:
        wide = None
    none = {"prior": math.nan, "infinite_width": math.nan, "theory": math.nan}

    def row(quantity: str, layer: int, samples: str, estimate: float, error: float, **more: float) -> dict[str, Any]:
        given = {"quantity": quantity, "layer": layer, "samples": samples}
        return (
            given | {"estimate": float(estimate), "error": float(error)} | none | {k: float(v) for k, v in more.items()}
        )

    known: dict[str, float] = {} if wide is None else {"infinite_width": wide.log_evidence}
    if exact is not None:
        known["theory"] = exact.log_evidence + exact.log_evidence1 / n
    yield row("log_evidence", point.depth, "", inferred.log_evidence, inferred.log_evidence_error, **known)
    for i in range(outputs):
        for b in range(D):
            known = {"prior": 0.0}
            if wide is not None:
                known["infinite_width"] = K[-1, b] @ wide.a[i]
            if exact is not None:
                known["theory"] = exact.mean[b, i] + exact.mean1[b, i] / n
            yield row("mean", point.depth, label_of((i, b)), inferred.mean[b, i], inferred.mean_error[b, i], **known)
    kernels = inferred.point.read("g", point.depth)
    start = dict(zip(point.columns("g"), estimators.mean(kernels).value, strict=True))
    places = [(i, b) for i in range(outputs) for b in range(D)]
    for k, (i, b) in enumerate(places):
        for j, c in places[k:]:
            known = {"prior": start[min(b, c), max(b, c)] * (i == j)}
            if wide is not None:
                known["infinite_width"] = wide.S[b, c] * (i == j)
            if exact is not None:
                known["theory"] = exact.covariance[b, c] * (i == j) + exact.covariance1[i, b, j, c] / n
            at = (i, b, j, c)
            label = label_of((i, b), (j, c))
            yield row("covariance", point.depth, label, inferred.covariance[at], inferred.covariance_error[at], **known)
    for layer in point.layers("g"):
        if layer == 1:
            continue
        g, pairs = point.read("g", layer), point.columns("g")
        before, (after, errors) = estimators.mean(g).value, inferred.average(g)
        for k, (a, b) in enumerate(pairs):
            known = {"prior": before[k], "infinite_width": K[layer - 1, a, b]}
            if exact is not None:
                known["theory"] = K[layer - 1, a, b] + exact.kernels1[layer - 2, a, b] / point.widths[layer - 2]
            yield row("kernel", layer, label_of((a, b)), after[k], errors[k], **known)


def _order_n(inferred: Inferred) -> theory.Posterior | None:
    """Theory to order 1/n where it is cheap and known."""
    point = inferred.point
    if point.D > FOUR_POINT_SAMPLES:
        return None
    activation, depth, C_b, C_W, inputs, _, _, ratios = point.network(point.samples[0])
    try:
        return theory.posterior(
            activation, depth, C_b, C_W, np.array(inputs), inferred.targets, inferred.noise, width_ratios=ratios
        )
    except OUT_OF_RANGE:
        return None
