"""Points whose training has a closed form at infinite width, and needs of their measures (docs/theory.md section 5)."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from analysis import theory
from analysis.estimators import Array
from analysis.points import FOUR_POINT_SAMPLES, Point, flow_of
from analysis.stages import STAGES
from analysis.theory import composite, movement
from analysis.theory.order_n import TrainedToOrderN, of_flow
from analysis.theory.own_kernel import OwnKernel, own_answer_mean1, own_kernel
from analysis.theory.recursion import Flow
from simulate.settings.reader import SettingsError
from simulate.settings.schedules import etas

POINTS = 2**17  # with more than four samples, products of three and four factors are averaged over so many points
MOST_OUTPUTS = 24  # of all samples together: the cost of order 1/n grows as the sixth power


def solved(point: Point) -> bool:
    """Whether the training of the point has a closed form at infinite width, for targets that stay as the width
    grows."""
    rule = point.settings["dynamics"]
    if rule["width_scaling"]:
        return False
    known = rule["name"] in theory.CLOSED_FORMS and rule["loss"] == "mse" and not rule["rules"]
    return bool(point.trained and known and not _unknown_schedule(rule))


def _unknown_schedule(rule: Mapping[str, Any]) -> str:
    """What is wrong with the schedule of eta; empty where it is known."""
    try:
        etas(rule["eta"], rule["schedule"], rule["steps"])
    except SettingsError as error:
        return str(error)
    return ""


def _unsolved(rule: Mapping[str, Any]) -> str:
    """Why there is no closed form: the settings, and those that have one."""
    settings = [f"dynamics={rule['name']}", f"loss={rule['loss']}", *[f"rules={rule['rules']}"] * bool(rule["rules"])]
    settings += [f"width_scaling={rule['width_scaling']:g}"] * bool(rule["width_scaling"])
    right = f"one of {', '.join(theory.CLOSED_FORMS)} with loss=mse and without rules is needed"
    return _unknown_schedule(rule) or f"{', '.join(settings)}: {right}"


def rule_of(point: Point) -> Mapping[str, Any]:
    """The dynamics of a point that was trained on the MSE by an algorithm with a closed form."""
    rule: Mapping[str, Any] = point.settings["dynamics"]
    if not solved(point):
        raise ValueError(f"{point.data.path}: {_unsolved(rule)}")
    return rule


def etas_of(rule: Mapping[str, Any]) -> Array:
    """eta of each step, (steps,): with the factors of dynamics.schedule."""
    return np.array(etas(rule["eta"], rule["schedule"], rule["steps"]))


def options_of(rule: Mapping[str, Any]) -> dict[str, float]:
    """The options of the algorithm on which its closed form depends."""
    options = {**rule, **rule["options"]}
    return {name: options[name] for name in theory.CLOSED_FORMS[rule["name"]].options}


def targets(point: Point) -> Array:
    """(N, n_L) of the train samples."""
    _, y, train = point.samples
    assert y is not None
    return y[:train]


def response(point: Point, step: int) -> Array:
    """M (D, N) at infinite width: z(t) = z(0) - M (z_train(0) - y) (docs/theory.md (5.1))."""
    rule, flow = rule_of(point), point.flow(("K", "Theta"))
    assert flow.Theta is not None
    N = len(targets(point))
    return theory.response(flow.Theta[-1], N, etas_of(rule), step, rule["name"], **options_of(rule))


def closed_form(point: Point, step: int) -> tuple[Array, Array]:
    """Mean (D, n_L) and covariance (D, D) of outputs at infinite width (docs/theory.md (5.2))."""
    rule, flow = rule_of(point), point.flow(("K", "Theta"))
    assert flow.Theta is not None
    K, Theta, name = flow.K[-1], flow.Theta[-1], rule["name"]
    return theory.trained(K, Theta, targets(point), etas_of(rule), step, name, **options_of(rule))


def last_step(point: Point) -> int:
    return int(point.data.layout.steps[-1])


def _points(inputs: tuple[Any, ...]) -> int | None:
    return POINTS if len(inputs) > FOUR_POINT_SAMPLES else None


def _at_start(network: tuple[Any, ...]) -> Flow:
    """The tensors at the start from which order 1/n follows. network: the first eight arguments of `flow_of`."""
    return flow_of(*network, composite.TENSORS, _points(network[4]))


@lru_cache(maxsize=16)
def _order_n(
    network: tuple[Any, ...],
    targets: tuple[tuple[float, ...], ...],
    each_eta: tuple[float, ...],
    steps: tuple[int, ...],
    algorithm: str,
    momentum: float,
    loss: str,
    batch: int | None,
) -> TrainedToOrderN:
    """network: the first eight arguments of `flow_of`."""
    activation, _, C_b, C_W, inputs, _, lambda_W, ratios = network
    at_start, points = _at_start(network), _points(inputs)
    hidden = movement.hidden_tensors(at_start, activation, C_b, C_W, lambda_W, ratios, points)
    return of_flow(at_start, hidden, np.array(targets), each_eta, steps, algorithm, momentum, loss, batch)


def order_n(point: Point, samples: Sequence[int] | None = None) -> TrainedToOrderN:
    """The distribution of trained networks to order 1/n at every recorded step, docs/theory.md (5.23) to (5.40), at all
    samples or at some, which begin with those of training.

    Coefficients are those of 1 / n_{L-1}. Raises ValueError where they are not known."""
    for reason in order_n_known(point):
        raise ValueError(f"{point.data.path}: {reason}")
    x, _, _ = point.samples
    rule = point.settings["dynamics"]
    options = {**rule, **rule["options"]}
    return _order_n(
        point.network(x if samples is None else x[list(samples)]),
        tuple(map(tuple, targets(point).tolist())),
        tuple(etas_of(rule).tolist()),
        tuple(point.data.layout.steps),
        rule["name"],
        options.get("momentum") or 0.0,
        rule["loss"],
        options.get("batch") or None,
    )


def with_own_kernels(point: Point) -> list[OwnKernel]:
    """Networks that answer to first order to their own NTK, at every recorded step, docs/theory.md (5.28)."""
    rule = rule_of(point)
    momentum = options_of(rule).get("momentum", 0.0)
    at_start, steps = _at_start(point.network(point.samples[0])), point.data.layout.steps
    return own_kernel(at_start, targets(point), etas_of(rule), steps, rule["name"], momentum)


def own_answers_to_order_n(point: Point) -> Array:
    """The coefficients (S, P) of 1/n of the mean of `frozen.own_answers` at every recorded step, docs/theory.md
    (5.38)."""
    rule = point.settings["dynamics"]
    momentum = {**rule, **rule["options"]}.get("momentum") or 0.0
    at_start, steps = _at_start(point.network(point.samples[0])), point.data.layout.steps
    return own_answer_mean1(at_start, targets(point), etas_of(rule), steps, rule["name"], momentum, rule["loss"])


def by_sample(point: Point, values: Array) -> Array:
    """What a record of order 1/n holds of each (output, sample), (P,), as (D, n_L)."""
    return values.reshape(-1, point.D).T


def closed_form_known(point: Point) -> Iterator[str]:
    """Needs of measures that compare with the closed form."""
    if point.trained and not solved(point):
        yield _unsolved(point.settings["dynamics"])


def order_n_known(point: Point) -> Iterator[str]:
    """Needs of measures that compare with trained networks at order 1/n."""
    rule = point.settings["dynamics"]
    if point.trained and (rule["name"] not in STAGES or rule["rules"]):
        rules = f", rules={rule['rules']}" if rule["rules"] else ""
        yield f"dynamics={rule['name']}{rules}: one of {', '.join(STAGES)} without rules is needed"
    elif point.trained and (wrong := _unknown_schedule(rule)):
        yield wrong
    elif point.trained and point.data.layout.steps[-1]:
        outputs = point.settings["network"]["outputs"] * point.D
        if outputs > MOST_OUTPUTS:
            setting = f"network.outputs={point.settings['network']['outputs']}, inputs"
            most = f"at most {MOST_OUTPUTS}, the cost grows as their sixth power"
            yield f"{setting}: {outputs} outputs at all samples: {most}"


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
