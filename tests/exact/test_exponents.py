"""Depth exponents and coefficients against the recursions themselves, iterated deep."""

import numpy as np
import pytest

from analysis import theory
from analysis.theory.exponents import UNITS


def reduced(flow: theory.Flow, tensor: str, layers: np.ndarray) -> np.ndarray:
    """The tensor in units of K and Theta at the same layer, over l."""
    k, t = UNITS[tensor]
    K, Theta = flow.K[layers - 1, 0, 0], flow.Theta[layers - 1, 0, 0]
    return getattr(flow, tensor)[layers - 1].reshape(len(layers)) / (K**k * Theta**t) / layers


@pytest.mark.parametrize("phi", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["linear", "relu"])
def test_scale_invariant(name: str, phi: float) -> None:
    """Exact up to relative 1/l, so 2 X(2l) - X(l) leaves 1/l^2."""
    want, point = theory.exponents(name, phi), theory.critical(name)
    # lambda_b / (lambda_b + lambda_W A2 K) = phi with K = C_W = 1 / A2
    tensors = [t for t in want.coefficient if t in ("V", "A", "B", "D", "F") or name == "linear"]
    flow = theory.flow(name, 400, 0.0, point.C_W, np.ones((1, 1)), phi, 1 - phi, tensors=["Theta", *tensors])
    for tensor in tensors:
        half, full = reduced(flow, tensor, np.array([200, 400]))
        assert 2 * full - half == pytest.approx(want.coefficient[tensor], abs=2e-3), tensor


@pytest.mark.parametrize(("name", "a1"), [("tanh", -2.0), ("sin", -1.0)])
def test_vanishing_kernel(name: str, a1: float) -> None:
    """With lambda_b / l the coefficients are approached as log l / l: nearer at 1500 layers than at 300, and within 3 %
    of the largest there."""
    phi, depth = 0.4, 1500
    # Theta = lambda_b + lambda_W / (-a1) at large l
    layers = np.arange(1, depth + 1)
    want = theory.exponents(name, phi)
    tensors = list(want.coefficient)
    flow = theory.flow(
        name,
        depth,
        0.0,
        1.0,
        np.ones((1, 1)),
        phi / layers,
        np.full(depth, -a1 * (1 - phi)),
        tensors=["Theta", *tensors],
    )
    assert flow.K[-1, 0, 0] * depth == pytest.approx(1 / -a1, rel=0.01)
    for tensor in tensors:
        early, late = np.abs(reduced(flow, tensor, np.array([300, 1500])) - want.coefficient[tensor])
        assert late < early, tensor
        assert late < 0.01, tensor


def test_half_stable_slopes() -> None:
    assert theory.exponents("gelu").coefficient["V"] == pytest.approx(4.904, abs=1e-3)
    assert theory.exponents("swish").coefficient["V"] == pytest.approx(4.924, abs=1e-3)
    assert theory.exponents("erf").universality_class == "K* = 0"


def test_refusals() -> None:
    with pytest.raises(ValueError, match="phi=2"):
        theory.exponents("tanh", 2.0)
    with pytest.raises(ValueError, match="no critical"):
        theory.exponents("softplus")
