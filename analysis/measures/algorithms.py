"""Two learning algorithms on the same networks (docs/theory.md (5.21), PDLT ch. 10 and infinity)."""

from collections.abc import Iterator

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.solved import arrived, closed_form, last_step, rule_of, targets
from analysis.measures.trained import measured_at_end, nearly_kernel_mean
from analysis.points import Point


def _both(point: Point, reference: Point) -> tuple[Array, Array, list[int]]:
    """Trained outputs of the same networks under both algorithms, (M, n_L, D) each, and the test samples."""
    first, second = (one.data.read("z")[:, -1, -1].astype(np.float64) for one in (point, reference))
    both = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    if first.shape != second.shape or point.addresses != reference.addresses:
        raise ValueError(f"{point.data.path}: not the networks of {reference.data.path}")
    shape = (int(both.sum()), -1, point.D)
    return first[both].reshape(shape), second[both].reshape(shape), list(range(len(targets(point)), point.D))


@measure(
    "algorithm_difference",
    tensor="z - z'",
    symbol=r"$\mathrm{E}(z-z')$",
    families=("z",),
    steps="end",
    paired=True,
    needs=arrived,
)
def algorithm_difference(point: Point, reference: Point, layers: Layers) -> Iterator[Measured]:
    """E z_test of one algorithm minus that of another on the same networks, in units of the targets: at infinite width
    zero, but for what is left of the error after so many steps (PDLT ch. 10); nothing for two flows, which are one
    algorithm and differ by the error of their solver."""
    if all(rule_of(one)["name"] == "gradient_flow" for one in (point, reference)):
        return
    estimate, infinite, columns = _difference(point, reference)
    unit = np.full(len(columns), np.sqrt((targets(point) ** 2).mean()))
    yield measured_at_end("z - z'", point, [label_of((i,), (t,)) for i, t in columns], estimate, infinite, unit)


def _difference(point: Point, reference: Point) -> tuple[Estimate, Array, list[tuple[int, int]]]:
    """Of trained test outputs, network by network: its mean, what it is at infinite width, and the (output, sample)."""
    a, b, test = _both(point, reference)
    columns = [(i, t) for i in range(a.shape[1]) for t in test]
    estimate = estimators.mean(np.stack([a[:, i, t] - b[:, i, t] for i, t in columns], axis=1))
    ends = [closed_form(one, last_step(one))[0] for one in (point, reference)]
    return estimate, np.array([ends[0][t, i] - ends[1][t, i] for i, t in columns]), columns


@measure(
    "algorithm_coefficient",
    tensor="n (z - z')",
    symbol=r"$n\,\mathrm{E}(z-z')$",
    families=("z",),
    steps="end",
    paired=True,
    needs=arrived,
)
def algorithm_coefficient(point: Point, reference: Point, layers: Layers) -> Iterator[Measured]:
    """n times that difference between descents of two eta, or descent and flow, against docs/theory.md (5.21).

    Nothing for other algorithms, and nothing where the two are predicted to be one.
    """
    etas = []
    for one in (point, reference):
        rule = rule_of(one)
        descent = theory.CLOSED_FORMS[rule["name"]].descent
        if descent is None:
            return
        etas.append(descent(rule["eta"]))
    if etas[0] == etas[1]:
        return
    found, infinite, columns = _difference(point, reference)
    estimate = Estimate(point.n * (found.value - infinite), point.n * (found.replicates - infinite))
    predicted = nearly_kernel_mean(point, etas[0]) - nearly_kernel_mean(point, etas[1])
    there = np.array([predicted[t, i] for i, t in columns])
    labels = [label_of((i,), (t,)) for i, t in columns]
    yield measured_at_end("n (z - z')", point, labels, estimate, there, np.abs(there))
