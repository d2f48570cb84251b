"""The kernel of the next layer if a layer were infinitely wide, for kernels of many networks, docs/theory.md (16.19).

It looks ahead of a particle filter (`simulate.networks.particles`), where an approximate one costs particles and leaves
all estimates right. So Mehler's series is cut, its coefficients are interpolated, and nothing is taken from the theory
that simulations test.
"""

import math

import numpy as np
import torch
from torch import Tensor

from simulate.networks.activations import Function

ORDERS, NODES = 12, 96  # Mehler's series has so many, and the rule for its coefficients
REACH, STEP = 20.0, 0.02  # the table in log g_aa; beyond its ends coefficients are those there


class Wide:
    """F_ab = C_b + C_W sum_q s_q(g_aa) s_q(g_bb) rho_ab^q of docs/theory.md (16.19): a function of kernels (M, N, N).

    All terms that are left out are put on the diagonal, which is that of F, so that the sum is positive definite.
    """

    def __init__(self, s: Function, C_b: float, C_W: float):
        self.C_b, self.C_W = C_b, C_W
        x, weights = np.polynomial.hermite_e.hermegauss(NODES)
        polynomials = np.polynomial.hermite_e.hermevander(x, ORDERS - 1)
        scale = np.sqrt([float(math.factorial(q)) for q in range(ORDERS)])
        rule = torch.from_numpy(polynomials / scale * (weights / weights.sum())[:, None])
        sizes = torch.arange(-REACH, REACH + STEP, STEP, dtype=torch.float64).exp()
        values = s(sizes.sqrt()[:, None] * torch.from_numpy(x))
        self.table = torch.cat([values @ rule, values.square() @ rule[:, :1]], dim=1)  # s_q, and <s^2>

    def __call__(self, g: Tensor) -> Tensor:
        size = g.diagonal(dim1=1, dim2=2).clamp(math.exp(-REACH), math.exp(REACH))
        place = (size.log() + REACH) / STEP
        low = place.long().clamp(max=len(self.table) - 2)
        c = torch.lerp(self.table[low], self.table[low + 1], (place - low)[..., None])  # (M, N, ORDERS + 1)
        root = size.sqrt()
        rho, total = g / (root[:, :, None] * root[:, None, :]), torch.zeros_like(g)
        for q in reversed(range(ORDERS)):
            total.mul_(rho).addcmul_(c[:, :, None, q], c[:, None, :, q])
        total.diagonal(dim1=1, dim2=2).copy_(c[..., ORDERS])
        return self.C_b + self.C_W * total
