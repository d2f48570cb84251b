"""Sums over the neurons of a layer that average the next layer's NTK over its weights, docs/theory.md (17.9).

The NTK of all pairs of neurons of a hidden layer is carried up through the weights, for one sample at a time.
"""

import torch
from torch import Tensor

from simulate.networks.dense import Parameters
from simulate.numerics.gram import gram

SUMS = 4  # h, y, b and w; a fifth one is T_3


def sums(
    parameters: Parameters,
    signals: list[Tensor],
    slopes: list[Tensor],
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
    C_W: float,
    loops: bool = False,
) -> Tensor:
    """h, y, b and w of layers 1, 2, ... at each sample, and T_3 with `loops`, (layers, 4 or 5, M, D) float64.

    They are the means over a layer's weights, given the layers below, of H_ii, z_i z_j H_ij, H_ij^2,
    z_i H_ij H_jk z_k and H_ij H_jk H_ki for different i, j, k: docs/theory.md (17.9). slopes: s'(z(l)) of layers
    1, 2, ..., each (M, D, n_l); there is one layer more than slopes. signals: s(0), s(1), ..., each (M, D, n_l).
    """
    M, D = signals[0].shape[:2]
    found = torch.zeros(len(slopes) + 1, SUMS + loops, M, D, dtype=torch.float64, device=signals[0].device)
    for a in range(D):
        share = lambda_b[0] + lambda_W[0] * _mean_square(signals[0][:, a])
        found[0, 0, :, a] = share
        bent = signals[0].new_zeros(M, 1, 1)
        for layer, slope in enumerate(slopes, start=1):
            s, n = signals[layer][:, a], slope.shape[2]
            H = carried(parameters.W[layer - 1], bent) if layer > 1 else bent.expand(-1, n, n).clone()
            H.diagonal(dim1=1, dim2=2).add_(share[:, None].to(H.dtype))
            bent = H.mul_(slope[:, a, :, None]).mul_(slope[:, a, None, :])  # s'_k H_km s'_m
            along = torch.bmm(bent, s[:, :, None])[:, :, 0].double()
            share = lambda_b[layer] + lambda_W[layer] * _mean_square(s)
            trace = bent.diagonal(dim1=1, dim2=2).sum(dim=1, dtype=torch.float64)
            found[layer, 0, :, a] = share + C_W / n * trace
            found[layer, 1, :, a] = (C_W / n) ** 2 * (along * s).sum(dim=1)
            found[layer, 2, :, a] = (C_W / n) ** 2 * gram(bent.flatten(1)[:, None])[:, 0, 0]
            found[layer, 3, :, a] = (C_W / n) ** 3 * along.square().sum(dim=1)
            if loops:
                cubed = torch.bmm(bent, bent).mul_(bent).sum(dim=(1, 2), dtype=torch.float64)  # tr (s' H s')^3
                found[layer, 4, :, a] = (C_W / n) ** 3 * cubed
    return found


def carried(W: Tensor, bent: Tensor) -> Tensor:
    """The part W s' H s' W^T of the next layer's NTK that comes from the layers below, docs/theory.md (2.2):
    (M, n', n), (M, n, n) -> (M, n', n')."""
    return torch.bmm(torch.bmm(W, bent), W.mT)


def _mean_square(s: Tensor) -> Tensor:
    """(M, n) -> (M,) float64"""
    return s.double().square().mean(dim=1)
