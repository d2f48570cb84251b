"""Settings as frozen records: what a data set is made with. `simulate.reading` makes and checks them.

No torch here, so that the analysis can read settings without it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ACTIVATIONS = ("linear", "relu", "leaky_relu", "tanh", "sin", "erf", "gelu", "swish", "softplus", "sigmoid")
OBSERVABLES = ("kernel", "moments", "outputs", "ntk", "dntk", "ddntk", "fourth", "loss", "moved", "taylor")
OF_TRAINING = ("loss", "moved", "taylor")  # observables that need dynamics other than none
DYNAMICS = ("none", "gradient_descent", "gradient_flow", "momentum", "sgd")
LOSSES = ("mse", "cross_entropy")
# What the sampler without weights can give; everything else needs the weights.
WITHOUT_WEIGHTS = ("kernel", "moments", "outputs", "ntk")
SAMPLES_OF = {"ntk": 2, "dntk": 3, "ddntk": 4}  # samples in a component of each
NORMALIZATIONS = ("none", "unit", "centered")


def printable(text: str) -> str:
    """One line, whatever was typed or read: line breaks and what else a terminal would obey as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class SettingsError(ValueError):
    """A setting that cannot be run; the message names it, its value, and what would be right."""

    def __init__(self, key: str, value: object, right: str):
        super().__init__(printable(f"{key}={value!r}: {right}" if key else right))


@dataclass(frozen=True)
class Network:
    widths: tuple[int, ...]  # hidden widths n_1 .. n_{L-1}
    depth: int  # L, number of weight layers
    outputs: int  # n_L


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


@dataclass(frozen=True)
class Inputs:
    source: str
    count: int | None  # train (or only) samples; None: all rows of a file
    test: int  # test samples
    seed: int
    normalization: str
    scale: float = 1.0  # by which |x|^2 is multiplied after that
    dimension: int | None = None  # n_0 of sphere, gaussian and ray
    squares: tuple[float, ...] = ()  # of ray: |x|^2 / n_0 of each sample
    classes: tuple[int, ...] = ()  # of digits
    path: str | None = None  # of file
    teacher: int = 0  # width of the teacher
    targets: int = 0  # its outputs


@dataclass(frozen=True)
class Ensemble:
    networks: int
    seed: int
    first: int
    sampler: str  # dense or law
    dtype: str
    device: str
    block: int | None  # None: by rule (simulate.blocks)
    tf32: bool = False  # products on a CUDA device with 10 bits of mantissa, a relative error of 5e-4 each


@dataclass(frozen=True)
class Dynamics:
    name: str
    lambda_b: tuple[float, ...]  # a layer each
    lambda_W: tuple[float, ...]
    eta: float = 0.0  # 0 in a rule that is not resolved yet: a share of the stability bound (simulate.dynamics)
    steps: int = 0
    loss: str = "mse"
    tolerance: float = 0.0  # a network whose loss has come down to it stays where it is
    momentum: float = 0.0
    batch: int = 0  # of sgd


@dataclass(frozen=True)
class Observables:
    record: tuple[str, ...]
    layers: tuple[int, ...]  # of kernel and moments
    output_layers: tuple[int, ...]  # of outputs, ntk, dntk, ddntk and fourth
    tuples: Mapping[str, tuple[tuple[int, ...], ...]]  # of samples, by observable; all of those not named
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    network: Network
    activation: Activation
    initialization: Initialization
    inputs: Inputs
    ensemble: Ensemble
    dynamics: Dynamics
    observables: Observables
    claim: Mapping[str, Any] | None
    output: str
    workers: int | None  # None: one a core

    def identity(self) -> dict[str, Any]:
        """What decides the rows: everything but how many, where to, by how many processes, and the claim."""
        out = asdict(self)
        for key in ("claim", "output", "workers"):
            del out[key]
        for key in ("networks", "first"):
            del out["ensemble"][key]
        return out
