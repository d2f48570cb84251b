"""The law sampler: preactivations and NTK without weights, exact at every width (docs/theory.md section 10).

Given a layer, the next layer's neurons are independent N(0, g) with g the conditional kernel. So n x D normals a layer
stand for the n x n weights, and as many again for the backward pass, given the forward one. Orthogonal weights leave
out what `simulate.networks.haar` has of them. M counts networks, D samples.
"""

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.networks import activations, haar, streams
from simulate.networks.activations import Function, Slope
from simulate.networks.dense import kernel
from simulate.networks.posterior import condition_drawn
from simulate.networks.streams import Stream
from simulate.networks.tilt import Tilt
from simulate.numerics.gram import Form, activate, factor, gram, mix, pull_back
from simulate.numerics.layer import backward, forward
from simulate.settings import Settings


@dataclass(frozen=True)
class Drawn:
    """One drawn layer, z = C xi, and gamma times z of the layer below where a skip leads to it, with the arrays that
    the backward pass needs. With orthogonal weights C xi is W s alone, to which biases are added."""

    g: Tensor  # (M, D, D) float64, the conditional kernel
    C: Tensor  # (M, D, D) float64, C C^T = g, and g less C_b with orthogonal weights, lower triangular
    xi: Tensor  # (M, D, n_l), the action of the weights on the orthonormal directions of the layer below
    z: Tensor  # (M, D, n_l); holds s if z is not needed
    s: Tensor  # (M, D, n_l), the activations; empty at layer L
    orthogonal: bool  # whether the layer's weights are
    prior: Tensor | None = None  # xi as it was before the layer was tilted, or layer L drawn given targets
    log_ratio: Tensor | float = 0.0  # (M,) float64, log prior over proposal of the layers below


def sample(
    settings: Settings,
    x: Tensor,
    stream: Stream,
    s: Function,
    last: bool,
    z_of: Container[int],
    y: Tensor | None = None,
    tilt: Tilt | None = None,
    hold: bool = True,
) -> Iterator[Drawn]:
    """Draw layers 1, ..., L one after the other, docs/theory.md (10.1) and (10.2); with skips docs/theory.md (11.9) and
    with orthogonal weights docs/theory.md (14.4).

    x: (D, n_0). last: whether xi and z of layer L are drawn, too. z_of: hidden layers whose z is kept; the others hold
    s in its place, which saves an array per layer. y: targets (N, n_L), given which layer L is drawn where
    `ensemble.condition` says so, docs/theory.md (16.3). tilt: what hidden layers are drawn from instead of the prior,
    docs/theory.md (16.21). hold: whether xi and s of hidden layers are read, as for the backward pass.
    """
    log_ratio: Tensor | float = 0.0
    start, skips, z, empty = settings.initialization, settings.network.skips, x[:0], x[:0]
    form = activations.of(settings.activation).form
    sizes = settings.network.sizes(x.shape[1])
    square = gram(x[None].expand(stream.M, -1, -1))
    for layer, n in enumerate(sizes[1:], start=1):
        orthogonal = start.of_layer(layer) == "orthogonal"
        g = _kernel(square, sizes[layer - 1], 0.0 if orthogonal else start.C_b, settings.C_W(layer))
        C = factor(g)
        if orthogonal and start.C_b:
            g = g + start.C_b
        top, gamma = layer == settings.network.depth, skips[layer - 1] if skips else 0.0
        if top and not last:
            yield Drawn(g, C, empty, empty, empty, orthogonal, log_ratio=log_ratio)
            return
        numbers = streams.WEIGHTS, layer, len(x), sizes[layer - 1] if orthogonal else n
        if not (top or orthogonal or tilt is not None or gamma):
            address = stream.address(*numbers)
            array = stream.array(streams.WEIGHTS, layer, address.N)
            xi, z, below, square = forward(C, address, s, form, layer in z_of or bool(skips), hold, array)
            yield Drawn(g, C, xi, z, below, orthogonal, xi, log_ratio)
            continue
        xi = stream.normal(*numbers)
        if orthogonal:
            xi = haar.frame(C, xi, n)
        prior, of_layers_below = xi, log_ratio
        if tilt is not None and not top:
            xi, ratio = tilt.draw(layer, C, xi, stream.first)
            log_ratio = log_ratio + ratio
        if top and settings.ensemble.condition is not None:
            assert y is not None
            xi = condition_drawn(settings, g, C, xi, y, stream)
        z, under = mix(C, xi), z
        if orthogonal and start.C_b:
            z.add_(stream.normal(streams.BIASES, layer, 1, n, scale=math.sqrt(start.C_b)))
        if gamma:
            z.add_(under, alpha=gamma)
        if top:
            yield Drawn(g, C, xi, z, empty, orthogonal, prior, of_layers_below)
            return
        below = activate(z, s, form)
        square = gram(below)
        yield Drawn(g, C, xi, z if layer in z_of else below, below, orthogonal, prior, of_layers_below)


def _kernel(square: Tensor, n: int, C_b: float, C_W: float) -> Tensor:
    """The kernel of the layer above n neurons with this Gram matrix, docs/theory.md (1.11)."""
    g = square * (C_W / n)
    return g + C_b if C_b else g


def controls(settings: Settings, K: Tensor, layer: int, below: Drawn, s: Function) -> Tensor:
    """What the normals of layer l - 1 would give for the kernel of layer l if all layers below had infinite width, less
    K(l), docs/theory.md (16.6): (M, D, D) float64.

    K: (L, D, D) float64, at infinite width. Given the layer, means are zero at every width.
    """
    C_b, C_W = settings.initialization.C_b, settings.initialization.C_W
    assert below.prior is not None
    C = factor(K[layer - 2 : layer - 1]).expand(len(below.prior), -1, -1).contiguous()
    return kernel(s(mix(C, below.prior)), C_b, C_W) - K[layer - 1]


def ntk(
    settings: Settings, layers: list[Drawn], at: tuple[int, ...], stream: Stream, slope: Slope
) -> dict[int, Tensor]:
    """The NTK H_ij;ab of the first n_L neurons of each layer in `at`, (M, n_L, D, n_L, D) float64 by layer.

    It is exact in law jointly and given the forward pass, docs/theory.md (10.3) and (10.4). `layers` are all layers
    that `sample` has drawn with this stream.

    The forward pass has revealed the weights of a layer (its bias as one more column) only along the directions Q of
    its inputs, as xi. Vectors U that are pulled back through them get Q^T xi U from the known part and, orthogonal to
    Q, Gaussians of covariance U^T U from the unknown part. Fresh weights instead would be wrong at order 1/n. Vectors
    of all layers in `at` are pulled back together, since they meet the same weights. A skip multiplies known vectors
    and reveals nothing of the weights, docs/theory.md (11.9). With orthogonal weights the unknown part is the frame of
    docs/theory.md (14.4).
    """
    C_b, C_W = settings.initialization.C_b, settings.initialization.C_W
    lambda_b, lambda_W = settings.dynamics.lambda_b, settings.dynamics.lambda_W
    outputs = settings.network.outputs
    M, D, _ = layers[max(at) - 1].z.shape
    rows = outputs * D
    dtype, device = layers[max(at) - 1].z.dtype, layers[0].z.device
    H = {layer: torch.zeros(M, outputs, D, outputs, D, dtype=torch.float64, device=device) for layer in at}
    begun: list[int] = []  # layers of `at` above this one; each has `rows` rows of u
    u = torch.zeros(M, 0, layers[max(at) - 1].z.shape[-1], dtype=dtype, device=device)
    square = None
    for layer in range(max(at), 0, -1):
        above = layers[layer - 1]
        if layer in at:  # each output has one row, equal for all samples
            unit = torch.eye(outputs, above.z.shape[-1], dtype=dtype, device=device).expand(M, -1, -1)
            u, square = torch.cat([u, unit], dim=1), None
        square = gram(u) if square is None else square
        # g = C_b + (C_W/n) s_a . s_b holds the Gram matrix of the activations.
        ratio = lambda_W[layer - 1] / C_W  # a branch multiplies both
        rates = above.g, ratio, lambda_b[layer - 1] - C_b * ratio
        for k, start in enumerate(begun):
            block = square[:, k * rows : (k + 1) * rows, k * rows : (k + 1) * rows]
            _add(H[start], *rates, block.reshape(M, outputs, D, outputs, D))
        split = len(begun) * rows  # rows of outputs above have a sample each, and those of this layer all of them
        if layer in at:
            _add(H[layer], *rates, square[:, split:, None, split:, None].view(M, outputs, 1, outputs, 1))
            begun.append(layer)
        if layer == 1:
            break
        below, own = layers[layer - 2], u
        slopes = activations.slopes(slope, below.z, below.s)
        u, square = _pull_back(own, square, above, below.s, C_b, settings.C_W(layer), layer, stream, slopes, split)
        gamma = settings.network.skips[layer - 1] if settings.network.skips else 0.0
        if gamma:
            u[:, :split].add_(own[:, :split], alpha=gamma)
            u[:, split:].unflatten(1, (-1, D)).add_(own[:, split:, None], alpha=gamma)
            square = None
    return H


def _add(H: Tensor, g: Tensor, ratio: float, shift: float, products: Tensor) -> None:
    """Add (ratio g + shift) times products (M, n_L, D, n_L, D), without arrays in between."""
    H.addcmul_(g[:, None, :, None, :], products, value=ratio)
    if shift:
        H.add_(products, alpha=shift)


def _pull_back(
    u: Tensor, square: Tensor, above: Drawn, s: Tensor, C_b: float, C_W: float, layer: int, stream: Stream,
    slopes: Tensor | Form, split: int,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Pull u back through the weights that took the activations s to above.z, and find the Gram matrices, or None where
    nobody has yet. split: as of `simulate.numerics.gram.pull_back`."""
    k, n = u.shape[1], s.shape[2]
    scale = math.sqrt(C_W / n)
    address = stream.address(streams.BACKWARD, layer, k, n, scale=scale)
    if above.orthogonal:
        x = stream.normal(streams.BACKWARD, layer, k, n, scale=scale)
        R = haar.remainder(u, square, above.C, above.xi, s, x, C_W)
        return pull_back(u, R, above.C, above.xi, s, x, x[:0], scale, slopes, split), None
    # The column of biases belongs to the weights, too; its pull-back is not needed further down.
    bias = stream.normal(streams.BACKWARD_BIASES, layer, k, 1, scale=math.sqrt(C_b)) if C_b else u[:0]
    return backward(u, factor(square), above.C, above.xi, s, address, bias, slopes, split)
