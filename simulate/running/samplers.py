"""Snapshots of a block of networks: drawn without weights, or with weights and trained.

Each sampler has its own class; what a sampler cannot give is a method that its class does not have.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from simulate.networks import activations, dense, law, streams
from simulate.networks.differentials import differentials, fourth
from simulate.networks.gradient_series import along_gradient
from simulate.networks.responses import directions, drawn_response
from simulate.networks.signs import ntk_signs, signs
from simulate.observables.snapshot import Row, declared, once
from simulate.running.controls import Controls, tilt_of
from simulate.running.drawn import companions, pass_of, stream_of, training_of
from simulate.running.filters import filtered_rows
from simulate.running.jobs import Job
from simulate.running.models import Models
from simulate.running.upward import Upward
from simulate.settings import Settings
from simulate.training.algorithms import Training
from simulate.training.trajectory import trajectory


def snapshots(job: Job, index: int, arrays: streams.Arrays | None) -> "Iterator[LawSnapshot] | Iterator[DenseSnapshot]":
    """Every recorded layer of block `index` at every recorded step."""
    stream = stream_of(job, index * job.block, job.block, arrays)
    return _with_weights(job, stream) if job.settings.ensemble.sampler == "dense" else _without_weights(job, stream)


def _common(job: Job, stream: streams.Stream) -> dict[str, Any]:
    """The settings and samples that all snapshots of a block share, on the device and in the precision of the
    ensemble."""
    where: dict[str, Any] = {"dtype": stream.dtype, "device": stream.device}
    samples, settings = job.samples, job.settings
    return {
        "settings": settings,
        "outputs": settings.network.outputs,
        "x": torch.tensor(samples.x, **where),
        "y": None if samples.y is None else torch.tensor(samples.y, **where),
        "train": samples.train,
    }


def _needed(job: Job, need: str) -> bool:
    """Whether something that is recorded needs it."""
    return any(need in observable.needs for observable in job.layout.observables())


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
    backward: _Backward | None
    responding: Tensor | None = None
    of_layer: Callable[[], Tensor] | None = None  # the controls, where something needs them
    linear: Tensor | None = None  # their sums over the layers up to this one
    filters: Callable[[], Iterable[Row]] = tuple  # rows that are not those of the networks
    step: int = 0

    def preactivations(self) -> Tensor:
        return self.drawn.z

    @once
    def activations(self) -> Tensor:
        return self.drawn.s if self.layer < self.settings.network.depth else self.s(self.drawn.z)

    def kernel(self) -> Tensor:
        return self.drawn.g

    def ntk(self) -> Tensor:
        return declared(self.backward, "ntk").ntk[self.layer]

    def prior_ntk(self) -> Tensor:
        return declared(self.backward, "ntk").prior_ntk[self.layer]

    def log_ratio(self) -> Tensor | float:
        return self.drawn.log_ratio

    def controls(self) -> Tensor:
        return declared(self.of_layer, "controls")()

    def linear_weights(self) -> Tensor:
        return declared(self.linear, "linear_weights")

    def response(self) -> Tensor:
        return declared(self.responding, "response")


def _without_weights(job: Job, stream: streams.Stream) -> Iterator[LawSnapshot]:
    settings, layout, common = job.settings, job.layout, _common(job, stream)
    s, slope = activations.functions(settings.activation)
    # The z of layers that are not recorded need not be kept where the slope follows from s.
    z_of = layout.layers if activations.slope_of_s(settings.activation) else range(settings.network.depth)
    last = not all(observable.of_kernels for observable in layout.observables())
    controls = Controls(job, s, _needed(job, "linear_weights")) if _needed(job, "controls") else None
    pulls, responds = _needed(job, "ntk"), _needed(job, "response")  # a layer's numbers are held to pull back alone
    stream = stream if pulls and settings.initialization.weights == "gaussian" else replace(stream, arrays=None)
    y = common["y"][: common["train"]] if settings.ensemble.condition else None
    draw = law.sample
    if settings.ensemble.sampler == "closed":
        from simulate.networks.closed import sample as draw  # late: most runs need no scipy
    drawn, backward = draw(settings, common["x"], stream, s, last, z_of, y, tilt_of(job)), None
    if pulls:  # the backward pass starts when all layers are there
        backward = _Backward(job, stream, list(drawn), slope)
        drawn = iter(backward.layers)
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
            yield LawSnapshot(**common, layer=layer, drawn=entry, s=s, backward=backward, responding=v,
                              of_layer=of_layer, linear=controls.linear if controls else None,
                              filters=partial(filtered_rows, job, stream.first, stream.M))  # fmt: skip


@dataclass(frozen=True)
class DenseSnapshot:
    """A layer of networks with weights; a `simulate.observables.snapshot.Weighted`.

    z, signals: preactivations and activations of all layers (`simulate.networks.dense.forward`). second: whether second
    differentials are needed. upward: what all layers of a step share. initial, models, linear_model: the parameters at
    step 0 and the outputs of the Taylor models of all orders and of the linear one, and movements: the control of the
    NTK's movement, where they are needed.
    """

    settings: Settings
    outputs: int
    x: Tensor
    y: Tensor | None
    train: int
    training: Training
    second: bool
    initial: dense.Parameters | None
    layer: int
    step: int
    z: list[Tensor]
    signals: list[Tensor]
    upward: Upward
    models: Tensor | None
    linear_model: Tensor | None
    movements: tuple[Tensor, Tensor] | None
    filters: Callable[[], Iterable[Row]] = tuple

    @property
    def parameters(self) -> dense.Parameters:
        return self.training.parameters

    @property
    def _rates(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.training.dynamics.lambda_b, self.training.dynamics.lambda_W

    @once
    def _ending(self) -> tuple[dense.Parameters, list[Tensor], list[Tensor]]:
        return dense.truncated(self.parameters, self.z, self.signals, self.layer, self.outputs)

    def preactivations(self) -> Tensor:
        return self.z[self.layer - 1]

    @once
    def activations(self) -> Tensor:
        return self.signals[self.layer] if self.layer < len(self.z) else self.training.s(self.z[-1])

    @once
    def kernel(self) -> Tensor:
        C_b, C_W = self.settings.initialization.C_b, self.settings.C_W(self.layer)
        return dense.kernel(self.signals[self.layer - 1], C_b, C_W)

    @once
    def ntk(self) -> Tensor:
        return dense.ntk(*self._ending(), self.training.slope, *self._rates)

    def log_ratio(self) -> float:
        return 0.0

    def sums(self) -> Tensor:
        return self.upward.sums[self.layer - 1]

    def response(self) -> Tensor:
        return self.upward.responses[self.layer - 1]

    def jacobian(self) -> Tensor:
        return self.upward.jacobians[self.layer]

    def start(self) -> dense.Parameters:
        return declared(self.initial, "start")

    @once
    def _differentials(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        orders = activations.derivatives(self.settings.activation)
        return differentials(*self._ending(), orders, *self._rates, self.second)

    def dntk(self) -> Tensor:
        return self._differentials()[0]

    def ddntk(self) -> tuple[Tensor, Tensor]:
        _, ddI, ddII = self._differentials() if self.second else (None, None, None)
        return declared(ddI, "ddntk"), declared(ddII, "ddntk")

    @once
    def ntk_signs(self) -> tuple[Tensor, Tensor]:
        slopes = [self.training.slope(z, s) for z, s in zip(self.z[:-1], self.signals[1:], strict=True)]
        C_W = self.settings.initialization.C_W
        return ntk_signs(self.parameters, self.signals, slopes, *self._rates, C_W)

    @once
    def signs(self) -> Tensor:
        orders, C_W = activations.derivatives(self.settings.activation), self.settings.initialization.C_W
        return signs(self.parameters, self.z, self.signals, orders, *self._rates, C_W)

    @once
    def fourth(self) -> Tensor:
        return fourth(*self._ending(), activations.derivatives(self.settings.activation), *self._rates)

    def along_gradient(self) -> Tensor:
        return along_gradient(*self._ending(), activations.derivatives(self.settings.activation, 5), *self._rates, 4)

    def taylor(self) -> Tensor:
        return declared(self.models, "models")

    def linear(self) -> Tensor:
        return declared(self.linear_model, "linear")

    def movement(self) -> tuple[Tensor, Tensor]:
        return declared(self.movements, "companions")


def _with_weights(job: Job, stream: streams.Stream) -> Iterator[DenseSnapshot]:
    layout, common = job.layout, _common(job, stream)
    x, passed = common["x"], pass_of(job, common["x"], stream.M)
    training = training_of(job, stream, passed)
    parameters = training.parameters
    common |= {"training": training, "second": _needed(job, "ddntk"), "initial": None}
    if _needed(job, "start"):
        W, b = ([tensor.clone() for tensor in tensors] for tensors in (parameters.W, parameters.b))
        common["initial"] = dense.Parameters(W, b, parameters.meta, parameters.skip)
    models, linear = _models(job, Models(training, x))
    common["movements"] = _movements(job, stream, training) if _needed(job, "companions") else None
    for step in trajectory(training, layout.steps):
        (z, signals), passed = dense.forward(parameters, x, training.s, passed), None
        common |= {"step": step, "z": z, "signals": signals, "models": next(models, None)}
        common["linear_model"] = next(linear, None)
        common["upward"] = Upward(job.settings, training, z, signals)
        for layer in layout.layers:
            yield DenseSnapshot(**common, layer=layer)


def _models(job: Job, of_start: Models) -> tuple[Iterator[Tensor], Iterator[Tensor]]:
    """Outputs at the recorded steps of the Taylor models of all orders and of the linear one, where they are needed."""
    steps, none = job.layout.steps, iter(())
    orders = of_start.of_all_orders(job.settings.activation, steps) if _needed(job, "models") else none
    return orders, of_start.linear(steps) if _needed(job, "linear") else none


def _movements(job: Job, stream: streams.Stream, training: Training) -> tuple[Tensor, Tensor]:
    """The control of the NTK's movement of each network, and its mean over companions, (M,) each."""
    activation = job.settings.activation
    own, _ = Models(training, training.x[:1]).movement(activation)
    beside = (training_of(job, other) for other in companions(job, stream))
    return own, torch.stack([Models(t, t.x[:1]).movement(activation)[1] for t in beside]).mean(dim=0)
