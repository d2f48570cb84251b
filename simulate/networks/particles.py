"""A particle filter along neurons and layers, docs/theory.md (16.20): networks of the prior are drawn a group of
neurons at a time, and between groups those that explain the targets badly give way to copies of others.

It reaches more train samples than weights of whole networks do. M counts the particles of one filter, D samples, N
train samples, which come first. All is float64.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulate.networks import streams
from simulate.networks.activations import Function
from simulate.networks.posterior import log_evidence
from simulate.networks.streams import Stream
from simulate.networks.wide import Wide
from simulate.numerics.gram import factor, gram, mix

RESAMPLED = 0.5  # effective share of the particles below which they are drawn anew


@dataclass(frozen=True)
class Target:
    """What particles are weighted by, docs/theory.md (16.19): the log evidence of targets y (N, n_L) with this noise
    once the layers above were infinitely wide."""

    y: Tensor
    noise: float
    following: Wide

    def log_w(self, g: Tensor, above: int) -> Tensor:
        """(M,), from kernels g (M, D, D) that have so many hidden layers above."""
        g = self.of_train(g)
        for _ in range(above):
            g = self.following(g)
        return log_evidence(g, self.y, self.noise)

    def of_train(self, g: Tensor) -> Tensor:
        return g[:, : len(self.y), : len(self.y)]


@dataclass
class Particles:
    """The particles of one filter. The mean of exp(log_w) is an unbiased estimate of p(y), docs/theory.md (16.20).

    g: (M, D, D), the kernel of the next layer. log_w, psi: (M,), the weight of each and what `Target` says of it.
    ancestors: (M,), the particle of the first group that each descends from. share: the lowest effective share so far.
    """

    g: Tensor
    log_w: Tensor
    psi: Tensor
    ancestors: Tensor
    share: float = 1.0

    def weigh(self, psi: Tensor) -> None:
        """Take the weights to a new psi (M,)."""
        self.log_w = self.log_w + psi - self.psi
        self.psi = psi
        self.share = min(self.share, effective(self.log_w) / len(psi))

    def resample(self, kept: Tensor) -> None:
        """Go on with the particles `kept` (M,), all of one weight; g is left to the caller."""
        self.log_w = (self.log_w.logsumexp(0) - math.log(len(kept))).expand(len(kept))
        self.psi, self.ancestors = self.psi[kept], self.ancestors[kept]

    def log_mean(self) -> float:
        """The logarithm of the filter's estimate of p(y), docs/theory.md (16.20)."""
        return float(self.log_w.logsumexp(0)) - math.log(len(self.log_w))

    def effective_ancestors(self) -> float:
        """How many independent networks the particles weigh as much as: those of one ancestor count as one."""
        w = torch.zeros_like(self.log_w).index_add_(0, self.ancestors, torch.softmax(self.log_w, 0))
        return 1 / float(w.square().sum())


def effective(log_w: Tensor) -> float:
    """(sum w)^2 / sum w^2 of docs/theory.md (16.5)."""
    return math.exp(2 * float(log_w.logsumexp(0)) - float((2 * log_w).logsumexp(0)))


def systematic(log_w: Tensor, u: float) -> Tensor:
    """The particles (M,) that systematic resampling keeps, in order, docs/theory.md (16.20): each M w/sum w times on
    average over u between 0 and 1."""
    edges = torch.softmax(log_w, 0).cumsum(0)
    places = (torch.arange(len(log_w), dtype=log_w.dtype) + u) / len(log_w)
    return torch.searchsorted(edges, places * edges[-1], right=True).clamp(max=len(log_w) - 1)


def particles(
    g: Tensor, widths: Sequence[int], C_b: float, C_W: float, s: Function, stream: Stream, target: Target, groups: int
) -> Particles:
    """One filter from the kernel g (D, D) of layer 1 on, docs/theory.md (16.20). Its particles are the networks of
    `stream`, and at the end they keep the weights that they have by then.

    widths: n_1..n_{L-1}. groups: the stages of a layer, or one a neuron where it has fewer.
    """
    M = stream.M
    start = target.log_w(g[None], len(widths)).expand(M)
    found = Particles(g.expand(M, -1, -1).contiguous(), start, start, torch.arange(M))
    for layer, n in enumerate(widths, start=1):
        above = len(widths) - layer
        C, xi = factor(found.g), stream.normal(streams.WEIGHTS, layer, len(g), n)
        # A network that is drawn from the prior has no noise of targets, which leaves these numbers to resampling.
        u = torch.special.ndtr(replace(stream, M=1).normal(streams.NOISE, layer, groups)[0]).tolist()
        wide, g_next = target.following(target.of_train(found.g)) - C_b, torch.full_like(found.g, C_b)
        edges = torch.linspace(0, n, min(groups, n) + 1, dtype=torch.float64).round().int().tolist()
        for k, (first, last) in enumerate(itertools.pairwise(edges)):
            if effective(found.log_w) < RESAMPLED * M:
                kept = systematic(found.log_w, u[k])
                found.resample(kept)
                C, wide, g_next = C[kept], wide[kept], g_next[kept]
            g_next = g_next + gram(s(mix(C, xi[:, :, first:last].contiguous())), C_W / n)
            found.weigh(target.log_w(target.of_train(g_next) + (1 - last / n) * wide, above))
        found.g = g_next
    return found
