"""What Bayesian inference learns beyond the training of the readout: docs/theory.md (16.4) and (16.14).

Both have the same networks, each with a last layer that is drawn given the targets. Inference weights the networks by
their evidence and training counts each the same, so that all of the difference is the learning of hidden layers.
"""

from collections.abc import Iterator

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


def _predicted(point: Point) -> tuple[Array, Array]:
    """The terms (1/2) r_b^T (V Phi) a_i (n_L, D) and (1/2) r_b^T (V Phi) r_c (D, D) of docs/theory.md (16.14)."""

    def compute(point: Point) -> tuple[Array, Array]:
        vertex = vertex_of(point)
        given = Given.of(vertex.K[-1], targets_of(point), noise_of(point))
        V_Phi = vertex.learned(given.Phi)[-1]
        return given.a @ V_Phi @ given.r.T / 2, given.r @ V_Phi @ given.r.T / 2

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
    """n times the posterior mean at test samples less that of networks with a trained readout, docs/theory.md
    (16.14)."""
    want, N = _predicted(point)[0], point.samples[2]
    places = [(k, place) for k, place in enumerate(np.ndindex(want.shape)) if place[1] >= N]
    apart = (controlled(point).mean - unlearned(point).mean).chosen([k for k, _ in places])
    values = np.array([want[place] for _, place in places])
    labels, scale = [label_of(place) for _, place in places], np.full(len(places), np.abs(values).max())
    estimate = apart.scaled(point.widths[-1])
    yield Measured("mean by learning", point.depth, 0, labels, estimate, theory=values, scale=scale)


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
    docs/theory.md (16.14)."""
    (of_mean, want), N = _predicted(point), point.samples[2]
    places = [
        (k, (i, b, j, c))
        for k, (i, b, j, c) in enumerate(np.ndindex(*of_mean.shape, *of_mean.shape))
        if i == j and N <= b <= c
    ]
    apart = (controlled(point).covariance - unlearned(point).covariance).chosen([k for k, _ in places])
    values = np.array([want[b, c] for _, (_, b, _, c) in places])
    labels = [label_of((i, b), (j, c)) for _, (i, b, j, c) in places]
    scale, estimate = np.full(len(places), np.abs(values).max()), apart.scaled(point.widths[-1])
    yield Measured("covariance by learning", point.depth, 0, labels, estimate, theory=values, scale=scale)
