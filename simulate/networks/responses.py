"""How a layer responds to a small change of the input, and the Jacobian of a layer in layer 1: docs/theory.md (12.5).

M counts networks, D samples, n neurons of a layer. Each sample has one direction of change, at right angles to it.
"""

import torch
from torch import Tensor

from simulate.networks import haar, streams
from simulate.networks.dense import Parameters
from simulate.networks.streams import Stream
from simulate.numerics.gram import factor, gram, mix
from simulate.numerics.products import affine


def directions(x: Tensor) -> Tensor:
    """The change of each input, (D, n_0): as long as the input and at right angles to it. A zero input has length 1.

    It is made of the unit vector along which the input is smallest, and so is the same in every run. n_0 is 2 or more.
    """
    wide = x.double()
    square = wide.square().sum(dim=1, keepdim=True)
    unit = torch.zeros_like(wide).scatter_(1, wide.abs().argmin(dim=1, keepdim=True), 1.0)
    across = unit - (unit * wide).sum(dim=1, keepdim=True) / square.clamp_min(torch.finfo(wide.dtype).tiny) * wide
    length = torch.where(square > 0, square, 1.0).sqrt()
    return (across / across.norm(dim=1, keepdim=True) * length).to(x.dtype)


def responses(parameters: Parameters, x: Tensor, slopes: list[Tensor]) -> list[Tensor]:
    """v(l) = W(l) s'(z(l-1)) v(l-1) of layers 1, 2, ..., each (M, D, n_l), docs/theory.md (12.5).

    x: (D, n_0). slopes: s'(z(l)) of layers 1, 2, ..., each (M, D, n_l); there is one layer more than slopes.
    """
    change = directions(x).expand(len(parameters.b[0]), *x.shape)
    found: list[Tensor] = []
    for layer in range(len(slopes) + 1):
        if layer:
            change = slopes[layer - 1] * found[-1]
        W, b = parameters.W[layer], parameters.b[layer]
        found.append(affine(change, W.mT, torch.zeros_like(b)))
    return found


def drawn_response(
    change: Tensor,
    s: Tensor,
    C: Tensor,
    xi: Tensor,
    C_b: float,
    C_W: float,
    layer: int,
    stream: Stream,
    orthogonal: bool,
) -> Tensor:
    """The response v of layer `layer`, (M, D, n), given its preactivations z = C xi, without weights.

    change, s: the change of the activations of the layer below, and these, (M, D, n') each; C, xi, orthogonal: those of
    `simulate.networks.law.Drawn`. It is exact in law jointly with z, docs/theory.md (12.5): the part of a change along
    the activations and the bias meets the weights that z has revealed, and the rest meets others, which are drawn here.
    Orthogonal weights reveal nothing of their bias, and take the rest to a frame at right angles to that of xi.
    """
    C_b = 0.0 if orthogonal else C_b
    D, n = s.shape[1:]
    share = C_W / n
    q = gram(torch.cat([s, change], dim=1), share)[:, D:, :D]  # change_b . s_a
    diagonal = C.diagonal(dim1=1, dim2=2)
    dead = diagonal == 0  # a sample that depends on those before it, whose column is zero
    eye = torch.eye(D, dtype=C.dtype, device=C.device).expand_as(C)
    P = torch.linalg.solve_triangular(C + torch.diag_embed(dead.to(C.dtype)), eye, upper=False)
    P = P.masked_fill(dead[:, :, None], 0.0)  # rows of P s are orthonormal, or zero
    A = q @ P.mT
    along = A @ P
    # The difference itself, not that of squares, keeps its digits where the change is nearly parallel to s.
    across = change - torch.bmm(along.to(s.dtype), s)
    bias = along.sum(dim=2)
    p = gram(across, share) + C_b * bias[:, :, None] * bias[:, None, :]
    rest, outputs = factor(p), xi.shape[2]
    fresh = stream.normal(streams.TANGENTS, layer, D, n if orthogonal else outputs)
    if orthogonal:
        fresh = haar.frame_across(C, rest, stream.normal(streams.WEIGHTS, layer, D, n), fresh, outputs)
    return torch.bmm(A.to(xi.dtype), xi) + mix(rest, fresh)


def squared_sines(u: Tensor, v: Tensor) -> Tensor:
    """sin^2 of the angle between each u and each v over neurons, (M, D, n), (M, D', n) -> (M, D, D') float64.

    It keeps its digits where vectors are nearly parallel, and is not a number where one is zero.
    """
    u, v = u.double(), v.double()
    columns = []
    for b in range(v.shape[1]):
        one = v[:, b : b + 1]
        square = one.square().sum(dim=2, keepdim=True)
        across = one - (u * one).sum(dim=2, keepdim=True) / u.square().sum(dim=2, keepdim=True) * u
        columns.append(across.square().sum(dim=2) / square[:, :, 0])
    return torch.stack(columns, dim=2)


def jacobian_traces(parameters: Parameters, slopes: list[Tensor], at: tuple[int, ...]) -> dict[int, Tensor]:
    """tr JJ^T and (tr JJ^T)^2 / tr (JJ^T)^2 of J = dz(l)/dz(1) for the layers l in `at`, (2, M, D) float64 by layer,
    docs/theory.md (12.5).

    slopes: s'(z(l)) of layers 1, 2, ..., to the last of `at`, each (M, D, n_l).
    """
    M, D, n = slopes[0].shape if slopes else (*parameters.b[0].shape[:1], 1, parameters.b[0].shape[1])
    found = {layer: torch.empty(2, M, D, dtype=torch.float64, device=parameters.b[0].device) for layer in at}
    for a in range(D):
        J = torch.eye(n, dtype=parameters.b[0].dtype, device=parameters.b[0].device).expand(M, n, n)
        if 1 in found:
            found[1][:, :, a] = n
        for layer in range(2, max(at) + 1):
            J = torch.bmm(parameters.W[layer - 1], slopes[layer - 2][:, a, :, None] * J)
            if layer in found:
                trace, square = (_sum_of_squares(matrix) for matrix in (J, torch.bmm(J, J.mT)))
                found[layer][0, :, a] = trace
                found[layer][1, :, a] = trace.square() / square
    return found


def _sum_of_squares(matrix: Tensor) -> Tensor:
    """(M, n, m) -> (M,) float64"""
    return gram(matrix.flatten(1)[:, None])[:, 0, 0]
