"""Hidden layers drawn from a law that explains the targets, docs/theory.md (16.21), with the weights that undo it.

M counts networks, N train samples, which come first, n neurons.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LOWEST = 0.25  # eigenvalues of B are cut here: no neuron gets more than four times its variance


@dataclass(frozen=True)
class Tilt:
    """Phi: (L - 1, N, N) float64 of hidden layers. control: k keeps networks 0, k, 2k, ... of the prior; 0, none."""

    Phi: Tensor
    control: int

    def draw(self, layer: int, C: Tensor, u: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """xi (M, D, n) of a hidden layer, whose neurons C xi are N(0, g~), and log prior over proposal (M,) float64.

        C: (M, D, D), the factor of g. u: (M, D, n), standard normals. first: the address of the first network.
        """
        Phi, n = self.Phi[layer - 1], u.shape[-1]
        R, wide = C[:, : len(Phi), : len(Phi)], u[:, : len(Phi)].double()
        values, U = torch.linalg.eigh(torch.eye(len(Phi), dtype=C.dtype, device=C.device) - R.mT @ Phi @ R / n)
        values = values.clamp(min=LOWEST)
        of_values = U.mT @ wide
        ratio = -((1 / values - 1) * of_values.square().sum(dim=2)).sum(dim=1) / 2 - n / 2 * values.log().sum(dim=1)
        xi = u.clone()
        xi[:, : len(Phi)] = (U @ (of_values / values.sqrt()[:, :, None])).to(u.dtype)
        if self.control:
            of_prior = torch.arange(first, first + len(u), device=u.device) % self.control == 0
            xi, ratio = torch.where(of_prior[:, None, None], u, xi), ratio.masked_fill(of_prior, 0.0)
        return xi, ratio
