"""Random numbers and networks with weights as a block of a job draws them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from simulate.networks import activations, dense, streams
from simulate.networks.posterior import condition
from simulate.running.jobs import Job
from simulate.training.algorithms import Training


def stream_of(job: Job, first: int, M: int, arrays: streams.Arrays | None = None) -> streams.Stream:
    e = job.settings.ensemble
    key = streams.key(e.seed, job.law_in_words())
    return streams.Stream(key, first, M, getattr(torch, e.dtype), torch.device(e.device), arrays)


def shared(job: Job, stream: streams.Stream) -> dict[str, Any]:
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


def needed(job: Job, need: str) -> bool:
    """Whether something that is recorded needs it."""
    return any(need in observable.needs for observable in job.layout.observables())


COMPANIONS = 10  # untrained networks beside each: (s_0/s_1)(c_1/c_0)^(1/2) of noises and costs is 5 to 10 (docs/log.md)


def companions(job: Job, stream: streams.Stream) -> Iterator[streams.Stream]:
    """The streams of further networks of the same law, one for each network of a stream, independent of these and of
    each other."""
    for k in range(COMPANIONS):
        key = streams.key(job.settings.ensemble.seed, f"{job.law_in_words()} companion {k}")
        yield replace(stream, key=key, arrays=None)


def pass_of(job: Job, x: torch.Tensor, M: int) -> dense.Pass | None:
    """A forward pass of M networks that begins with their draw; None where their start is not recorded, or not drawn
    alone. x: (D, n_0)."""
    settings = job.settings
    if job.layout.steps[0] or settings.ensemble.condition is not None:
        return None
    return dense.Pass(x, M, activations.functions(settings.activation)[0], settings.network.skips)


def training_of(job: Job, stream: streams.Stream, passing: dense.Pass | None = None) -> Training:
    """Networks as they are drawn, with what trains them; the last layer is drawn given the targets where
    `ensemble.condition` says so, docs/theory.md (16.3). passing: as of `dense.draw`."""
    x, y, train = job.samples.x, job.samples.y, job.samples.train
    where: dict[str, Any] = {"dtype": stream.dtype, "device": stream.device}
    train_x = torch.tensor(x[:train], **where)
    train_y = torch.tensor(y[:train], **where) if y is not None else train_x[:, :0]
    parameters = dense.draw(job.settings, x.shape[1], stream, passing)
    functions = activations.functions(job.settings.activation)
    if job.settings.ensemble.condition is not None:
        z, signals = dense.forward(parameters, train_x, functions[0])
        condition(job.settings, parameters, z[-1], signals[-1], train_y, stream)
    return Training(parameters, train_x, train_y, *functions, job.settings.rates, stream)
