"""Gram matrices, factors and pull-backs: the compiled loops and the torch forms agree, and follow the definitions."""

import numpy as np
import pytest
import torch

from simulate.numerics import loops, plain
from simulate.numerics.gram import ROUNDING, Form, factor, gram, mix, pull_back, weigh


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


CLOSE = {torch.float64: {"rtol": 1e-12, "atol": 1e-12}, torch.float32: {"rtol": 1e-6, "atol": 1e-6}}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("D", [1, 2, 3, 4, 5, 8, 9])
def test_products(dtype: torch.dtype, D: int) -> None:
    s, C = normal(4, D, 70, seed=1).to(dtype), normal(4, D, D, seed=2).tril()
    torch.testing.assert_close(gram(s), s.double() @ s.double().mT, rtol=1e-12, atol=1e-12)
    affine = gram(s, 0.5, 2.0)
    torch.testing.assert_close(affine, 0.5 * gram(s) + 2, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(affine, plain.gram(s, 0.5, 2.0), rtol=1e-12, atol=1e-12)
    assert torch.equal(affine, affine.mT)
    torch.testing.assert_close(mix(C, s), (C @ s.double()).to(dtype), **CLOSE[dtype])
    torch.testing.assert_close(mix(C, s), plain.mix(C, s), **CLOSE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("outputs", "D"), [(1, 1), (1, 4), (2, 3), (3, 2)])
def test_a_layer_is_weighed(dtype: torch.dtype, outputs: int, D: int) -> None:
    """H has what docs/theory.md (2.1) adds for a layer, with activations of each network or of one for all."""
    own, u = normal(3, D, 70, seed=1).to(dtype), normal(3, outputs * D, 9, seed=2).to(dtype)
    for s in (own, own[:1].expand(3, -1, -1)):
        H = normal(3, outputs, D, outputs, D, seed=3)
        rates = 0.5 * s.double() @ s.double().mT + 2.0
        layer = torch.einsum("mab,miaj,mkbj->miakb", rates, *2 * [u.double().view(3, outputs, D, 9)])
        want = H + layer
        weigh(H, u, s, 0.5, 2.0)
        torch.testing.assert_close(H, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("K", "D"), [(1, 1), (1, 5), (2, 1), (2, 2), (2, 3), (3, 4), (4, 3), (4, 4), (6, 9), (8, 8)])
@pytest.mark.parametrize("biased", [False, True])
def test_vectors_pulled_back(dtype: torch.dtype, K: int, D: int, biased: bool) -> None:
    """The pull-back is that of docs/theory.md (10.3), where the directions Q are formed.

    It is xi's part along Q, on which the forward pass has seen the columns (bias, weights), and fresh normals without
    their part along Q.
    """
    M, n, above, C_b, C_W = 3, 70, 30, 0.4 * biased, 1.7
    scale = (C_W / n) ** 0.5
    s, u, xi = (normal(M, k, size, seed=k).to(dtype) for k, size in ((D, n), (K, above), (D + 1, above)))
    xi = xi[:, :D].contiguous()
    x, bias = scale * normal(M, K, n, seed=5).to(dtype), C_b**0.5 * normal(M, K, 1, seed=6).to(dtype)
    square, C = gram(u), factor(gram(s, C_W / n, C_b))
    columns = torch.cat([torch.full((M, D, 1), C_b**0.5, dtype=torch.float64), scale * s.double()], dim=2)
    Q = torch.linalg.inv(C) @ columns
    torch.testing.assert_close(Q @ Q.mT, torch.eye(D, dtype=torch.float64).expand(M, D, D), rtol=1e-8, atol=1e-8)
    unit = torch.cat([bias.double() / C_b**0.5 if biased else torch.zeros(M, K, 1), x.double() / scale], dim=2)
    fresh = torch.linalg.cholesky(square + 1e-13 * torch.eye(K)) @ (unit - unit @ Q.mT @ Q)
    pulled = scale * (u.double() @ xi.double().mT @ Q + fresh)[:, :, 1:]
    for T in {1, K}:
        slopes = normal(M, T, n, seed=4).to(dtype)
        arguments = (u, factor(square), C, xi, s, x, bias if biased else x[:0], scale, slopes)
        got = pull_back(*arguments, K)
        torch.testing.assert_close(got, plain.pull_back(*arguments), **CLOSE[dtype])
        by_hand = pulled * slopes.double().repeat(1, K // T, 1)
        torch.testing.assert_close(got.double(), by_hand, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-8)
    for form, own in (
        (Form(tanh=True), 1 - s.square()),
        (Form(below=0.3), torch.where(s > 0, 1, torch.full_like(s, 0.3))),
    ):
        if K % D == 0:  # the rows of s give the slopes of an activation
            want = plain.pull_back(*arguments[:-1], own)
            torch.testing.assert_close(pull_back(*arguments[:-1], form, K), want, **CLOSE[dtype])
        if K % D == 0 or K < D:  # the last vector has every slope, and one from which those before it are whole rows
            split = (K - 1) // D * D
            alone = plain.pull_back(*arguments[:-1], torch.ones_like(s[:, :1]))
            want = plain.spread(alone, own, split)
            torch.testing.assert_close(pull_back(*arguments[:-1], form, split), want, **CLOSE[dtype])
            assert want.shape[1] == split + (K - split) * D


def test_gram_of_signals_that_all_networks_share() -> None:
    s = normal(1, 3, 20).expand(7, -1, -1)
    torch.testing.assert_close(gram(s), plain.gram(s), rtol=1e-12, atol=1e-12)


def test_a_diverged_network_stays_diverged() -> None:
    """NaN and infinity go through every product, and leave the other networks unchanged."""
    s = normal(3, 2, 40)
    s[1, 0, 3] = torch.inf
    s[1, 1, 5] = torch.nan
    g = gram(s)
    assert not torch.isfinite(g[1]).any()
    C = factor(g)
    assert not torch.isfinite(C[1]).all()
    torch.testing.assert_close(C[[0, 2]], factor(g[[0, 2]]), rtol=0, atol=0)
    assert not torch.isfinite(mix(C, s)[1]).all()


def inverse(C: torch.Tensor) -> torch.Tensor:
    """The inverse P of each factor C by the compiled loops."""
    P = np.empty(C.shape)
    for m in range(len(C)):
        loops.inverse(C.shape[1], C.numpy(), m, P[m])
    return torch.from_numpy(P)


VECTORS = [
    [[1.0, 0.0], [0.3, 0.9]],
    [[1.0, 0.5], [1.0, 0.5], [0.2, 0.1]],  # two inputs are equal and one is parallel
    [[1.0, 0.0], [0.0, 0.0]],  # the second sample is zero, as in a dead network
    [[0.0, 0.0], [1.0, 1.0]],
    np.random.default_rng(0).standard_normal((6, 2)).tolist(),  # there are more inputs than neurons
]


@pytest.mark.parametrize("rows", VECTORS)
def test_factor_of_any_rank(rows: list[list[float]]) -> None:
    r = torch.tensor(rows, dtype=torch.float64)
    g = (r @ r.T)[None]
    C = factor(g)
    assert torch.isfinite(C).all()
    torch.testing.assert_close(C @ C.mT, g, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(C, C.tril())
    torch.testing.assert_close(C, plain.factor(g, ROUNDING), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(inverse(C), plain.inverse(C), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("D", [1, 2, 3, 5])
def test_directions_are_orthonormal(D: int) -> None:
    """Q = P phi, with the inverse P of the factor C, is orthonormal with C Q = phi; a dependent sample adds nothing."""
    phi = normal(4, D, 6)
    if D > 2:
        phi[:, 2] = 2 * phi[:, 0] - phi[:, 1]  # the third sample depends on the first two
    C = factor(gram(phi))
    Q = inverse(C) @ phi
    torch.testing.assert_close(C @ Q, phi, rtol=1e-6, atol=1e-6)
    unit = torch.eye(D, dtype=torch.float64).repeat(4, 1, 1)
    if D > 2:
        unit[:, 2, 2] = 0
    torch.testing.assert_close(Q @ Q.mT, unit, rtol=1e-9, atol=1e-9)
