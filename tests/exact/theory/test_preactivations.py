"""K, V, G1 and the six-point function agree with closed forms and exact laws, and have their symmetries."""

import numpy as np
import pytest

from analysis import theory
from analysis.theory.finite_width import six_point, vertex
from analysis.theory.preactivations import _moments
from tests.exact.theory.reference import REFERENCE, mean


def test_symmetries_of_the_vertex() -> None:
    """V has the symmetries of docs/theory.md (1.3), and not that under b <-> c."""
    V = theory.flow("relu", 3, 0.0, 2.0, np.random.default_rng(2).standard_normal((4, 6))).V[2]
    np.testing.assert_allclose(V, V.transpose(1, 0, 2, 3), rtol=1e-10)
    np.testing.assert_allclose(V, V.transpose(2, 3, 0, 1), rtol=1e-8)
    assert not np.allclose(V, V.transpose(0, 2, 1, 3))


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_unequal_widths_against_the_exact_law(name: str) -> None:
    """The exact V of docs/theory.md (6.2) and (6.4) at widths N (1, 2, 0.5, 3) tends to that of docs/theory.md (1.5)
    with these ratios; the rest is O(1/N)."""
    shape = np.array([1.0, 2.0, 0.5, 3.0])
    C_W = theory.critical(name).C_W
    flow = theory.flow(name, 5, 0.0, C_W, np.ones((1, 2)), width_ratios=[1.0, 2.0, 0.25, 6.0])
    want = flow.V[4].item()
    errors = []
    for N in (10_000, 20_000):
        errors.append(vertex(name, (N * shape).astype(int).tolist(), C_W, C_W) / want - 1)
    assert abs(errors[1]) < 1e-2
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=1e-2)


def test_two_linear_inputs_to_first_order() -> None:
    """For deep linear networks, two inputs and two layers, docs/theory.md (1.5) is what docs/theory.md (6.3) says:
    Cov(g_ab, g_cd) = c^2 (K_ac K_bd + K_ad K_bc) exactly."""
    x = np.random.default_rng(3).standard_normal((2, 4))
    flow = theory.flow("linear", 2, 0.0, 1.3, x)
    K = flow.K[0]
    want = 1.3**2 * (np.einsum("ac,bd->abcd", K, K) + np.einsum("ad,bc->abcd", K, K))
    np.testing.assert_allclose(flow.V[1], want, rtol=1e-11)


def test_susceptibilities_are_derivatives_of_the_flow() -> None:
    """chi_parallel is the derivative dK'/dK of docs/theory.md (1.7)."""
    h = 1e-5

    def next_K(scale: float) -> float:
        return theory.flow("swish", 2, 0.2, 1.7, scale * np.ones((1, 1)), tensors=["K"]).K[1].item()

    K = theory.flow("swish", 2, 0.2, 1.7, np.ones((1, 1)))
    slope = (next_K(1 + h) - next_K(1 - h)) / (1.7 * ((1 + h) ** 2 - (1 - h) ** 2))
    assert K.chi_parallel[0, 0] == pytest.approx(slope, rel=1e-8)


def test_parallel_inputs_of_a_kink_are_refused_not_nan() -> None:
    """The fourth derivatives in docs/theory.md (1.6) diverge where two kinks meet; docs/theory.md (1.5) needs none."""
    x = np.array([[1.0, 0.0], [2.0, 0.0]])
    with pytest.raises(ValueError, match="G1 diverges"):
        theory.flow("relu", 4, 0.0, 2.0, x)
    assert np.all(np.isfinite(theory.flow("relu", 4, 0.0, 2.0, x, tensors=["K", "Theta", "V"]).V))


def test_six_point_reference() -> None:
    """The derivatives of docs/theory.md (1.12) are exact. The reference took differences in K, and is 7e-8 off."""
    case = REFERENCE["tanh"]
    want = [case["layers"][str(layer)]["W6"] for layer in range(1, 9)]
    np.testing.assert_allclose(theory.six_point("tanh", 8, 0.0, 1.0, 1.0), want, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "gelu", "relu"])
def test_six_point_derivatives_in_the_kernel(name: str) -> None:
    """The derivatives in K of docs/theory.md (1.12) are those of the expectations, by differences."""
    s, K, h = theory.activation(name), 0.7, 1e-3
    up, here, down = (_moments(s, k) for k in (K + h, K, K - h))
    assert here[3] == pytest.approx((up[0] - down[0]) / (2 * h), rel=1e-5)
    assert here[4] == pytest.approx((up[1] - down[1]) / (2 * h), rel=1e-5)
    assert here[5] == pytest.approx((up[0] - 2 * here[0] + down[0]) / h**2, rel=1e-4, abs=1e-8)


def test_six_point_of_relu_is_the_exact_law_at_large_width() -> None:
    """docs/theory.md (1.12) is the leading order of docs/theory.md (6.6)."""
    n, W = 10**4, theory.six_point("relu", 5, 0.0, 2.0, 2.0)
    assert n**2 * six_point("relu", [n] * 4, 2.0, 2.0) == pytest.approx(W[4], rel=1e-2)


@pytest.mark.parametrize("name", ["tanh", "gelu", "softplus"])
def test_one_input_follows_the_scalar_equations(name: str) -> None:
    """docs/theory.md (1.7) to (1.10) by moments with powers of z, where the flow takes derivatives of s, at unequal
    widths."""
    s, C_b, C_W, ratios = theory.activation(name), 0.1, 1.3, [1.0, 2.0, 0.5, 3.0]
    flow = theory.flow(name, 5, C_b, C_W, np.full((1, 2), 0.9), width_ratios=ratios)
    K, V, G1 = C_b + C_W * 0.81, 0.0, 0.0
    for layer in range(5):
        second, fourth = mean(lambda z: s(z) ** 2, K), mean(lambda z: s(z) ** 4, K)
        slope = C_W / (2 * K**2) * mean(lambda z, K=K: s(z) ** 2 * (z**2 - K), K)
        assert slope == pytest.approx(C_W / K * mean(lambda z: z * s(z) * s.derivatives[1](z), K), rel=1e-10)
        assert flow.chi_parallel[layer, 0] == pytest.approx(slope, rel=1e-10)
        assert flow.chi_perp[layer, 0] == pytest.approx(C_W * mean(lambda z: s.derivatives[1](z) ** 2, K), rel=1e-10)
        for got, want in ((flow.K, K), (flow.V, V), (flow.G1, G1)):
            assert got[layer].item() == pytest.approx(want, rel=1e-9, abs=1e-14), layer
        if layer < 4:
            rho = ratios[layer]
            j = C_W * mean(lambda z, K=K: s(z) ** 2 * ((z**2 / K) ** 2 - 6 * z**2 / K + 3), K)
            G1 = rho * (slope * G1 + j * V / (8 * K**2))
            V = C_W**2 * (fourth - second**2) + rho * slope**2 * V
            K = C_b + C_W * second


def test_deep_linear_inputs_by_the_exact_recursion() -> None:
    """docs/theory.md (6.3) iterated at widths near 10^6: n (M_(ab)(cd) - K_ab K_cd) is V of docs/theory.md (1.5) up to
    1/n, and G1 vanishes. Negative control: one layer fewer."""
    x, c, n, depth = np.random.default_rng(7).standard_normal((3, 5)), 1.2, 10**6, 4
    widths = [n, 2 * n, n // 2]  # of layers 1 to 3
    flow = theory.flow("linear", depth, 0.0, c, x, width_ratios=[1.0, 2.0, 0.25])
    K = c * x @ x.T / 5
    M, excess = np.multiply.outer(K, K), []
    for width in widths:
        # g of the next layer is c times the mean over `width` neurons, whose products have mean M
        M = c**2 * (M + (np.einsum("acbd->abcd", M) + np.einsum("adbc->abcd", M)) / width)
        K = c * K
        excess.append(width * (M - np.multiply.outer(K, K)))
    close = 1e-5 * np.abs(flow.V[-1]).max()
    np.testing.assert_allclose(excess[-1], flow.V[-1], rtol=0, atol=close)
    assert np.abs(excess[-2] - flow.V[-1]).max() > 1000 * close
    np.testing.assert_allclose(flow.K[-1], K, rtol=1e-12)
    np.testing.assert_allclose(flow.G1, 0, atol=1e-12)
