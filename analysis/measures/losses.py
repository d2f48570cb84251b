"""Networks trained on any loss, at every recorded step (docs/theory.md (5.37) and (5.38))."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.solved import etas_of, order_n, order_n_known, own_answers_to_order_n, targets
from analysis.measures.trained import outputs
from analysis.measures.trained_cumulants import kernels
from analysis.points import Point
from analysis.theory.frozen import frozen_outputs, own_answers
from analysis.theory.losses import LOSSES

OTHERS = [name for name in LOSSES if name != "mse"]  # whose law at infinite width is no Gaussian
SINGULAR = 1e-12  # a share of the largest eigenvalue, below which nodes of z(0) are rounding
PAIRS_AT_ONCE = 8  # of a covariance, whose products of all networks are held together


def loss_known(point: Point) -> Iterator[str]:
    """Needs of measures of networks that are trained on a loss whose derivatives are known."""
    loss = point.settings["dynamics"].get("loss")
    if not point.trained:
        return
    if loss not in LOSSES:
        yield f"dynamics.loss={loss}: one of {', '.join(LOSSES)} is needed"
    if loss in OTHERS:
        values = np.linalg.eigvalsh(np.asarray(point.flow(("K", "Theta")).K[-1], np.float64))
        if values[0] < SINGULAR * values[-1]:
            yield "inputs: the kernel of the last layer is singular; two samples may be parallel"
    yield from order_n_known(point)


def other_loss_known(point: Point) -> Iterator[str]:
    """Needs of measures of a law that is no Gaussian at infinite width."""
    loss = point.settings["dynamics"].get("loss")
    if point.trained and loss == "mse":
        yield f"dynamics.loss=mse: one of {', '.join(OTHERS)} is needed; trained_mean and trained_covariance take mse"
    yield from loss_known(point)


def own_start_known(point: Point) -> Iterator[str]:
    """Needs of measures that compare each network with the frozen kernel's from its own start."""
    if 0 not in point.data.layout.steps:
        yield f"observables.steps={list(point.data.layout.steps)}: step 0 is needed"
    if point.settings["dynamics"]["name"] == "sgd":
        yield "dynamics=sgd: each network has batches of its own; an algorithm without batches is needed"
    yield from loss_known(point)


def own_frozen(point: Point, steps: Sequence[int]) -> Array:
    """Outputs (M, S, n_L, D) of networks with these starts and the frozen kernel, docs/theory.md (5.37)."""
    return _of_own_start(point, steps, frozen_outputs)


def _of_own_start(point: Point, steps: Sequence[int], function: Callable[..., Array], *own: Array) -> Array:
    """What a function of `analysis.theory.frozen` says of the networks, docs/theory.md (5.37) and (5.38). own: what it
    takes of each network besides its start."""
    rule, Theta = point.settings["dynamics"], point.flow(("K", "Theta")).Theta
    assert Theta is not None
    options = {**rule, **rule["options"]}
    start, momentum = outputs(point, 0), options.get("momentum") or 0.0
    given = start, targets(point), rule["loss"], etas_of(rule), steps, rule["name"], momentum
    return function(Theta[-1], *own, *given)


def _joint(point: Point) -> list[int]:
    """The place of each column of z among the joint indices, which run over samples within outputs."""
    return [i * point.D + a for i, a in point.columns("z")]


def _pairs(point: Point) -> tuple[list[tuple[int, int]], list[str]]:
    """Pairs of columns of z that share their output or their sample, and their labels."""
    columns = point.columns("z")
    pairs = [
        (p, q) for p, (i, a) in enumerate(columns) for q, (j, b) in enumerate(columns) if p <= q and (i == j or a == b)
    ]
    labels = [label_of((columns[p][0], columns[q][0]), (columns[p][1], columns[q][1])) for p, q in pairs]
    return pairs, labels


def _covariance(x: Array, pairs: Sequence[tuple[int, int]]) -> Estimate:
    chunks = [pairs[first : first + PAIRS_AT_ONCE] for first in range(0, len(pairs), PAIRS_AT_ONCE)]
    return estimators.join([estimators.covariance(x, chunk) for chunk in chunks])


def _steps(point: Point) -> list[tuple[int, int]]:
    """The recorded steps of training, each with its place among all that are recorded."""
    return [(place, step) for place, step in enumerate(point.data.layout.steps) if step]


_at_infinite_width = partial(
    measure, families=("z",), steps="end", smooth=True, needs=other_loss_known, any_widths=True
)
_at_order_one = partial(measure, families=("z",), steps="both", smooth=True, needs=own_start_known)


@_at_infinite_width("loss_mean", tensor="z(t)", symbol=r"$\mathrm{E}\,z(t)$")
def loss_mean(point: Point, layers: Layers) -> Iterator[Measured]:
    """E z_i;a at every recorded step is that of docs/theory.md (5.37), in units of the largest that is predicted at
    infinite width."""
    columns, joint = point.columns("z"), _joint(point)
    for place, step in _steps(point):
        expected = order_n(point).mean[place][joint]
        yield Measured(
            tensor="z(t)",
            layer=point.depth,
            step=step,
            samples=[label_of((i,), (a,)) for i, a in columns],
            estimate=estimators.mean(point.read("z", point.depth, step)),
            theory=expected,
            scale=np.full(len(columns), np.abs(expected).max()),
        )


@_at_infinite_width("loss_covariance", tensor="Cov z(t)", symbol=r"$\mathrm{Cov}\,z(t)$")
def loss_covariance(point: Point, layers: Layers) -> Iterator[Measured]:
    """Cov(z_i;a, z_j;b) at every recorded step for i = j or a = b, by docs/theory.md (5.37), in units of its size
    before training."""
    pairs, labels = _pairs(point)
    joint, columns = _joint(point), point.columns("z")
    size = np.sqrt(point.flow(("K", "Theta")).K[-1].diagonal())
    for place, step in _steps(point):
        covariance = order_n(point).covariance[place]
        yield Measured(
            tensor="Cov z(t)",
            layer=point.depth,
            step=step,
            samples=labels,
            estimate=_covariance(point.read("z", point.depth, step), pairs),
            theory=np.array([covariance[joint[p], joint[q]] for p, q in pairs]),
            scale=np.array([size[columns[p][1]] * size[columns[q][1]] for p, q in pairs]),
        )


def _means(point: Point, models: Array, predicted: Array) -> Iterator[Measured]:
    """n E[z_i;a - model] at every recorded step, in units of the largest that is predicted. models: (M, S', n_L, D) at
    these steps. predicted: (S, P) at all that are recorded."""
    columns, joint = point.columns("z"), _joint(point)
    for k, (place, step) in enumerate(_steps(point)):
        apart = point.read("z", point.depth, step) - np.stack([models[:, k, i, a] for i, a in columns], axis=1)
        expected = predicted[place][joint]
        yield Measured(
            tensor="n dz(t)",
            layer=point.depth,
            step=step,
            samples=[label_of((i,), (a,)) for i, a in columns],
            estimate=estimators.mean(apart).scaled(point.n),
            theory=expected,
            scale=np.full(len(columns), np.abs(expected).max()),
        )


@_at_order_one("loss_mean1", tensor="n dz(t)", symbol=r"$n\,\mathrm{E}[z(t)-z_{\mathrm{frozen}}(t)]$")
def loss_mean1(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E[z_i;a - frozen] at every recorded step, with the frozen kernel's outputs from each network's own start, in
    units of the largest that is predicted: the coefficient of the mean at order 1/n, less what the law of z(0) adds to
    it (docs/theory.md (5.38))."""
    frozen = own_frozen(point, [step for _, step in _steps(point)])
    yield from _means(point, frozen, order_n(point).taylor_errors[:, 0])


@_at_order_one(
    "loss_mean1_controlled",
    tensor="n dz(t)",
    symbol=r"$n\,\mathrm{E}[z(t)-z^{(1)}(t)]$",
    families=("z", "H"),
)
def loss_mean1_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """What `loss_mean1` is, docs/theory.md (5.38), less the answer of the frozen kernel's outputs to each network's own
    NTK at the start, to first order. The coefficient of that answer, from the means of fH given z(0), is not tested
    here; at finite n its spread is sqrt(n) times that of what is left."""
    steps = [step for _, step in _steps(point)]
    first_order = own_frozen(point, steps) + _of_own_start(point, steps, own_answers, kernels(point))
    yield from _means(point, first_order, order_n(point).taylor_errors[:, 0] - own_answers_to_order_n(point))


@_at_order_one(
    "loss_covariance1", tensor="n dCov z(t)", symbol=r"$n\,[\mathrm{Cov}\,z(t)-\mathrm{Cov}\,z_{\mathrm{frozen}}(t)]$"
)
def loss_covariance1(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times Cov(z_i;a, z_j;b), less that of the frozen kernel's outputs from each network's own start, at every
    recorded step for i = j or a = b, in units of the largest that is predicted: the coefficient of the covariance at
    order 1/n, less what the law of z(0) adds to it (docs/theory.md (5.38))."""
    pairs, labels = _pairs(point)
    columns, joint, steps = point.columns("z"), _joint(point), _steps(point)
    frozen = own_frozen(point, [step for _, step in steps])
    for k, (place, step) in enumerate(steps):
        record = order_n(point)
        predicted = record.covariance1[place] - record.frozen_covariance1[place]
        expected = np.array([predicted[joint[p], joint[q]] for p, q in pairs])
        trained = _covariance(point.read("z", point.depth, step), pairs)
        own = _covariance(np.stack([frozen[:, k, i, a] for i, a in columns], axis=1), pairs)
        yield Measured(
            tensor="n dCov z(t)",
            layer=point.depth,
            step=step,
            samples=labels,
            estimate=(trained - own).scaled(point.n),
            theory=expected,
            scale=np.full(len(pairs), np.abs(expected).max()),
        )
