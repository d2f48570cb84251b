"""Two learning algorithms on the same networks (docs/theory.md (5.21), PDLT ch. 10 and infinity)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.solved import (
    arrived,
    closed_form,
    descent_of,
    last_step,
    no_descent,
    rule_of,
    solved,
    targets,
)
from analysis.measures.trained import measured_at_end, nearly_kernel_known, nearly_kernel_mean
from analysis.points import Point


def _both(point: Point, reference: Point) -> tuple[Array, Array, list[int]]:
    """Trained outputs of the same networks under both algorithms, (M, n_L, D) each, and the test samples."""
    first, second = (trained.data.read("z")[:, -1, -1].astype(np.float64) for trained in (point, reference))
    both = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    if first.shape != second.shape or point.addresses != reference.addresses:
        raise ValueError(f"{point.data.path}: not the networks of {reference.data.path}")
    shape = (int(both.sum()), -1, point.D)
    return first[both].reshape(shape), second[both].reshape(shape), list(range(len(targets(point)), point.D))


def two_flows(point: Point, reference: Point) -> Iterator[str]:
    """Two flows are one algorithm: they differ by the error of their solver alone, and no difference is predicted."""
    if all(trained.settings["dynamics"]["name"] == "gradient_flow" for trained in (point, reference)):
        yield "dynamics=gradient_flow: two flows are one algorithm"


@measure(
    "algorithm_difference",
    tensor="z - z'",
    symbol=r"$\mathrm{E}(z-z')$",
    families=("z",),
    steps="end",
    paired=True,
    needs=arrived,
    undefined=two_flows,
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


def no_two_descents(point: Point, reference: Point) -> Iterator[str]:
    """No coefficient is predicted unless the two are descents of two eta, or descent and flow."""
    if not (solved(point) and solved(reference)):
        return  # `arrived` tells what is needed
    rules = [trained.settings["dynamics"] for trained in (point, reference)]
    names = ", ".join(rule["name"] for rule in rules)
    first, second = (descent_of(rule) for rule in rules)
    scheduled = [rule for rule in rules if theory.CLOSED_FORMS[rule["name"]].descent and descent_of(rule) is None]
    if scheduled:
        yield no_descent(scheduled[0])
    elif first is None or second is None:
        yield f"dynamics={names}: the coefficient is known for gradient descent and gradient flow only"
    elif first == second:
        yield f"dynamics={names}: the two are one algorithm at order 1/n"


@measure(
    "algorithm_coefficient",
    tensor="n (z - z')",
    symbol=r"$n\,\mathrm{E}(z-z')$",
    families=("z",),
    steps="end",
    smooth=True,
    paired=True,
    needs=nearly_kernel_known,
    undefined=no_two_descents,
)
def algorithm_coefficient(point: Point, reference: Point, layers: Layers) -> Iterator[Measured]:
    """n times that difference between descents of two eta, or descent and flow, against docs/theory.md (5.21)."""
    first, second = (descent_of(rule_of(trained)) for trained in (point, reference))
    assert first is not None
    assert second is not None
    difference, infinite, columns = _difference(point, reference)
    estimate = replace(
        difference,
        value=point.n * (difference.value - infinite),
        replicates=point.n * (difference.replicates - infinite),
    )
    shift = nearly_kernel_mean(point, first) - nearly_kernel_mean(point, second)
    predicted = np.array([shift[t, i] for i, t in columns])
    labels = [label_of((i,), (t,)) for i, t in columns]
    yield measured_at_end("n (z - z')", point, labels, estimate, predicted, np.abs(predicted))
