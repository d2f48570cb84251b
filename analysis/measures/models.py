"""Networks against their Taylor models, docs/theory.md (5.5) to (5.8), and their mean errors, docs/theory.md (5.29)."""

import functools
from collections.abc import Iterator

import numpy as np

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.solved import order_n, start_and_closed_form
from analysis.measures.trained import ROUNDING, linear_in_z, measured_at_end, outputs
from analysis.measures.trained_cumulants import Index, composite, every_step_known, over_steps, with_spread
from analysis.points import Point

EXPONENTS = {"frozen": 0.5, "linear": 1.0, "quadratic": 1.0, "cubic": 2.0}
RECORDED = tuple(EXPONENTS)[1:]  # those that data sets record


@measure(
    "taylor_error",
    tensor="log error",
    symbol=r"$\mathrm{E}\log\sup_t|z-z_{\mathrm{model}}|$",
    model="network_exponent",
    families=("taylor", "z"),
    steps="end",
    needs=start_and_closed_form,
)
def taylor_error(point: Point, layers: Layers) -> Iterator[Measured]:
    """E log sup_t max_ia |z - model| of each model, whose exponents in 1/n are 1/2, 1, 1 and 2 (docs/theory.md (5.8)).

    The mean of the logarithm is a robust statistic. At small n the cubic model of a few networks diverges, and these
    few would dominate a mean square.
    """
    steps = [step for step in point.data.layout.steps if step]
    logs = np.log(functools.reduce(np.maximum, (_errors(point, step) for step in steps)))
    predicted = np.array(list(EXPONENTS.values()))
    yield measured_at_end(
        "log error", point, list(EXPONENTS), estimators.mean(logs), predicted, np.ones(len(predicted))
    )


def _errors(point: Point, step: int) -> Array:
    """max_ia |z - model| of each model after a step, (M, models), docs/theory.md (5.8)."""
    z = outputs(point, step)
    models = point.read("taylor", point.depth, step).reshape(len(z), len(RECORDED), *z.shape[1:])
    apart = [z - linear_in_z(point, step), *(z - models[:, k] for k in range(len(RECORDED)))]
    return np.stack([np.abs(of_model).max(axis=(1, 2)) for of_model in apart], axis=1)


@measure(
    "taylor_mean_error",
    tensor="n (z - model)",
    symbol=r"$n\,\mathrm{E}(z-z_{\mathrm{model}})$",
    families=("taylor", "z"),
    steps="both",
    smooth=True,
    needs=every_step_known,
)
def taylor_mean_error(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E(z - model) at every recorded step, of the Taylor models of order 1, 2 and 3 from the network's own start, at
    test samples and at train samples that are not yet learnt.

    A model of order k knows the network's derivatives to order k, so that what it leaves out of docs/theory.md (5.29)
    are the terms of those above: of the linear model those of dH, ddI and ddII, of the quadratic one those of ddI and
    ddII, and of the cubic one nothing at order 1/n. Errors are in units of the largest over the steps of what is
    predicted, and those of the cubic model of what the quadratic one leaves out.
    """
    left_out = order_n(point).taylor_errors

    def components(step: int) -> list[Index]:
        return [(k, p) for k in range(len(RECORDED)) for p in with_spread(point, step, ROUNDING)]

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        z = composite(point, outputs(point, step))
        models = point.read("taylor", point.depth, step).reshape(len(z), len(RECORDED), -1)
        return estimators.mean(np.stack([z[:, p] - models[:, k, p] for k, p in chosen], axis=1))

    yield from over_steps(
        point, "n (z - model)", components, estimate, left_out[:, 1:], left_out[:, [1, 2, 2]], label=_model_and_output
    )


def _model_and_output(point: Point, index: Index) -> str:
    k, p = index
    return f"{RECORDED[k]} {label_of((p // point.D,), (p % point.D,))}"
