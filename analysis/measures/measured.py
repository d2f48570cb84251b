"""What a measurement hands to the fits: the components of one tensor at one layer, with theory beside them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from analysis.estimators import Array, Estimate
from analysis.points import Point


@dataclass(frozen=True)
class Measured:
    """The components of one tensor at one layer and step of one point: value and replicates by component."""

    tensor: str
    layer: int
    step: int
    samples: list[str]
    estimate: Estimate  # k components
    theory: Array  # (k,) leading order
    scale: Array  # (k,)
    theory_next: Array  # (k,) with the next order, NaN where it is not known


def label_of(*groups: Sequence[int]) -> str:
    """(0, 0), (0, 1) -> 00,01; with more than ten samples 0.0,0.1"""
    joint = "." if any(k > 9 for g in groups for k in g) else ""
    return ",".join(joint.join(map(str, g)) for g in groups)


def chosen_layers(point: Point, prefixes: str | Sequence[str], layers: Sequence[int] | None) -> list[int]:
    """Layers from 2 on where all these families are recorded: layer 1 is Gaussian at every width."""
    families = [prefixes] if isinstance(prefixes, str) else prefixes
    recorded = [layer for layer in point.data.layout.layers if all(point.records(f, layer) for f in families)]
    return [layer for layer in (recorded if layers is None else layers) if layer > 1]


Measure = Callable[[Point, Sequence[int] | None], Iterator[Measured]]
PairedMeasure = Callable[[Point, Point, Sequence[int] | None], Iterator[Measured]]


@dataclass(frozen=True)
class Test:
    measure: Measure
    model: str
