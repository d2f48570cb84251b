"""Activations as the theory sees them: a function with five derivatives, or two slopes.

Written apart from `simulate.networks.activations` on purpose: theory and experiment share no code, so they
share no bug; `tests/exact/networks/test_activations.py` holds the two equal.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analysis.theory import expression
from analysis.theory.special import erf, expit, ndtr

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Activation:
    """One activation s(z) of docs/theory.md section 0.

    derivatives: s and its first five derivatives, each mapping a float64 array to one of the same shape.
    slopes: (a_plus, a_minus) where s is scale-invariant (PDLT sec. 2.2), s = a_plus z for z > 0 and
        a_minus z for z < 0; None otherwise. Where a_plus != a_minus, s has a kink, its second
        derivative is (a_plus - a_minus) delta(z), and `derivatives` holds s and s' only.
    sine: whether s is the sine, whose Gaussian averages have a closed form.
    """

    name: str
    derivatives: tuple[Callable[[Array], Array], ...]
    slopes: tuple[float, float] | None = None
    sine: bool = False

    def __post_init__(self) -> None:
        wanted = 6 if self.slopes is None else 2
        if len(self.derivatives) < wanted:
            has = f"{len(self.derivatives)} functions"
            raise ValueError(f"activation {self.name}: {has}: s and {wanted - 1} derivatives are needed, none is zero")

    @property
    def kinked(self) -> bool:
        return self.slopes is not None and self.slopes[0] != self.slopes[1]

    def __call__(self, z: Array) -> Array:
        return self.derivatives[0](z)


def _scale_invariant(name: str, plus: float, minus: float) -> Activation:
    return Activation(
        name,
        (lambda z: np.where(z > 0, plus * z, minus * z), lambda z: np.where(z > 0, plus, minus)),
        (plus, minus),
    )


def _linear() -> Activation:
    zero = np.zeros_like
    return Activation("linear", (lambda z: z, np.ones_like, zero, zero, zero, zero), (1.0, 1.0))


def _tanh() -> Activation:
    def in_t(polynomial: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda z: polynomial(np.tanh(z))

    return Activation(
        "tanh",
        (
            np.tanh,
            in_t(lambda t: 1 - t**2),
            in_t(lambda t: -2 * t * (1 - t**2)),
            in_t(lambda t: (1 - t**2) * (6 * t**2 - 2)),
            in_t(lambda t: (1 - t**2) * (16 * t - 24 * t**3)),
            in_t(lambda t: (1 - t**2) * (16 - 120 * t**2 + 120 * t**4)),
        ),
    )


def _sin() -> Activation:
    return Activation("sin", (np.sin, np.cos, lambda z: -np.sin(z), lambda z: -np.cos(z), np.sin, np.cos), sine=True)


def _erf() -> Activation:
    def slope(z: Array) -> Array:
        return 2 / math.sqrt(math.pi) * np.exp(-(z**2))

    return Activation(
        "erf",
        (
            erf,
            slope,
            lambda z: -2 * z * slope(z),
            lambda z: (4 * z**2 - 2) * slope(z),
            lambda z: (12 * z - 8 * z**3) * slope(z),
            lambda z: (12 - 48 * z**2 + 16 * z**4) * slope(z),
        ),
    )


def _gelu() -> Activation:
    def density(z: Array) -> Array:
        return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)

    return Activation(
        "gelu",
        (
            lambda z: z * ndtr(z),
            lambda z: ndtr(z) + z * density(z),
            lambda z: (2 - z**2) * density(z),
            lambda z: (z**3 - 4 * z) * density(z),
            lambda z: (7 * z**2 - z**4 - 4) * density(z),
            lambda z: (z**5 - 11 * z**3 + 18 * z) * density(z),
        ),
    )


# Derivatives of the logistic function in p = sigma (1 - sigma) and q = 1 - 2 sigma.
def _logistic(order: int) -> Callable[[Array], Array]:
    def derivative(z: Array) -> Array:
        sigma = expit(z)
        p, q = sigma * expit(-z), -np.tanh(z / 2)  # 1 - 2 sigma would lose its digits near zero
        return (sigma, p, p * q, p * (1 - 6 * p), p * q * (1 - 12 * p), p * (1 - 30 * p + 120 * p**2))[order]

    return derivative


def _sigmoid() -> Activation:
    return Activation("sigmoid", tuple(_logistic(k) for k in range(6)))


def _softplus() -> Activation:
    return Activation("softplus", (lambda z: np.logaddexp(0, z), *(_logistic(k) for k in range(5))))


def _swish() -> Activation:
    # Leibniz: (z sigma)^(k) = z sigma^(k) + k sigma^(k-1)
    def derivative(k: int) -> Callable[[Array], Array]:
        return lambda z: z * _logistic(k)(z) + (k * _logistic(k - 1)(z) if k else 0.0)

    return Activation("swish", tuple(derivative(k) for k in range(6)))


def _leaky_relu(slope: float = 0.01) -> Activation:
    return _scale_invariant(f"leaky_relu(slope={slope!r})", 1.0, slope)


def _expression(text: str) -> Activation:
    return Activation(f"expression({text})", expression.derivatives(text, 5))


Build = Callable[..., Activation]


def theory_of(name: str) -> Callable[[Build], Build]:
    """Registers a function of an activation's parameters that gives its `Activation`, docs/theory.md section 0.

    Raises ValueError for a taken name.
    """

    def register(build: Build) -> Build:
        if name in REGISTRY:
            raise ValueError(f"activation {name!r} is there already; choose another name")
        REGISTRY[name] = build
        return build

    return register


REGISTRY: dict[str, Build] = {
    "linear": _linear,
    "relu": lambda: _scale_invariant("relu", 1.0, 0.0),
    "leaky_relu": _leaky_relu,
    "tanh": _tanh,
    "sin": _sin,
    "erf": _erf,
    "gelu": _gelu,
    "swish": _swish,
    "softplus": _softplus,
    "sigmoid": _sigmoid,
    "expression": _expression,
}


def activation(spec: str | Activation) -> Activation:
    """The activation s of docs/theory.md section 0 that `spec` names: "tanh", with parameters "leaky_relu(slope=0.1)",
    or "expression(z*tanh(z))".

    Raises ValueError for a name or a parameter that does not exist.
    """
    if isinstance(spec, Activation):
        return spec
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", spec)
    if not match or match[1] not in REGISTRY:
        raise ValueError(f"activation={spec!r}: known are {', '.join(REGISTRY)}")
    try:
        return _built(match[1], REGISTRY[match[1]], match[2] or "")
    except (TypeError, ValueError) as error:
        raise ValueError(f"activation={spec!r}: {error}; parameters are written name(key=number)") from None


@lru_cache(maxsize=256)
def _built(name: str, build: Build, text: str) -> Activation:
    """One record for one spec, so that what is computed for it once can be kept."""
    if name == "expression":
        return build(text)
    parameters = dict(item.split("=") for item in text.replace(" ", "").split(",") if item)
    return build(**{key: float(value) for key, value in parameters.items()})
