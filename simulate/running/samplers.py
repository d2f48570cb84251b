"""Snapshots of a block of networks: drawn without weights, or with weights and trained."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from simulate.networks import activations, dense, law, streams
from simulate.networks.differentials import differentials, fourth
from simulate.numerics.gram import gram
from simulate.running.jobs import Job
from simulate.settings import Activation, Settings
from simulate.training import taylor
from simulate.training.algorithms import Training
from simulate.training.losses import VALUE_AND_SLOPE
from simulate.training.trajectory import trajectory


def stream_of(job: Job, first: int, M: int, arrays: streams.Arrays | None = None) -> streams.Stream:
    e = job.settings.ensemble
    key = streams.key(e.seed, job.law_in_words())
    return streams.Stream(key, first, M, getattr(torch, e.dtype), torch.device(e.device), arrays)


def snapshots(job: Job, index: int, arrays: streams.Arrays | None) -> "Iterator[LawSnapshot] | Iterator[DenseSnapshot]":
    """Every recorded layer of block `index` at every recorded step."""
    stream = stream_of(job, index * job.block, job.block, arrays)
    return _without_weights(job, stream) if job.settings.ensemble.sampler == "law" else _with_weights(job, stream)


@dataclass(frozen=True)
class _LawBlock:
    """A block of networks that are drawn without weights, layer by layer."""

    job: Job
    stream: streams.Stream
    layers: list[law.Drawn]
    slope: activations.Slope

    @cached_property
    def ntk(self) -> dict[int, Tensor]:
        """H of each output layer; one backward pass gives all."""
        return law.ntk(self.job.settings, self.layers, self.job.layout.output_layers, self.stream, self.slope)


@dataclass(frozen=True)
class LawSnapshot:
    """A layer of networks without weights; a `simulate.observables.snapshot.Snapshot`."""

    layer: int
    outputs: int
    samples: int
    drawn: law.Drawn
    block: _LawBlock
    step: int = 0

    def preactivations(self) -> Tensor:
        return self.drawn.z

    def kernel(self) -> Tensor:
        return self.drawn.g

    def ntk(self) -> Tensor:
        return self.block.ntk[self.layer]


def _without_weights(job: Job, stream: streams.Stream) -> Iterator[LawSnapshot]:
    settings, layout = job.settings, job.layout
    x = torch.tensor(job.samples.x, dtype=stream.dtype, device=stream.device)
    s, slope = activations.functions(settings.activation)
    prefixes = {family.prefix for family in layout.families()}
    # Where the slope follows from s, the z of layers that are not recorded need not be kept.
    z_of = layout.layers if activations.slope_of_s(settings.activation) else range(settings.network.depth)
    drawn = law.sample(settings, x, stream, s, last=bool(prefixes - {"g"}), z_of=z_of)
    block = _LawBlock(job, stream, [], slope)
    if "H" in prefixes:  # the backward pass starts when all layers are there
        block.layers.extend(drawn)
        drawn = iter(block.layers)
    for layer, one in enumerate(drawn, start=1):
        if layer in layout.layers:
            yield LawSnapshot(layer, settings.network.outputs, len(x), one, block)


def training_of(job: Job, stream: streams.Stream) -> Training:
    """Networks as they are drawn, with what trains them."""
    x, y, train = job.samples.x, job.samples.y, job.samples.train
    where: dict[str, Any] = {"dtype": stream.dtype, "device": stream.device}
    train_x = torch.tensor(x[:train], **where)
    train_y = torch.tensor(y[:train], **where) if y is not None else train_x[:, :0]
    parameters = dense.draw(job.settings, x.shape[1], stream)
    functions = activations.functions(job.settings.activation)
    return Training(parameters, train_x, train_y, *functions, job.settings.dynamics, stream)


@dataclass(frozen=True)
class DenseSnapshot:
    """A layer of networks with weights; a `simulate.observables.snapshot.Weighted`.

    z, signals: preactivations and activations of all layers (`simulate.networks.dense.forward`). start: weights of all
    layers at step 0 where `moved` is recorded. models: outputs of the Taylor models where `taylor` is.
    """

    layer: int
    step: int
    settings: Settings
    training: Training
    z: list[Tensor]
    signals: list[Tensor]
    start: list[Tensor]
    models: Tensor | None

    @property
    def outputs(self) -> int:
        return self.settings.network.outputs

    @property
    def samples(self) -> int:
        return self.z[0].shape[1]

    @property
    def _rates(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.settings.dynamics.lambda_b, self.settings.dynamics.lambda_W

    @cached_property
    def _ending(self) -> tuple[dense.Parameters, list[Tensor], list[Tensor]]:
        return dense.truncated(self.training.parameters, self.z, self.signals, self.layer, self.outputs)

    def preactivations(self) -> Tensor:
        return self.z[self.layer - 1]

    def kernel(self) -> Tensor:
        initialization = self.settings.initialization
        return dense.kernel(self.signals[self.layer - 1], initialization.C_b, initialization.C_W)

    def ntk(self) -> Tensor:
        return dense.ntk(*self._ending, self.training.slope, *self._rates)

    @cached_property
    def _differentials(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        orders, second = activations.derivatives(self.settings.activation), "ddntk" in self.settings.observables.record
        return differentials(*self._ending, orders, *self._rates, second)

    def differentials(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Recorded in several families of columns, computed once."""
        return self._differentials

    def fourth(self) -> Tensor:
        return fourth(*self._ending, activations.derivatives(self.settings.activation), *self._rates)

    def loss(self) -> Tensor:
        t = self.training
        return VALUE_AND_SLOPE[t.dynamics.loss](self.z[-1][:, : len(t.x)], t.y)[0]

    def moved(self) -> Tensor:
        """|W(l) - W(l) at step 0| / |W(l) at step 0|"""
        first, now = self.start[self.layer - 1].mT, self.training.parameters.W[self.layer - 1].mT
        moved, size = (gram(V.flatten(1)[:, None])[:, 0, 0] for V in (now - first, first))
        return moved.div(size).sqrt()

    def taylor(self) -> Tensor:
        assert self.models is not None
        return self.models


def _with_weights(job: Job, stream: streams.Stream) -> Iterator[DenseSnapshot]:
    settings, layout = job.settings, job.layout
    training = training_of(job, stream)
    x = torch.tensor(job.samples.x, dtype=stream.dtype, device=stream.device)
    start = [W.clone() for W in training.parameters.W] if "moved" in layout.record else []
    models = _models(training, settings.activation, x, layout.steps) if "taylor" in layout.record else iter(())
    for step in trajectory(training, layout.steps):
        z, signals = dense.forward(training.parameters, x, training.s)
        model = next(models, None)
        for layer in layout.layers:
            yield DenseSnapshot(layer, step, settings, training, z, signals, start, model)


def _models(training: Training, activation: Activation, x: Tensor, steps: tuple[int, ...]) -> Iterator[Tensor]:
    """The Taylor models of networks that have not been trained yet."""
    dynamics, parameters = training.dynamics, training.parameters
    rates = dynamics.lambda_b, dynamics.lambda_W
    z, signals = dense.forward(parameters, x, training.s)
    outputs, D, N = z[-1].shape[2], len(x), len(training.x)
    H = dense.ntk(parameters, z, signals, training.slope, *rates).reshape(-1, outputs * D, outputs * D)
    dH, ddI, ddII = differentials(parameters, z, signals, activations.derivatives(activation), *rates, second=True)
    assert ddI is not None
    assert ddII is not None
    train = torch.tensor([i * D + a for i in range(outputs) for a in range(N)], device=x.device)
    flat = z[-1].double().transpose(1, 2).flatten(1)
    targets = training.y.double().T.flatten()
    return taylor.trajectory(flat, H, (dH, ddI, ddII), targets, train, dynamics.eta, dynamics.name, steps)
