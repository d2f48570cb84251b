"""Snapshots of a block of networks: drawn without weights, or with weights and trained.

Each sampler has its own class; what a sampler cannot give is a method that its class does not have.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.networks import activations, dense, streams
from simulate.networks.differentials import differentials, fourth
from simulate.networks.gradient_series import along_gradient
from simulate.networks.signs import ntk_signs, signs
from simulate.observables.snapshot import Row, declared, once
from simulate.running.drawn import companions, needed, pass_of, shared, stream_of, training_of
from simulate.running.jobs import Job
from simulate.running.models import Models
from simulate.running.upward import Upward
from simulate.running.without_weights import LawSnapshot, without_weights
from simulate.settings import Settings
from simulate.training.algorithms import Training
from simulate.training.trajectory import trajectory


def snapshots(
    job: Job, index: int, arrays: streams.Arrays | None, blocks: int = 1
) -> "Iterator[LawSnapshot] | Iterator[DenseSnapshot]":
    """Every recorded layer of blocks `index`, `index` + 1, ... at every recorded step."""
    stream = stream_of(job, index * job.block, blocks * job.block, arrays)
    return _with_weights(job, stream) if job.settings.ensemble.sampler == "dense" else without_weights(job, stream)


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
    layout, common = job.layout, shared(job, stream)
    x, passed = common["x"], pass_of(job, common["x"], stream.M)
    training = training_of(job, stream, passed)
    parameters = training.parameters
    common |= {"training": training, "second": needed(job, "ddntk"), "initial": None}
    if needed(job, "start"):
        W, b = ([tensor.clone() for tensor in tensors] for tensors in (parameters.W, parameters.b))
        common["initial"] = dense.Parameters(W, b, parameters.meta, parameters.skip)
    models, linear = _models(job, Models(training, x))
    common["movements"] = _movements(job, stream, training) if needed(job, "companions") else None
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
    orders = of_start.of_all_orders(job.settings.activation, steps) if needed(job, "models") else none
    return orders, of_start.linear(steps) if needed(job, "linear") else none


def _movements(job: Job, stream: streams.Stream, training: Training) -> tuple[Tensor, Tensor]:
    """The control of the NTK's movement of each network, and its mean over companions, (M,) each."""
    activation = job.settings.activation
    own, _ = Models(training, training.x[:1]).movement(activation)
    beside = (training_of(job, other) for other in companions(job, stream))
    return own, torch.stack([Models(t, t.x[:1]).movement(activation)[1] for t in beside]).mean(dim=0)
