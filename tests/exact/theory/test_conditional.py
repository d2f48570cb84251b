"""The law of one layer given the layer below: tables and Mehler's series against quadrature and closed forms."""

import numpy as np
import pytest

from analysis import theory
from analysis.theory import log_table
from analysis.theory.activations import activation
from analysis.theory.conditional import Conditional, next_mean
from analysis.theory.gaussian import Expectations
from analysis.theory.layer import Layer

PAIRS = [(0, 0), (0, 1), (1, 1)]
C_b, C_W = 0.1, 1.3
KERNELS = np.array([[0.3, 0.1, 0.5], [0.9, -0.6, 0.7], [1.4, 1.2, 1.5], [0.5, 0.5, 0.5], [0.6, -0.6, 0.6]])


def matrix(g: np.ndarray) -> np.ndarray:
    return np.array([[g[0], g[1]], [g[1], g[2]]])


@pytest.mark.parametrize("name", ["tanh", "erf", "gelu", "swish", "sin", "softplus", "expression(z*tanh(z))"])
def test_two_inputs(name: str) -> None:
    """F and v of docs/theory.md (7.10) agree with quadrature, by docs/theory.md (17.18), also for parallel inputs."""
    law = Conditional(name, C_b, C_W, PAIRS, 0.3, 1.5)
    mean, v = law.mean_and_covariance(KERNELS)
    for row, g in enumerate(KERNELS[:3]):
        expectations = Expectations(activation(name), matrix(g))
        layer = Layer(expectations, C_b, C_W, 0.0, 0.0, 1.0)
        M, connected = layer.M(0, 0), layer.connected(0, 0, 0, 0)
        np.testing.assert_allclose(mean[row], [C_b + C_W * M[p] for p in PAIRS], rtol=1e-12)
        wanted = np.array([[C_W**2 * connected[(*p, *q)] for q in PAIRS] for p in PAIRS])
        np.testing.assert_allclose(v[row], wanted, rtol=0, atol=1e-12 * wanted.max())
    np.testing.assert_allclose(mean[3], mean[3, 0], rtol=1e-12, err_msg="three pairs of one input")
    np.testing.assert_allclose(v[3], v[3, 0, 0], rtol=1e-11)
    parity = {"tanh": -1, "erf": -1, "sin": -1, "expression(z*tanh(z))": 1}
    if name in parity:
        expected = C_b + parity[name] * (mean[4, 0] - C_b)
        np.testing.assert_allclose(mean[4, 1], expected, rtol=1e-12, err_msg="opposite inputs")


def test_derivatives() -> None:
    """Differences are close to L of docs/theory.md (1.4) and to the second derivatives that V is contracted with."""
    law, K = Conditional("tanh", C_b, C_W, PAIRS, 0.3, 1.5), KERNELS[1]
    layer = Layer(Expectations(activation("tanh"), matrix(K)), C_b, C_W, 0.0, 0.0, 1.0)
    first, second = law.derivatives(K)
    for B in range(3):
        unit = np.eye(3)[B]
        wanted = layer.L(matrix(unit))
        np.testing.assert_allclose(first[:, B], [wanted[p] for p in PAIRS], atol=2e-6)
        V = np.multiply.outer(matrix(unit), matrix(unit))
        curved = C_W / 4 * layer.fourth(0, V)
        np.testing.assert_allclose(second[:, B, B], [curved[p] for p in PAIRS], atol=2e-5)
    np.testing.assert_array_equal(second, second.transpose(0, 2, 1))


@pytest.mark.parametrize("name", ["linear", "relu", "leaky_relu(slope=0.3)"])
def test_scale_invariant(name: str) -> None:
    """One input of a scale-invariant activation has closed forms, at kernels of any size."""
    plus, minus = activation(name).slopes or (0.0, 0.0)
    A2, A4, A6 = ((plus**k + minus**k) / 2 for k in (2, 4, 6))
    g = np.array([1e-12, 0.7, 1e9])
    law = Conditional(name, C_b, C_W, [(0, 0)], g.min(), g.max())
    mean, v = law.mean_and_covariance(g[:, None])
    np.testing.assert_allclose(mean[:, 0], C_b + C_W * A2 * g)
    np.testing.assert_allclose(v[:, 0, 0], C_W**2 * (3 * A4 - A2**2) * g**2)
    t = C_W**3 * (15 * A6 - 9 * A2 * A4 + 2 * A2**3) * g**3
    np.testing.assert_allclose(law.third(g), t)


def test_linear_crossed() -> None:
    law = Conditional("linear", 0.0, 1.0, PAIRS, 0.3, 1.5)
    mean, v = law.mean_and_covariance(KERNELS)
    np.testing.assert_allclose(mean, KERNELS, rtol=1e-12)
    g_aa, g_ab, g_bb = KERNELS.T
    np.testing.assert_allclose(v[:, 1, 1], g_aa * g_bb + g_ab**2, rtol=1e-11)


def test_wide_ranges() -> None:
    """A table over four decades is as exact as a short one."""
    wide = Conditional("tanh", 0.0, 1.0, PAIRS, 1e-4, 3.0)
    short = Conditional("tanh", 0.0, 1.0, PAIRS, 0.3, 1.5)
    np.testing.assert_allclose(wide.mean(KERNELS), short.mean(KERNELS), rtol=1e-11)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="activation=relu: conditional means of two inputs need a smooth activation"):
        Conditional("relu", 0.0, 2.0, PAIRS, 1.0, 1.0)
    with pytest.raises(ValueError, match="positive ones are needed"):
        Conditional("tanh", 0.0, 1.0, [(0, 0)], 0.0, 1.0)
    with pytest.raises(ValueError, match=r"Mehler's series at K=\S+ needs more than 800 terms"):
        Conditional("tanh", 0.0, 1.0, PAIRS, 1.0, 1e2)
    with pytest.raises(ValueError, match=r"averages at K=1.05e\+04 do not converge"):
        Conditional("tanh", 0.0, 1.0, PAIRS, 1.0, 1e4)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "relu", "leaky_relu(slope=0.1)"])
def test_the_mean_of_three_inputs(activation: str) -> None:
    """F of docs/theory.md (7.10) for kernels of three inputs is the map that `flow` iterates. Negative control: the
    mean at other kernels."""
    x = np.array([[1.0, 0.3], [-0.4, 1.2], [0.8, -0.9]])
    K = theory.flow(activation, 3, 0.1, 1.2, x, tensors=("K",)).K
    pairs = [(a, b) for a in range(3) for b in range(a, 3)]
    below, above = (np.array([[kernel[pair] for pair in pairs] for kernel in chosen]) for chosen in (K[:2], K[1:]))
    found = next_mean(activation, 0.1, 1.2, pairs, below)
    np.testing.assert_allclose(found, above, rtol=1e-9)
    assert not np.allclose(next_mean(activation, 0.1, 1.2, pairs, 1.01 * below), above, rtol=1e-4)


def test_the_mean_does_not_depend_on_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network's F is the same to the last bit however many are taken at a time. Negative control: the table of a
    part's own kernels."""
    sizes = np.sort(np.exp(np.random.default_rng(0).uniform(-3.0, 1.0, size=(5000, 2))), axis=0)
    g = np.stack([sizes[:, 0], 0.6 * np.sqrt(sizes.prod(axis=1)), sizes[:, 1]], axis=1)
    whole = next_mean("tanh", C_b, C_W, PAIRS, g)
    monkeypatch.setattr(log_table, "ROWS", 1000)
    np.testing.assert_array_equal(next_mean("tanh", C_b, C_W, PAIRS, g), whole)
    assert (next_mean("tanh", C_b, C_W, PAIRS, g[:1000]) != whole[:1000]).any()
