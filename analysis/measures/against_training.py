"""What Bayesian inference learns beyond the training of the readout: docs/theory.md (16.4) and (16.14).

Both have the same networks, each with a last layer that is drawn given the targets. Inference weights the networks by
their evidence and training counts each the same, so that all of the difference is the learning of hidden layers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.estimators import Array
from analysis.measures.bayesian_controlled import (
    controlled,
    inferable,
    noise_of,
    targets_of,
    unlearned,
    vertex_of,
)
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.points import Point
from analysis.theory.bayes import Given


def has_test_samples(point: Point) -> Iterator[str]:
    """Needs of what is measured at test samples."""
    if point.samples[2] == point.D:
        yield "inputs.test=0: test samples are needed"
    yield from inferable(point)


@dataclass(frozen=True)
class Learned:
    """A coefficient of docs/theory.md (16.14), and its size: the sum of those of the two parts of Phi, the one that
    targets make and that of M^-1, which nearly cancel where targets are of the outputs' size."""

    value: Array
    size: Array


def _predicted(point: Point) -> tuple[Learned, Learned]:
    """(1/2) r_b^T (V Phi) a_i (n_L, D) and (1/2) r_b^T (V Phi) r_c (D, D) of docs/theory.md (16.14)."""

    def compute(point: Point) -> tuple[Learned, Learned]:
        y, vertex = targets_of(point), vertex_of(point)
        given = Given.of(vertex.K[-1], y, noise_of(point))
        of_targets = vertex.learned(given.a.T @ given.a)[-1]
        of_inverse = vertex.learned(y.shape[1] * given.roots.T @ given.roots)[-1]

        def learned(side: Array) -> Learned:
            one, other = (side @ X @ given.r.T / 2 for X in (of_targets, of_inverse))
            return Learned(one - other, np.abs(one) + np.abs(other))

        return learned(given.a), learned(given.r)

    return point.once("learning", compute)


@measure(
    "learning_mean",
    tensor="mean by learning",
    symbol=r"$n\,(\mathrm{E}_w-\mathrm{E})\,m$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=has_test_samples,
    any_widths=True,
)
def mean(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the posterior mean at test samples less that of networks with a trained readout, relative to its
    `Learned.size`: docs/theory.md (16.14)."""
    want, N = _predicted(point)[0], point.samples[2]
    places = [(k, place) for k, place in enumerate(np.ndindex(want.value.shape)) if place[1] >= N]
    apart = (controlled(point).mean - unlearned(point).mean).chosen([k for k, _ in places])
    values, sizes = (np.array([of[place] for _, place in places]) for of in (want.value, want.size))
    labels, estimate = [label_of(place) for _, place in places], apart.scaled(point.widths[-1])
    yield Measured("mean by learning", point.depth, 0, labels, estimate, theory=values, scale=sizes)


@measure(
    "learning_covariance",
    tensor="covariance by learning",
    symbol=r"$n\,(\mathrm{Cov}_w-\mathrm{Cov})(z,z)$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=has_test_samples,
    any_widths=True,
)
def covariance(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the posterior covariance of outputs at test samples less that of networks with a trained readout,
    docs/theory.md (16.14), relative to its `Learned.size`."""
    (of_mean, want), N = _predicted(point), point.samples[2]
    shape = of_mean.value.shape
    places = [(k, (i, b, j, c)) for k, (i, b, j, c) in enumerate(np.ndindex(*shape, *shape)) if i == j and N <= b <= c]
    apart = (controlled(point).covariance - unlearned(point).covariance).chosen([k for k, _ in places])
    values, sizes = (np.array([of[b, c] for _, (_, b, _, c) in places]) for of in (want.value, want.size))
    labels = [label_of((i, b), (j, c)) for _, (i, b, j, c) in places]
    estimate = apart.scaled(point.widths[-1])
    yield Measured("covariance by learning", point.depth, 0, labels, estimate, theory=values, scale=sizes)
