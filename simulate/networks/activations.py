"""Activations s(z) and their derivatives on torch tensors, exact forms."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulate.numerics.gram import Form
from simulate.settings.expression import Tree, Z, derivative, is_number, parse
from simulate.settings.network import ACTIVATIONS, Activation, Kind
from simulate.settings.reader import SettingsError

Function = Callable[[Tensor], Tensor]
Slope = Callable[[Tensor, Tensor], Tensor]  # s'(z) from z and s(z): with s(z) at hand it is often cheap


def _numpy(ufunc: Any, function: Function) -> Function:
    """`function`, computed by numpy on a CPU, whose tanh, sin, cos and exp take 1/2 to 1/7 of torch's time (AVX512).

    Outside inference mode torch computes it, so that it can be differentiated.
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


def _gelu_slope(z: Tensor, s: Tensor) -> Tensor:
    return torch.special.ndtr(z) + z * _density(z)


def _swish_slope(z: Tensor, s: Tensor) -> Tensor:
    share = torch.sigmoid(z)
    return share + s * (1 - share)


def _density(z: Tensor) -> Tensor:
    return _exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)


# torch's default threshold replaces softplus by z above 20, an error of 2e-9 that float64 can see.
def _softplus(z: Tensor) -> Tensor:
    return torch.nn.functional.softplus(z, threshold=50.0)


def _logistic(order: int) -> Callable[[Tensor], Tensor]:
    """Derivatives of the logistic function, by p = sigma (1 - sigma) and q = 1 - 2 sigma."""

    def derivative(z: Tensor) -> Tensor:
        p, q = torch.sigmoid(z) * torch.sigmoid(-z), 1 - 2 * torch.sigmoid(z)
        return (p, p * q, p * (1 - 6 * p), p * q * (1 - 12 * p), p * (1 - 30 * p + 120 * p.square()))[order - 1]

    return derivative


def _tanh_slope(z: Tensor) -> Tensor:
    return 1 - torch.tanh(z).square()


def _erf_slope(z: Tensor) -> Tensor:
    return torch.exp(-z.square()) * (2 / math.sqrt(math.pi))


@dataclass(frozen=True)
class Functions:
    """The functions of an activation with given parameters, each elementwise: s(z), and slope(z, s), which is s'(z).

    beyond: the second and higher derivatives, three or more, as many as are known; None where there are none, so that
    asking for them is an error.
    slope_of_s: whether s'(z) is a function of s(z) alone, slope(s, s) = slope(z, s), so that z need not be kept.
    """

    s: Function
    slope: Slope
    beyond: tuple[Function, ...] | None = None
    slope_of_s: bool = False

    @property
    def form(self) -> Form | None:
        """What the loops know it as, if they do; slope_of_s is then true."""
        return self.slope if isinstance(self.slope, Form) else None


Build = Callable[..., Functions]
FUNCTIONS: dict[str, Build] = {}


def activation(name: str, *parameters: str) -> Callable[[Build], Build]:
    """Register a function of the named parameters that returns an activation's `Functions`, so that settings can name
    the activation. ValueError where the name is taken."""

    def register(build: Build) -> Build:
        if name in FUNCTIONS:
            raise ValueError(f"activation {name!r} is there already; choose another name")
        if name not in ACTIVATIONS:  # not one of configs/activation
            ACTIVATIONS.add(Kind(name, parameters))
        FUNCTIONS[name] = build
        return build

    return register


# The second and higher derivatives of a piecewise linear function vanish but at its kink, on which no finite number of
# networks ever falls.
FLAT = (torch.zeros_like,) * 4


@activation("linear")
def _linear() -> Functions:
    return Functions(lambda z: z, Form(below=1.0), FLAT, slope_of_s=True)


@activation("relu")
def _relu() -> Functions:
    return Functions(torch.relu, Form(), FLAT, slope_of_s=True)


@activation("leaky_relu", "slope")
def _leaky_relu(slope: float) -> Functions:
    def value(z: Tensor) -> Tensor:
        return torch.where(z > 0, z, slope * z)

    def derivative(z: Tensor, s: Tensor) -> Tensor:
        # full_like keeps z's precision; two bare numbers would make float32 of the slope.
        return torch.where(z > 0, 1.0, torch.full_like(z, slope))

    # At a slope above zero s has the sign of z.
    return Functions(value, Form(below=slope) if slope > 0 else derivative, FLAT, slope_of_s=slope > 0)


@activation("tanh")
def _tanh_functions() -> Functions:
    beyond = (
        lambda z: -2 * torch.tanh(z) * _tanh_slope(z),
        lambda z: _tanh_slope(z) * (6 * torch.tanh(z).square() - 2),
        lambda z: _tanh_slope(z) * torch.tanh(z) * (16 - 24 * torch.tanh(z).square()),
        lambda z: _tanh_slope(z) * (16 - 120 * torch.tanh(z).square() + 120 * torch.tanh(z) ** 4),
    )
    return Functions(_tanh, Form(tanh=True), beyond, slope_of_s=True)


@activation("sin")
def _sin_functions() -> Functions:
    beyond = (lambda z: -torch.sin(z), lambda z: -torch.cos(z), torch.sin, torch.cos)
    return Functions(_sin, lambda z, s: _cos(z), beyond)


@activation("erf")
def _erf_functions() -> Functions:
    beyond = (
        lambda z: -2 * z * _erf_slope(z),
        lambda z: (4 * z.square() - 2) * _erf_slope(z),
        lambda z: (12 * z - 8 * z**3) * _erf_slope(z),
        lambda z: (12 - 48 * z.square() + 16 * z**4) * _erf_slope(z),
    )
    return Functions(torch.erf, lambda z, s: _exp(-z.square()) * (2 / math.sqrt(math.pi)), beyond)


@activation("gelu")
def _gelu() -> Functions:
    beyond = (
        lambda z: (2 - z.square()) * _density(z),
        lambda z: (z**3 - 4 * z) * _density(z),
        lambda z: (-(z**4) + 7 * z.square() - 4) * _density(z),
        lambda z: (z**5 - 11 * z**3 + 18 * z) * _density(z),
    )
    return Functions(torch.nn.functional.gelu, _gelu_slope, beyond)


@activation("swish")
def _swish() -> Functions:
    beyond = (
        lambda z: 2 * _logistic(1)(z) + z * _logistic(2)(z),
        lambda z: 3 * _logistic(2)(z) + z * _logistic(3)(z),
        lambda z: 4 * _logistic(3)(z) + z * _logistic(4)(z),
        lambda z: 5 * _logistic(4)(z) + z * _logistic(5)(z),
    )
    return Functions(torch.nn.functional.silu, _swish_slope, beyond)


@activation("softplus")
def _softplus_functions() -> Functions:
    return Functions(_softplus, lambda z, s: torch.sigmoid(z), tuple(_logistic(k) for k in (1, 2, 3, 4)))


@activation("sigmoid")
def _sigmoid() -> Functions:
    return Functions(torch.sigmoid, lambda z, s: s * torch.sigmoid(-z), tuple(_logistic(k) for k in (2, 3, 4, 5)))


@activation("expression", "expression")
def _expression(expression: str) -> Functions:
    trees = [parse(expression)]
    for _ in range(5):
        trees.append(derivative(trees[-1]))
    value, slope, *beyond = (_evaluator(tree) for tree in trees)
    return Functions(value, lambda z, s: slope(z), tuple(beyond))


_OF_ONE: dict[str, Function] = {
    "tanh": _tanh,
    "sin": _sin,
    "cos": _cos,
    "exp": _exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "softplus": _softplus,
    "atan": torch.atan,
    "Phi": torch.special.ndtr,
}


def _evaluator(tree: Tree) -> Function:
    """The function of z that a tree of `simulate.settings.expression` stands for; equal parts are computed once."""

    def evaluate(z: Tensor) -> Tensor:
        known: dict[Tree, Any] = {Z: z}

        def value(node: Tree) -> Any:
            if is_number(node):
                return node[0]
            if node not in known:
                kind, first, *rest = node
                if kind in _OF_ONE:
                    argument = value(first)
                    known[node] = _OF_ONE[kind](argument if torch.is_tensor(argument) else torch.full_like(z, argument))
                elif kind == "**":
                    known[node] = value(first) ** (int(rest[0]) if rest[0] == int(rest[0]) else rest[0])
                else:
                    known[node] = _ARITHMETIC[kind](value(first), value(rest[0]))
            return known[node]

        result = value(tree)
        return result if torch.is_tensor(result) else torch.full_like(z, result)

    return evaluate


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "*": operator.mul, "/": operator.truediv}


@lru_cache(maxsize=64)
def _of(name: str, values: tuple[tuple[str, Any], ...]) -> Functions:
    return FUNCTIONS[name](**dict(values))


def of(setting: Activation) -> Functions:
    return _of(setting.name, tuple(setting.values.items()))


def slope_of_s(setting: Activation) -> bool:
    return of(setting).slope_of_s


def functions(setting: Activation) -> tuple[Function, Slope]:
    """s(z) and s'(z, s) of the activation, each elementwise."""
    return of(setting).s, of(setting).slope


def slopes(slope: Slope, z: Tensor, s: Tensor) -> Tensor | Form:
    """The slopes at z as loops take them: a form that they know, or numbers."""
    return slope if isinstance(slope, Form) else slope(z, s)


def derivatives(setting: Activation, order: int = 4) -> tuple[Function, ...]:
    """s and its first `order` derivatives; SettingsError where the activation has fewer."""
    found = of(setting)
    if found.beyond is None:
        right = "it has no derivatives beyond the slope, which dntk, ddntk, ddntk_signs, fourth and taylor need"
        raise SettingsError("activation", setting.name, right)
    if len(found.beyond) < order - 1:
        right = f"it has {len(found.beyond) + 1} derivatives, and ntk_derivatives needs {order}"
        raise SettingsError("activation", setting.name, right)
    return (found.s, lambda z: found.slope(z, found.s(z)), *found.beyond[: order - 1])
