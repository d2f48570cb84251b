"""A sweep point as the analysis sees it: its data, its settings, and the theory at the same settings."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis import theory
from analysis.estimators import Array
from analysis.theory.flow import Flow
from simulate.store import DataSet, StoreError

FOUR_POINT_SAMPLES = 4  # V of more samples than this is not predicted: its cost grows as D^4


@lru_cache(maxsize=16)
def _flow(
    activation: str,
    depth: int,
    C_b: float,
    C_W: float,
    inputs: tuple[tuple[float, ...], ...],
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
    ratios: tuple[float, ...],
    tensors: tuple[str, ...],
) -> Flow:
    return theory.flow(activation, depth, C_b, C_W, np.array(inputs), lambda_b, lambda_W, ratios, tensors)


@dataclass(frozen=True)
class Point:
    data: DataSet

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
    def n(self) -> int:
        """The one hidden width of the network."""
        if len(set(self.widths)) != 1:
            raise ValueError(
                f"{self.data.path}: network.width={self.widths}: scaling in 1/n is fitted for one width in all layers"
            )
        return self.widths[0]

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
        """(M,) networks that are finite at every recorded layer and step."""
        return (self.data.status() == 0).all(axis=1)

    @cached_property
    def _cache(self) -> dict[str, NDArray[Any]]:
        return {}

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
        layout = self.data.layout
        return self.data.family(prefix).tuples(layout.samples, layout.outputs)

    @property
    def activation(self) -> str:
        """As `analysis.theory` takes it."""
        name, slope = self.settings["activation"]["name"], self.settings["activation"]["slope"]
        return str(name) if slope is None else f"{name}(slope={slope!r})"

    def flow(self, tensors: tuple[str, ...] | bool | None = None) -> Flow:
        """Theory at this point: the tensors named; True for those of preactivations; None for what is cheap."""
        if not isinstance(tensors, tuple):
            order_n = self.D <= FOUR_POINT_SAMPLES if tensors is None else tensors
            tensors = ("K", "Theta", "G1", "V") if order_n else ("K", "Theta")
        s, dynamics = self.settings, self.settings["dynamics"]
        return _flow(
            self.activation,
            self.depth,
            s["initialization"]["C_b"],
            s["initialization"]["C_W"],
            tuple(map(tuple, self.samples[0].tolist())),
            tuple(dynamics["lambda_b"]),
            tuple(dynamics["lambda_W"]),
            tuple((np.array(self.widths) / np.array([self.widths[0], *self.widths[:-1]])).tolist()),
            tensors,
        )
