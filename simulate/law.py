"""The law sampler: preactivations without weights, exact at every width (theory.md 10.1, 10.2).

Given a layer, the next layer's neurons are independent N(0, g) with g the conditional kernel. So n x D
normals a layer stand for the n x n weights.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from simulate.ensemble import Function, kernel
from simulate.settings import Settings

# A pivot below this share of its own variance is rounding of zero: the sample is a combination of earlier ones.
TINY = 1e-13


def factor(g: Tensor) -> Tensor:
    """Lower triangular C with C C^T = g, for positive semidefinite g (M, D, D) float64 of any rank.

    Plain Cholesky, except that an exhausted pivot gives a zero column: equal inputs, more inputs than neurons
    and dead ReLU networks pass.
    """
    D = g.shape[-1]
    C = torch.zeros_like(g)
    for j in range(D):
        column = g[:, j:, j] - torch.einsum("mak,mk->ma", C[:, j:, :j], C[:, j, :j])
        alive = column[:, 0] > TINY * g[:, j, j]
        root = torch.where(alive, column[:, 0], 1.0).sqrt_()
        C[:, j:, j] = torch.where(alive[:, None], column / root[:, None], 0.0)
    return C


def correlate(C: Tensor, xi: Tensor) -> Tensor:
    """z_a = sum_b C_ab xi_b: (M, D, D) and (M, D, n) -> (M, D, n). In place on xi for few samples,
    where a batched product costs more in calls than in arithmetic."""
    D = xi.shape[1]
    if D > 4:
        return torch.bmm(C, xi)
    for a in reversed(range(D)):
        xi[:, a].mul_(C[:, a, a, None])
        for b in range(a):
            xi[:, a].addcmul_(xi[:, b], C[:, a, b, None])
    return xi


def sample(
    settings: Settings, x: Tensor, M: int, stream: torch.Generator, s: Function, last: bool
) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """Yields (layer, g (M, D, D) float64, z (M, D, n_l)) for layers 1..L; z of layer L only if `last`."""
    C_b, C_W = settings.initialization.C_b, settings.initialization.C_W
    dtype = getattr(torch, settings.ensemble.dtype)
    g = kernel(x[None], C_b, C_W).expand(M, -1, -1)
    for layer, n in enumerate([*settings.network.widths, settings.network.outputs], start=1):
        if layer == settings.network.depth and not last:
            yield layer, g, None
            return
        xi = torch.randn(M, len(x), n, generator=stream, device=stream.device, dtype=dtype)
        z = correlate(factor(g).to(dtype), xi)
        yield layer, g, z
        if layer < settings.network.depth:
            g = kernel(s(z), C_b, C_W)
