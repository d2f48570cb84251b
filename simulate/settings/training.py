"""Settings of training, and the facts that the program has to know of algorithms, losses and rules. No torch here.

Their functions are registered under the same names: the step of an algorithm and the gradient of a rule in
`simulate.training.algorithms`, and a loss with its slope in `simulate.training.losses`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.stages import STAGES
from simulate.registry import Registry
from simulate.settings import schedules
from simulate.settings.network import Activation
from simulate.settings.reader import Option, Reader, SettingsError, integer, real

# These options are fields of `Dynamics`, where the first manifests had them. All others are in `options`.
FIELDS = ("momentum", "batch")
# Names of settings that every algorithm has, which an option cannot take.
COMMON = (
    "name", "eta", "steps", "loss", "tolerance", "lambda_b", "lambda_W", "scaling", "rules", "schedule", "options",
    "width_scaling",
)  # fmt: skip


@dataclass(frozen=True)
class Algorithm:
    """The facts of a learning algorithm. Every default is the safe one.

    meaning: a step in one line. copies: number of tensors as large as all parameters that a step holds in addition to
    them. gradients: number of gradients a step. replayable: whether every step does the same operations, so that one
    CUDA graph stands for all steps. auto_eta: whether it is stable at half the bound of gradient descent, which is
    eta=auto. rests: whether a network whose gradient vanishes stays where it is, whatever the steps before; if not,
    networks that have reached the tolerance are put back after each step. Raises ValueError for the name "none", and
    for an option that every algorithm has.
    """

    name: str
    meaning: str
    options: tuple[Option, ...] = ()
    copies: int = 0
    gradients: int = 1
    replayable: bool = False
    auto_eta: bool = False
    rests: bool = False

    @property
    def followed(self) -> bool:
        """Whether Taylor models follow it: it is linear in past gradients, and has its stages."""
        return self.name in STAGES

    def __post_init__(self) -> None:
        if self.name == "none":
            raise ValueError("algorithm 'none' means that nothing is trained; choose another name")
        for option in self.options:
            if option.name in COMMON:
                raise ValueError(f"algorithm {self.name!r}: every algorithm has a setting {option.name!r} already")


@dataclass(frozen=True)
class Loss:
    """The facts of a loss, which is a sum over samples and outputs.

    curvature(outputs): largest second derivative in one direction of z; descent is stable for
    eta < 2 / (curvature lambda_max(H)). accepts(y): whether the loss is defined for targets y (N, n_L), a numpy array.
    right: which targets would be right, in words.
    """

    name: str
    meaning: str
    curvature: Callable[[int], float]
    accepts: Callable[[Any], bool] = lambda y: True
    right: str = ""


@dataclass(frozen=True)
class Rule:
    """A term that is added to every gradient of any algorithm, as weight decay is: `dynamics.rules={NAME: value}`.

    check and right are those of an `Option`. A rule with the neutral value adds nothing and is left out. rated: whether
    its function is given the rates, too. curvature(value): what the term adds to each second derivative of the loss in
    the parameters over the roots of their rates, so that eta=auto is known; None where it is not one number.
    """

    name: str
    meaning: str
    check: Callable[[Any], Any]
    right: str
    neutral: Any = 0.0
    rated: bool = False
    curvature: Callable[[Any], float] | None = None


def below_one(value: Any) -> float:
    """The value, checked to lie from 0 to below 1."""
    number = real(value, 0.0)
    if number >= 1:
        raise ValueError
    return number


ALGORITHMS: Registry[Algorithm] = Registry("algorithm")
LOSSES: Registry[Loss] = Registry("loss")
RULES: Registry[Rule] = Registry("rule")

ALGORITHMS.add(
    Algorithm(
        "gradient_descent",
        "theta <- theta - eta lambda dLoss/dtheta on all train samples",
        replayable=True,
        auto_eta=True,
        rests=True,
    )
)
ALGORITHMS.add(
    Algorithm(
        "gradient_flow",
        "dtheta/dtau = -lambda dLoss/dtheta over a time eta, by a Runge and Kutta step of five stages",
        copies=1,
        gradients=5,
        replayable=True,
        auto_eta=True,
        rests=True,
    )
)
ALGORITHMS.add(
    Algorithm(
        "momentum",
        "v <- momentum v + lambda dLoss/dtheta, theta <- theta - eta v",
        options=(Option("momentum", below_one, "a number from 0 to below 1"),),
        copies=1,
        replayable=True,
        auto_eta=True,
        rests=True,
    )
)
ALGORITHMS.add(
    Algorithm(
        "nesterov",
        "v <- momentum v + lambda dLoss/dtheta at theta - eta momentum v, theta <- theta - eta v",
        options=(Option("momentum", below_one, "a number from 0 to below 1"),),
        copies=2,
        replayable=True,
        auto_eta=True,
        rests=True,
    )
)
ALGORITHMS.add(
    Algorithm(
        "sgd",
        "gradient descent on a batch of train samples, drawn for each network and step",
        options=(Option("batch", lambda v: integer(v, 1, 10_000), "a whole number from 1 to 10000"),),
        auto_eta=True,
        rests=True,
    )
)


RULES.add(
    Rule(
        "ridge",
        "(value / 2) sum theta^2 / lambda is added to the loss, the square of parameters over the roots of their rates",
        lambda v: real(v, 0.0),
        "a number >= 0",
        rated=True,
        curvature=float,
    )
)


def _labels(y: Any) -> bool:
    return bool((abs(y) == 1).all() if y.shape[1] == 1 else (y >= 0).all())


LOSSES.add(Loss("mse", "1/2 sum (z - y)^2", curvature=lambda outputs: 1.0))
LOSSES.add(
    Loss(
        "cross_entropy",
        "log(1 + exp(-y z)) of one output, -sum_i y_i log softmax(z)_i of several",
        curvature=lambda outputs: 0.25 if outputs == 1 else 0.5,
        accepts=_labels,
        right="targets of cross_entropy are +1 and -1 for one output, or >= 0 for several",
    )
)


@dataclass(frozen=True)
class Dynamics:
    """The algorithm and its settings.

    name: of an algorithm, or none. lambda_b, lambda_W: one a layer. eta: 0 stands for auto until it is resolved to a
    share of the stability bound (`simulate.training.stability`). tolerance: a network stops training when its loss
    reaches this. options: those of the algorithm other than momentum and batch. rules: value by name, in the order of
    names, none of them neutral. schedule: of eta, as `simulate.settings.schedules.checked` returns it. width_scaling: s
    of docs/theory.md (15.2), with n^(s/2) as a factor of the targets, n the width of the last hidden layer; 0 is NTK
    scaling and 1 is muP.
    """

    name: str
    lambda_b: tuple[float, ...]
    lambda_W: tuple[float, ...]
    eta: float = 0.0
    steps: int = 0
    loss: str = "mse"
    tolerance: float = 0.0
    momentum: float = 0.0
    batch: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    schedule: schedules.Plan = ()
    width_scaling: float = 0.0

    @property
    def followed(self) -> tuple[str, ...]:
        """The algorithms that Taylor models follow."""
        return tuple(algorithm.name for algorithm in ALGORITHMS.values() if algorithm.followed)

    def eta_at(self, step: int) -> float:
        """eta of a step, counted from 0."""
        return self.eta * schedules.factor(self.schedule, step, self.steps) if self.schedule else self.eta

    def option(self, name: str) -> Any:
        """The value of an option of the algorithm."""
        return getattr(self, name) if name in FIELDS else self.options[name]


Rates = tuple[tuple[float, ...], tuple[float, ...]]  # lambda_b, lambda_W of each layer


def read_dynamics(r: Reader, depth: int, activation: Activation) -> Dynamics:
    name = r.choice("name", ("none", *ALGORITHMS))
    rates = _rates(r, depth, activation)
    dynamics = Dynamics(name, *rates) if name == "none" else _training(r, ALGORITHMS[name], rates)
    r.close()
    return dynamics


def _rates(r: Reader, depth: int, activation: Activation) -> Rates:
    rates = r.layerwise("lambda_b", depth), r.layerwise("lambda_W", depth)
    if r.choice("scaling", ("none", "critical")) == "none":
        return rates
    from analysis.theory.criticality import equal_shares  # late, see `critical_point`

    try:
        shares = equal_shares(activation.spec, depth)
    except ValueError as error:
        raise SettingsError(r.key("scaling"), "critical", str(error)) from None
    b, W = (tuple(k * share for k, share in zip(*both, strict=True)) for both in zip(rates, shares, strict=True))
    return b, W


def _training(r: Reader, algorithm: Algorithm, rates: Rates) -> Dynamics:
    auto = "auto, or " * algorithm.auto_eta
    eta = r.get(
        "eta",
        lambda v: 0.0 if v == "auto" and algorithm.auto_eta else real(v, 0.0, strict=True),
        f"{auto}a number > 0" + f": {algorithm.name} has no known stability bound" * (not auto),
    )
    common: dict[str, Any] = {
        "steps": r.integer("steps", 1, 10**9),
        "loss": r.choice("loss", tuple(LOSSES)),
        "tolerance": r.real("tolerance", 0.0),
        "rules": _rules(r),
        "width_scaling": r.real("width_scaling", 0.0),
    }
    common["schedule"] = schedules.checked(r.raw("schedule"), common["steps"], r.key("schedule"))
    unbounded = [name for name in common["rules"] if RULES[name].curvature is None]
    if not eta and unbounded:
        right = f"a number > 0: with dynamics.rules={unbounded[0]} the stability bound is not known"
        raise SettingsError(r.key("eta"), "auto", right)
    _, largest = schedules.extremes(common["schedule"], common["steps"])
    if not eta and largest > 1:
        right = f"a number > 0: with factors of dynamics.schedule up to {largest:.4g} the stability bound is not kept"
        raise SettingsError(r.key("eta"), "auto", right)
    options = {option.name: r.get(option.name, option.check, option.right) for option in algorithm.options}
    common |= {name: options.pop(name) for name in FIELDS if name in options}
    return Dynamics(algorithm.name, *rates, eta, **common, options=options)


def _rules(r: Reader) -> dict[str, Any]:
    """The value of each rule by name. Terms are added in the order of names, so that the order typed does not
    matter."""
    given = r.raw("rules")
    if given == "none":
        return {}
    known = f"{', '.join(RULES)}; a plugin can register more"
    if not isinstance(given, Mapping):
        raise SettingsError(r.key("rules"), given, f"none, or a mapping of rules to values; known rules: {known}")
    rules = Reader(given, r.key("rules"))
    for name in given:
        if name not in RULES:
            raise SettingsError(rules.key(str(name)), given[name], f"no such rule; known rules: {known}")
    values = {name: rules.get(name, RULES[name].check, RULES[name].right) for name in sorted(given)}
    return {name: value for name, value in values.items() if value != RULES[name].neutral}
