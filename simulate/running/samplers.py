"""Snapshots of a block of networks: drawn without weights, or with weights and trained."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch

from simulate.networks import activations, dense, law, streams
from simulate.networks.differentials import differentials, fourth
from simulate.numerics.gram import gram
from simulate.observables.snapshot import Snapshot
from simulate.running.jobs import Job
from simulate.settings.network import Activation
from simulate.training import taylor
from simulate.training.algorithms import Training
from simulate.training.losses import LOSSES
from simulate.training.trajectory import trajectory


def stream_of(job: Job, first: int, M: int, arrays: streams.Arrays | None = None) -> streams.Stream:
    e = job.settings.ensemble
    key = streams.key(e.seed, job.law_in_words())
    return streams.Stream(key, first, M, getattr(torch, e.dtype), torch.device(e.device), arrays)


def snapshots(job: Job, index: int, arrays: streams.Arrays | None) -> Iterator[tuple[int, Snapshot]]:
    stream = stream_of(job, index * job.block, job.block, arrays)
    sampler = _without_weights if job.settings.ensemble.sampler == "law" else _with_weights
    return sampler(job, stream)


def _without_weights(job: Job, stream: streams.Stream) -> Iterator[tuple[int, Snapshot]]:
    settings, outputs = job.settings, job.settings.network.outputs
    x = torch.tensor(job.samples.x, dtype=stream.dtype, device=stream.device)
    s, slope = activations.functions(settings.activation)
    wanted = {family.prefix for family in job.layout.families()}
    every = range(settings.network.depth)
    z_of = job.layout.layers if activations.slope_of_s(settings.activation) else every
    drawn = law.sample(settings, x, stream, s, last=bool(wanted - {"g"}), z_of=z_of)
    backward: Callable[[], dict[int, torch.Tensor]] = _no_ntk
    if "H" in wanted:
        layers = list(drawn)
        drawn = iter(layers)
        backward = cache(partial(law.ntk, settings, layers, job.layout.output_layers, stream, slope))
    for layer, one in enumerate(drawn, start=1):
        if layer in job.layout.layers:
            snapshot = Snapshot(
                layer,
                outputs,
                preactivations=partial(_given, one.z),
                kernel=partial(_given, one.g),
                ntk=partial(_of_layer, backward, layer),
            )
            yield 0, snapshot


def training_of(job: Job, stream: streams.Stream) -> Training:
    """Networks as they are drawn, with what trains them."""
    x, y, train = job.samples.x, job.samples.y, job.samples.train
    where: dict[str, Any] = {"dtype": stream.dtype, "device": stream.device}
    train_x = torch.tensor(x[:train], **where)
    train_y = torch.tensor(y[:train], **where) if y is not None else train_x[:, :0]
    parameters = dense.draw(job.settings, x.shape[1], stream)
    functions = activations.functions(job.settings.activation)
    return Training(parameters, train_x, train_y, *functions, job.settings.dynamics, stream)


def _with_weights(job: Job, stream: streams.Stream) -> Iterator[tuple[int, Snapshot]]:
    settings, layout, outputs = job.settings, job.layout, job.settings.network.outputs
    training = training_of(job, stream)
    parameters, s, slope = training.parameters, training.s, training.slope
    x = torch.tensor(job.samples.x, dtype=stream.dtype, device=stream.device)
    C_b, C_W = settings.initialization.C_b, settings.initialization.C_W
    rates = settings.dynamics.lambda_b, settings.dynamics.lambda_W
    orders = (activations.derivatives(settings.activation),)
    start = [W.clone() for W in parameters.W] if "moved" in layout.record else []
    models = _models(training, settings.activation, x, layout.steps) if "taylor" in layout.record else iter(())
    for step in trajectory(training, layout.steps):
        z, signals = dense.forward(parameters, x, s)
        model = next(models, None)
        for layer in layout.layers:
            ending = dense.truncated(parameters, z, signals, layer, outputs)
            snapshot = Snapshot(
                layer,
                outputs,
                preactivations=partial(_given, z[layer - 1]),
                kernel=partial(dense.kernel, signals[layer - 1], C_b, C_W),
                ntk=partial(dense.ntk, *ending, slope, *rates),
                # Recorded in several families of columns, computed once.
                differentials=cache(partial(differentials, *ending, *orders, *rates, "ddntk" in layout.record)),
                fourth=partial(fourth, *ending, *orders, *rates),
                loss=partial(_loss, training, z[-1]),
                moved=partial(_moved, parameters, start, layer),
                taylor=partial(_there, model),
            )
            yield step, snapshot


def _models(
    training: Training, activation: Activation, x: torch.Tensor, steps: tuple[int, ...]
) -> Iterator[torch.Tensor]:
    """The Taylor models of networks that have not been trained yet."""
    rule, parameters = training.rule, training.parameters
    rates = rule.lambda_b, rule.lambda_W
    z, signals = dense.forward(parameters, x, training.s)
    outputs, D, N = z[-1].shape[2], len(x), len(training.x)
    H = dense.ntk(parameters, z, signals, training.slope, *rates).reshape(-1, outputs * D, outputs * D)
    dH, ddI, ddII = differentials(parameters, z, signals, activations.derivatives(activation), *rates, second=True)
    train = torch.tensor([i * D + a for i in range(outputs) for a in range(N)], device=x.device)
    flat = z[-1].double().transpose(1, 2).flatten(1)
    known = dH, _there(ddI), _there(ddII)
    targets = training.y.double().T.flatten()
    return taylor.trajectory(flat, H, known, targets, train, rule.eta, rule.name == "gradient_flow", steps)


def _loss(training: Training, z: torch.Tensor) -> torch.Tensor:
    loss, _ = LOSSES[training.rule.loss](z[:, : len(training.x)], training.y)
    return loss


def _moved(parameters: dense.Parameters, start: list[torch.Tensor], layer: int) -> torch.Tensor:
    """|W(l) - W(l) at step 0| / |W(l) at step 0|, (M,)"""
    first, now = start[layer - 1].mT, parameters.W[layer - 1].mT
    moved, size = (gram(V.flatten(1)[:, None])[:, 0, 0] for V in (now - first, first))
    return moved.div(size).sqrt()


def _there(value: torch.Tensor | None) -> torch.Tensor:
    assert value is not None
    return value


def _no_ntk() -> dict[int, torch.Tensor]:
    raise RuntimeError("the NTK is not recorded")


def _of_layer(values: Callable[[], dict[int, torch.Tensor]], layer: int) -> torch.Tensor:
    return values()[layer]


def _given(value: torch.Tensor) -> torch.Tensor:
    return value
