"""Trained outputs against the closed forms (docs/theory.md section 5)."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, has_test_samples, label_of, measure
from analysis.measures.solved import (
    arrived,
    by_sample,
    closed_form,
    closed_form_known,
    last_step,
    order_n,
    order_n_known,
    response,
    targets,
)
from analysis.points import Point

# Shares of the variance at the start. Below ROUNDING only the noise of float32 is left of trained outputs; above SPREAD
# they still have a distribution to test.
ROUNDING, SPREAD = 1e-9, 1e-3


def outputs(point: Point, step: int) -> Array:
    """(M, n_L, D)"""
    z = point.read("z", point.depth, step)
    return z.reshape(len(z), -1, point.D)


def linear_in_z(point: Point, step: int) -> Array:
    """z(0) - M (z_train(0) - y) of every network, (M, n_L, D): its outputs if its NTK were the frozen one.

    Their mean over networks is M y exactly, at every width: a network and the one with its last layer's sign reversed
    are equally likely.
    """
    start, y, M = outputs(point, 0), targets(point), response(point, step)
    return start - (start[..., : len(y)] - y.T) @ M.T


def measured_at_end(
    name: str, point: Point, labels: list[str], estimate: Estimate, predicted: Array, scale: Array
) -> Measured:
    return Measured(
        tensor=name,
        layer=point.depth,
        step=last_step(point),
        samples=labels,
        estimate=estimate,
        theory=predicted,
        scale=scale,
    )


def _spread(point: Point, least: float) -> tuple[list[int], Array]:
    """Samples whose trained outputs have at infinite width more than this share of their variance at the start, and
    their variance. Fully trained train samples have none: what differs there is rounding, no statistics."""
    _, covariance = closed_form(point, last_step(point))
    size = point.flow(("K", "Theta")).K[-1].diagonal()
    kept = [a for a in range(point.D) if covariance[a, a] > least * size[a]]
    return kept, covariance.diagonal()[kept]


_at_end = partial(measure, families=("z",), steps="end")
_by_closed_form = partial(_at_end, needs=closed_form_known)


@_by_closed_form("trained_mean", tensor="z", symbol=r"$\mathrm{E}\,z$", table="trained", any_widths=True)
def trained_mean(point: Point, layers: Layers) -> Iterator[Measured]:
    """E z_i;a after training, train and test samples, in units of the targets (docs/theory.md (5.2), PDLT ch. 10)."""
    mean, _ = closed_form(point, last_step(point))
    kept, _ = _spread(point, ROUNDING)
    all_columns, unit = point.columns("z"), np.sqrt((targets(point) ** 2).mean())
    columns = [(i, a) for i, a in all_columns if a in kept]
    z = point.read("z", point.depth, last_step(point))[:, [all_columns.index(column) for column in columns]]
    yield measured_at_end(
        "z",
        point,
        [label_of((i,), (a,)) for i, a in columns],
        estimators.mean(z),
        np.array([mean[a, i] for i, a in columns]),
        np.full(len(columns), unit),
    )


@_by_closed_form("trained_covariance", tensor="Cov z", symbol=r"$\mathrm{Cov}\,z$", table="trained", any_widths=True)
def trained_covariance(point: Point, layers: Layers) -> Iterator[Measured]:
    """Cov(z_i;a, z_i;b) after training of one output, in units of its size before (docs/theory.md (5.2))."""
    _, covariance = closed_form(point, last_step(point))
    kept, _ = _spread(point, ROUNDING)
    columns = point.columns("z")
    spread = [k for k, (_, a) in enumerate(columns) if a in kept]
    chosen = [(p, q) for p in spread for q in spread if p <= q and columns[p][0] == columns[q][0]]
    size = np.sqrt(point.flow(("K", "Theta")).K[-1].diagonal())
    ab = [(columns[p][1], columns[q][1]) for p, q in chosen]
    yield measured_at_end(
        "Cov z",
        point,
        [label_of((columns[p][0],), pair) for (p, _), pair in zip(chosen, ab, strict=True)],
        estimators.covariance(point.read("z", point.depth, last_step(point)), chosen),
        np.array([covariance[pair] for pair in ab]),
        np.array([size[a] * size[b] for a, b in ab]),
    )


def test_samples_known(point: Point) -> Iterator[str]:
    """Needs of measures of test samples."""
    yield from has_test_samples(point)
    yield from closed_form_known(point)


@_at_end("trained_band", tensor="Var z", symbol=r"$\mathrm{Var}\,z$", needs=test_samples_known, any_widths=True)
def trained_band(point: Point, layers: Layers) -> Iterator[Measured]:
    """Var z_i;a of test samples after training, the band around the mean, in units of the largest that is predicted
    (docs/theory.md (5.2)). Units of the variance before training would hide a band that is narrow beside it."""
    _, covariance = closed_form(point, last_step(point))
    columns, N = point.columns("z"), len(targets(point))
    test = [k for k, (_, a) in enumerate(columns) if a >= N]
    predicted = np.array([covariance[columns[k][1], columns[k][1]] for k in test])
    yield measured_at_end(
        "Var z",
        point,
        [label_of((i,), (a,)) for i, a in (columns[k] for k in test)],
        estimators.covariance(point.read("z", point.depth, last_step(point)), [(k, k) for k in test]),
        predicted,
        np.full(len(test), predicted.max()),
    )


@_by_closed_form("trained_skewness", tensor="skewness", symbol="skewness")
def trained_skewness(point: Point, layers: Layers) -> Iterator[Measured]:
    """Third cumulant of a trained output over its infinite-width deviation cubed, which vanishes for the Gaussian of
    docs/theory.md (5.2)."""
    test, variance = _spread(point, SPREAD)
    z = outputs(point, last_step(point))[:, 0, test]
    estimate = estimators.third_cumulant(z).scaled(variance**-1.5)
    yield measured_at_end("skewness", point, [label_of((a,)) for a in test], estimate, 0 * variance, variance**0)


@_by_closed_form("trained_kurtosis", tensor="kurtosis", symbol="kurtosis")
def trained_kurtosis(point: Point, layers: Layers) -> Iterator[Measured]:
    """Fourth cumulant of a trained output over its infinite-width variance squared, which vanishes for the Gaussian of
    docs/theory.md (5.2)."""
    test, variance = _spread(point, SPREAD)
    z = outputs(point, last_step(point))[:, 0, test]
    estimate = estimators.fourth_cumulant(z).scaled(variance**-2)
    yield measured_at_end("kurtosis", point, [label_of((a,)) for a in test], estimate, 0 * variance, variance**0)


def order_n_mean(point: Point) -> Array:
    """n (E z - infinite width) at the last step, (D, n_L), docs/theory.md (5.29)."""
    return by_sample(point, order_n(point).mean1[-1])


def end_known(point: Point) -> Iterator[str]:
    """Needs of the coefficient of trained means of test samples at order 1/n."""
    yield from has_test_samples(point)
    yield from arrived(point)
    yield from order_n_known(point)


def coefficient_known(point: Point) -> Iterator[str]:
    """Needs of the coefficient at order 1/n where it is measured from a network's own start."""
    if 0 not in point.data.layout.steps:
        yield f"observables.steps={list(point.data.layout.steps)}: step 0 is needed"
    yield from end_known(point)


@_at_end(
    "trained_mean_coefficient",
    tensor="n dz",
    symbol=r"$n\,(\mathrm{E}\,z-z_\infty)$",
    smooth=True,
    needs=coefficient_known,
)
def trained_mean_coefficient(point: Point, layers: Layers) -> Iterator[Measured]:
    """n (E z_test - infinite width) at the end of training (docs/theory.md (5.29)), which for descent and flow is
    nearly-kernel regression, docs/theory.md (5.21).

    Measured as the mean of z minus the same network's output with a frozen NTK, whose mean is known at every width.
    """
    N, predicted = len(targets(point)), order_n_mean(point)
    difference = outputs(point, last_step(point)) - linear_in_z(point, last_step(point))
    columns = [(i, a) for i in range(difference.shape[1]) for a in range(N, point.D)]
    estimate = estimators.mean(np.stack([difference[:, i, a] for i, a in columns], axis=1)).scaled(point.n)
    expected = np.array([predicted[a, i] for i, a in columns])
    labels = [label_of((i,), (a,)) for i, a in columns]
    yield measured_at_end("n dz", point, labels, estimate, expected, np.abs(expected))
