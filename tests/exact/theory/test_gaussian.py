"""Gaussian expectations agree with closed forms, and do not change on finer grids."""

import itertools
import math

import numpy as np
import pytest

from analysis.theory import gaussian, quadrature
from analysis.theory.activations import Activation, activation
from analysis.theory.gaussian import Expectations
from analysis.theory.kinks import _panels
from analysis.theory.quadrature import axis_steps


def four_point(s: Activation, K: np.ndarray) -> np.ndarray:
    return Expectations(s, K).tensor(0, 0, 0, 0)


def random_kernel(D: int, seed: int, scale: float = 1.0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((D, D + 2))
    return scale * x @ x.T / (D + 2)


def isserlis(K: np.ndarray) -> np.ndarray:
    ab_cd = np.einsum("ab,cd->abcd", K, K)
    return ab_cd + ab_cd.transpose(0, 2, 1, 3) + ab_cd.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("D", [1, 2, 3, 4, 5])
def test_linear_is_isserlis(D: int) -> None:
    """The means <z z z z> of docs/theory.md section 0 are sums over pairings."""
    K = random_kernel(D, D)
    np.testing.assert_allclose(four_point(activation("linear"), K), isserlis(K), rtol=1e-11)


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_series_of_pairs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means of pairs of more than four samples, by docs/theory.md (17.18), are those of the quadrature, which is taken
    where the series does not converge. Negative control: a series that is cut short."""
    K, orders, s = random_kernel(5, 5), [(0, 0), (1, 1), (2, 0)], activation(name)

    def means(few: int, *terms: int, tail: float = gaussian.TAIL) -> np.ndarray:
        monkeypatch.setattr(gaussian, "FEW", few)
        monkeypatch.setattr(gaussian, "TERMS", terms)
        monkeypatch.setattr(gaussian, "TAIL", tail)
        averages = Expectations(s, K)
        return np.array([averages.tensor(*order) for order in orders])

    want = means(5)
    np.testing.assert_allclose(means(4, 512), want, rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(means(4, 20), want)
    assert not np.allclose(means(4, 20, tail=math.inf), want, rtol=1e-7)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_sin_is_a_sum_of_exponentials(scale: float) -> None:
    """<sin z_a sin z_b sin z_c sin z_d> = (1/16) sum over signs of exp(-q/2) with the product of the signs."""
    K = random_kernel(4, 1, scale)
    got = four_point(activation("sin"), K)
    for index in itertools.combinations_with_replacement(range(4), 4):
        k = K[np.ix_(index, index)]
        total = 0.0
        for signs in itertools.product((1, -1), repeat=4):
            v = np.array(signs)
            total += math.prod(signs) * math.exp(-v @ k @ v / 2)
        assert got[index] == pytest.approx(total / 16, rel=1e-9, abs=1e-14)


def test_erf_pair_is_the_arcsine_kernel() -> None:
    K = random_kernel(3, 2, 2.0)
    M = Expectations(activation("erf"), K).tensor(0, 0)
    root = np.sqrt(1 + 2 * K.diagonal())
    np.testing.assert_allclose(M, 2 / np.pi * np.arcsin(2 * K / np.outer(root, root)), rtol=1e-10)


def test_relu_pair_is_the_arccosine_kernel_and_its_derivatives() -> None:
    """Entries agree with central differences of the closed form in K: each d_p d_q f of docs/theory.md (1.4) is twice
    df/dK_pq."""
    s = activation("relu")
    K = random_kernel(2, 3)

    def J(aa: float, ab: float, bb: float) -> float:
        rho = ab / math.sqrt(aa * bb)
        return math.sqrt(aa * bb) / (2 * math.pi) * (math.sqrt(1 - rho**2) + rho * (math.pi - math.acos(rho)))

    aa, ab, bb = K[0, 0], K[0, 1], K[1, 1]
    pairs = [(i, j) for i in range(6) for j in range(6) if i + j in (0, 2, 4, 6) and max(i, j) < 6]
    M = {pair: Expectations(s, K).tensor(*pair)[0, 1] for pair in pairs}
    h = 1e-4
    assert M[0, 0] == pytest.approx(J(aa, ab, bb), rel=1e-12)
    assert M[1, 1] == pytest.approx((J(aa, ab + h, bb) - J(aa, ab - h, bb)) / (2 * h), rel=1e-6)
    assert M[2, 0] == pytest.approx((J(aa + h, ab, bb) - J(aa - h, ab, bb)) / h, rel=1e-6)
    assert M[2, 2] == pytest.approx((J(aa, ab + h, bb) - 2 * J(aa, ab, bb) + J(aa, ab - h, bb)) / h**2, rel=1e-5)
    assert M[4, 0] == pytest.approx(4 * (J(aa + h, ab, bb) - 2 * J(aa, ab, bb) + J(aa - h, ab, bb)) / h**2, rel=1e-4)
    cross = J(aa + h, ab + h, bb) - J(aa + h, ab - h, bb) - J(aa - h, ab + h, bb) + J(aa - h, ab - h, bb)
    assert M[3, 1] == pytest.approx(2 * cross / (4 * h**2), rel=1e-5)

    def slopes(aa: float, ab: float, bb: float) -> float:
        """<s'_a s'_b> = dJ/dK_ab"""
        return (math.pi - math.acos(ab / math.sqrt(aa * bb))) / (2 * math.pi)

    f, h = slopes, 1e-3
    assert M[1, 1] == pytest.approx(f(aa, ab, bb), rel=1e-12)
    assert M[3, 1] == pytest.approx((f(aa + h, ab, bb) - f(aa - h, ab, bb)) / h, rel=1e-4)
    assert M[3, 3] == pytest.approx((f(aa, ab + h, bb) - 2 * f(aa, ab, bb) + f(aa, ab - h, bb)) / h**2, rel=1e-4)
    assert M[5, 1] == pytest.approx(4 * (f(aa + h, ab, bb) - 2 * f(aa, ab, bb) + f(aa - h, ab, bb)) / h**2, rel=1e-4)
    cross = f(aa + h, ab + h, bb) - f(aa + h, ab - h, bb) - f(aa - h, ab + h, bb) + f(aa - h, ab - h, bb)
    assert M[4, 2] == pytest.approx(2 * cross / (4 * h**2), rel=1e-4)


@pytest.mark.parametrize("name", ["relu", "leaky_relu(slope=0.3)"])
def test_kinked_pairs_of_fourth_order(name: str) -> None:
    """<s_a^2 s_b^2> and <s_a^3 s_b> for relu in closed form (arc-cosine kernel of degree two and its like)."""
    s = activation(name)
    K = np.array([[1.3, 0.4], [0.4, 0.7]])
    got = four_point(s, K)
    if name == "relu":
        rho = K[0, 1] / math.sqrt(K[0, 0] * K[1, 1])
        theta = math.acos(rho)
        degree2 = 3 * math.sin(theta) * rho + (math.pi - theta) * (1 + 2 * rho**2)
        assert got[0, 0, 1, 1] == pytest.approx(K[0, 0] * K[1, 1] * degree2 / (2 * math.pi), rel=1e-12)
    assert got[0, 0, 0, 0] == pytest.approx(3 * K[0, 0] ** 2 * (1 + s.slopes[1] ** 4) / 2, rel=1e-12)
    # Brute force in polar coordinates: E r^4 = 8, and the mean over equally spaced angles.
    theta = 2 * np.pi * (np.arange(100_000) + 0.5) / 100_000
    z = np.linalg.cholesky(K) @ np.stack([np.cos(theta), np.sin(theta)])
    brute = 8 * float((s(z[0]) ** 3 * s(z[1])).mean())
    assert got[0, 0, 0, 1] == pytest.approx(brute, rel=1e-6)


@pytest.mark.parametrize("name", ["tanh", "gelu", "swish", "softplus", "sigmoid", "erf"])
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_smooth_four_inputs_to_1e9(name: str, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid that is 1.5 times as fine on every axis gives the same, docs/theory.md section 8. The rule converges
    geometrically, so that it has converged where two grids agree."""
    s, K = activation(name), random_kernel(4, 7, scale)
    if not (name in ("tanh", "gelu") and scale == 0.1):  # the fine grid of four inputs takes seconds to minutes
        K = K[:3, :3]
    patterns = [(0, 0, 0, 0), (2, 1, 1, 0), (3, 1, 1, 1), (2, 2, 1, 1)]
    coarse = [Expectations(s, K).tensor(*orders) for orders in patterns]
    steps = axis_steps
    monkeypatch.setattr(quadrature, "axis_steps", lambda *a: [h / 1.5 for h in steps(*a)])
    for orders, got in zip(patterns, coarse, strict=True):
        fine = Expectations(s, K).tensor(*orders)
        np.testing.assert_allclose(got, fine, rtol=1e-9, atol=1e-10 * np.abs(fine).max(), err_msg=str(orders))


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_derivatives_by_stein(name: str) -> None:
    """Stein's lemma of docs/theory.md (1.4), <d_a f> = sum_b (K^-1)_ab <z_b f>: derivatives in one input against
    moments with another function."""
    s, K = activation(name), random_kernel(3, 5)
    identity = Activation("z", (lambda z: z, np.ones_like, *[np.zeros_like] * 4))
    both = Activation("s, z", (s.derivatives[0], s.derivatives[1], identity.derivatives[0], *s.derivatives[3:]))
    mixed = Expectations(both, K)  # order 2 now means z itself
    moments = np.array([mixed.tensor(0, 0, 0, 2)[0, 1, 2, b] for b in range(3)])
    want = np.linalg.inv(K) @ moments
    got = Expectations(s, K)
    for a in range(3):
        orders = [1 if k == a else 0 for k in range(3)]
        assert got.tensor(*orders)[0, 1, 2] == pytest.approx(want[a], rel=1e-8), a


@pytest.mark.parametrize(("correlation", "accuracy"), [(0.0, 1e-10), (0.5, 1e-10), (0.9, 1e-9), (0.99, 1e-8)])
def test_kinked_four_inputs(correlation: float, accuracy: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three and four distinct inputs of a kinked activation have the accuracy that `flow` promises."""
    s = activation("relu")
    K = (1 - correlation) * random_kernel(4, 11) + correlation * np.ones((4, 4))
    coarse = four_point(s, K)
    monkeypatch.setattr(_panels, "__defaults__", (100,))
    np.testing.assert_allclose(coarse, four_point(s, K), rtol=accuracy)


def test_kinked_four_inputs_reduce_to_products_when_independent() -> None:
    """For independent z the mean is <s>^4 = (1/sqrt(2 pi))^4 in closed form."""
    got = four_point(activation("relu"), np.eye(4))
    assert got[0, 1, 2, 3] == pytest.approx((2 * math.pi) ** -2, rel=1e-12)
    assert got[0, 0, 1, 2] == pytest.approx(0.5 / (2 * math.pi), rel=1e-12)


@pytest.mark.parametrize("name", ["tanh", "relu"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_rank_deficient_kernels(name: str, rank: int) -> None:
    """Where inputs are combinations of others, expectations are the limit of those at full rank."""
    s = activation(name)
    x = np.random.default_rng({1: 1, 2: 11, 3: 3}[rank]).standard_normal((4, rank))  # rank two: no two nearly parallel
    K = x @ x.T / rank
    # The rank-1 kinked case has parallel inputs, where s is linear on each side: both rules must agree.
    regular = four_point(s, K + 1e-9 * np.eye(4))
    np.testing.assert_allclose(four_point(s, K), regular, rtol=2e-4, atol=2e-5)


def test_kinked_slopes() -> None:
    """Orthant probabilities: <s'_a s'_b s'_c> of relu is P(all > 0) = 1/8 + (sum of arcsines) / (4 pi); independent
    inputs give powers of one half; second derivatives at a kink are refused."""
    s, K = activation("relu"), random_kernel(3, 12)
    rho = K / np.sqrt(np.outer(K.diagonal(), K.diagonal()))
    angles = math.asin(rho[0, 1]) + math.asin(rho[0, 2]) + math.asin(rho[1, 2])
    E = Expectations(s, K)
    assert E.tensor(1, 1, 1, 1)[0, 1, 2, 2] == pytest.approx(1 / 8 + angles / (4 * math.pi), rel=1e-9)
    assert Expectations(s, np.eye(4)).tensor(0, 0, 1, 1)[0, 1, 2, 3] == pytest.approx(1 / (2 * math.pi) / 4, rel=1e-12)
    with pytest.raises(ValueError, match="delta function"):
        E.tensor(2, 1, 1, 0)
