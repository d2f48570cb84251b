"""Networks against their Taylor models, and networks of one layer (docs/theory.md (5.4) to (5.8))."""

import itertools
from collections.abc import Iterator

import numpy as np

from analysis import estimators
from analysis.estimators import Estimate
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.solved import arrived, descent_of, last_step, rule_of, start_and_closed_form, targets
from analysis.measures.trained import coefficient_known, linear_in_z, measured_at_end, outputs
from analysis.points import Point
from analysis.theory import linear_model, nearly_kernel

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


def one_layer_to_the_end(point: Point) -> Iterator[str]:
    """Needs of the comparison with the normal equations."""
    if point.depth != 1:
        yield f"network.depth={point.depth}: networks of one layer are needed"
    yield from start_and_closed_form(point)
    yield from (reason for reason in arrived(point) if reason.startswith("dynamics.steps"))


@measure(
    "one_layer",
    tensor="deviation",
    symbol="deviation",
    model="tolerance",
    families=("z",),
    steps="end",
    needs=one_layer_to_the_end,
)
def one_layer(point: Point, layers: Layers) -> Iterator[Measured]:
    """A network of one layer is a linear model: trained to the end, every single network is where the normal equations
    (primal) and the kernel (dual) send it from its z(0), to rounding (docs/theory.md (5.4), PDLT ch. 10).

    The largest deviation over networks, outputs and samples, in units of the targets.
    """
    (lambda_b,), (lambda_W,) = (point.settings["dynamics"][name] for name in ("lambda_b", "lambda_W"))
    x, y = point.samples[0], targets(point)
    N, phi = len(y), linear_model.layer_features(x, lambda_b, lambda_W)
    start, end = outputs(point, 0), outputs(point, last_step(point))
    rest = (y.T - start[..., :N]).reshape(-1, N)  # targets less the outputs at the start
    k = linear_model.kernel(phi, phi[:N])
    primal = np.stack([linear_model.primal(phi, phi[:N], target) for target in rest]).reshape(start.shape)
    dual = np.stack([linear_model.dual(k, k[:N], target) for target in rest]).reshape(start.shape)
    unit = np.sqrt((y**2).mean())
    deviations = [start + primal - end, start + dual - end, primal - dual]
    worst = np.array([np.abs(deviation).max() for deviation in deviations]) / unit
    estimate = Estimate(worst, np.tile(worst, (estimators.BLOCKS, 1)))  # no sampling error
    yield measured_at_end("deviation", point, ["primal", "dual", "primal - dual"], estimate, 0 * worst, worst**0)


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

    A model of order k knows the network's derivatives to order k, so that what it leaves out of docs/theory.md (5.21)
    are the pieces of those above: of the linear model docs/theory.md (5.18) to (5.20), of the quadratic one
    docs/theory.md (5.19) and (5.20), and of the cubic one nothing at order 1/n. Errors are in units of what is
    predicted, and those of the cubic model of what the quadratic one leaves out.
    """
    step, N, descent = last_step(point), len(targets(point)), descent_of(rule_of(point))
    assert descent is not None
    flow = point.flow(nearly_kernel.TENSORS)
    pieces = nearly_kernel.trained_mean_pieces(flow, targets(point), descent)
    second = pieces["ddI"] + pieces["ddII"]
    left_out = {"linear": pieces["dH"] + second, "quadratic": second, "cubic": 0 * second}
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
