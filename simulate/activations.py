"""Activations s(z) and their first derivatives on torch tensors, exact forms."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from simulate.settings import Activation

Function = Callable[[Tensor], Tensor]
Pair = tuple[Function, Function]


def _relu_like(slope: float) -> Pair:
    def value(z: Tensor) -> Tensor:
        return torch.relu(z) if slope == 0 else torch.where(z > 0, z, slope * z)

    def derivative(z: Tensor) -> Tensor:
        # full_like keeps z's precision; two bare numbers would make float32 of the slope.
        return torch.where(z > 0, 1.0, torch.full_like(z, slope))

    return value, derivative


def _tanh_slope(z: Tensor) -> Tensor:
    return 1 - torch.tanh(z).square_()


def _erf_slope(z: Tensor) -> Tensor:
    return torch.exp(-z.square()).mul_(2 / math.sqrt(math.pi))


def _gelu_slope(z: Tensor) -> Tensor:
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return torch.special.ndtr(z) + z * density


def _sigmoid_slope(z: Tensor) -> Tensor:
    return torch.sigmoid(z) * torch.sigmoid(-z)


def _swish_slope(z: Tensor) -> Tensor:
    return torch.sigmoid(z) + z * _sigmoid_slope(z)


# softplus' own threshold would replace it by z above 20, an error of 2e-9 that float64 can see.
def _softplus(z: Tensor) -> Tensor:
    return torch.nn.functional.softplus(z, threshold=50.0)


_SMOOTH: dict[str, Pair] = {
    "linear": (lambda z: z, torch.ones_like),
    "tanh": (torch.tanh, _tanh_slope),
    "sin": (torch.sin, torch.cos),
    "erf": (torch.erf, _erf_slope),
    "gelu": (torch.nn.functional.gelu, _gelu_slope),
    "swish": (torch.nn.functional.silu, _swish_slope),
    "softplus": (_softplus, torch.sigmoid),
    "sigmoid": (torch.sigmoid, _sigmoid_slope),
}


def functions(activation: Activation) -> Pair:
    """(s, s') of the activation, each elementwise on a tensor."""
    if activation.name == "relu":
        return _relu_like(0.0)
    if activation.name == "leaky_relu":
        assert activation.slope is not None
        return _relu_like(activation.slope)
    return _SMOOTH[activation.name]


def _logistic(order: int) -> Callable[[Tensor], Tensor]:
    """Derivatives of the logistic function, by p = sigma (1 - sigma) and q = 1 - 2 sigma."""

    def derivative(z: Tensor) -> Tensor:
        p, q = _sigmoid_slope(z), 1 - 2 * torch.sigmoid(z)
        return (p, p * q, p * (1 - 6 * p), p * q * (1 - 12 * p))[order - 1]

    return derivative


def _density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)


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
    return (*functions(activation), *_BEYOND.get(activation.name, (torch.zeros_like,) * 3))
