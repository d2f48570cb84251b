"""Infinite-width training: networks are linear in their parameters, and an algorithm may have a closed form.

See docs/theory.md (5.1) to (5.3). Losses are 1/2 sum (z - y)^2; K and Theta are those of the output layer, (D, D),
train samples first; targets (N, n_L) are those of the first N samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stages import Stage, stages
from analysis.theory.activations import Array
from analysis.theory.path import Eta, along, each_eta


@dataclass(frozen=True)
class ClosedForm:
    """The training, by the algorithm of this name, of networks that are linear in their parameters, docs/theory.md
    (5.1).

    remaining(values, etas, **options): share of the error that is left after steps of these sizes, along the
    eigenvectors of the NTK with these eigenvalues. bound(**options): training converges where eta lambda_max(Theta) is
    below it. options: names of the algorithm's options on which the two depend.
    """

    name: str
    remaining: Callable[..., Array]
    bound: Callable[..., float]
    options: tuple[str, ...] = ()


CLOSED_FORMS: dict[str, ClosedForm] = {}


def add_closed_form(form: ClosedForm) -> None:
    """Enter a closed form, docs/theory.md (5.1), under the name of its algorithm; ValueError where it is taken."""
    if form.name in CLOSED_FORMS:
        raise ValueError(f"closed form {form.name!r} is there already; choose another name")
    CLOSED_FORMS[form.name] = form


def _descent(values: Array, etas: Array) -> Array:
    """(1 - eta v)^t, a product over the different etas."""
    left = np.ones_like(values)
    for eta, steps in zip(*np.unique(etas, return_counts=True), strict=True):
        left = left * (1 - eta * values) ** steps
    return left


def _flow(values: Array, etas: Array) -> Array:
    """exp(-v tau), tau the time of all steps, up to the error of the solver, which has the coefficient n at order 1/n
    and is therefore part of what trained networks are held against."""
    return _recursion(values, etas, stages("gradient_flow"))


def _flow_bound() -> float:
    """The end of the solver's interval of stability: where one step leaves an error of size one."""
    from scipy.optimize import brentq  # late: this takes a while, and is needed for the end of a flow alone

    def beyond(x: float) -> float:
        return float(np.abs(_flow(np.array([x]), np.ones(1)))[0]) - 1

    return float(brentq(beyond, 4.0, 5.0))


def _momentum(values: Array, etas: Array, momentum: float = 0.0) -> Array:
    return _recursion(values, etas, stages("momentum", momentum))


def _nesterov(values: Array, etas: Array, momentum: float = 0.0) -> Array:
    return _recursion(values, etas, stages("nesterov", momentum))


def _recursion(values: Array, etas: Array, of_step: Sequence[Stage]) -> Array:
    """The recursion of docs/theory.md (5.24) on the error along each eigenvector, whose gradient is v times itself."""
    (left,) = next(along([np.ones_like(values)], lambda x, step: [values * x[0]], etas, [len(etas)], of_step))
    return left


def _nesterov_bound(momentum: float = 0.0) -> float:
    """Where the roots of r^2 - (1 + mu)(1 - x) r + mu (1 - x) reach r = -1, with x = eta v."""
    return 2 * (1 + momentum) / (1 + 2 * momentum)


add_closed_form(ClosedForm("gradient_descent", _descent, lambda: 2.0))
add_closed_form(ClosedForm("gradient_flow", _flow, _flow_bound))
add_closed_form(ClosedForm("momentum", _momentum, lambda momentum=0.0: 2 * (1 + momentum), ("momentum",)))
add_closed_form(ClosedForm("nesterov", _nesterov, _nesterov_bound, ("momentum",)))


def remaining(algorithm: str, values: Array, eta: Eta, steps: int | None, **options: float) -> Array:
    """Share of the error along an eigenvector of the NTK of that value that is left after `steps` steps: a_t(v) of
    docs/theory.md (5.1).

    eta: of every step, or of each. steps: None is the end of training with one eta. Raises ValueError where training
    does not end there, and for an algorithm without a closed form.
    """
    if algorithm not in CLOSED_FORMS:
        raise ValueError(f"algorithm={algorithm!r}: known are {', '.join(CLOSED_FORMS)}")
    form = CLOSED_FORMS[algorithm]
    if steps is None:
        if np.ndim(eta):
            raise ValueError("steps=None: the end of training is known for one eta of all steps, here each has its own")
        bound = form.bound(**options)
        if eta * values.max() >= bound:
            raise ValueError(f"eta={eta}: {algorithm} converges only below {bound / values.max():.4g}")
        return np.zeros_like(values)
    return form.remaining(values, each_eta(eta, steps), **options)


def trained(
    K: Array,
    Theta: Array,
    targets: Array,
    eta: Eta = 0.0,
    steps: int | None = None,
    algorithm: str = "gradient_descent",
    **options: float,
) -> tuple[Array, Array]:
    """Mean (D, n_L) and covariance (D, D) per output of z(t), M y and that of z(0) - M z_train(0): docs/theory.md
    (5.2).

    At the end of training (steps=None) neither depends on eta nor on the algorithm. With Theta=K it is exact Bayesian
    inference, docs/theory.md (5.3). Raises ValueError where training diverges.
    """
    M = response(Theta, len(targets), eta, steps, algorithm, **options)
    N = len(targets)
    covariance = K - M @ K[:N] - K[:, :N] @ M.T + M @ K[:N, :N] @ M.T
    return M @ targets, covariance


def response(
    Theta: Array,
    N: int,
    eta: Eta = 0.0,
    steps: int | None = None,
    algorithm: str = "gradient_descent",
    **options: float,
) -> Array:
    """M (D, N) of z(t) = z(0) - M (z_train(0) - y) is Theta_{.,t} Theta_tt^-1 [1 - a_t(Theta_tt)], docs/theory.md
    (5.1)."""
    values, vectors = np.linalg.eigh(Theta[:N, :N])
    left = remaining(algorithm, values, eta, steps, **options)
    # (1 - a_t(v)) / v; where v is rounding of zero nothing is learnt, and nothing is there to learn.
    learnt = np.where(values > 1e-12 * values[-1], (1 - left) / np.where(values == 0, 1.0, values), 0.0)
    return np.asarray(Theta[:, :N] @ (vectors * learnt) @ vectors.T)
