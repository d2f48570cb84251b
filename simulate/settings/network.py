"""Network, activation and initialisation."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from configs import keys, options
from simulate.registry import Registry
from simulate.settings.expression import derivative, parse
from simulate.settings.reader import Reader, SettingsError, integer, is_list, nonempty, real

if TYPE_CHECKING:
    from analysis.theory.criticality import Critical


@dataclass(frozen=True)
class Kind:
    """An activation that settings can name, and the names of its parameters. Its functions are registered under the
    same name in `simulate.networks.activations` and `analysis.theory.activations`."""

    name: str
    parameters: tuple[str, ...] = ()


# The options of configs/activation, each with the parameters that its file gives, and those that plugins register.
ACTIVATIONS: Registry[Kind] = Registry("activation")
for file in options("activation"):
    ACTIVATIONS.add(Kind(file, tuple(key for key in keys("activation", file) if key != "name")))


@dataclass(frozen=True)
class Meta:
    """The quadratic term of a network of one layer (`simulate.networks.quadratic`), with random meta features of a rank
    and a seed."""

    epsilon: float
    rank: int
    seed: int


@dataclass(frozen=True)
class Network:
    widths: tuple[int, ...]  # hidden widths n_1 .. n_{L-1}
    depth: int  # L, number of weight layers
    outputs: int  # n_L
    meta: Meta | None = None  # of a quadratic model; None for all other networks
    # gamma of a residual network, of every step between hidden layers or one number a step; 0 is the plain network
    skip: float | tuple[float, ...] = 0.0
    branch: float = 1.0  # alpha, which multiplies the weights of the layers to which these steps lead

    @property
    def skips(self) -> tuple[float, ...]:
        """gamma of the skip into each of the layers 1 .. L, docs/theory.md (11.1): none leads into the first layer and
        none into the last. Empty for a plain network."""
        if not self.skip:
            return ()
        inner = self.skip if isinstance(self.skip, tuple) else (self.skip,) * (self.depth - 2)
        return (0.0, *inner, 0.0)

    def share(self, layer: int) -> float:
        """alpha^2 of the branch into a layer, counted from 1, docs/theory.md (11.2), by which C_W and lambda_W are
        multiplied there: 1 for the first and the last layer."""
        return self.branch**2 if 1 < layer < self.depth else 1.0

    def sizes(self, n_0: int) -> list[int]:
        """n_0, n_1 .. n_L: the sizes of the inputs and of every layer."""
        return [n_0, *self.widths, self.outputs]


@dataclass(frozen=True)
class Activation:
    """slope: that of leaky_relu below zero. expression: a formula in z without white space. parameters: those of an
    activation that a plugin adds."""

    name: str
    slope: float | None = None
    expression: str | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of the activation by name."""
        given = {"slope": self.slope, "expression": self.expression, **self.parameters}
        return {key: value for key, value in given.items() if value is not None}

    @property
    def spec(self) -> str:
        """The name with its parameters, as `analysis.theory` takes it."""
        return spec_of(self.name, self.values)


def spec_of(name: str, values: Mapping[str, Any]) -> str:
    """An activation with its parameters as `analysis.theory` takes it: leaky_relu(slope=0.1), expression(z*tanh(z))."""
    if "expression" in values:
        return f"{name}({values['expression']})"
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in values.items())})" if values else name


@dataclass(frozen=True)
class Initialization:
    """weights: "gaussian", or those of each layer but the first are "orthogonal", sqrt(C_W) times the first rows of a
    Haar matrix, or "uniform". first: the weights of the first layer, gaussian or orthogonal."""

    C_b: float
    C_W: float
    weights: str = "gaussian"
    first: str = "gaussian"

    def of_layer(self, layer: int) -> str:
        """The weights of a layer, counted from 1: gaussian, orthogonal or uniform."""
        return self.weights if layer > 1 else self.first


def read_network(r: Reader) -> Network:
    kind = r.choice("kind", ("mlp", "residual", "quadratic"))
    if kind == "quadratic":
        meta = Meta(r.real("epsilon", 0.0), r.integer("rank", 1, 10**6), r.integer("seed", 0))
        quadratic = Network((), 1, r.integer("outputs", 1, 2**31 - 1), meta)
        r.close()
        return quadratic
    depth = r.integer("depth", 1, 10_000)

    def widths(value: Any) -> tuple[int, ...]:
        values = value if is_list(value) else [value] * (depth - 1)
        if len(values) != depth - 1:
            raise ValueError
        integer(value if not is_list(value) else 1, 1)
        return tuple(integer(v, 1, 2**31 - 1) for v in values)

    width = r.get("width", widths, f"a whole number >= 1, or a list of depth - 1 = {depth - 1} of them")
    skip = _skip(r, width) if kind == "residual" else 0.0
    out = Network(width, depth, r.integer("outputs", 1, 2**31 - 1), skip=skip, branch=_branch(r, kind, skip))
    r.close()
    return out


def _branch(r: Reader, kind: str, skip: float | tuple[float, ...]) -> float:
    """alpha, by which W s is multiplied where skips lead."""
    if kind != "residual":
        return 1.0
    alpha = r.real("branch", 0.0, strict=True)
    if alpha != 1 and not skip:
        right = "1 at network.skip=0, which is the plain network; initialization.C_W scales its weights"
        raise SettingsError(r.key("branch"), alpha, right)
    return alpha


def _skip(r: Reader, widths: tuple[int, ...]) -> float | tuple[float, ...]:
    """gamma of the skips between hidden layers; one number where all are equal."""
    steps = max(len(widths) - 1, 0)

    def check(value: Any) -> float | tuple[float, ...]:
        values = tuple(real(v, 0.0) for v in (value if is_list(value) else [value] * max(steps, 1)))
        if is_list(value) and len(values) != steps:
            raise ValueError
        return values[0] if len(set(values)) == 1 else values

    skip = r.get("skip", check, f"a number >= 0, or a list of {steps}, one for each step between hidden layers")
    if skip and not steps:
        right = "0 at network.depth below 3: a skip leads from a hidden layer to the next one"
        raise SettingsError(r.key("skip"), skip, right)
    if skip and len(set(widths)) > 1:
        right = f"0, or one network.width in all hidden layers instead of {list(widths)}: a skip keeps each neuron"
        raise SettingsError(r.key("skip"), skip, right)
    return skip


def read_activation(r: Reader) -> Activation:
    kind = ACTIVATIONS[r.choice("name", tuple(ACTIVATIONS))]
    values: dict[str, Any] = {}
    for name in kind.parameters:
        values[name] = _expression(r) if name == "expression" else r.real(name)
    r.close()
    fields = {name: values.pop(name) for name in ("slope", "expression") if name in values}
    return Activation(kind.name, **fields, parameters=values)


def _expression(r: Reader) -> str:
    text = r.get("expression", nonempty, "a formula in z, as z*tanh(z)")
    try:
        tree = parse(text)
        for _ in range(4):
            tree = derivative(tree)
    except ValueError as error:
        raise SettingsError(r.key("expression"), text, str(error)) from None
    return "".join(text.split())


def critical_point(activation: Activation, network: Network) -> Critical:
    """The critical point of the activation in this network. ValueError where there is none."""
    # The import is late because worker processes read no settings and start a third of a second sooner without it.
    from analysis.theory.criticality import critical

    if isinstance(network.skip, tuple):
        raise ValueError(f"there is no one critical point for network.skip={list(network.skip)}, but for one number")
    return critical(activation.spec, network.skip, network.branch)


def read_initialization(r: Reader, activation: Activation, network: Network) -> Initialization:
    scheme = r.choice("scheme", ("critical", "gaussian", "orthogonal", "uniform"))
    weights = "gaussian" if scheme == "critical" else scheme
    first = r.choice("first", ("gaussian", "orthogonal")) if scheme == "orthogonal" else "gaussian"
    if scheme == "critical" or (weights != "gaussian" and r.raw("C_b") is None and r.raw("C_W") is None):
        for name in ("C_b", "C_W"):
            if r.raw(name) is not None:
                key = r.key(name)
                raise SettingsError(
                    key, r.raw(name), "found from the activation; use initialization=gaussian to set it"
                )
        try:
            tuned = critical_point(activation, network)
        except ValueError as error:
            raise SettingsError("initialization", scheme, str(error)) from None
        out = Initialization(tuned.C_b, tuned.C_W, weights, first)
    else:
        out = Initialization(r.real("C_b", 0.0), r.real("C_W", 0.0, strict=True), weights, first)
    r.close()
    if network.depth < 2 and weights != "gaussian" and first == "gaussian":
        raise SettingsError("initialization", weights, "gaussian at network.depth=1: the first layer is Gaussian")
    if weights == "orthogonal":
        _narrowing(network)
    return out


def _narrowing(network: Network) -> None:
    """SettingsError where a layer's weights cannot have orthogonal rows."""
    sizes = [*network.widths, network.outputs]
    for layer, (n, m) in enumerate(itertools.pairwise(sizes), start=2):
        if m > n:
            key = "network.width" if layer < network.depth else "network.outputs"
            right = f"layers that do not widen where initialization=orthogonal: layer {layer} has {m} neurons on {n}"
            raise SettingsError(key, list(network.widths) if layer < network.depth else m, right)
