"""Two learning algorithms on the same networks (docs/theory.md (5.21) and (5.40), PDLT ch. 10 and infinity)."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, has_test_samples, label_of, measure
from analysis.measures.solved import (
    arrived,
    closed_form,
    last_step,
    order_n,
    order_n_known,
    targets,
)
from analysis.measures.trained import ROUNDING, end_known, measured_at_end, order_n_mean, outputs
from analysis.measures.trained_cumulants import (
    Index,
    beyond_own_kernel,
    composite,
    every_step_known,
    over_steps,
    with_spread,
)
from analysis.points import Point
from analysis.theory.order_n import MOST_SEQUENCES, enumerated


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


def arrived_at_test_samples(point: Point) -> Iterator[str]:
    """Needs of the difference of trained test outputs."""
    yield from has_test_samples(point)
    yield from arrived(point)


_paired = partial(measure, paired=True)
_of_algorithms = partial(_paired, families=("z",), steps="end", undefined=one_algorithm)


@_of_algorithms("algorithm_difference", tensor="z - z'", symbol=r"$\mathrm{E}(z-z')$", needs=arrived_at_test_samples)
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


@_of_algorithms(
    "algorithm_coefficient", tensor="n (z - z')", symbol=r"$n\,\mathrm{E}(z-z')$", smooth=True, needs=end_known
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


def _check_alike(point: Point, reference: Point) -> None:
    """ValueError where two points do not have the same networks at the same steps."""
    if point.addresses != reference.addresses or point.data.layout.steps != reference.data.layout.steps:
        raise ValueError(f"{point.data.path}: not the networks and steps of {reference.data.path}")


@_paired(
    "algorithm_mean1",
    tensor="n (z - z')(t)",
    symbol=r"$n\,\mathrm{E}(z-z')$",
    families=("z", "H"),
    steps="both",
    smooth=True,
    needs=every_step_known,
    undefined=same_training,
)
def algorithm_mean1(point: Point, reference: Point, layers: Layers) -> Iterator[Measured]:
    """n E(z - z') of two algorithms on the same networks at every recorded step, each less what it would be if the
    network answered to first order to its own NTK at the start: the difference of docs/theory.md (5.29) without its
    first term. What it would be has the difference of the means at infinite width, which early is not zero."""
    _check_alike(point, reference)
    (left, predicted), (other, of_other) = (beyond_own_kernel(trained) for trained in (point, reference))
    both = point.finite & reference.finite

    def components(step: int) -> list[Index]:
        kept = {p for trained in (point, reference) for p in with_spread(trained, step, ROUNDING)}
        return [(p,) for p in sorted(kept)]

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        difference = left(place, step)[both[point.finite]] - other(place, step)[both[reference.finite]]
        return estimators.mean(difference[:, [p for (p,) in chosen]])

    yield from over_steps(point, "n (z - z')(t)", components, estimate, predicted - of_other)


def batches_alone(point: Point, reference: Point) -> Iterator[str]:
    """What batches change is predicted where all else is the same."""
    alike = all(
        point.settings["dynamics"][name] == reference.settings["dynamics"][name]
        for name in ("eta", "schedule", "lambda_b", "lambda_W", "loss", "rules")
    )
    names = [trained.settings["dynamics"]["name"] for trained in (point, reference)]
    if names != ["sgd", "gradient_descent"] or not alike:
        yield f"dynamics={names[0]}: sgd and a reference of gradient_descent with the same rates and loss are needed"


def batches_known(point: Point) -> Iterator[str]:
    """Needs of what batches change: the averages over them are exact."""
    rule, steps = point.settings["dynamics"], point.data.layout.steps[-1]
    if point.trained and rule["loss"] != "mse":
        yield f"dynamics.loss={rule['loss']}: mse is needed"
    if rule["name"] == "sgd" and not enumerated(rule["batch"], N := len(targets(point)), steps):
        some = f"dynamics.batch={rule['batch']}, observables.steps: {steps} steps with batches of {N} samples"
        yield f"{some} have more than {MOST_SEQUENCES} sequences, over which the prediction would be sampled"
    yield from order_n_known(point)


def _at_every_output(point: Point) -> list[Index]:
    return [(p,) for p in range(targets(point).shape[1] * point.D)]


_of_batches = partial(_paired, steps="end", needs=batches_known, undefined=batches_alone)


@_of_batches("sgd_mean", tensor="(z - z')(t)", symbol=r"$\mathrm{E}(z-z')$", families=("z",), any_widths=True)
def sgd_mean(point: Point, reference: Point, layers: Layers) -> Iterator[Measured]:
    """E(z - z') of sgd and of descent on the same networks at every recorded step, in units of the targets: zero at
    infinite width, where a step is linear in the errors and batches are independent, docs/theory.md (5.40)."""
    _check_alike(point, reference)
    both, unit = point.finite & reference.finite, np.sqrt((targets(point) ** 2).mean())
    for step in filter(None, point.data.layout.steps):
        apart = _of_both(point, both, outputs(point, step)) - _of_both(reference, both, outputs(reference, step))
        chosen = _at_every_output(point)
        yield Measured(
            tensor="(z - z')(t)",
            layer=point.depth,
            step=step,
            samples=[label_of((p // point.D,), (p % point.D,)) for (p,) in chosen],
            estimate=estimators.mean(apart),
            theory=np.zeros(len(chosen)),
            scale=np.full(len(chosen), unit),
        )


def _of_both(point: Point, both: NDArray[np.bool_], values: Array) -> Array:
    """Values (M, n_L, D) of a point's finite networks as (M', P), for the networks that are finite under both."""
    return composite(point, values)[both[point.finite]]


@_of_batches(
    "sgd_mean1", tensor="n (z - z')(t)", symbol=r"$n\,\mathrm{E}(z-z')$", families=("z", "linear"), smooth=True
)
def sgd_mean1(point: Point, reference: Point, layers: Layers) -> Iterator[Measured]:
    """n E(z - z') of sgd and of descent on the same networks at every recorded step, each less the network's linear
    model, which has the same batches: the difference of docs/theory.md (5.29), averaged over batches by docs/theory.md
    (5.40).

    The means of the two linear models are equal at every width, because their steps are linear in the errors at a
    kernel that does not move, and the batches of a network are independent of it and of each other.
    """
    _check_alike(point, reference)
    both = point.finite & reference.finite
    predicted = order_n(point).mean1 - order_n(reference).mean1

    def beyond(trained: Point, step: int) -> Array:
        z = outputs(trained, step)
        return _of_both(trained, both, z - trained.read("linear", trained.depth, step).reshape(z.shape))

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        return estimators.mean((beyond(point, step) - beyond(reference, step))[:, [p for (p,) in chosen]])

    yield from over_steps(point, "n (z - z')(t)", lambda step: _at_every_output(point), estimate, predicted)
