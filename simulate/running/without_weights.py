"""Snapshots of a block of networks that are drawn without weights."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

from torch import Tensor

from simulate.networks import activations, law, one_pass, streams
from simulate.networks.responses import directions, drawn_response
from simulate.observables.snapshot import Row, declared, once
from simulate.running.controls import Controls, tilt_of
from simulate.running.drawn import needed, shared
from simulate.running.filters import filtered_rows
from simulate.running.jobs import Job
from simulate.running.plan import in_one_pass, pulled_layers, reads_neurons
from simulate.settings import Settings


@dataclass(frozen=True)
class _Backward:
    """The backward pass of a block of networks without weights: one gives the NTK of all output layers."""

    job: Job
    stream: streams.Stream
    layers: list[law.Drawn]
    slope: activations.Slope

    @cached_property
    def ntk(self) -> dict[int, Tensor]:
        return law.ntk(self.job.settings, self.layers, self.job.layout.output_layers, self.stream, self.slope)

    @cached_property
    def prior_ntk(self) -> dict[int, Tensor]:
        """That of the same networks before their last layer was drawn given targets, docs/theory.md (16.3)."""
        *hidden, last = self.layers
        layers = [*hidden, replace(last, xi=declared(last.prior, "prior"))]
        return law.ntk(self.job.settings, layers, self.job.layout.output_layers, self.stream, self.slope)


@dataclass(frozen=True)
class LawSnapshot:
    """A layer of networks without weights; a `simulate.observables.snapshot.Snapshot`."""

    settings: Settings
    outputs: int
    x: Tensor
    y: Tensor | None
    train: int
    layer: int
    drawn: law.Drawn
    s: activations.Function
    ntks: Callable[[], dict[int, Tensor]] | None = None  # those of all output layers
    prior_ntks: Callable[[], dict[int, Tensor]] | None = None
    responding: Tensor | None = None
    of_layer: Callable[[], Tensor] | None = None  # the controls, where something needs them
    linear: Tensor | None = None  # their sums over the layers up to this one
    filters: Callable[[], Iterable[Row]] = tuple  # rows that are not those of the networks
    step: int = 0

    def preactivations(self) -> Tensor:
        return self.drawn.z

    @once
    def activations(self) -> Tensor:
        return self.s(self.drawn.z)

    def kernel(self) -> Tensor:
        return self.drawn.g

    def ntk(self) -> Tensor:
        return declared(self.ntks, "ntk")()[self.layer]

    def prior_ntk(self) -> Tensor:
        return declared(self.prior_ntks, "prior")()[self.layer]

    def log_ratio(self) -> Tensor | float:
        return self.drawn.log_ratio

    def controls(self) -> Tensor:
        return declared(self.of_layer, "controls")()

    def linear_weights(self) -> Tensor:
        return declared(self.linear, "linear_weights")

    def response(self) -> Tensor:
        return declared(self.responding, "response")


def without_weights(job: Job, stream: streams.Stream) -> Iterator[LawSnapshot]:
    """Every recorded layer of the networks of a stream."""
    settings, layout = job.settings, job.layout
    s, slope = activations.functions(settings.activation)
    filters = partial(filtered_rows, job, stream.first, stream.M)
    common = shared(job, stream) | {"s": s, "filters": filters}
    neurons, pulls, responds = reads_neurons(job), needed(job, "ntk"), needed(job, "response")
    if in_one_pass(job):
        entries, H = one_pass.draw(settings, common["x"], stream, neurons, layout.layers, pulled_layers(job))
        for layer, entry in entries.items():
            yield LawSnapshot(**common, layer=layer, drawn=entry, ntks=(lambda: H) if pulls else None)
        return
    # The z of layers that are not recorded need not be kept where the slope follows from s.
    z_of = layout.layers if activations.slope_of_s(settings.activation) else range(settings.network.depth)
    controls = Controls(job, s, needed(job, "linear_weights")) if needed(job, "controls") else None
    # A layer's numbers are held to pull back alone.
    stream = stream if pulls and settings.initialization.weights == "gaussian" else replace(stream, arrays=None)
    y = common["y"][: common["train"]] if settings.ensemble.condition else None
    hold = pulls or responds or controls is not None or needed(job, "prior")
    draw: Callable[..., Iterator[law.Drawn]] = partial(law.sample, hold=hold)
    if settings.ensemble.sampler == "closed":
        from simulate.networks.closed import sample as draw  # late: most runs need no scipy
    drawn = draw(settings, common["x"], stream, s, neurons, z_of, y, tilt_of(job))
    if pulls:  # the backward pass starts when all layers are there
        backward = _Backward(job, stream, list(drawn), slope)
        drawn = iter(backward.layers)
        common |= {"ntks": lambda: backward.ntk, "prior_ntks": lambda: backward.prior_ntk}
    x, start = common["x"].expand(stream.M, -1, -1), settings.initialization
    change, signals, v = directions(x[0]).expand_as(x) if responds else x, x, None
    for layer, entry in enumerate(drawn, start=1):
        if responds:
            given = entry.C, entry.xi, start.C_b, start.C_W, layer, stream, entry.orthogonal
            v = drawn_response(change, signals, *given)
            if layer < settings.network.depth:
                change, signals = slope(entry.z, entry.s) * v, entry.s
        of_layer = controls.up(layer, entry) if controls else None
        if layer in layout.layers:
            yield LawSnapshot(**common, layer=layer, drawn=entry, responding=v,
                              of_layer=of_layer, linear=controls.linear if controls else None)  # fmt: skip
