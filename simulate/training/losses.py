"""Losses: sums over samples and outputs, with their slopes in the outputs (docs/theory.md section 5)."""

from collections.abc import Callable

import torch
from torch import Tensor


def _mse(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    error = z - y
    return error.double().square().sum(dim=(1, 2)) / 2, error


def _cross_entropy(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """One output: log(1 + exp(-y z)) for y = 1 and -1. More: -sum_i y_i log softmax(z)_i."""
    if y.shape[-1] == 1:
        margin = y * z
        return torch.nn.functional.softplus(-margin.double()).sum(dim=(1, 2)), -y * torch.sigmoid(-margin)
    total = y.sum(dim=-1, keepdim=True)
    loss = -(y * torch.log_softmax(z.double(), dim=-1)).sum(dim=(1, 2))
    return loss, total * torch.softmax(z, dim=-1) - y


# Of outputs z (M, N, n_L) and targets y (N, n_L) or (M, N, n_L): the loss (M,) float64 and its slope in z.
LOSSES: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {"mse": _mse, "cross_entropy": _cross_entropy}
# The largest second derivative of a loss in one direction of z: with it, eta < 2 / (curvature lambda_max(H)).
CURVATURE = {"mse": lambda outputs: 1.0, "cross_entropy": lambda outputs: 0.25 if outputs == 1 else 0.5}
