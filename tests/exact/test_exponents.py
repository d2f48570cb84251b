"""Depth exponents and coefficients against the recursions themselves, iterated deep."""

import numpy as np
import pytest

from analysis import theory
from analysis.theory.tensors import UNITS


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


@pytest.mark.parametrize("name", ["gelu", "swish"])
def test_half_stable(name: str) -> None:
    """At K* the kernel does not move, and the coefficients are approached as 1/l: 2 X(2l) - X(l) leaves 1/l^2."""
    want, point = theory.exponents(name, 0.3), theory.critical(name)
    assert set(want.coefficient) == {"V", "B", "F", "P", "U"}
    flow = theory.flow(
        name, 200, point.C_b, point.C_W, fixed_input(point), 0.3, 0.7, tensors=["Theta", *want.coefficient]
    )
    assert flow.K[-1, 0, 0] == pytest.approx(point.K_star, rel=1e-9)
    for tensor, coefficient in want.coefficient.items():
        half, full = reduced(flow, tensor, np.array([100, 200]))
        assert 2 * full - half == pytest.approx(coefficient, rel=5e-3), tensor
        assert abs(full - coefficient) < abs(half - coefficient), tensor


def fixed_input(point: theory.Critical) -> np.ndarray:
    """One input with K(1) = K*, or 0.7 where there is none or none but zero."""
    K = point.K_star if point.K_star > 0 else 0.7
    return np.full((1, 1), np.sqrt((K - point.C_b) / point.C_W))


@pytest.mark.parametrize("name", ["relu", "tanh", "sin", "erf", "gelu"])
def test_equal_shares(name: str) -> None:
    """With rates scaled so, the NTK at the output is of order one at any depth, and the layers add alike: the lower
    half gives half of it (theory.md 4.5). Unscaled rates, as a control, give an NTK that grows with depth."""
    point = theory.critical(name)

    def output(depth: int, upto: int, scaled: bool = True) -> float:
        shares = theory.equal_shares(name, depth) if scaled else ([1.0] * depth, [1.0] * depth)
        b, W = ([rate if layer < upto else 0.0 for layer, rate in enumerate(rates)] for rates in shares)
        flow = theory.flow(name, depth, point.C_b, point.C_W, fixed_input(point), b, W, tensors=["Theta"])
        return float(flow.Theta[-1, 0, 0])

    assert output(600, 600) == pytest.approx(output(300, 300), rel=0.05)
    assert output(600, 300) / output(600, 600) == pytest.approx(0.5, abs=0.02)
    assert output(600, 600, False) > 1.5 * output(300, 300, False)


@pytest.mark.parametrize("name", ["relu", "tanh", "erf", "gelu"])
def test_bias_share(name: str) -> None:
    """Of the NTK's growth from one layer to the next, with rates scaled, the share that the biases add."""
    depth, point = 800, theory.critical(name)
    x = fixed_input(point)
    shares = [np.array(rates) for rates in theory.equal_shares(name, depth)]
    phi = theory.bias_share(name, 0.6, 1.7, point.C_b + point.C_W * float(x[0, 0]) ** 2)
    biases, weights = (
        theory.flow(name, depth, point.C_b, point.C_W, x, b * shares[0], W * shares[1], tensors=["Theta"]).Theta
        for b, W in ((0.6, 0.0), (0.0, 1.7))
    )
    share = biases[-1, 0, 0] / (biases[-1, 0, 0] + weights[-1, 0, 0])
    assert share == pytest.approx(phi, abs=0.01)


@pytest.mark.parametrize(
    ("name", "C_b", "C_W", "K", "where", "chi"),
    [
        ("linear", 0.0, 0.8, 1.0, 0.0, 0.8),
        ("relu", 0.0, 2.4, 1.0, np.inf, 1.2),
        ("relu", 0.5, 1.0, 3.0, 1.0, 0.5),
        ("tanh", 0.0, 0.9, 1.0, 0.0, 0.9),
        ("tanh", 0.2, 1.1, 1.0, None, None),
        ("gelu", 0.1, 1.5, 2.0, None, None),
    ],
)
def test_attractor(name: str, C_b: float, C_W: float, K: float, where: float | None, chi: float | None) -> None:
    """The fixed point in closed form, or that of the flow; its rate by the distance of two kernels to it."""
    got, rate = theory.attractor(name, C_b, C_W, K)
    depth = int(16 / abs(np.log(rate)))  # distances shrink or grow by e^16, well within double precision
    x = np.sqrt([[K / C_W], [1.01 * K / C_W]])
    kernels = theory.flow(name, depth, C_b, C_W, x, tensors=["K"]).K[:, [0, 1], [0, 1]]
    apart = kernels[:, 1] - kernels[:, 0]
    assert rate == pytest.approx(apart[-1] / apart[-2], rel=1e-3)
    if where is not None:
        assert got == pytest.approx(where)
        assert rate == pytest.approx(chi, rel=1e-6)
    else:
        assert got == pytest.approx(kernels[-1, 0], rel=1e-4)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="does not flow exponentially"):
        theory.attractor("tanh", 0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="no critical"):
        theory.equal_shares("softplus", 3)
    with pytest.raises(ValueError, match="phi=2"):
        theory.exponents("tanh", 2.0)
    with pytest.raises(ValueError, match="no critical"):
        theory.exponents("softplus")
