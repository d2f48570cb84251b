"""Orthogonal weights without the weights: frames of vectors, docs/theory.md (14.4).

Weights sqrt(C_W) O with Haar O take orthonormal directions to a frame of orthonormal vectors, uniform among all frames,
and what is at right angles to the directions to what is at right angles to the frame. M counts networks, D samples, K
vectors and n the neurons of the layer below.
"""

import math

import torch
from torch import Tensor

from simulate.numerics.gram import cross, factor, gram, mix
from simulate.numerics.plain import inverse


def frame(C: Tensor, normals: Tensor, first: int) -> Tensor:
    """The first components of sqrt(n) times a uniform frame, (M, D, first), from standard normals (M, D, n).

    C: (M, D, D), the factor of the Gram matrix of the samples. A sample that depends on those before it, whose column
    is zero, has no direction of its own, and gets a row of zeros.
    """
    return mix(_orthonormal(gram(normals), C) * math.sqrt(normals.shape[2]), normals)[..., :first].contiguous()


def frame_across(C: Tensor, across: Tensor, normals: Tensor, fresh: Tensor, first: int) -> Tensor:
    """The first components of sqrt(n) times a uniform frame at right angles to that of `frame`, (M, D', first),
    docs/theory.md (12.5).

    C, normals, first: those of `frame`. across: (M, D', D'), the factor of the Gram matrix of the vectors that this
    frame stands for; fresh: (M, D', n) more standard normals.
    """
    live = torch.cat([square.diagonal(dim1=1, dim2=2) for square in (C, across)], dim=1)
    return frame(torch.diag_embed(live), torch.cat([normals, fresh], dim=1), first)[:, C.shape[1] :]


def _orthonormal(square: Tensor, C: Tensor) -> Tensor:
    """The lower triangular coefficients that make vectors with the Gram matrix `square` orthonormal, one after another.
    Those for which C has a column of zeros are left out, and get rows of zeros."""
    live = C.diagonal(dim1=1, dim2=2) != 0
    return inverse(factor(square * (live[:, :, None] & live[:, None, :])))


def remainder(u: Tensor, square: Tensor, C: Tensor, xi: Tensor, s: Tensor, x: Tensor, C_W: float) -> Tensor:
    """The R of `simulate.numerics.gram.pull_back`, (M, K, K), whose other arguments these are, for orthogonal weights.

    It makes of the fresh normals x, less their part along the activations s, the pull-back of what is left of the
    vectors u at right angles to the frame. x: (M, K, n), of variance C_W / n.
    """
    n = s.shape[2]
    along = cross(u, xi) / math.sqrt(n)
    left = factor(square - torch.bmm(along, along.mT))
    known = torch.bmm(cross(x, s), inverse(C).mT) * math.sqrt(C_W / n)
    return math.sqrt(C_W) * torch.bmm(left, _orthonormal(gram(x) - torch.bmm(known, known.mT), left))
