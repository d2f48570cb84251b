"""Particle filters as a job draws them: one by one, and as rows of a data set in the place of a network's."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulate.networks import activations, streams
from simulate.networks.dense import kernel
from simulate.networks.particles import Particles, Target, particles
from simulate.networks.posterior import processes
from simulate.networks.wide import Wide
from simulate.running.drawn import stream_of
from simulate.running.jobs import Job


def filter_of(job: Job, y: Tensor, noise: float, number: int, per_filter: int, groups: int) -> Particles:
    """The filter of this number among those of a job's seed, docs/theory.md (16.20), given targets y (N, n_L)."""
    s, (_, *widths, _) = job.settings, job.settings.network.sizes(job.samples.x.shape[1])
    x = torch.tensor(job.samples.x, dtype=torch.float64)
    start, of_activation = s.initialization, activations.functions(s.activation)[0]
    target = Target(y, noise, Wide(of_activation, start.C_b, start.C_W))
    g = kernel(x[None], start.C_b, s.C_W(1))[0]
    key = streams.key(s.ensemble.seed, f"{job.law_in_words()} particles")
    stream = stream_of(job, number * per_filter, per_filter)
    stream = replace(stream, key=key, dtype=torch.float64, device=torch.device("cpu"))
    return particles(g, widths, start.C_b, start.C_W, of_activation, stream, target, groups)


def moments_of(one: Particles, y: Tensor, noise: float) -> NDArray[np.float64]:
    """The mean, and the mean of the square, of outputs over the particles of a filter, (2, D, n_L)."""
    _, of_outputs, variances = processes(one.g, y, noise)
    means = of_outputs.mT
    both = torch.stack([means, means.square() + variances[:, :, None]], dim=1)
    return np.asarray(torch.einsum("m,mkbi->kbi", torch.softmax(one.log_w, 0), both).numpy())


def filtered_rows(job: Job, first: int, M: int) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor]]]:
    """The rows among M from address `first` on that are those of filters, by their place: log w (noises,), and mean
    (noises, 1, D) and variance (noises, D) of the output, float64."""
    given, (y, N) = job.settings.ensemble.filter, (job.samples.y, job.samples.train)
    if given is None:
        return
    assert y is not None
    targets = torch.tensor(y[:N], dtype=torch.float64)
    for address in range(-(-first // given.every) * given.every, first + M, given.every):
        log_w, means, variances = [], [], []
        for noise in job.settings.observables.noises:
            one = filter_of(job, targets, noise, address // given.every, given.particles, given.groups)
            m, square = torch.from_numpy(moments_of(one, targets, noise))[:, :, 0]
            log_w.append(one.log_mean())
            means.append(m[None])
            variances.append(square - m.square())
        yield address - first, (torch.tensor(log_w), torch.stack(means), torch.stack(variances))
