"""The arithmetic of a block by torch operations: the reference of `simulate.numerics.gram`, and its form on devices
without kernels. Shapes are those of the functions of the same names there."""

import torch
from torch import Tensor


def gram(s: Tensor, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.bmm(s.double(), s.double().mT).mul_(scale).add_(shift)


def cross(u: Tensor, s: Tensor) -> Tensor:
    return torch.bmm(u.double(), s.double().mT)


def mix(C: Tensor, x: Tensor) -> Tensor:
    return torch.bmm(C, x.double()).to(x.dtype)


def factor(g: Tensor, rounding: float) -> Tensor:
    D = g.shape[-1]
    C = torch.zeros_like(g)
    for j in range(D):
        column = g[:, j:, j] - torch.einsum("mak,mk->ma", C[:, j:, :j], C[:, j, :j])
        dead = column[:, 0] <= rounding * g[:, j, j]
        root = torch.where(dead, 1.0, column[:, 0]).sqrt_()
        C[:, j:, j] = torch.where(dead[:, None], 0.0, column / root[:, None])
    return C


def inverse(C: Tensor) -> Tensor:
    identity = torch.eye(C.shape[-1], dtype=C.dtype, device=C.device)
    dead = C.diagonal(dim1=1, dim2=2) == 0
    return (
        torch.linalg.solve_triangular(C + torch.diag_embed(dead.to(C.dtype)), identity, upper=False) * ~dead[..., None]
    )


def pull_back(
    u: Tensor, R: Tensor, C: Tensor, xi: Tensor, s: Tensor, x: Tensor, bias: Tensor, scale: float, slopes: Tensor
) -> Tensor:
    P, s_wide, x_wide = inverse(C), s.double(), x.double()
    overlap = cross(x_wide, s_wide)
    if len(bias):
        overlap += bias.double()
    known = cross(u, xi).baddbmm_(torch.bmm(R, overlap), P.mT, alpha=-1)
    product = torch.bmm(torch.bmm(known, P).mul_(scale**2), s_wide).baddbmm_(R, x_wide)
    return product.unflatten(1, (-1, slopes.shape[1])).mul_(slopes[:, None]).flatten(1, 2).to(s.dtype)


def spread(v: Tensor, slopes: Tensor, split: int) -> Tensor:
    """The first `split` vectors v (M, K, n) times a slope each, and the others times every slope: slopes (M, T, n)."""
    alone = v[:, :split].unflatten(1, (-1, slopes.shape[1])) * slopes[:, None]
    return torch.cat([alone.flatten(1, 2), (v[:, split:, None] * slopes[:, None]).flatten(1, 2)], dim=1)
