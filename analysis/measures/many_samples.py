"""Bayesian inference with many train samples: three ways to one posterior, docs/theory.md (16.20) and (16.21).

Some networks of a data set are drawn from the prior, some from the tilted law, and some rows are those of particle
filters. All estimate one log evidence, with controls of known mean where these are recorded.
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


def with_filters(point: Point) -> Iterator[str]:
    """Needs of what compares particle filters with tilted networks."""
    yield from with_control(point)
    if point.settings["ensemble"]["filter"] is None:
        yield "ensemble.filter.particles=null: filters in some rows, as of 100 with ensemble.filter.every=100"


_by_weights = partial(measure, families=("lw",), any_widths=True, tilted=True)


def _log_w(point: Point, *kinds: str) -> tuple[Array, list[NDArray[np.bool_]]]:
    """Log weights (M,), and which rows are of each kind: prior or tilted networks, or filters. ValueError where one
    kind cannot carry an estimate."""
    log_w, given = weights_of(point, noise_of(point)).log_w, point.settings["ensemble"]
    addresses = np.concatenate([np.arange(first, last) for first, last in point.addresses[1]])[point.finite]
    filters = addresses % given["filter"]["every"] == 0 if given["filter"] else np.zeros(len(addresses), dtype=bool)
    prior = (addresses % given["tilt"]["control"] == 0) & ~filters
    of_kind = {"prior": prior, "tilted": ~prior & ~filters, "filter": filters}
    for kind in kinds:
        Weights.of(log_w[of_kind[kind]]).check()
    return log_w, [of_kind[kind] for kind in kinds]


def _evidence(point: Point, *kinds: str) -> Estimate:
    """log p(y) of docs/theory.md (16.1) from rows of one kind less that from rows of another, in nats."""
    log_w, chosen = _log_w(point, *kinds)
    w, controls = np.exp(log_w - log_w.max()), controls_of(point, noise_of(point))
    for kind, rows in zip(kinds, chosen, strict=True):
        if controls is not None and kind != "filter":
            w[rows] = less_controls(w[rows, None], controls.of_weights[rows])[:, 0]
    columns = np.stack([rows * x for rows in chosen for x in (w, np.ones_like(w))], axis=1)
    sums = np.add.reduceat(columns, block_edges(len(w))[:-1], axis=0)
    return jackknife(sums, lambda s: np.log(s[:, :1] * s[:, 3:] / (s[:, 1:2] * s[:, 2:3])), len(w))


@_by_weights(
    "evidence_by_tilt",
    tensor="log evidence, tilted less prior",
    symbol=r"$\log p(y)$, tilted less prior",
    model="constant",
    needs=with_control,
)
def evidence(point: Point, layers: Layers) -> Iterator[Measured]:
    """log p(y) of docs/theory.md (16.1) from tilted networks less that from networks of the prior, in nats, which is
    zero at every width. Each has less noise where its controls are recorded, docs/theory.md (16.6)."""
    yield _nothing_but("log evidence, tilted less prior", point, _evidence(point, "tilted", "prior"))


@_by_weights(
    "evidence_by_filter",
    tensor="log evidence, filters less tilted",
    symbol=r"$\log p(y)$, filters less tilted",
    model="constant",
    needs=with_filters,
)
def evidence_by_filter(point: Point, layers: Layers) -> Iterator[Measured]:
    """log p(y) from particle filters, docs/theory.md (16.20), less that from tilted networks, docs/theory.md (16.21),
    in nats, which is zero at every width."""
    yield _nothing_but("log evidence, filters less tilted", point, _evidence(point, "filter", "tilted"))


def _nothing_but(tensor: str, point: Point, estimate: Estimate) -> Measured:
    """One number of the outputs, in its own unit, that is zero or is bounded."""
    return Measured(tensor, point.depth, 0, ["y"], estimate, theory=np.zeros(1), scale=np.ones(1))


@_by_weights(
    "share_forecast",
    tensor="log share beyond forecast",
    symbol=r"$-n\,\log\,$share$/v_1-1$",
    model="tolerance",
    needs=with_control,
)
def share(point: Point, layers: Layers) -> Iterator[Measured]:
    """By how much of its forecast -v1/n the logarithm of the effective share of networks of the prior is below it, zero
    at every width: the forecast is right where v1/n is small, and a lower bound beyond, docs/theory.md (16.5)."""
    log_w, (of_prior,) = _log_w(point, "prior")
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
        values = np.concatenate([controls.of_weights[:, k : k + 1], controls.of_means[:, k, test]], axis=1)
        zero = np.zeros(len(labels))
        both = estimators.mean(np.concatenate([values, values**2], axis=1))
        means, squares = both.chosen(range(len(labels))), both.value[len(labels) :]
        yield Measured(tensor, point.depth, 0, labels, means.scaled(squares**-0.5), theory=zero, scale=zero + 1)
