"""The law sampler: preactivations and NTK without weights, exact at every width (theory.md section 10).

Given a layer, the next layer's neurons are independent N(0, g) with g the conditional kernel. So n x D
normals a layer stand for the n x n weights; and as many again for the backward pass, given the forward one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.ensemble import Function, gram, kernel
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


@dataclass(frozen=True)
class Drawn:
    """One layer as it was drawn, z = C xi: what the backward pass has to know of it."""

    g: Tensor  # (M, D, D) float64, the conditional kernel
    C: Tensor  # (M, D, D) float64, its factor
    xi: Tensor  # (M, D, n_l), the action of the weights on the orthonormal directions of the layer below
    z: Tensor  # (M, D, n_l)


def sample(
    settings: Settings, x: Tensor, M: int, stream: torch.Generator, s: Function, last: bool, keep: bool
) -> Iterator[Drawn]:
    """Yields layers 1..L; layer L without xi and z unless `last`; xi are the deviates only if `keep`."""
    C_b, C_W = settings.initialization.C_b, settings.initialization.C_W
    dtype = getattr(torch, settings.ensemble.dtype)
    g = kernel(x[None], C_b, C_W).expand(M, -1, -1)
    for layer, n in enumerate([*settings.network.widths, settings.network.outputs], start=1):
        C = factor(g)
        if layer == settings.network.depth and not last:
            yield Drawn(g, C, x[:0], x[:0])
            return
        xi = torch.randn(M, len(x), n, generator=stream, device=stream.device, dtype=dtype)
        z = correlate(C.to(dtype), xi.clone() if keep else xi)
        yield Drawn(g, C, xi, z)
        if layer < settings.network.depth:
            g = kernel(s(z), C_b, C_W)


def directions(C: Tensor, phi: Tensor) -> Tensor:
    """Orthonormal rows Q (M, D, n) with phi = C Q; zero rows where a sample adds no direction. In float64."""
    rows: list[Tensor] = []
    for j in range(phi.shape[1]):
        rest = phi[:, j]
        for k, row in enumerate(rows):
            rest = torch.addcmul(rest, C[:, j, k, None], row, value=-1)
        pivot = C[:, j, j, None]
        rows.append(torch.where(pivot > 0, rest / torch.where(pivot > 0, pivot, 1.0), 0.0))
    return torch.stack(rows, dim=1)


def ntk(
    settings: Settings,
    layers: list[Drawn],
    at: tuple[int, ...],
    stream: torch.Generator,
    s: Function,
    derivative: Function,
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
    dtype, device = layers[max(at) - 1].z.dtype, layers[0].z.device
    H = {layer: torch.zeros(M, outputs, D, outputs, D, dtype=torch.float64, device=device) for layer in at}
    begun: list[int] = []  # layers of `at` above, outputs * D rows of u each
    u = torch.zeros(M, 0, layers[max(at) - 1].z.shape[-1], dtype=dtype, device=device)
    for layer in range(max(at), 0, -1):
        above = layers[layer - 1]
        fresh_start = layer in at
        if fresh_start:  # one row for each output, equal for all samples
            one = torch.eye(outputs, above.z.shape[-1], dtype=dtype, device=device).expand(M, -1, -1)
            u = torch.cat([u, one], dim=1) if begun else one
        square = gram(u)
        # g holds the activation Gram: C_b + (C_W/n) s_a . s_b
        rates = ((above.g - C_b) * (lambda_W[layer - 1] / C_W) + lambda_b[layer - 1])[:, None, :, None, :]
        rows = outputs * D
        for k, start in enumerate(begun):
            own = square[:, k * rows : (k + 1) * rows, k * rows : (k + 1) * rows]
            H[start] += rates * own.reshape(M, outputs, D, outputs, D)
        if fresh_start:
            old = len(begun) * rows
            H[layer] += rates * square[:, old:, None, old:, None].view(M, outputs, 1, outputs, 1)
        if layer == 1:
            break
        pulled_back = _pull_back(u, square, above, layers[layer - 2].z, C_b, C_W, s, stream)
        n = pulled_back.shape[-1]
        slope = derivative(layers[layer - 2].z)[:, None]
        split = len(begun) * rows
        parts = [pulled_back[:, :split].view(M, -1, D, n)] if begun else []
        parts += [pulled_back[:, split:, None].expand(-1, -1, D, -1)] if fresh_start else []
        u = (
            torch.cat([(part * slope).flatten(1, 2) for part in parts], dim=1)
            if len(parts) > 1
            else (parts[0] * slope).flatten(1, 2)
        )
        begun += [layer] * fresh_start
    return H


def _pull_back(
    u: Tensor,
    square: Tensor,
    above: Drawn,
    z: Tensor,
    C_b: float,
    C_W: float,
    s: Function,
    stream: torch.Generator,
) -> Tensor:
    """W^T u, (M, k, n), of u (M, k, n_above) with Gram `square`, for the weights that took z to above.z."""
    n, dtype = z.shape[-1], z.dtype
    activation = s(z).double().mul_(math.sqrt(C_W / n))
    Q = directions(above.C, activation).to(dtype)
    factored = factor(square).to(dtype)
    fresh = torch.randn(len(u), u.shape[1], n, generator=stream, device=z.device, dtype=dtype)
    fresh = correlate(factored, fresh)
    known = torch.bmm(u, above.xi.transpose(1, 2)) - torch.bmm(fresh, Q.transpose(1, 2))
    if C_b:
        # The bias' column of the weights is a direction too; its own pull-back is not needed further down.
        q_b = directions(above.C, torch.full_like(activation[:, :, :1], math.sqrt(C_b))).to(dtype)
        drawn = torch.randn(len(u), u.shape[1], 1, generator=stream, device=z.device, dtype=dtype)
        known -= torch.bmm(correlate(factored, drawn), q_b.transpose(1, 2))
    return torch.baddbmm(fresh, known, Q).mul_(math.sqrt(C_W / n))
