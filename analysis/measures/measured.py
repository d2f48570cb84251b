"""Measures: functions, recorded by a decorator, that turn the rows of a point into estimates with their theory.

The record of a measure holds everything that the rest of the analysis knows of it: the test that it is, the symbol of
its tensor, the model of its fit, what it reads and what it needs. `analysis.claims` checks a claim by these records
before anything is drawn, and calling a measure checks them again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import theory
from analysis.estimators import Array, Estimate
from analysis.models import MODELS
from analysis.points import OUT_OF_RANGE, Point
from simulate.registry import Registry

Layers = Sequence[int] | None  # the layers that a test names; None stands for all that are recorded


@dataclass(frozen=True)
class Measured:
    """The estimates of k components of one tensor at one layer and step of one point, with their theory."""

    tensor: str
    layer: int
    step: int
    samples: list[str]
    estimate: Estimate
    theory: Array  # (k,) leading order
    scale: Array  # (k,) natural sizes, relative to which deviations are quoted
    theory_next: Array | None = None  # (k,) theory with the next order, where it is known
    size: Array | None = None  # (k,) natural sizes of next orders in a fit, where these are not `scale`


Function = Callable[..., Iterator[Measured]]
Needs = Callable[[Point], Iterator[str]]
Undefined = Callable[..., Iterator[str]]


def _no_more(*points: Point) -> Iterator[str]:
    return iter(())


@dataclass(frozen=True)
class Measure:
    """A test that a claim can name.

    function(point, layers) yields what is measured; of a paired measure, function(point, reference, layers). symbols:
    the tensors that it yields, with their symbols in TeX. model: the fit that judges it (`analysis.models`). families:
    prefixes of the columns that it reads at a layer. outputs: smallest number of outputs of the network. steps: the
    steps of training that it reads, "start", "end" or "both". lowest: the first layer that it can judge. smooth:
    whether kinked activations are refused. grows: whether the tensor grows with depth at criticality and has the tests
    NAME_slope and NAME_exponent. table: the points whose table of estimates holds it: "never", those that record the
    "start", the "untrained" or the "trained" ones; table_samples: of these, points with at most so many samples.
    needs(point): in words, what else it needs and the point does not have. undefined(point), of a paired measure
    undefined(point, reference): in words, why theory predicts nothing there; a claim leaves such points out, and is
    refused where it leaves out all. partner: a test that a claim with this one must have, too. any_widths: whether it
    is right where hidden layers differ in width; where it is not, such points are refused. quadratic: whether it is one
    of quadratic models, which have no other tests. residual: whether it is known for networks with skips. below:
    prefixes of what it reads at the layer below as well, where a skip leads to its layer; None where it is not known at
    such a layer. orthogonal: whether it is known for orthogonal weights. width_scaling: whether it is known for trained
    networks whose targets grow with the width (docs/theory.md (15.2)). conditioned: whether it is one of networks whose
    last layer is drawn given targets, and tilted: whose hidden layers are, which have no other tests. says: what the
    judged coefficient is, in words with {name} and {value}; if empty, those of the model.
    """

    name: str
    function: Function
    symbols: Mapping[str, str]
    model: str
    families: tuple[str, ...]
    outputs: int = 1
    steps: str = "start"
    lowest: int = 2
    smooth: bool = False
    paired: bool = False
    grows: bool = False
    table: str = "never"
    table_samples: int | None = None
    partner: str = ""
    any_widths: bool = False
    quadratic: bool = False
    residual: bool = False
    below: tuple[str, ...] | None = None
    orthogonal: bool = False
    width_scaling: bool = False
    conditioned: bool = False
    tilted: bool = False
    needs: Needs = _no_more
    undefined: Undefined = _no_more
    says: str = ""

    def __call__(self, point: Point, *others: Point | Layers) -> Iterator[Measured]:
        """The components that the function measures, none where it is undefined. ValueError where the point lacks
        something."""
        layers = others[-1]
        assert not isinstance(layers, Point)
        if any(True for _ in self.undefined(point, *others[:-1])):
            return iter(())
        for reason in self.missing(point, layers):
            raise ValueError(f"{point.data.path}: {reason}")
        return self.function(point, *others)

    def missing(self, point: Point, layers: Layers = None) -> Iterator[str]:
        """Why a point where it is defined cannot give it, as `setting=value: what would be right`."""
        try:
            yield from self.lacks(point, layers)
        except OUT_OF_RANGE as error:
            yield f"{self.name}: {error}"

    def lacks(self, point: Point, layers: Layers = None) -> Iterator[str]:
        """What `missing` gives. Raises `OUT_OF_RANGE` where the theory that a need asks cannot be computed."""
        settings, layout = point.settings, point.data.layout
        outputs = settings["network"]["outputs"]
        if point.quadratic != self.quadratic:
            right = "quadratic models" if self.quadratic else "layers of neurons"
            yield f"network={'quadratic' if point.quadratic else 'mlp'}: {self.name} is a test of {right}"
            return
        noise = noise_of_condition(point)
        if (noise is not None) != self.conditioned:
            given = "null" if noise is None else noise
            right = "whose last layer is drawn given targets" if self.conditioned else "of the prior"
            yield f"ensemble.condition.noise={given}: {self.name} is a test of networks {right}"
            return
        tilt = point.settings["ensemble"]["tilt"]
        if (tilt is not None) != self.tilted:
            given = "null" if tilt is None else tilt["noise"]
            right = "whose hidden layers are tilted" if self.tilted else "whose hidden layers are those of the prior"
            yield f"ensemble.tilt.noise={given}: {self.name} is a test of networks {right}"
            return
        if len(set(point.widths)) > 1 and not self.any_widths:
            yield f"network.width={point.widths}: {self.name} is known for one width in all layers"
        yield from self._skips(point, layers)
        if point.weights != "gaussian" and not (self.orthogonal and point.weights == "orthogonal"):
            why = f"{point.weights} ones have other moments"
            yield f"initialization={point.weights}: {self.name} is known for Gaussian weights: {why}"
        if outputs < self.outputs:
            yield f"network.outputs={outputs}: {self.name} needs {self.outputs} outputs"
        for layer in layers or ():
            if layer not in layout.layers:
                yield f"claim.tests.{self.name}.layers={list(layers or ())}: layer {layer} is not recorded"
            elif layer < self.lowest:
                yield f"claim.tests.{self.name}.layers={list(layers or ())}: layers from {self.lowest} on can be judged"
        if self.steps != "start" and not point.trained:
            yield f"dynamics=none: {self.name} needs trained networks"
        if self.steps != "start" and layout.steps[-1] == 0:
            yield f"observables.steps={list(layout.steps)}: {self.name} needs a step of training"
        if self.steps != "start" and (s := settings["dynamics"]["width_scaling"]) and not self.width_scaling:
            yield f"dynamics.width_scaling={s:g}: {self.name} is known for targets of one size"
        if self.steps != "end" and 0 not in layout.steps:
            yield f"observables.steps={list(layout.steps)}: {self.name} needs step 0"
        if not self.layers(point, layers):
            record = ", ".join(layout.record)
            where = "at layer L" if self.steps == "end" else f"together at a layer from {self.lowest} on"
            families = " and ".join(self.families)
            yield f"observables.record=[{record}]: {self.name} needs columns {families} {where}"
        if self.smooth and theory.activation(point.activation).kinked:
            yield f"activation={point.activation}: {self.name} is defined for smooth activations only"
        yield from self.needs(point)

    def _skips(self, point: Point, layers: Layers) -> Iterator[str]:
        """What it lacks at a point with skips."""
        given = f"network.skip={point.settings['network']['skip']}"
        if point.skips and not self.residual:
            yield f"{given}: {self.name} is known for networks without skips: with one, neurons remember their past"
            return
        for layer in filter(point.skip_into, self.layers(point, layers)):
            if self.below is None:
                yield f"{given}: {self.name} is known where no skip leads to the layer, not at layer {layer}"
            elif lacking := [prefix for prefix in self.below if not point.records(prefix, layer - 1)]:
                columns = f"columns {' and '.join(lacking)} at layer {layer - 1}"
                yield f"{given}: {self.name} at layer {layer} needs {columns}"

    def layers(self, point: Point, layers: Layers = None) -> list[int]:
        """Layers at which everything that is read is recorded."""
        if self.steps == "end":
            return [point.depth] if all(point.records(family, point.depth) for family in self.families) else []
        return [layer for layer in chosen_layers(point, self.families, layers) if layer >= self.lowest]


def noise_of_condition(point: Point) -> float | None:
    """The noise of the targets that the last layer is drawn given, docs/theory.md (16.3); None for networks of the
    prior."""
    condition = point.settings["ensemble"]["condition"]
    return None if condition is None else float(condition["noise"])


MEASURES: Registry[Measure] = Registry("measure", rows=False)


def measure(
    name: str,
    *,
    symbol: str | Mapping[str, str],
    families: tuple[str, ...],
    tensor: str | None = None,
    model: str = "powers",
    outputs: int = 1,
    steps: str = "start",
    lowest: int = 2,
    smooth: bool = False,
    paired: bool = False,
    grows: bool = False,
    table: str = "never",
    table_samples: int | None = None,
    partner: str = "",
    any_widths: bool = False,
    quadratic: bool = False,
    residual: bool = False,
    below: tuple[str, ...] | None = None,
    orthogonal: bool = False,
    width_scaling: bool = False,
    conditioned: bool = False,
    tilted: bool = False,
    needs: Needs = _no_more,
    undefined: Undefined = _no_more,
    says: str = "",
) -> Callable[[Function], Measure]:
    """Register a function as the measure of this name, which `claim.tests` uses; the fields are those of `Measure`.

    symbol: that of the tensor (by default named as the test), or the symbols of all tensors that the function may
    yield. ValueError where the name is taken, or the fit model is not known.
    """
    if model not in MODELS:
        raise ValueError(f"measure {name!r}: model={model!r}: known are {', '.join(MODELS)}")
    symbols = {tensor or name: symbol} if isinstance(symbol, str) else symbol

    def register(function: Function) -> Measure:
        record = Measure(
            name,
            function,
            symbols,
            model,
            families,
            outputs=outputs,
            steps=steps,
            lowest=lowest,
            smooth=smooth,
            paired=paired,
            grows=grows,
            table=table,
            table_samples=table_samples,
            partner=partner,
            any_widths=any_widths,
            quadratic=quadratic,
            residual=residual,
            below=below,
            orthogonal=orthogonal,
            width_scaling=width_scaling,
            conditioned=conditioned,
            tilted=tilted,
            needs=needs,
            undefined=undefined,
            says=says,
        )
        return MEASURES.add(record)

    return register


def has_test_samples(point: Point) -> Iterator[str]:
    """Needs of what is measured at test samples."""
    if point.samples[2] == point.D:
        yield "inputs.test=0: test samples are needed"


def test_targets_known(point: Point) -> Iterator[str]:
    """Needs of errors on test samples."""
    _, y, train = point.samples
    yield from has_test_samples(point)
    if train < point.D and (y is None or not np.all(np.isfinite(y))):
        yield "inputs: the targets of all test samples are needed"


def label_of(*groups: Sequence[int]) -> str:
    """(0, 0), (0, 1) -> 00,01; with more than ten samples 0.0,0.1"""
    joint = "." if any(k > 9 for group in groups for k in group) else ""
    return ",".join(joint.join(map(str, group)) for group in groups)


def chosen_layers(point: Point, prefixes: str | Sequence[str], layers: Layers) -> list[int]:
    """Layers from 2 on where all these families are recorded: layer 1 is Gaussian at every width."""
    families = [prefixes] if isinstance(prefixes, str) else prefixes
    recorded = [layer for layer in point.data.layout.layers if all(point.records(f, layer) for f in families)]
    return [layer for layer in (recorded if layers is None else layers) if layer > 1 and layer in recorded]
