"""Networks against their Taylor models (docs/theory.md (5.5) to (5.8))."""

import itertools
from collections.abc import Iterator

import numpy as np

from analysis import estimators
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.solved import by_sample, last_step, order_n, start_and_closed_form, targets
from analysis.measures.trained import coefficient_known, linear_in_z, measured_at_end, outputs
from analysis.points import Point

EXPONENTS = {"frozen": 0.5, "linear": 1.0, "quadratic": 1.0, "cubic": 2.0}


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
    worst = {name: np.zeros(int(point.finite.sum())) for name in EXPONENTS}
    for step in steps:
        z = outputs(point, step)
        models = point.read("taylor", point.depth, step).reshape(len(z), 3, *z.shape[1:])
        for name, model in zip(EXPONENTS, (linear_in_z(point, step), *models.transpose(1, 0, 2, 3)), strict=True):
            worst[name] = np.maximum(worst[name], np.abs(z - model).max(axis=(1, 2)))
    logs = np.log(np.stack(list(worst.values()), axis=1))
    predicted = np.array(list(EXPONENTS.values()))
    yield measured_at_end(
        "log error", point, list(EXPONENTS), estimators.mean(logs), predicted, np.ones(len(predicted))
    )


@measure(
    "taylor_mean_error",
    tensor="n (z - model)",
    symbol=r"$n\,\mathrm{E}(z-z_{\mathrm{model}})$",
    families=("taylor", "z"),
    steps="end",
    smooth=True,
    needs=coefficient_known,
)
def taylor_mean_error(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E(z - model) at test samples at the end of training, of the Taylor models of order 1, 2 and 3 from the
    network's own start.

    A model of order k knows the network's derivatives to order k, so that what it leaves out of docs/theory.md (5.29)
    are the terms of those above: of the linear model those of dH, ddI and ddII, of the quadratic one those of ddI and
    ddII, and of the cubic one nothing at order 1/n. Errors are in units of what is predicted, and those of the cubic
    model of what the quadratic one leaves out.
    """
    step, N = last_step(point), len(targets(point))
    names = ("linear", "quadratic", "cubic")
    errors = [by_sample(point, error) for error in order_n(point).taylor_errors[-1, 1:]]
    second, left_out = errors[1], dict(zip(names, errors, strict=True))
    z = outputs(point, step)
    models = point.read("taylor", point.depth, step).reshape(len(z), 3, *z.shape[1:])
    columns, labels, predicted, scale = [], [], [], []
    for k, (name, expected) in enumerate(left_out.items()):
        for i, a in itertools.product(range(z.shape[1]), range(N, point.D)):
            columns.append(z[:, i, a] - models[:, k, i, a])
            labels.append(f"{name} {label_of((i,), (a,))}")
            predicted.append(expected[a, i])
            scale.append(abs(expected[a, i]) if name != "cubic" else abs(second[a, i]))
    estimate = estimators.mean(np.stack(columns, axis=1)).scaled(point.n)
    yield measured_at_end("n (z - model)", point, labels, estimate, np.array(predicted), np.array(scale))
