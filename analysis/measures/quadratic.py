"""Quadratic models, the minimal models of representation learning, to first order in epsilon (docs/theory.md (5.47) to
(5.50), PDLT ch. 11). Their fits run in powers of epsilon, which is the 1/n of such a point."""

from collections.abc import Iterator

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.linear_models import features
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.solved import targets
from analysis.measures.trained import outputs
from analysis.points import Point
from analysis.theory import quadratic_model
from analysis.theory.linear_training import response


def descended(point: Point) -> Iterator[str]:
    """Needs of both measures."""
    rule = point.settings["dynamics"]
    if 0 not in point.data.layout.steps:
        yield f"observables.steps={list(point.data.layout.steps)}: step 0 is needed"
    known = (rule["name"], rule["loss"]) == ("gradient_descent", "mse") and not rule["rules"] and not rule["schedule"]
    if point.trained and not known:
        settings = f"dynamics={rule['name']}, loss={rule['loss']}, rules={rule['rules']}, schedule={rule['schedule']}"
        yield f"{settings}: gradient_descent with loss=mse, without rules and with one eta is needed"
    if not (rule["lambda_b"][0] > 0 and rule["lambda_W"][0] > 0):
        yield f"dynamics.lambda_b={rule['lambda_b']}, lambda_W={rule['lambda_W']}: rates > 0 are needed"
    if point.settings["network"]["outputs"] != 1:
        yield f"network.outputs={point.settings['network']['outputs']}: one output is needed"


def without_epsilon(point: Point) -> Iterator[str]:
    if point.n == np.inf:
        yield "network.epsilon=0: there is nothing to expand in epsilon"


def first_order(point: Point) -> quadratic_model.FirstOrder:
    """The theory at the recorded steps, for the mean over the networks' starts."""

    def computed(point: Point) -> quadratic_model.FirstOrder:
        settings, x, phi = point.settings, point.samples[0], features(point)
        meta, rule, start = settings["network"]["meta"], settings["dynamics"], settings["initialization"]
        (lambda_b,), (lambda_W,) = rule["lambda_b"], rule["lambda_W"]
        psi = quadratic_model.meta_features(x, lambda_b, lambda_W, meta["rank"], meta["seed"])
        f, y = phi.shape[1], targets(point)[:, 0]
        covariance = np.diag([start["C_b"] / lambda_b, *[start["C_W"] / lambda_W] * (f - 1)])
        steps = tuple(point.data.layout.steps)
        return quadratic_model.first_order(phi, psi, y, rule["eta"], steps, np.zeros(f), covariance)

    return point.once("first order in epsilon", computed)


def _measured(tensor: str, point: Point, step: int, labels: list[str], values: Array, predicted: Array) -> Measured:
    """The mean of values (M, k) of order epsilon, over epsilon; deviations are in units of the largest coefficient."""
    estimate, size = estimators.mean(values).scaled(point.n), np.full(len(predicted), np.abs(predicted).max())
    return Measured(tensor, point.depth, step, labels, estimate, theory=predicted, scale=size)


@measure(
    "quadratic_outputs",
    tensor="(z - linear)/epsilon",
    symbol=r"$\mathrm{E}(z-z_{\mathrm{linear}})/\epsilon$",
    families=("z",),
    steps="end",
    quadratic=True,
    needs=descended,
    undefined=without_epsilon,
)
def quadratic_outputs(point: Point, layers: Layers) -> Iterator[Measured]:
    """By how much outputs at test samples leave the linear model that starts where they start, over epsilon: the
    part of docs/theory.md (5.49) that features bring which move."""
    phi, y, N = features(point), targets(point), len(targets(point))
    theory, start, eta = first_order(point), outputs(point, 0)[:, 0], point.settings["dynamics"]["eta"]
    labels = [label_of((a,)) for a in range(N, point.D)]
    for at, step in enumerate(point.data.layout.steps):
        if step:
            linear = start - (start[:, :N] - y[:, 0]) @ response(phi @ phi.T, N, eta, step).T
            bent = (outputs(point, step)[:, 0] - linear)[:, N:]
            yield _measured("(z - linear)/epsilon", point, step, labels, bent, theory.bent[at, N:])


@measure(
    "quadratic_kernel",
    tensor="(H(t) - H(0))/epsilon",
    symbol=r"$\mathrm{E}(H(t)-H(0))/\epsilon$",
    families=("H",),
    steps="end",
    quadratic=True,
    needs=descended,
    undefined=without_epsilon,
)
def quadratic_kernel(point: Point, layers: Layers) -> Iterator[Measured]:
    """By how much the effective kernel has moved, over epsilon: docs/theory.md (5.50)."""
    theory, pairs = first_order(point), [(a, b) for _, _, a, b in point.columns("H")]
    labels = [label_of(pair) for pair in pairs]
    start = point.read("H", point.depth, 0)
    for at, step in enumerate(point.data.layout.steps):
        if step:
            moved = point.read("H", point.depth, step) - start
            predicted = np.array([theory.kernel1[at, a, b] for a, b in pairs])
            yield _measured("(H(t) - H(0))/epsilon", point, step, labels, moved, predicted)
