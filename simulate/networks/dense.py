"""Dense ensembles: stacked parameters, batched matrix products. M networks, D samples, n neurons.

Preactivations z and activations s of a layer have shape (M, D, n). Weights are stored by incoming neuron, as
`simulate.numerics.products` wants them: W is a view of V = W^T.
"""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.networks import streams
from simulate.networks.activations import Function, Slope, slopes
from simulate.networks.quadratic import MetaFeatures, meta_features
from simulate.networks.streams import Stream
from simulate.numerics.gram import gram, weigh
from simulate.numerics.products import affine, pull_back
from simulate.settings import Settings


@dataclass(frozen=True)
class Parameters:
    """W[l-1]: (M, n_l, n_{l-1}), the transpose of what is stored; b[l-1]: (M, n_l). meta: the quadratic term of the one
    layer of a quadratic model. skip[l-1]: gamma, by which z(l-1) is added to z(l) in a residual network, docs/theory.md
    (11.1); empty for all other networks. W holds the branch of a residual network, docs/theory.md (11.2)."""

    W: list[Tensor]
    b: list[Tensor]
    meta: MetaFeatures | None = None
    skip: tuple[float, ...] = ()

    @property
    def depth(self) -> int:
        return len(self.W)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them: the weights of each layer, then the biases."""
        return *self.W, *self.b


def draw(settings: Settings, n_0: int, stream: Stream, passing: "Pass | None" = None) -> Parameters:
    """Independent Gaussian parameters: Var W = C_W / n_{l-1}, Var b = C_b (PDLT ch. 2). C_b and C_W scale the standard
    normals of a network, which are the same for all values of them. Orthogonal and uniform weights have the same
    variance, and are made of the same normals. passing: a forward pass that takes each layer when it is drawn."""
    C_b, W, b = settings.initialization.C_b, [], []
    for layer, (n, m) in enumerate(itertools.pairwise(settings.network.sizes(n_0)), start=1):
        C_W = settings.C_W(layer)
        W.append(LAWS[settings.initialization.of_layer(layer)](stream, layer, n, m, C_W).mT)
        b.append(stream.normal(streams.BIASES, layer, m, scale=math.sqrt(C_b)))
        if passing is not None:
            passing.up(W[-1], b[-1])
    meta = settings.network.meta
    bent = None if meta is None else meta_features(meta, n_0, stream.dtype, stream.device)
    return Parameters(W, b, bent, settings.network.skips)


def _gaussian(stream: Stream, layer: int, n: int, m: int, C_W: float) -> Tensor:
    return stream.normal(streams.WEIGHTS, layer, n, m, scale=math.sqrt(C_W / n))


def _orthogonal(stream: Stream, layer: int, n: int, m: int, C_W: float) -> Tensor:
    return frames(stream.normal(streams.WEIGHTS, layer, n, m), math.sqrt(C_W))


def _uniform(stream: Stream, layer: int, n: int, m: int, C_W: float) -> Tensor:
    """The weights of docs/theory.md (14.5): twice the probability of a smaller normal, less one, is uniform."""
    return stream.normal(streams.WEIGHTS, layer, n, m, scale=math.sqrt(0.5)).erf_().mul_(math.sqrt(3 * C_W / n))


# The weights of a layer by their law, (M, n, m) from n neurons to m, with the variance C_W / n.
LAWS = {"gaussian": _gaussian, "orthogonal": _orthogonal, "uniform": _uniform}


def frames(normals: Tensor, scale: float) -> Tensor:
    """The first m columns of Haar matrices of O(n) times `scale`, docs/theory.md (14.1), from standard normals
    (M, n, m) with m <= n: their QR with R_jj > 0, which makes the law invariant under rotations."""
    Q, R = torch.linalg.qr(normals)
    diagonal = R.diagonal(dim1=1, dim2=2)
    return (Q * torch.full_like(diagonal, scale).copysign(diagonal)[:, None]).contiguous()


class Pass:
    """A forward pass, layer by layer. x: (D, n_0) of all M networks, or (M, D, n_0); skip: as of `Parameters`.

    z, signals: what `forward` returns, of the layers that were passed. Weights that have just been drawn are read from
    the cache.
    """

    def __init__(self, x: Tensor, M: int, s: Function, skip: tuple[float, ...]):
        self.x, self.s, self.skip = x.expand(M, *x.shape[-2:]), s, skip
        self.z: list[Tensor] = []
        self.signals: list[Tensor] = []

    def up(self, W: Tensor, b: Tensor) -> None:
        """Pass the next layer."""
        signal = self.s(self.z[-1]) if self.z else self.x
        z = affine(signal, W.mT, b)
        if gamma := self.skip[len(self.z)] if self.skip else 0.0:
            z.add_(self.z[-1], alpha=gamma)
        self.signals.append(signal)
        self.z.append(z)


def forward(
    parameters: Parameters, x: Tensor, s: Function, passed: Pass | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Preactivations z(1..L), each (M, D, n_l), and activations s(0..L-1) with s(0) = x, of all or of each network.

    passed: a pass that has met all layers already.
    """
    if passed is None:
        passed = Pass(x, len(parameters.b[0]), s, parameters.skip)
        for W, b in zip(parameters.W, parameters.b, strict=True):
            passed.up(W, b)
    z = passed.z
    if parameters.meta is not None:
        z[-1] = z[-1] + parameters.meta.outputs(parameters.W[-1], parameters.b[-1], x)
    return z, passed.signals


def skip_into(parameters: Parameters, layer: int) -> float:
    """The gamma of the skip into a layer, counted from 1; 0 where there is none."""
    return parameters.skip[layer - 1] if parameters.skip else 0.0


def kernel(s: Tensor, C_b: float, C_W: float) -> Tensor:
    """Conditional kernel of the next layer, (M, D, D) float64: g_ab = C_b + C_W/n sum_j s_ja s_jb of docs/theory.md
    (1.11)."""
    return gram(s, C_W / s.shape[-1], C_b)


def truncated(
    parameters: Parameters, z: list[Tensor], signals: list[Tensor], layer: int, outputs: int
) -> tuple[Parameters, list[Tensor], list[Tensor]]:
    """The network that ends in the first `outputs` neurons of layer `layer`, with its z and activations."""
    if layer == parameters.depth:
        return parameters, z, signals
    W, b, top = list(parameters.W[:layer]), list(parameters.b[:layer]), z[layer - 1][..., :outputs]
    W[-1], b[-1] = W[-1][:, :outputs], b[-1][:, :outputs]
    return Parameters(W, b, skip=parameters.skip[:layer]), [*z[: layer - 1], top], signals[:layer]


def pulled(parameters: Parameters, layer: int, u: Tensor, v: Tensor) -> Tensor:
    """dz(L)/dz(l-1) from u = dz(L)/dz(l) and v = s' W(l)^T u: v + gamma u with the gamma of the skip into layer l,
    docs/theory.md (11.1), in the memory of v, (M, P, n_{l-1}). Where layer l is cut to its first neurons, the skip
    reaches the first ones below."""
    if gamma := skip_into(parameters, layer):
        v[..., : u.shape[-1]].add_(u, alpha=gamma)
    return v


def ntk(
    parameters: Parameters,
    z: list[Tensor],
    signals: list[Tensor],
    slope: Slope,
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
) -> Tensor:
    """H_ij;ab of the outputs, (M, n_L, D, n_L, D) float64 (docs/theory.md (2.1), (10.4)).

    H = sum_l (lambda_b + lambda_W/n_{l-1} s_a . s_b) (u_i;a . u_j;b) with u(l) = dz(L)/dz(l): one batched
    backward pass; no Jacobian is held.
    """
    if parameters.meta is not None:
        (W,), (b,) = parameters.W, parameters.b
        return parameters.meta.ntk(W, b, signals[0][0], *lambda_b, *lambda_W)
    M, D, outputs = z[-1].shape
    u = torch.eye(outputs, dtype=z[-1].dtype, device=z[-1].device)
    u = u[:, None, :].expand(M, outputs, D, outputs).reshape(M, outputs * D, outputs)
    H = torch.zeros(M, outputs, D, outputs, D, dtype=torch.float64, device=u.device)
    for layer in reversed(range(parameters.depth)):
        s = signals[layer]
        weigh(H, u, s, lambda_W[layer] / s.shape[-1], lambda_b[layer])
        if layer:
            v = pull_back(u, parameters.W[layer].mT, s, slopes(slope, z[layer - 1], s))
            u = pulled(parameters, layer + 1, u, v)
    return H
