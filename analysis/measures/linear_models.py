"""Networks of one layer, which are generalised linear models of their inputs (docs/theory.md (5.4), PDLT ch. 10)."""

from collections.abc import Iterator

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, measure
from analysis.measures.solved import etas_of, last_step, options_of, targets
from analysis.measures.trained import measured_at_end, outputs
from analysis.points import Point
from analysis.theory import linear_model

ENDED = "1e-4"  # the share of the way to the solution that training may have left


def features(point: Point) -> Array:
    """The features of all samples with those of the bias, (D, n_0 + 1), of a network of one layer."""
    (lambda_b,), (lambda_W,) = (point.settings["dynamics"][name] for name in ("lambda_b", "lambda_W"))
    return linear_model.layer_features(point.samples[0], lambda_b, lambda_W)


def ridge_of(point: Point) -> float:
    return float(point.settings["dynamics"]["rules"].get("ridge", 0.0))


def one_layer_to_the_end(point: Point) -> Iterator[str]:
    """Needs of the comparison with the normal equations."""
    rule = point.settings["dynamics"]
    if point.depth != 1:
        yield f"network.depth={point.depth}: networks of one layer are needed"
    if 0 not in point.data.layout.steps:
        yield f"observables.steps={list(point.data.layout.steps)}: step 0 is needed"
    if not point.trained or point.depth != 1:
        return
    if rule["name"] not in theory.CLOSED_FORMS or rule["loss"] != "mse" or set(rule["rules"]) - {"ridge"}:
        rules = f", rules={rule['rules']}" if rule["rules"] else ""
        forms = ", ".join(theory.CLOSED_FORMS)
        yield f"dynamics={rule['name']}, loss={rule['loss']}{rules}: one of {forms} with loss=mse and no rule but ridge"
        return
    phi, steps = features(point)[: len(targets(point))], last_step(point)
    left = linear_model.left(phi, ridge_of(point), rule["name"], etas_of(rule), steps, **options_of(rule))
    if not left <= float(ENDED):
        yield f"dynamics.steps={rule['steps']}: a share {left:.1g} of the error is left, less than {ENDED} is needed"


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
    (primal) and the kernel (dual) send it, to rounding (docs/theory.md (5.4) and (5.46), PDLT ch. 10). With a ridge
    that is one point, and without it the solution that is nearest to its start.

    The largest deviation over networks, outputs and train and test samples, in units of the targets.
    """
    y, phi, ridge = targets(point), features(point), ridge_of(point)
    start, end, N = outputs(point, 0), outputs(point, last_step(point)), len(y)
    if ridge:
        start = np.zeros_like(start)  # which a ridge forgets
    rest = (y.T - start[..., :N]).reshape(-1, N).T  # targets less the outputs at the start
    k = linear_model.kernel(phi, phi[:N])
    primal = linear_model.primal(phi, phi[:N], rest, ridge).T.reshape(start.shape)
    dual = linear_model.dual(k, k[:N], rest, ridge).T.reshape(start.shape)
    unit = np.sqrt((y**2).mean())
    deviations = [start + primal - end, start + dual - end, primal - dual]
    worst = estimators.extremes(*(np.abs(deviation) for deviation in deviations))[1] / unit
    estimate = Estimate(worst, np.tile(worst, (estimators.BLOCKS, 1)))  # no sampling error
    yield measured_at_end("deviation", point, ["primal", "dual", "primal - dual"], estimate, 0 * worst, worst**0)
