"""Activations s(z) and their derivatives on torch tensors, exact forms."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulate.settings.network import Activation

Function = Callable[[Tensor], Tensor]
Slope = Callable[[Tensor, Tensor], Tensor]  # s' from z and s(z), which often has done most of the work


def _numpy(ufunc: Any, function: Function) -> Function:
    """`function`, on a CPU by numpy: its tanh, sin, cos and exp take a half to a seventh of torch's time (AVX512).

    Only in inference mode, where nothing is differentiated.
    """

    def value(z: Tensor) -> Tensor:
        if not torch.is_inference_mode_enabled() or z.device.type != "cpu":
            return function(z)
        out = torch.empty_like(z)
        ufunc(z.numpy(), out=out.numpy())
        return out

    return value


_tanh, _sin, _cos = _numpy(np.tanh, torch.tanh), _numpy(np.sin, torch.sin), _numpy(np.cos, torch.cos)
_exp = _numpy(np.exp, torch.exp)


def _relu_like(slope: float) -> tuple[Function, Slope]:
    def value(z: Tensor) -> Tensor:
        return torch.relu(z) if slope == 0 else torch.where(z > 0, z, slope * z)

    def derivative(z: Tensor, s: Tensor) -> Tensor:
        if slope == 0:
            return (z > 0).to(z.dtype)
        # full_like keeps z's precision; two bare numbers would make float32 of the slope.
        return torch.where(z > 0, 1.0, torch.full_like(z, slope))

    return value, derivative


def _gelu_slope(z: Tensor, s: Tensor) -> Tensor:
    return torch.special.ndtr(z) + z * _density(z)


def _swish_slope(z: Tensor, s: Tensor) -> Tensor:
    share = torch.sigmoid(z)
    return share + s * (1 - share)


def _density(z: Tensor) -> Tensor:
    return _exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)


# softplus' own threshold would replace it by z above 20, an error of 2e-9 that float64 can see.
def _softplus(z: Tensor) -> Tensor:
    return torch.nn.functional.softplus(z, threshold=50.0)


_SMOOTH: dict[str, tuple[Function, Slope]] = {
    "linear": (lambda z: z, lambda z, s: torch.ones_like(z)),
    "tanh": (_tanh, lambda z, s: torch.addcmul(s.new_ones(()), s, s, value=-1)),  # 1 - s^2 in one pass
    "sin": (_sin, lambda z, s: _cos(z)),
    "erf": (torch.erf, lambda z, s: _exp(-z.square()) * (2 / math.sqrt(math.pi))),
    "gelu": (torch.nn.functional.gelu, _gelu_slope),
    "swish": (torch.nn.functional.silu, _swish_slope),
    "softplus": (_softplus, lambda z, s: torch.sigmoid(z)),
    "sigmoid": (torch.sigmoid, lambda z, s: s * torch.sigmoid(-z)),
}
# s has the sign of z, or gives the slope by itself: slope(s, s) is slope(z, s).
_SLOPE_OF_S = ("linear", "relu", "leaky_relu", "tanh")


def slope_of_s(activation: Activation) -> bool:
    return activation.name in _SLOPE_OF_S and (activation.slope is None or activation.slope > 0)


def functions(activation: Activation) -> tuple[Function, Slope]:
    """s(z) and s'(z, s) of the activation, each elementwise."""
    if activation.name == "relu":
        return _relu_like(0.0)
    if activation.name == "leaky_relu":
        assert activation.slope is not None
        return _relu_like(activation.slope)
    return _SMOOTH[activation.name]


def _logistic(order: int) -> Callable[[Tensor], Tensor]:
    """Derivatives of the logistic function, by p = sigma (1 - sigma) and q = 1 - 2 sigma."""

    def derivative(z: Tensor) -> Tensor:
        p, q = torch.sigmoid(z) * torch.sigmoid(-z), 1 - 2 * torch.sigmoid(z)
        return (p, p * q, p * (1 - 6 * p), p * q * (1 - 12 * p))[order - 1]

    return derivative


def _tanh_slope(z: Tensor) -> Tensor:
    return 1 - torch.tanh(z).square()


def _erf_slope(z: Tensor) -> Tensor:
    return torch.exp(-z.square()) * (2 / math.sqrt(math.pi))


# second, third and fourth derivatives
_BEYOND: dict[str, tuple[Function, Function, Function]] = {
    "tanh": (
        lambda z: -2 * torch.tanh(z) * _tanh_slope(z),
        lambda z: _tanh_slope(z) * (6 * torch.tanh(z).square() - 2),
        lambda z: _tanh_slope(z) * torch.tanh(z) * (16 - 24 * torch.tanh(z).square()),
    ),
    "sin": (lambda z: -torch.sin(z), lambda z: -torch.cos(z), torch.sin),
    "erf": (
        lambda z: -2 * z * _erf_slope(z),
        lambda z: (4 * z.square() - 2) * _erf_slope(z),
        lambda z: (12 * z - 8 * z**3) * _erf_slope(z),
    ),
    "gelu": (
        lambda z: (2 - z.square()) * _density(z),
        lambda z: (z**3 - 4 * z) * _density(z),
        lambda z: (-(z**4) + 7 * z.square() - 4) * _density(z),
    ),
    "swish": (
        lambda z: 2 * _logistic(1)(z) + z * _logistic(2)(z),
        lambda z: 3 * _logistic(2)(z) + z * _logistic(3)(z),
        lambda z: 4 * _logistic(3)(z) + z * _logistic(4)(z),
    ),
    "softplus": (_logistic(1), _logistic(2), _logistic(3)),
    "sigmoid": (_logistic(2), _logistic(3), _logistic(4)),
}


def derivatives(activation: Activation) -> tuple[Function, ...]:
    """s and its first four derivatives. Piecewise linear activations have none from the second on, away from
    their kink, whose delta function no finite number of networks sees."""
    s, slope = functions(activation)
    return (s, lambda z: slope(z, s(z)), *_BEYOND.get(activation.name, (torch.zeros_like,) * 3))
