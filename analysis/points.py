"""A point of a sweep in the analysis: its data, its settings, and the theory at the same settings."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from analysis import sums, theory
from analysis.estimators import Array
from analysis.planned import Drawn, Planned
from analysis.theory.recursion import Flow
from simulate.settings.network import spec_of
from simulate.store.files import StoreError
from simulate.store.sets import DataSet

T = TypeVar("T")
# What theory raises outside its range, and an estimator for too few networks: it ends one test, estimate or figure.
OUT_OF_RANGE = (ValueError, ArithmeticError, np.linalg.LinAlgError)
FOUR_POINT_SAMPLES = 4  # V, whose cost grows as D^4, is predicted for at most so many samples


@lru_cache(maxsize=16)
def flow_of(
    activation: str,
    depth: int,
    C_b: float,
    C_W: float,
    inputs: tuple[tuple[float, ...], ...],
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
    ratios: tuple[float, ...],
    tensors: tuple[str, ...],
    points: int | None = None,
    **beyond: Any,
) -> Flow:
    network = (activation, depth, C_b, C_W, np.array(inputs), lambda_b, lambda_W, ratios)
    return theory.flow(*network, tensors, points, **beyond)


@dataclass(frozen=True)
class Point:
    data: DataSet | Planned
    role: str = field(default="", kw_only=True)  # in a walk of several data sets
    found: Mapping[Any, Any] = field(
        default_factory=dict, kw_only=True, compare=False, repr=False
    )  # `walks.Outcome` by run

    @property
    def settings(self) -> dict[str, Any]:
        return self.data.settings

    @property
    def depth(self) -> int:
        return int(self.settings["network"]["depth"])

    @cached_property
    def widths(self) -> list[int]:
        """n_1 .. n_{L-1}"""
        return list(self.settings["network"]["widths"])

    @property
    def n(self) -> float:
        """The scale of an expansion in 1/n: the smallest hidden width, or that of the inputs where there is no hidden
        layer. Points whose widths have the same ratios (`shape`) differ in it alone. A quadratic model is expanded in
        epsilon, which is its 1/n."""
        if self.quadratic:
            epsilon = self.settings["network"]["meta"]["epsilon"]
            return 1 / epsilon if epsilon else math.inf
        return min(self.widths) if self.widths else int(self.samples[0].shape[1])

    @property
    def last_width(self) -> float:
        """n_{L-1}, in whose inverse training is expanded; `n` where there is no hidden layer."""
        return self.widths[-1] if self.widths else self.n

    @property
    def shape(self) -> tuple[int, ...]:
        """The ratios of the hidden widths, as the smallest whole numbers that have them."""
        divisor = math.gcd(*self.widths)
        return tuple(width // divisor for width in self.widths)

    @property
    def networks(self) -> int:
        """The number of networks, drawn or planned."""
        return self.data.networks

    @property
    def addresses(self) -> tuple[int, tuple[tuple[int, int], ...]]:
        """The seed and the ranges of networks; points that share both share their networks."""
        return self.settings["ensemble"]["seed"], self.data.addresses

    @property
    def quadratic(self) -> bool:
        """Whether it is a quadratic model instead of layers of neurons."""
        return self.settings["network"]["meta"] is not None

    @property
    def trained(self) -> bool:
        return bool(self.settings["dynamics"]["name"] != "none")

    @cached_property
    def samples(self) -> tuple[Array, Array | None, int]:
        return self.data.samples()

    @property
    def D(self) -> int:
        return len(self.samples[0])

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """(M,) whether each network is finite at every recorded layer and step."""
        return (self.data.status() == 0).all(axis=1)

    @cached_property
    def _cache(self) -> dict[str, NDArray[Any]]:
        return {}

    @cached_property
    def _computed(self) -> dict[str, Any]:
        return {}

    def once(self, name: str, compute: Callable[["Point"], T]) -> T:
        """What `compute` returns for this point, computed when it is first asked for under this name."""
        with sums.scope(f"{self.role}: {name}"):  # whether or not it is computed: a walk asks who used it
            if name not in self._computed:
                self._computed[name] = compute(self)
        return cast(T, self._computed[name])

    def within(self, first: int, last: int) -> "Point":
        """The same point with networks [first, last) alone."""
        part = replace(self, data=cast(DataSet | Drawn, self.data).within(first, last))
        part.__dict__["samples"] = self.samples  # which all parts share
        return part

    def records(self, prefix: str, layer: int | None = None) -> bool:
        if not self.data.records(prefix):
            return False
        layout = self.data.layout
        defined = layout.defined(self.data.family(prefix))
        return layer is None or (layer in layout.layers and defined[layout.layers.index(layer)])

    def layers(self, prefix: str) -> list[int]:
        return [layer for layer in self.data.layout.layers if self.records(prefix, layer)]

    def read(self, prefix: str, layer: int, step: int = 0) -> Array:
        """(finite networks, columns) float64."""
        layout = self.data.layout
        if not self.records(prefix, layer) or step not in layout.steps:
            raise StoreError(f"{self.data.path}: {prefix!r} at layer {layer}, step {step} was not recorded")
        if prefix not in self._cache:
            self._cache[prefix] = self.data.read(prefix)
        at = self._cache[prefix][:, layout.steps.index(step), layout.layers.index(layer)]
        return at[self.finite].astype(np.float64)

    def columns(self, prefix: str) -> list[tuple[int, ...]]:
        return self.data.layout.indices(self.data.family(prefix))

    @property
    def activation(self) -> str:
        """The activation with its parameters, in the form that `analysis.theory` takes."""
        given = dict(self.settings["activation"])
        name, parameters = given.pop("name"), given.pop("parameters")
        return spec_of(name, {key: value for key, value in (given | parameters).items() if value is not None})

    @property
    def critical(self) -> bool:
        """Whether C_b and C_W are the critical ones of the activation."""
        skip = self.settings["network"]["skip"]
        if isinstance(skip, list):
            return False
        try:
            tuned = theory.critical(self.activation, skip, self.settings["network"]["branch"])
        except OUT_OF_RANGE:
            return False
        s = self.settings["initialization"]
        return bool(np.allclose([s["C_b"], s["C_W"]], [tuned.C_b, tuned.C_W], rtol=1e-9, atol=1e-12))

    def flow(self, tensors: tuple[str, ...] | bool | None = None, sample: int | None = None) -> Flow:
        """The theory at this point. tensors: the names of tensors; True stands for those of preactivations (K, Theta,
        G1, V), False for K and Theta, and None for those of the two that are cheap at this number of samples. sample:
        of this sample alone, which makes every tensor cheap."""
        if not isinstance(tensors, tuple):
            order_n = self.D <= FOUR_POINT_SAMPLES if tensors is None else tensors
            tensors = ("K", "Theta", "G1", "V") if order_n else ("K", "Theta")
        inputs = self.samples[0] if sample is None else self.samples[0][sample : sample + 1]
        beyond = {"skip": self.skips or 0.0, "weights": self.weights, "branch": self.branches}
        beyond["first_weights"] = self.settings["initialization"]["first"]
        return flow_of(*self._network(inputs), tensors, **beyond)

    @property
    def skips(self) -> tuple[float, ...]:
        """gamma of each of the depth - 1 steps from one layer to the next, docs/theory.md (11.1): none leads into the
        last layer. Empty for plain networks."""
        skip = self.settings["network"]["skip"]
        return (*(skip if isinstance(skip, list) else [skip] * (self.depth - 2)), 0.0) if skip else ()

    @property
    def branches(self) -> float | tuple[float, ...]:
        """alpha of each of the depth - 1 steps, docs/theory.md (11.2), with 1 into the last layer; 1 for all others."""
        alpha = self.settings["network"]["branch"]
        return (*[alpha] * (self.depth - 2), 1.0) if self.skips else 1.0

    @property
    def weights(self) -> str:
        """The law of the weights: gaussian, orthogonal or uniform."""
        return str(self.settings["initialization"]["weights"])

    @property
    def plain(self) -> bool:
        """Whether it has no skips, and Gaussian weights."""
        return not self.skips and self.weights == "gaussian"

    def skip_into(self, layer: int) -> float:
        """gamma of the skip that leads into a layer, counted from 1; 0 where there is none."""
        return self.skips[layer - 2] if self.skips and layer > 1 else 0.0

    def network(self, inputs: Array) -> tuple[Any, ...]:
        """The first arguments of `flow_of` and of the theory: the network, its inputs and rates.

        Raises ValueError where they are not enough, for networks with skips or orthogonal weights."""
        if skip := self.settings["network"]["skip"]:
            raise ValueError(f"network.skip={skip}: this theory is known for networks without skips: without memory")
        if not self.plain:
            raise ValueError(f"initialization={self.weights}: this theory is known for Gaussian weights: independent")
        return self._network(inputs)

    def _network(self, inputs: Array) -> tuple[Any, ...]:
        start, dynamics = self.settings["initialization"], self.settings["dynamics"]
        below = [inputs.shape[1]] if start["first"] == "orthogonal" else self.widths[:1]
        return (
            self.activation,
            self.depth,
            start["C_b"],
            start["C_W"],
            tuple(map(tuple, inputs.tolist())),
            tuple(dynamics["lambda_b"]),
            tuple(dynamics["lambda_W"]),
            tuple((np.array(self.widths) / np.array([*below, *self.widths[:-1]][: len(self.widths)])).tolist()),
        )


@dataclass(frozen=True)
class Variant:
    """Points of a sweep that differ in width alone, by rising width, or in epsilon alone, by falling epsilon. label:
    the settings that tell them from others."""

    label: str
    points: tuple[Point, ...]


# Groups of settings that make variants. Labels name the first of several that would do.
TELLING = ("activation", "network", "initialization", "dynamics", "inputs", "features", "observables", "ensemble")
INCIDENTAL = (
    "network.widths", "network.meta.epsilon", "ensemble.networks", "ensemble.seed", "ensemble.first", "ensemble.block",
)  # fmt: skip


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        out |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return out


def variants(points: Sequence[Point]) -> list[Variant]:
    """The points grouped by all settings but width and the number of networks.

    Labels name as few settings as tell the variants apart: for two activations, each at its own critical C_W, they name
    the activation alone.
    """
    groups: dict[str, list[Point]] = {}
    flat: dict[str, dict[str, Any]] = {}
    for point in points:
        settings = _flat({group: point.settings[group] for group in TELLING})
        telling = {key: value for key, value in settings.items() if key not in INCIDENTAL}
        name = json.dumps(telling, sort_keys=True)
        flat[name] = telling
        groups.setdefault(name, []).append(point)
    labels = dict.fromkeys(groups, "")
    keys = dict.fromkeys(key for telling in flat.values() for key in telling)
    for key in sorted(keys, key=lambda key: not key.endswith(".name")):  # a name tells more than a number
        parted = {name: (labels[name], json.dumps(flat[name].get(key))) for name in groups}
        if len(set(parted.values())) > len(set(labels.values())):
            short = key.rpartition(".")[2]
            for name, telling in flat.items():
                value = telling.get(key)
                words = str(value) if short == "name" else f"{short}={value}"
                labels[name] = " ".join(filter(None, [labels[name], words]))
    return [
        Variant(labels[name], tuple(sorted(group, key=lambda point: (point.widths, point.n))))
        for name, group in groups.items()
    ]
