"""Network, activation and initialisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from configs import keys, options
from simulate.registry import Registry
from simulate.settings.expression import derivative, parse
from simulate.settings.reader import Reader, SettingsError, integer, is_list, nonempty

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
    C_b: float
    C_W: float


def read_network(r: Reader) -> Network:
    if r.choice("kind", ("mlp", "quadratic")) == "quadratic":
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
    out = Network(width, depth, r.integer("outputs", 1, 2**31 - 1))
    r.close()
    return out


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


def critical_point(activation: Activation) -> Critical:
    # The import is late because worker processes read no settings and start a third of a second sooner without it.
    from analysis.theory.criticality import critical

    return critical(activation.spec)


def read_initialization(r: Reader, activation: Activation) -> Initialization:
    scheme = r.choice("scheme", ("critical", "gaussian"))
    if scheme == "critical":
        for name in ("C_b", "C_W"):
            if r.raw(name) is not None:
                key = r.key(name)
                raise SettingsError(
                    key, r.raw(name), "found from the activation; use initialization=gaussian to set it"
                )
        try:
            tuned = critical_point(activation)
        except ValueError as error:
            raise SettingsError("initialization", "critical", str(error)) from None
        out = Initialization(tuned.C_b, tuned.C_W)
    else:
        out = Initialization(r.real("C_b", 0.0), r.real("C_W", 0.0, strict=True))
    r.close()
    return out
