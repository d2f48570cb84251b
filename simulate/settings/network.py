"""Network, activation and initialisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulate.settings.reader import Reader, SettingsError, integer, is_list

if TYPE_CHECKING:
    from analysis.theory.criticality import Critical

ACTIVATIONS = ("linear", "relu", "leaky_relu", "tanh", "sin", "erf", "gelu", "swish", "softplus", "sigmoid")


@dataclass(frozen=True)
class Network:
    widths: tuple[int, ...]  # hidden widths n_1 .. n_{L-1}
    depth: int  # L, number of weight layers
    outputs: int  # n_L

    def sizes(self, n_0: int) -> list[int]:
        """n_0, n_1 .. n_L: of the inputs and of every layer."""
        return [n_0, *self.widths, self.outputs]


@dataclass(frozen=True)
class Activation:
    name: str
    slope: float | None = None  # of leaky_relu below zero

    @property
    def spec(self) -> str:
        """The name with its parameters, as `analysis.theory` takes it."""
        return self.name if self.slope is None else f"{self.name}(slope={self.slope!r})"


@dataclass(frozen=True)
class Initialization:
    C_b: float
    C_W: float


def read_network(r: Reader) -> Network:
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
    name = r.choice("name", ACTIVATIONS)
    out = Activation(name, r.real("slope") if name == "leaky_relu" else None)
    r.close()
    return out


def critical_point(activation: Activation) -> Critical:
    # Imported late: worker processes read no settings and start a third of a second sooner without it.
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
