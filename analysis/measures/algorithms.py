"""Two learning algorithms on the same networks (docs/theory.md (5.21), PDLT ch. 10 and infinity)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.solved import arrived, closed_form, last_step, targets
from analysis.measures.trained import ROUNDING, end_known, measured_at_end, order_n_mean
from analysis.measures.trained_cumulants import Index, beyond_own_kernel, every_step_known, over_steps, with_spread
from analysis.points import Point


def _both(point: Point, reference: Point) -> tuple[Array, Array, list[int]]:
    """Trained outputs of the same networks under both algorithms, (M, n_L, D) each, and the test samples."""
    first, second = (trained.data.read("z")[:, -1, -1].astype(np.float64) for trained in (point, reference))
    both = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    if first.shape != second.shape or point.addresses != reference.addresses:
        raise ValueError(f"{point.data.path}: not the networks of {reference.data.path}")
    shape = (int(both.sum()), -1, point.D)
    return first[both].reshape(shape), second[both].reshape(shape), list(range(len(targets(point)), point.D))


def one_algorithm(point: Point, reference: Point) -> Iterator[str]:
    """No difference is predicted between two that are one algorithm. Two flows are, whatever their steps: they differ
    by the error of their solver alone."""
    if all(trained.settings["dynamics"]["name"] == "gradient_flow" for trained in (point, reference)):
        yield "dynamics=gradient_flow: two flows are one algorithm"
    elif point.settings["dynamics"] == reference.settings["dynamics"]:
        yield f"dynamics={point.settings['dynamics']['name']}: both are trained by one algorithm with the same settings"


@measure(
    "algorithm_difference",
    tensor="z - z'",
    symbol=r"$\mathrm{E}(z-z')$",
    families=("z",),
    steps="end",
    paired=True,
    needs=arrived,
    undefined=one_algorithm,
)
def algorithm_difference(point: Point, reference: Point, layers: Layers) -> Iterator[Measured]:
    """E z_test of one algorithm minus that of another on the same networks, in units of the targets: at infinite width
    zero, but for what is left of the error after so many steps (PDLT ch. 10)."""
    estimate, infinite, columns = _difference(point, reference)
    unit = np.full(len(columns), np.sqrt((targets(point) ** 2).mean()))
    yield measured_at_end("z - z'", point, [label_of((i,), (t,)) for i, t in columns], estimate, infinite, unit)


def _difference(point: Point, reference: Point) -> tuple[Estimate, Array, list[tuple[int, int]]]:
    """The mean difference of trained test outputs of the same networks, its infinite-width value, and the (output,
    sample) of each component."""
    a, b, test = _both(point, reference)
    columns = [(i, t) for i in range(a.shape[1]) for t in test]
    estimate = estimators.mean(np.stack([a[:, i, t] - b[:, i, t] for i, t in columns], axis=1))
    ends = [closed_form(trained, last_step(trained))[0] for trained in (point, reference)]
    return estimate, np.array([ends[0][t, i] - ends[1][t, i] for i, t in columns]), columns


@measure(
    "algorithm_coefficient",
    tensor="n (z - z')",
    symbol=r"$n\,\mathrm{E}(z-z')$",
    families=("z",),
    steps="end",
    smooth=True,
    paired=True,
    needs=end_known,
    undefined=one_algorithm,
)
def algorithm_coefficient(point: Point, reference: Point, layers: Layers) -> Iterator[Measured]:
    """n times that difference between two algorithms, against docs/theory.md (5.29)."""
    difference, infinite, columns = _difference(point, reference)
    estimate = replace(
        difference,
        value=point.n * (difference.value - infinite),
        replicates=point.n * (difference.replicates - infinite),
    )
    shift = order_n_mean(point) - order_n_mean(reference)
    predicted = np.array([shift[t, i] for i, t in columns])
    labels = [label_of((i,), (t,)) for i, t in columns]
    yield measured_at_end("n (z - z')", point, labels, estimate, predicted, np.abs(predicted))


def same_training(point: Point, reference: Point) -> Iterator[str]:
    """Where both are trained alike there is no difference to predict."""
    if point.settings["dynamics"] == reference.settings["dynamics"]:
        yield f"dynamics={point.settings['dynamics']['name']}: the two are one algorithm"


@measure(
    "algorithm_mean1",
    tensor="n (z - z')(t)",
    symbol=r"$n\,\mathrm{E}(z-z')$",
    families=("z", "H"),
    steps="both",
    smooth=True,
    paired=True,
    needs=every_step_known,
    undefined=same_training,
)
def algorithm_mean1(point: Point, reference: Point, layers: Layers) -> Iterator[Measured]:
    """n E(z - z') of two algorithms on the same networks at every recorded step, each less what it would be if the
    network answered to first order to its own NTK at the start: the difference of docs/theory.md (5.29) without its
    first term. What it would be has the difference of the means at infinite width, which early is not zero."""
    if point.addresses != reference.addresses or point.data.layout.steps != reference.data.layout.steps:
        raise ValueError(f"{point.data.path}: not the networks and steps of {reference.data.path}")
    (left, predicted), (other, of_other) = (beyond_own_kernel(trained) for trained in (point, reference))
    both = point.finite & reference.finite

    def components(step: int) -> list[Index]:
        kept = {p for trained in (point, reference) for p in with_spread(trained, step, ROUNDING)}
        return [(p,) for p in sorted(kept)]

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        difference = left(place, step)[both[point.finite]] - other(place, step)[both[reference.finite]]
        return estimators.mean(difference[:, [p for (p,) in chosen]])

    yield from over_steps(point, "n (z - z')(t)", components, estimate, predicted - of_other)
