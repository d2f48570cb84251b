"""Bayesian inference with many train samples: two proposals for the same posterior, docs/theory.md (16.21).

Some networks of a data set are drawn from the prior and some from the tilted law. Both estimate one log evidence, with
controls of known mean where these are recorded.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from analysis import estimators, theory
from analysis.estimators import Array, Estimate, jackknife, less_controls
from analysis.measures.bayesian_controlled import noise_of, targets_of
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.points import Point
from analysis.recorded import controls_of, weights_of
from analysis.weights import Weights, block_edges


def with_control(point: Point) -> Iterator[str]:
    """Needs of all measures here: networks of the prior among tilted ones, and weights at the noise of the claim."""
    claim, settings = point.settings["claim"] or {}, point.settings
    if settings["ensemble"]["tilt"]["control"] < 2:
        yield f"ensemble.tilt.control={settings['ensemble']['tilt']['control']}: networks of the prior, too, as with 2"
    if claim.get("noise") not in settings["observables"]["noises"]:
        yield f"claim.noise={claim.get('noise')}: one of observables.noises={settings['observables']['noises']}"


_by_weights = partial(measure, families=("lw",), needs=with_control, any_widths=True, tilted=True)


def _log_w(point: Point) -> tuple[Array, NDArray[np.bool_]]:
    """Log weights (M,), and which networks are of the prior. ValueError where either kind cannot carry an estimate."""
    log_w = weights_of(point, noise_of(point)).log_w
    addresses = np.concatenate([np.arange(first, last) for first, last in point.addresses[1]])[point.finite]
    of_prior = addresses % point.settings["ensemble"]["tilt"]["control"] == 0
    for kind in (of_prior, ~of_prior):
        Weights.of(log_w[kind]).check()
    return log_w, of_prior


@_by_weights(
    "evidence_by_tilt",
    tensor="log evidence, tilted less prior",
    symbol=r"$\log p(y)$, tilted less prior",
    model="constant",
)
def evidence(point: Point, layers: Layers) -> Iterator[Measured]:
    """log p(y) of docs/theory.md (16.1) from tilted networks less that from networks of the prior, in nats, which is
    zero at every width. Each has less noise where its controls are recorded, docs/theory.md (16.6)."""
    log_w, of_prior = _log_w(point)
    w, controls = np.exp(log_w - log_w.max()), controls_of(point, noise_of(point))
    if controls is not None:
        for kind in (~of_prior, of_prior):
            w[kind] = less_controls(w[kind, None], controls.of_weights[kind])[:, 0]
    columns = np.stack([kind * x for kind in (~of_prior, of_prior) for x in (w, np.ones_like(w))], axis=1)
    sums = np.add.reduceat(columns, block_edges(len(w))[:-1], axis=0)
    apart = jackknife(sums, lambda s: np.log(s[:, :1] * s[:, 3:] / (s[:, 1:2] * s[:, 2:3])), len(w))
    yield _nothing_but("log evidence, tilted less prior", point, apart)


def _nothing_but(tensor: str, point: Point, estimate: Estimate) -> Measured:
    """One number of the outputs, in its own unit, that is zero or is bounded."""
    return Measured(tensor, point.depth, 0, ["y"], estimate, theory=np.zeros(1), scale=np.ones(1))


@_by_weights(
    "share_forecast", tensor="log share beyond forecast", symbol=r"$-n\,\log\,$share$/v_1-1$", model="tolerance"
)
def share(point: Point, layers: Layers) -> Iterator[Measured]:
    """By how much of its forecast -v1/n the logarithm of the effective share of networks of the prior is below it, zero
    at every width: the forecast is right where v1/n is small, and a lower bound beyond, docs/theory.md (16.5)."""
    log_w, of_prior = _log_w(point)
    activation, depth, C_b, C_W, inputs, _, _, ratios = point.network(point.samples[0])
    y, own = targets_of(point), Weights.of(log_w[of_prior])
    train = np.array(inputs)[: len(y)]
    v1 = theory.weight_variance(activation, depth, C_b, C_W, train, y, noise_of(point), width_ratios=ratios)
    below = np.array([max(-np.log(own.effective / of_prior.sum()) * point.widths[-1] / v1 - 1, 0.0)])
    estimate = Estimate(below, np.tile(below, (estimators.BLOCKS, 1)))  # the share is that of these networks
    yield _nothing_but("log share beyond forecast", point, estimate)


@measure(
    "weight_controls",
    symbol={"x": r"$\mathrm{E}\,x$", "x x - v": r"$\mathrm{E}\,x^2-v_1/n$"},
    model="constant",
    families=("x", "xm"),
    needs=with_control,
    any_widths=True,
    tilted=True,
)
def means_of_controls(point: Point, layers: Layers) -> Iterator[Measured]:
    """The means of all controls of weights, docs/theory.md (16.6), which are zero at every width, in their standard
    deviations over networks: those of log w, and of the means at test samples. Tilted networks are among them, by the
    normals that were tilted."""
    controls, D, train = controls_of(point, noise_of(point)), point.D, point.samples[2]
    assert controls is not None
    test = [p for p in range(controls.of_means.shape[2]) if p % D >= train]
    labels = ["log w", *(label_of((p // D,), (p % D,)) for p in test)]
    for k, tensor in enumerate(("x", "x x - v")):
        values = np.concatenate([controls.of_weights[:, k : k + 1], controls.of_means[k][:, test]], axis=1)
        zero = np.zeros(len(labels))
        both = estimators.mean(np.concatenate([values, values**2], axis=1))
        means, squares = both.chosen(range(len(labels))), both.value[len(labels) :]
        yield Measured(tensor, point.depth, 0, labels, means.scaled(squares**-0.5), theory=zero, scale=zero + 1)
