"""The law sampler: preactivations and NTK without weights, exact at every width (theory.md section 10).

Given a layer, the next layer's neurons are independent N(0, g) with g the conditional kernel. So n x D
normals a layer stand for the n x n weights; and as many again for the backward pass, given the forward one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.activations import Function, Slope
from simulate.ensemble import gram, kernel
from simulate.settings import Settings

# A pivot below this share of its own variance is rounding of zero: the sample is a combination of earlier ones.
TINY = 1e-13
# Below this share, products with the inverse factor are taken in float64: they cancel.
CLOSE = 1e-6


@dataclass(frozen=True)
class Factor:
    """C lower triangular with C C^T = g, (M, D, D) float64."""

    C: Tensor
    full: bool  # every pivot of every network is positive
    least: (
        float  # the smallest share of a sample's variance that is no combination of earlier samples', zero if not full
    )


def factor(g: Tensor) -> Factor:
    """Factor of a positive semidefinite g (M, D, D) float64 of any rank.

    Plain Cholesky, except that an exhausted pivot gives a zero column: equal inputs, more inputs than neurons
    and dead ReLU networks pass.
    """
    if not g.is_cuda:  # there, to look would be to wait
        C, info = torch.linalg.cholesky_ex(g)
        least = float((C.diagonal(dim1=1, dim2=2).square() / g.diagonal(dim1=1, dim2=2)).min())
        if least > TINY and not info.any():
            return Factor(C, True, least)
    D = g.shape[-1]
    C = torch.zeros_like(g)
    for j in range(D):
        column = g[:, j:, j] - torch.einsum("mak,mk->ma", C[:, j:, :j], C[:, j, :j])
        alive = column[:, 0] > TINY * g[:, j, j]
        root = torch.where(alive, column[:, 0], 1.0).sqrt_()
        C[:, j:, j] = torch.where(alive[:, None], column / root[:, None], 0.0)
    return Factor(C, False, 0.0)


def inverse(factor: Factor) -> Tensor:
    """P (M, D, D) with Q = P phi orthonormal rows where phi = C Q; zero rows where a sample adds no direction."""
    C = factor.C
    one = torch.eye(C.shape[-1], dtype=C.dtype, device=C.device)
    if factor.full:
        return torch.linalg.solve_triangular(C, one, upper=False)
    some = C.diagonal(dim1=1, dim2=2) > 0
    return torch.linalg.solve_triangular(C + torch.diag_embed((~some).to(C.dtype)), one, upper=False) * some[..., None]


@dataclass(frozen=True)
class Drawn:
    """One layer as it was drawn, z = C xi: what the backward pass has to know of it."""

    g: Tensor  # (M, D, D) float64, the conditional kernel
    factor: Factor  # of g
    xi: Tensor  # (M, D, n_l), the action of the weights on the orthonormal directions of the layer below
    z: Tensor  # (M, D, n_l)
    s: Tensor  # (M, D, n_l), the activations; none at layer L


def sample(settings: Settings, x: Tensor, M: int, stream: torch.Generator, s: Function, last: bool) -> Iterator[Drawn]:
    """Yields layers 1..L; layer L without xi and z unless `last`."""
    C_b, C_W = settings.initialization.C_b, settings.initialization.C_W
    dtype = getattr(torch, settings.ensemble.dtype)
    g, none = kernel(x[None], C_b, C_W).expand(M, -1, -1), x[:0]
    for layer, n in enumerate([*settings.network.widths, settings.network.outputs], start=1):
        root = factor(g)
        top = layer == settings.network.depth
        if top and not last:
            yield Drawn(g, root, none, none, none)
            return
        xi = torch.randn(M, len(x), n, generator=stream, device=stream.device, dtype=dtype)
        z = torch.bmm(root.C.to(dtype), xi)
        activations = none if top else s(z)
        yield Drawn(g, root, xi, z, activations)
        if not top:
            g = kernel(activations, C_b, C_W)


def ntk(
    settings: Settings, layers: list[Drawn], at: tuple[int, ...], stream: torch.Generator, slope: Slope
) -> dict[int, Tensor]:
    """H_ij;ab of the first n_L neurons of each layer in `at`, (M, n_L, D, n_L, D) float64, exact in law jointly and
    given the forward pass (theory.md 10.3, 10.4).

    The forward pass has revealed the weights of a layer (its bias as one column more) only along the directions Q
    of its inputs, as xi. Pulled back through them, vectors U get Q^T xi U from what is known and, orthogonal to
    Q, Gaussians of covariance U^T U from what is not. Fresh weights instead would be wrong at order 1/n. Vectors of
    all layers in `at` are pulled back together, since they meet the same weights.
    """
    C_b, C_W = settings.initialization.C_b, settings.initialization.C_W
    lambda_b, lambda_W = settings.dynamics.lambda_b, settings.dynamics.lambda_W
    outputs = settings.network.outputs
    M, D, _ = layers[max(at) - 1].z.shape
    rows = outputs * D
    dtype, device = layers[max(at) - 1].z.dtype, layers[0].z.device
    H = {layer: torch.zeros(M, outputs, D, outputs, D, dtype=torch.float64, device=device) for layer in at}
    begun: list[int] = []  # layers of `at` above, `rows` rows of u each
    u = torch.zeros(M, 0, layers[max(at) - 1].z.shape[-1], dtype=dtype, device=device)
    for layer in range(max(at), 0, -1):
        above = layers[layer - 1]
        if layer in at:  # one row for each output, equal for all samples
            one = torch.eye(outputs, above.z.shape[-1], dtype=dtype, device=device).expand(M, -1, -1)
            u = torch.cat([u, one], dim=1)
        square = gram(u)
        # g holds the activation Gram: C_b + (C_W/n) s_a . s_b
        rates = ((above.g - C_b) * (lambda_W[layer - 1] / C_W) + lambda_b[layer - 1])[:, None, :, None, :]
        for k, start in enumerate(begun):
            own = square[:, k * rows : (k + 1) * rows, k * rows : (k + 1) * rows]
            H[start] += rates * own.reshape(M, outputs, D, outputs, D)
        split = len(begun) * rows
        if layer in at:
            H[layer] += rates * square[:, split:, None, split:, None].view(M, outputs, 1, outputs, 1)
        if layer == 1:
            break
        below = layers[layer - 2]
        u = _pull_back(u, square, above, below.s, C_b, C_W, stream=stream)
        slopes = slope(below.z, below.s)[:, None]
        parts = [u[:, :split].view(M, -1, D, u.shape[-1]).mul_(slopes)] if begun else []
        if layer in at:
            parts.append(u[:, split:, None] * slopes)
            begun.append(layer)
        u = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).flatten(1, 2)
    return H


def _pull_back(
    u: Tensor, square: Tensor, above: Drawn, s: Tensor, C_b: float, C_W: float, *, stream: torch.Generator
) -> Tensor:
    """W^T u, (M, k, n), of u (M, k, n_above) with Gram `square`, for the weights that took activations s to above.z.

    With Q = sqrt(C_W/n) P s for the factor's inverse P, known and unknown part together are fresh + A s, where A
    (M, k, D) needs products over neurons only: no direction is ever formed.
    """
    M, _, n = s.shape
    dtype, scale = s.dtype, math.sqrt(C_W / n)
    P, root = inverse(above.factor), factor(square).C
    fresh = torch.randn(M, u.shape[1], n, generator=stream, device=s.device, dtype=dtype)
    fresh = torch.bmm((root * scale).to(dtype), fresh)
    # Between samples that are nearly one, P is large and what it multiplies cancels.
    wide = dtype if above.factor.least > CLOSE else torch.float64
    overlap = torch.bmm(fresh.to(wide), s.to(wide).mT).double()
    if C_b:
        # The bias' column of the weights is a direction too; its own pull-back is not needed further down.
        drawn = torch.randn(M, u.shape[1], 1, generator=stream, device=s.device, dtype=dtype).double()
        overlap += math.sqrt(C_b) * torch.bmm(root, drawn)
    known = torch.baddbmm(torch.bmm(u.to(wide), above.xi.to(wide).mT).double(), overlap, P.mT, alpha=-1)
    A = torch.bmm(known, P).mul_(scale**2).to(wide)
    return torch.baddbmm(fresh.to(wide), A, s.to(wide)).to(dtype)
