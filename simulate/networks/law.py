"""The law sampler: preactivations and NTK without weights, exact at every width (docs/theory.md section 10).

Given a layer, the next layer's neurons are independent N(0, g) with g the conditional kernel. So n x D
normals a layer stand for the n x n weights; and as many again for the backward pass, given the forward one.
"""

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.networks import streams
from simulate.networks.activations import Function, Slope
from simulate.networks.dense import kernel
from simulate.networks.streams import Stream
from simulate.numerics.gram import factor, gram, mix, pull_back
from simulate.settings import Settings


@dataclass(frozen=True)
class Drawn:
    """One layer as it was drawn, z = C xi: what the backward pass has to know of it."""

    g: Tensor  # (M, D, D) float64, the conditional kernel
    C: Tensor  # (M, D, D) float64, C C^T = g, lower triangular
    xi: Tensor  # (M, D, n_l), the action of the weights on the orthonormal directions of the layer below
    z: Tensor  # (M, D, n_l); s instead where nobody wants z
    s: Tensor  # (M, D, n_l), the activations; none at layer L


def sample(
    settings: Settings, x: Tensor, stream: Stream, s: Function, last: bool, z_of: Container[int]
) -> Iterator[Drawn]:
    """Yields layers 1..L, docs/theory.md (10.1) and (10.2); layer L without xi and z unless `last`.

    z_of: hidden layers whose z is wanted.
    """
    C_b, C_W = settings.initialization.C_b, settings.initialization.C_W
    g, none = kernel(x[None], C_b, C_W).expand(stream.M, -1, -1), x[:0]
    for layer, n in enumerate(settings.network.sizes(x.shape[1])[1:], start=1):
        C = factor(g)
        top = layer == settings.network.depth
        if top and not last:
            yield Drawn(g, C, none, none, none)
            return
        xi = stream.normal(streams.WEIGHTS, layer, len(x), n)
        z = mix(C, xi)
        if top:
            yield Drawn(g, C, xi, z, none)
            return
        activations = s(z)
        if layer not in z_of:
            z = activations  # an array less in memory for each layer
        yield Drawn(g, C, xi, z, activations)
        g = kernel(activations, C_b, C_W)


def ntk(
    settings: Settings, layers: list[Drawn], at: tuple[int, ...], stream: Stream, slope: Slope
) -> dict[int, Tensor]:
    """H_ij;ab of the first n_L neurons of each layer in `at`, (M, n_L, D, n_L, D) float64, exact in law jointly and
    given the forward pass (docs/theory.md (10.3), (10.4)).

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
        share = lambda_W[layer - 1] / C_W
        rates = (above.g * share + (lambda_b[layer - 1] - C_b * share))[:, None, :, None, :]
        for k, start in enumerate(begun):
            own = square[:, k * rows : (k + 1) * rows, k * rows : (k + 1) * rows]
            H[start].addcmul_(rates, own.reshape(M, outputs, D, outputs, D))
        split = len(begun) * rows
        if layer in at:
            H[layer] += rates * square[:, split:, None, split:, None].view(M, outputs, 1, outputs, 1)
        if layer == 1:
            break
        below = layers[layer - 2]
        slopes = slope(below.z, below.s)
        if layer not in at:  # all rows belong to outputs above, one for each sample
            u = _pull_back(u, square, above, below.s, C_b, C_W, layer, stream, slopes)
            continue
        u = _pull_back(u, square, above, below.s, C_b, C_W, layer, stream, torch.ones_like(slopes[:, :1]))
        parts = [u[:, :split].unflatten(1, (-1, D)).mul_(slopes[:, None])] if begun else []
        parts.append(u[:, split:, None] * slopes[:, None])
        begun.append(layer)
        u = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).flatten(1, 2)
    return H


def _pull_back(
    u: Tensor,
    square: Tensor,
    above: Drawn,
    s: Tensor,
    C_b: float,
    C_W: float,
    layer: int,
    stream: Stream,
    times: Tensor,
) -> Tensor:
    """`pull_back` of u through the weights that took activations s to above.z."""
    k, n = u.shape[1], s.shape[2]
    scale = math.sqrt(C_W / n)
    x = stream.normal(streams.BACKWARD, layer, k, n, scale=scale)
    # The bias' column of the weights is a direction too; its own pull-back is not needed further down.
    bias = stream.normal(streams.BACKWARD_BIASES, layer, k, 1, scale=math.sqrt(C_b)) if C_b else u[:0]
    return pull_back(u, square, above.C, above.xi, s, x, bias, scale, times)
