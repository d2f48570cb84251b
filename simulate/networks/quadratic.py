"""The quadratic model, the minimal model of representation learning: docs/theory.md (5.47), PDLT ch. 11.

z_i(x) = b_i + W_i.x + (epsilon/2) t_i.psi(x).t_i with t_i = (b_i, sqrt(n_0) W_i) and fixed random meta features psi(x),
symmetric matrices of rank R: psi(x) = sum_r g_r(x) v_r v_r^T. Nothing of the size of psi is ever made. M networks, D
samples, n_L outputs, f = n_0 + 1 parameters an output.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simulate.settings.network import Meta


@dataclass(frozen=True)
class MetaFeatures:
    """The tensors of the meta features, the same for all networks. first: (R,), the components of v_r along the bias;
    v: (n_0, R), those along the weights, times sqrt(n_0). w: (n_0, R) and c: (R,) of g."""

    epsilon: float
    first: Tensor
    v: Tensor
    w: Tensor
    c: Tensor

    def g(self, x: Tensor) -> Tensor:
        """(..., D, n_0) -> (..., D, R)"""
        return torch.tanh(x @ self.w + self.c) / math.sqrt(len(self.c))

    def along(self, W: Tensor, b: Tensor) -> Tensor:
        """v_r.t_i, (M, n_L, R)."""
        return b[..., None] * self.first + W @ self.v

    def outputs(self, W: Tensor, b: Tensor, x: Tensor) -> Tensor:
        """(epsilon/2) t_i.psi(x).t_i, (M, D, n_L)."""
        return self.epsilon / 2 * self.g(x) @ self.along(W, b).square().mT

    def slope(self, W: Tensor, b: Tensor, x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """What the term adds to the slopes of the loss in W and b, for its slope delta (M, D, n_L) in the outputs."""
        q = self.epsilon * (delta.mT @ self.g(x)) * self.along(W, b)
        return q @ self.v.mT, q @ self.first

    def ntk(self, W: Tensor, b: Tensor, x: Tensor, lambda_b: float, lambda_W: float) -> Tensor:
        """The effective kernel of docs/theory.md (5.48), (M, n_L, D, n_L, D) float64."""
        bent = self.epsilon * self.g(x).double() * self.along(W, b).double()[:, :, None]  # (M, n_L, D, R)
        of_b, of_W = 1 + bent @ self.first.double(), x.double() + bent @ self.v.double().mT
        found = lambda_b * of_b[..., None] * of_b[..., None, :] + lambda_W / x.shape[-1] * of_W @ of_W.mT
        return torch.diag_embed(found.permute(0, 2, 3, 1)).permute(0, 3, 1, 4, 2)


def meta_features(meta: Meta, n_0: int, dtype: torch.dtype, device: torch.device) -> MetaFeatures:
    """The meta features of a seed: normals of v (R, n_0 + 1), w (R, n_0) and c (R,), in this order."""
    rng, R = np.random.default_rng(meta.seed), meta.rank
    v = rng.standard_normal((R, n_0 + 1)) / math.sqrt(n_0 + 1)
    w, c = rng.standard_normal((R, n_0)) / math.sqrt(n_0), rng.standard_normal(R)
    arrays = (v[:, 0], math.sqrt(n_0) * v[:, 1:].T, w.T, c)
    return MetaFeatures(meta.epsilon, *(torch.tensor(a.copy(), dtype=dtype, device=device) for a in arrays))
