"""Trained outputs against the closed forms (docs/theory.md section 5)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Measured, label_of
from analysis.points import Point
from analysis.theory import nearly_kernel

# Shares of the variance at the start: below the first, float32 is all that is left; above the second, a distribution.
ROUNDING, SPREAD = 1e-9, 1e-3
SOLVED = ("gradient_descent", "gradient_flow", "momentum")  # algorithms with a closed form at infinite width


def solved(point: Point) -> bool:
    """Whether the point was trained by an algorithm whose infinite-width end and way there are known."""
    rule = point.settings["dynamics"]
    return bool(point.trained and rule["name"] in SOLVED and rule["loss"] == "mse")


def rule_of(point: Point) -> Mapping[str, Any]:
    """The dynamics of a point that was trained on the MSE by an algorithm with a closed form."""
    rule: Mapping[str, Any] = point.settings["dynamics"]
    if not solved(point):
        said = f"dynamics={rule['name']}" + f", loss={rule['loss']}" * point.trained
        raise ValueError(f"{point.data.path}: {said}: this test needs one of {', '.join(SOLVED)}, with loss=mse")
    return rule


def targets(point: Point) -> Array:
    """(N, n_L) of the train samples."""
    _, y, train = point.samples
    assert y is not None
    return y[:train]


def response(point: Point, step: int) -> Array:
    """M (D, N) at infinite width: z(t) = z(0) - M (z_train(0) - y) (theory.md 5.1)."""
    rule, flow = rule_of(point), point.flow(("K", "Theta"))
    assert flow.Theta is not None
    return theory.response(
        flow.Theta[-1], len(targets(point)), rule["eta"], step, rule["name"], rule.get("momentum", 0.0)
    )


def closed_form(point: Point, step: int) -> tuple[Array, Array]:
    """Mean (D, n_L) and covariance (D, D) of outputs at infinite width (theory.md 5.2)."""
    rule, flow = rule_of(point), point.flow(("K", "Theta"))
    assert flow.Theta is not None
    how = rule["eta"], step, rule["name"], rule.get("momentum", 0.0)
    return theory.trained(flow.K[-1], flow.Theta[-1], targets(point), *how)


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
    return np.asarray(start - (start[..., : len(y)] - y.T) @ M.T)


def last_step(point: Point) -> int:
    return int(point.data.layout.steps[-1])


def measured_at_end(
    name: str, point: Point, labels: list[str], estimate: Estimate, predicted: Array, scale: Array
) -> Measured:
    nothing = np.full(len(labels), np.nan)
    return Measured(name, point.depth, last_step(point), labels, estimate, predicted, scale, nothing)


def _spread(point: Point, least: float) -> tuple[list[int], Array]:
    """Samples whose trained outputs have at infinite width more than this share of their variance at the start, and
    their variance. Fully trained train samples have none: what differs there is rounding, no statistics."""
    _, covariance = closed_form(point, last_step(point))
    size = point.flow(("K", "Theta")).K[-1].diagonal()
    kept = [a for a in range(point.D) if covariance[a, a] > least * size[a]]
    return kept, covariance.diagonal()[kept]


def trained_mean(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """E z_i;a after training, train and test samples, in units of the targets (theory.md 5.2, PDLT ch. 10)."""
    mean, _ = closed_form(point, last_step(point))
    kept, _ = _spread(point, ROUNDING)
    every, unit = point.columns("z"), np.sqrt((targets(point) ** 2).mean())
    columns = [(i, a) for i, a in every if a in kept]
    z = point.read("z", point.depth, last_step(point))[:, [every.index(column) for column in columns]]
    yield measured_at_end(
        "z",
        point,
        [label_of((i,), (a,)) for i, a in columns],
        estimators.mean(z),
        np.array([mean[a, i] for i, a in columns]),
        np.full(len(columns), unit),
    )


def trained_covariance(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """Cov(z_i;a, z_i;b) after training of one output, in units of its size before (theory.md 5.2)."""
    _, covariance = closed_form(point, last_step(point))
    kept, _ = _spread(point, ROUNDING)
    columns = point.columns("z")
    there = [k for k, (_, a) in enumerate(columns) if a in kept]
    chosen = [(p, q) for p in there for q in there if p <= q and columns[p][0] == columns[q][0]]
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


def trained_skewness(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """Third cumulant of a trained output over its infinite-width deviation cubed: zero at infinite width."""
    test, variance = _spread(point, SPREAD)
    z = outputs(point, last_step(point))[:, 0, test]
    estimate = estimators.third_cumulant(z).scaled(variance**-1.5)
    yield measured_at_end("skewness", point, [label_of((a,)) for a in test], estimate, 0 * variance, variance**0)


def trained_kurtosis(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """Fourth cumulant over the infinite-width variance squared: zero at infinite width, where p(f*) is Gaussian."""
    test, variance = _spread(point, SPREAD)
    z = outputs(point, last_step(point))[:, 0, test]
    estimate = estimators.fourth_cumulant(z).scaled(variance**-2)
    yield measured_at_end("kurtosis", point, [label_of((a,)) for a in test], estimate, 0 * variance, variance**0)


def nearly_kernel_mean(point: Point, eta: float) -> Array:
    flow = point.flow(nearly_kernel.TENSORS)
    return nearly_kernel.trained_mean(flow, targets(point), eta)


def require_arrival(point: Point) -> None:
    """Raises ValueError where training has not come to its end at infinite width."""
    M, N = response(point, last_step(point)), len(targets(point))
    left = np.abs(np.eye(N) - M[:N]).max()
    if left > 1e-4:
        raise ValueError(
            f"{point.data.path}: dynamics.steps: a share {left:.1g} of the error is left; this test needs < 1e-4"
        )


def trained_mean_coefficient(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n (E z_test - infinite width) at the end of training: nearly-kernel regression (theory.md 5.21).

    Measured as the mean of z minus the same network's output with a frozen NTK, whose mean is known at every width.
    """
    require_arrival(point)
    rule, N = rule_of(point), len(targets(point))
    if rule["name"] == "momentum":
        raise ValueError(f"{point.data.path}: dynamics=momentum: the coefficient is known for descent and flow only")
    predicted = nearly_kernel_mean(point, rule["eta"] if rule["name"] == "gradient_descent" else 0.0)
    difference = outputs(point, last_step(point)) - linear_in_z(point, last_step(point))
    columns = [(i, a) for i in range(difference.shape[1]) for a in range(N, point.D)]
    estimate = estimators.mean(np.stack([difference[:, i, a] for i, a in columns], axis=1)).scaled(point.n)
    theory_there = np.array([predicted[a, i] for i, a in columns])
    labels = [label_of((i,), (a,)) for i, a in columns]
    yield measured_at_end("n dz", point, labels, estimate, theory_there, np.abs(theory_there))
