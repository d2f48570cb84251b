"""Losses: sums over samples and outputs, with their slopes in the outputs (docs/theory.md section 5).

Their facts are in `simulate.settings.training`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from simulate.registry import implements
from simulate.settings.training import LOSSES

ValueAndSlope = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
VALUE_AND_SLOPE: dict[str, ValueAndSlope] = {}


def value_and_slope(name: str) -> Callable[[ValueAndSlope], ValueAndSlope]:
    """Register the function of the loss of that name. For outputs z (M, N, n_L) and targets y (N, n_L) or (M, N, n_L)
    it returns the loss (M,) in float64 and its slope in z, in the precision of z. Raises ValueError where LOSSES has no
    such name."""
    return implements(LOSSES, VALUE_AND_SLOPE, name)


@value_and_slope("mse")
def mse(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """1/2 sum (z - y)^2"""
    error = z - y
    return error.double().square().sum(dim=(1, 2)) / 2, error


@value_and_slope("cross_entropy")
def cross_entropy(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """log(1 + exp(-y z)) for one output and y = 1 or -1; -sum_i y_i log softmax(z)_i for several outputs."""
    if y.shape[-1] == 1:
        margin = y * z
        return torch.nn.functional.softplus(-margin.double()).sum(dim=(1, 2)), -y * torch.sigmoid(-margin)
    total = y.sum(dim=-1, keepdim=True)
    loss = -(y * torch.log_softmax(z.double(), dim=-1)).sum(dim=(1, 2))
    return loss, total * torch.softmax(z, dim=-1) - y
