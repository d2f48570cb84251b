"""Gaussian averages and tensors from the smallest to the largest kernels, against independent integrals."""

import math
from collections.abc import Callable
from functools import cache

import mpmath as mp
import numpy as np
import pytest

from analysis import theory
from analysis.theory.activations import activation
from analysis.theory.gaussian import Expectations
from analysis.theory.kinks import _panels
from analysis.theory.quadrature import pivoted_cholesky

Array = np.ndarray
SMOOTH = ["linear", "tanh", "erf", "sin", "sigmoid", "softplus", "gelu", "swish"]
PRODUCTS = [(0, 0), (1, 1), (2, 0), (2, 2), (4, 0), (0, 0, 0, 0), (0, 0, 1, 1), (1, 1, 1, 1), (3, 1, 1, 1)]


def panels(f: Callable[[Array], Array], K: float) -> tuple[float, float]:
    """<f(z)> and <|f(z)|> by Gauss-Legendre panels whose lengths grow with |z|, which follow s wherever it changes."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    edges = np.concatenate([[0.0], np.geomspace(1e-6 * min(1.0, math.sqrt(K)), 12 * math.sqrt(K), 400)])
    middle, half = (edges[1:] + edges[:-1])[:, None] / 2, np.diff(edges)[:, None] / 2
    z = middle + half * nodes
    density = half * weights * np.exp(-(z**2) / (2 * K)) / math.sqrt(2 * math.pi * K)
    value = density * f(z), density * f(-z)
    return float(value[0].sum() + value[1].sum()), float(np.abs(value).sum())


def sines(orders: tuple[int, ...], K: float) -> float:
    """<prod sin(z + o pi/2)> by powers of cos and sin, whose means are sums over e^{-m^2 K/2}, in 60 digits."""
    with mp.workdps(60):
        exp = [mp.exp(-mp.mpf(K) * m**2 / 2) for m in range(5)]
        total = mp.mpc(0)
        for code in range(2 ** len(orders)):
            signs = [1 - 2 * (code >> k & 1) for k in range(len(orders))]
            phase = sum(sign * order for sign, order in zip(signs, orders, strict=True))
            total += math.prod(signs) * mp.mpc(0, 1) ** (phase % 4) * exp[abs(sum(signs))]
        return float((total / mp.mpc(0, 2) ** len(orders)).real)


def worst(name: str, K: float) -> float:
    """The largest error of the averages of all products, relative to the average of their sizes."""
    s = activation(name)
    means, found = Expectations(s, np.array([[K]])), 0.0
    for orders in PRODUCTS:
        d = [s.derivatives[o] for o in orders]
        exact, size = panels(lambda z, d=d: np.prod([f(z) for f in d], axis=0), K)
        exact = sines(orders, K) if s.sine else exact
        if size:
            found = max(found, abs(float(means.tensor(*orders).reshape(-1)[0]) - exact) / size)
    return found


@pytest.mark.parametrize("K", [1e-12, 1e-6, 1e3, 1e12])
@pytest.mark.parametrize("name", SMOOTH)
def test_averages_of_one_input(name: str, K: float) -> None:
    assert worst(name, K) < 1e-9


@pytest.mark.long
@pytest.mark.parametrize("power", range(-12, 13))
@pytest.mark.parametrize("name", SMOOTH)
def test_averages_at_every_decade(name: str, power: int) -> None:
    for K in (10.0**power, 3 * 10.0**power):
        assert worst(name, K) < 1e-9


def gaussians(K: Array, index: tuple[int, ...]) -> float:
    """<prod erf'(z_k)>: a product of Gaussians."""
    count = np.bincount(index, minlength=len(K))
    return float(
        (2 / math.sqrt(math.pi)) ** len(index) * np.linalg.det(np.eye(len(K)) + 2 * np.diag(count) @ K) ** -0.5
    )


@pytest.mark.parametrize("correlation", [0.3, 0.9999, -0.9999])
@pytest.mark.parametrize("K", [1.0, 1e3, 1e6, 1e12])
def test_averages_of_two_inputs(K: float, correlation: float) -> None:
    """erf has closed forms: the arcsine kernel, and Gaussians for its slopes."""
    k = K * np.array([[1.0, 0.8 * correlation], [0.8 * correlation, 0.64]])
    means, root = Expectations(activation("erf"), k), np.sqrt(1 + 2 * k.diagonal())
    np.testing.assert_allclose(means.tensor(0, 0), 2 / np.pi * np.arcsin(2 * k / np.outer(root, root)), rtol=1e-9)
    slopes = means.tensor(1, 1, 1, 1)
    for index in np.ndindex(slopes.shape):
        assert slopes[index] == pytest.approx(gaussians(k, index), rel=1e-9)


def by_mpmath(name: str, K: float) -> dict[str, float]:
    """V, D and A of layer 2 for one input of kernel K and lambda_b = lambda_W = C_W = 1, C_b = 0, in 50 digits."""
    functions: dict[str, tuple[Callable, Callable]] = {
        "tanh": (mp.tanh, lambda z: 1 - mp.tanh(z) ** 2),
        "softplus": (lambda z: mp.log1p(mp.exp(z)), lambda z: 1 / (1 + mp.exp(-z))),
        "gelu": (lambda z: z * mp.ncdf(z), lambda z: mp.ncdf(z) + z * mp.npdf(z)),
    }
    s, slope, density = map(cache, (*functions[name], mp.npdf))  # five averages have the same nodes
    with mp.workdps(50):
        root, Theta = mp.sqrt(mp.mpf(K)), 1 + mp.mpf(K)

        def mean(f: Callable) -> mp.mpf:
            return mp.quad(lambda u: f(root * u) * density(u), [-14, -4, 0, 4, 14])

        def omega(z: mp.mpf) -> mp.mpf:
            return s(z) ** 2 + Theta * slope(z) ** 2

        square, Omega = mean(lambda z: s(z) ** 2), mean(omega)
        return {
            "V": float(mean(lambda z: s(z) ** 4) - square**2),
            "D": float(mean(lambda z: s(z) ** 2 * omega(z)) - square * Omega),
            "A": float(mean(lambda z: omega(z) ** 2) - Omega**2),
        }


@pytest.mark.parametrize("K", [1e-10, 1e-6, 0.009, 0.011])
@pytest.mark.parametrize("name", ["tanh", "softplus", "gelu"])
def test_covariances_of_small_kernels(name: str, K: float) -> None:
    """The two terms of a covariance agree in up to 20 digits; 0.009 and 0.011 lie on both sides of the change."""
    flow = theory.flow(name, 2, 0.0, 1.0, math.sqrt(K) * np.ones((1, 3)), 1.0, 1.0, tensors=("V", "D", "A"))
    for tensor, exact in by_mpmath(name, K).items():
        assert flow[tensor][1].item() == pytest.approx(exact, rel=1e-9), tensor


def test_a_deep_flow_keeps_its_variances_positive() -> None:
    """K falls to 1e-13; A at layer 40 was -1e-16 by subtraction of its two terms."""
    flow = theory.flow("tanh", 40, 0.0, 0.5, np.ones((1, 3)), 1.0, 1.0, tensors=("A", "V"))
    assert flow.A is not None
    assert flow.V is not None
    assert (flow.A[1:] > 0).all()
    assert (flow.V[1:] > 0).all()


def test_saturation() -> None:
    """V of tanh at large K: 4/3 <|z| < 1> - 4 <|z| < 1>^2 in units of sqrt(2 pi K), up to relative order 1/K."""
    for K in (1e6, 1e8, 1e10):
        V = theory.flow("tanh", 2, 0.0, 1.0, math.sqrt(K) * np.ones((1, 3)), tensors=("V",)).V
        assert V is not None
        assert V[1].item() == pytest.approx(4 / 3 / math.sqrt(2 * math.pi * K) - 2 / (math.pi * K), rel=1 / K + 1e-9)


def test_three_inputs_of_a_large_kernel_are_refused() -> None:
    K = 1e4 * np.array([[1.0, 0.2, 0.1], [0.2, 1.0, 0.3], [0.1, 0.3, 1.0]])
    means = Expectations(activation("tanh"), K)
    assert (means.tensor(1, 1) > 0).all(), "two of them are averaged"
    with pytest.raises(ValueError, match=r"averages over 3 inputs at K=1e\+04"):
        means.tensor(0, 0, 0, 0)


@pytest.mark.parametrize("distance", [1e-2, 1e-4, pytest.param(1e-6, marks=pytest.mark.long)])
def test_two_antipodal_pairs_of_kinked_inputs(distance: float) -> None:
    """They are averaged to 1e-6 or refused; the control says how far 64 nodes a panel can be off."""
    x = np.array([[1.0, 0.3, 0.2, 0.1], [-1.0, -0.3, -0.2, -0.1], [0.1, 1.0, 0.5, 0.2], [-0.1, -1.0, -0.5, -0.2]])
    x[1] += distance * np.array([0.0, 0.1, 1.0, 0.3])
    x[3] += distance * np.array([0.5, 0.1, -0.2, 1.0])
    s, K = activation("relu"), x @ x.T
    found, reason = math.nan, ""
    try:
        found = float(Expectations(s, K).tensor(0, 0, 0, 0)[0, 1, 2, 3])
    except ValueError as error:
        reason = str(error)
    if reason:
        assert "do not converge to 1e-06" in reason
    else:
        C, order = pivoted_cholesky(K)
        assert found == pytest.approx(_panels(s, C, [(1, 1)] * len(order), panel=200), rel=1e-6)


def test_an_input_of_zeros_has_no_slope_at_a_kink() -> None:
    x = np.array([[0.0, 0.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match="inputs: one is zero everywhere, where relu has no slope at C_b=0"):
        theory.flow("relu", 3, 0.0, 2.0, x)
    assert np.isfinite(theory.flow("relu", 3, 0.1, 2.0, x).K).all()
    assert np.isfinite(theory.flow("tanh", 3, 0.0, 1.0, x).K).all()
