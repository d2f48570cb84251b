"""Points whose training has a closed form at infinite width, and needs of their measures (docs/theory.md section 5)."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from analysis import theory
from analysis.estimators import Array
from analysis.points import Point

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
    """M (D, N) at infinite width: z(t) = z(0) - M (z_train(0) - y) (docs/theory.md (5.1))."""
    rule, flow = rule_of(point), point.flow(("K", "Theta"))
    assert flow.Theta is not None
    return theory.response(
        flow.Theta[-1], len(targets(point)), rule["eta"], step, rule["name"], rule.get("momentum", 0.0)
    )


def closed_form(point: Point, step: int) -> tuple[Array, Array]:
    """Mean (D, n_L) and covariance (D, D) of outputs at infinite width (docs/theory.md (5.2))."""
    rule, flow = rule_of(point), point.flow(("K", "Theta"))
    assert flow.Theta is not None
    how = rule["eta"], step, rule["name"], rule.get("momentum", 0.0)
    return theory.trained(flow.K[-1], flow.Theta[-1], targets(point), *how)


def last_step(point: Point) -> int:
    return int(point.data.layout.steps[-1])


def closed_form_known(point: Point) -> Iterator[str]:
    """Needs of measures that compare with the closed form."""
    rule = point.settings["dynamics"]
    if point.trained and not solved(point):
        yield f"dynamics={rule['name']}, loss={rule['loss']}: one of {', '.join(SOLVED)}, with loss=mse"


def start_and_closed_form(point: Point) -> Iterator[str]:
    """Needs of measures that compare each network with the closed form from its own start."""
    if 0 not in point.data.layout.steps:
        yield f"observables.steps={list(point.data.layout.steps)}: step 0 is needed"
    yield from closed_form_known(point)


def arrived(point: Point) -> Iterator[str]:
    """Needs of measures at the end of training: no error is left at infinite width."""
    yield from closed_form_known(point)
    if not solved(point):
        return
    M, N = response(point, last_step(point)), len(targets(point))
    left = np.abs(np.eye(N) - M[:N]).max()
    if left > 1e-4:
        steps = point.settings["dynamics"]["steps"]
        yield f"dynamics.steps={steps}: a share {left:.1g} of the error is left, less than 1e-4 is needed"
