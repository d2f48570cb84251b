"""The compiled loops against the torch forms, the generator against known answers, normals against their law."""

import numpy as np
import pytest
import torch
from scipy import stats

from simulate.api import read_one
from simulate.networks import streams
from simulate.numerics import normals
from simulate.numerics.gram import (
    _factor_torch,
    _gram_torch,
    _inverse,
    _inverse_torch,
    _mix_torch,
    _pull_back_torch,
    factor,
    gram,
    mix,
    pull_back,
)
from simulate.numerics.products import _looped, affine, descend
from simulate.numerics.products import pull_back as pull_back_through_weights
from simulate.running import compute
from simulate.running.prepare import prepare

CPU = torch.device("cpu")
FALSE_ALARM = 1e-4  # of each statistical test below


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    """The known-answer vectors that Random123 publishes for philox4x32-10."""
    start = np.uint64(counter[0] + (counter[1] << 32))
    out = np.empty((4, 1), np.uint32)
    normals._words(out, 1, start, *map(np.uint32, (*counter[2:], *key)))
    assert tuple(out[:, 0]) == answer
    if counter[1] < 2**31:  # torch has no unsigned 64-bit counter
        words = normals._words_torch(1, int(start), counter[2], counter[3], key, CPU)
        assert tuple(int(w) for w in words) == answer


@pytest.mark.parametrize("start", [0, 2**32 - 8, 2**40 + 5])
def test_both_forms_give_the_same_words(start: int) -> None:
    """Also where the low half of the counter overflows."""
    out = np.empty((4, 64), np.uint32)
    normals._words(out, 64, np.uint64(start), *map(np.uint32, (7, 3, 11, 2**32 - 1)))
    words = normals._words_torch(64, start, 7, 3, (11, 2**32 - 1), CPU)
    np.testing.assert_array_equal(out, np.stack([w.numpy() for w in words]))


# ------------------------------------------------------------------- normals


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("N", [1, 63, 64, 65, 4099])
def test_normals_of_both_forms(dtype: torch.dtype, rtol: float, N: int) -> None:
    M, first, key = 100, 2**33 + 5, (2**32 - 1, 12)  # more groups than are worked on at a time
    got = normals.normal(M, N, first, 5, key, 1.5, dtype, CPU)
    left = torch.full((M, N), torch.nan, dtype=dtype)
    assert torch.equal(normals.normal(M, N, first, 5, key, 1.5, dtype, CPU, left), got)
    assert torch.equal(left, got)
    rows = 4 if dtype == torch.float32 else 2
    spread = -(-N // (16 * rows))
    want = normals._normals_torch(M * spread, first * spread * 16, (5, spread, *key), 1.5, dtype, CPU)
    torch.testing.assert_close(got, want.reshape(M, -1)[:, :N], rtol=rtol, atol=rtol)


def test_float32_normals_are_those_of_the_formula() -> None:
    """sqrt(-2 log u) (cos, sin)(2 pi v) in float64 from the same words: the polynomials are good to 1e-6."""
    out = np.empty((4, 4096), np.uint32)
    normals._words(out, 4096, np.uint64(0), *map(np.uint32, (1, 2, 3, 4)))
    out[0, :4] = [0, 1, 2**32 - 1, 2**31]  # the deepest tail, and u = 1
    z, u, exponent = (np.empty(shape, np.float32) for shape in ((4, 4096), 4096, 4096))
    normals._box_muller(out, 4096, u, exponent, z, np.float32(1.0))
    for r in (0, 2):
        uniform = np.minimum(out[r].astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33), 1).astype(float)
        radius, angle = np.sqrt(-2 * np.log(uniform)), 2 * np.pi * out[r + 1].astype(np.int32) * 2.0**-32
        np.testing.assert_allclose(z[r], radius * np.cos(angle), atol=3e-6)
        np.testing.assert_allclose(z[r + 1], radius * np.sin(angle), atol=3e-6)
    assert np.isfinite(z).all()
    assert np.hypot(z[0, 0], z[1, 0]) > 6.7


def test_the_logarithm_stays_below_zero() -> None:
    """Every float32 u from 1/2 to 1: a positive rounding error there would make NaN of a radius."""
    words = np.zeros((4, 2**20), np.uint32)
    scratch = [np.empty(2**20, np.float32) for _ in range(2)]
    out = np.empty((4, 2**20), np.float32)
    for start in range(2**31, 2**32, 2**28):  # u takes 2^23 values in [1/2, 1): one for 2^8 words
        words[0] = words[2] = start + 2**8 * np.arange(2**20, dtype=np.uint64)
        normals._box_muller(words, 2**20, *scratch, out, np.float32(1.0))
        assert np.isfinite(out).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_have_their_law(dtype: torch.dtype) -> None:
    """Kolmogorov and Smirnov, and moments to the eighth, of four million; across networks and tensors too.

    Negative control: the same test fails on deviates that are one percent too wide.
    """
    stream = streams.Stream(streams.key(0, "law"), 0, 1000, dtype, CPU)
    z = torch.cat([stream.normal(kind, 2, 1000) for kind in range(4)], dim=1).double().numpy().reshape(-1)

    def smallest(x: np.ndarray) -> float:
        p = [stats.kstest(x, "norm").pvalue]
        double = {2: 1, 4: 3, 6: 15, 8: 105, 12: 10395, 16: 2027025}
        for k in (2, 4, 6, 8):
            error = np.sqrt((double[2 * k] - double[k] ** 2) / len(x))
            p.append(2 * stats.norm.sf(abs((x**k).mean() - double[k]) / error))
        return min(p) * len(p)

    assert smallest(z) > FALSE_ALARM
    assert smallest(1.01 * z) < FALSE_ALARM


@pytest.mark.parametrize("lag", [1, 16, 64, 1000, 4000])
def test_normals_are_independent(lag: int) -> None:
    """Correlation of values, of squares and of both at a distance: partners of a pair, groups, networks, tensors."""
    stream = streams.Stream(streams.key(1, "law"), 0, 1000, torch.float32, CPU)
    z = torch.cat([stream.normal(kind, 2, 1000) for kind in range(4)], dim=1).double().numpy().reshape(-1)
    a, b = z[:-lag], z[lag:]
    values = [a * b, (a**2 - 1) * (b**2 - 1) / 2, a * (b**2 - 1) / np.sqrt(2)]
    t = [v.mean() * np.sqrt(len(v)) for v in values]
    assert max(map(abs, t)) < stats.norm.isf(FALSE_ALARM / 6)


def test_a_number_depends_on_its_address_alone() -> None:
    """Not on what is drawn with it; and on every part of its address."""
    key = streams.key(1, "law")

    def draw(first: int = 10, M: int = 4, kind: int = 0, layer: int = 1, key: tuple[int, int] = key) -> torch.Tensor:
        return streams.Stream(key, first, M, torch.float32, CPU).normal(kind, layer, 5, 40)

    base = draw()
    assert torch.equal(base[2:3], draw(12, 1))
    assert torch.equal(base, draw(0, 50)[10:14])
    others = [draw(14), draw(kind=1), draw(layer=2), draw(key=streams.key(2, "law")), draw(key=streams.key(1, "low"))]
    others += [draw(10 + 2**32), draw(key=streams.key(1 + 2**32, "law"))]
    every = torch.cat([base, *others]).reshape(-1)
    assert len(torch.unique(every)) > 0.99 * len(every)


BLOCKS = {
    "law": ["observables=preactivations"],
    "law with NTK": ["observables=ntk", "initialization=gaussian", "initialization.C_b=0.2", "initialization.C_W=1.3"],
    "descent": ["observables=training", "dynamics=gradient_descent", "dynamics.eta=0.1"],
    "sgd": ["observables=training", "dynamics=sgd", "dynamics.eta=0.1"],
}


@pytest.mark.parametrize("case", BLOCKS)
def test_a_block_in_its_form_for_other_devices(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a CUDA device would run, on this CPU: the same networks, to rounding."""
    small = ["network.width=200", "network.depth=3", "ensemble.block=8", "ensemble.device=cpu", "dynamics.lambda_b=0.5"]
    job = prepare(read_one([*small, *BLOCKS[case]]))
    loops, _ = compute.compute_block(job, 3)

    def normal(M: int, N: int, first: int, tensor: int, key: tuple[int, int], scale: float, dtype: torch.dtype,
               device: torch.device, out: torch.Tensor | None = None) -> torch.Tensor:  # fmt: skip
        spread = -(-N // 64)
        address = (tensor, spread, *key)
        flat = normals._normals_torch(M * spread, first * spread * 16, address, scale, dtype, device)
        return flat.reshape(M, -1)[:, :N].contiguous()

    monkeypatch.setattr(torch.Tensor, "is_cpu", property(lambda self: False))
    monkeypatch.setattr(normals, "normal", normal)
    forms, _ = compute.compute_block(job, 3)
    for family, values in loops.items():
        np.testing.assert_allclose(forms[family], values, rtol=1e-4, atol=2e-5, err_msg=family)


# ------------------------------------------------------------------- products and factors


CLOSE = {torch.float64: {"rtol": 1e-12, "atol": 1e-12}, torch.float32: {"rtol": 1e-6, "atol": 1e-6}}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("D", [1, 2, 3, 4, 5, 8, 9])
def test_products(dtype: torch.dtype, D: int) -> None:
    s, C = normal(4, D, 70, seed=1).to(dtype), normal(4, D, D, seed=2).tril()
    torch.testing.assert_close(gram(s), s.double() @ s.double().mT, rtol=1e-12, atol=1e-12)
    affine = gram(s, 0.5, 2.0)
    torch.testing.assert_close(affine, 0.5 * gram(s) + 2, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(affine, _gram_torch(s, 0.5, 2.0), rtol=1e-12, atol=1e-12)
    assert torch.equal(affine, affine.mT)
    torch.testing.assert_close(mix(C, s), (C @ s.double()).to(dtype), **CLOSE[dtype])
    torch.testing.assert_close(mix(C, s), _mix_torch(C, s), **CLOSE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("K", "D"), [(1, 1), (1, 5), (2, 1), (2, 2), (2, 3), (3, 4), (4, 3), (4, 4), (6, 9), (8, 8)])
@pytest.mark.parametrize("biased", [False, True])
def test_vectors_pulled_back(dtype: torch.dtype, K: int, D: int, biased: bool) -> None:
    """docs/theory.md (10.3) with the directions formed: Q, along which the forward pass has seen the columns (bias,
    weights), what it saw, and fresh normals without their part along Q."""
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
    whole = scale * (u.double() @ xi.double().mT @ Q + fresh)[:, :, 1:]
    for T in {1, K}:
        times = normal(M, T, n, seed=4).to(dtype)
        given = (u, square, C, xi, s, x, bias if biased else x[:0], scale, times)
        got = pull_back(*given)
        torch.testing.assert_close(got, _pull_back_torch(*given), **CLOSE[dtype])
        by_hand = whole * times.double().repeat(1, K // T, 1)
        torch.testing.assert_close(got.double(), by_hand, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-8)


def test_gram_of_what_all_networks_share() -> None:
    s = normal(1, 3, 20).expand(7, -1, -1)
    torch.testing.assert_close(gram(s), _gram_torch(s), rtol=1e-12, atol=1e-12)


def test_a_diverged_network_stays_diverged() -> None:
    """NaN and infinity go through every product, and its neighbours do not notice."""
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
    P = np.empty(C.shape)
    for m in range(len(C)):
        _inverse(C.numpy(), m, P[m])
    return torch.from_numpy(P)


GRAMS = [
    [[1.0, 0.0], [0.3, 0.9]],
    [[1.0, 0.5], [1.0, 0.5], [0.2, 0.1]],  # equal and parallel inputs
    [[1.0, 0.0], [0.0, 0.0]],  # a dead network
    [[0.0, 0.0], [1.0, 1.0]],
    np.random.default_rng(0).standard_normal((6, 2)).tolist(),  # more inputs than neurons
]


@pytest.mark.parametrize("rows", GRAMS)
def test_factor_of_any_rank(rows: list[list[float]]) -> None:
    r = torch.tensor(rows, dtype=torch.float64)
    g = (r @ r.T)[None]
    C = factor(g)
    assert torch.isfinite(C).all()
    torch.testing.assert_close(C @ C.mT, g, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(C, C.tril())
    torch.testing.assert_close(C, _factor_torch(g), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(inverse(C), _inverse_torch(C), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("D", [1, 2, 3, 5])
def test_directions_are_orthonormal(D: int) -> None:
    """Q = P phi for the inverse P of the factor C is that of docs/theory.md (10.2): orthonormal, C Q = phi, and nothing
    for a sample that adds none."""
    phi = normal(4, D, 6)
    if D > 2:
        phi[:, 2] = 2 * phi[:, 0] - phi[:, 1]  # no new direction
    C = factor(gram(phi))
    Q = inverse(C) @ phi
    torch.testing.assert_close(C @ Q, phi, rtol=1e-6, atol=1e-6)
    unit = torch.eye(D, dtype=torch.float64).repeat(4, 1, 1)
    if D > 2:
        unit[:, 2, 2] = 0
    torch.testing.assert_close(Q @ Q.mT, unit, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------- products with weights


@pytest.mark.parametrize(
    "shape",
    [(3, 5, 194, 195), (2, 4, 7, 200), (2, 3, 201, 64), (1, 9, 64, 48), (3, 5, 70, 1), (2, 3, 9, 2), (1, 2, 64, 4)],
)
@pytest.mark.parametrize("shared", [False, True])
def test_loops_over_weights(shape: tuple[int, ...], shared: bool) -> None:
    """Forward, backward and update in float32 against torch in float64; sizes that leave every kind of remainder."""
    M, N, J, I = shape
    s, V, b, d = (x.float() for x in (normal(M, N, J), normal(M, J, I, seed=1) / J**0.5, normal(M, I), normal(M, N, I)))
    s = s[:1].expand(M, -1, -1) if shared else s  # as inputs are
    assert _looped(V)
    assert not _looped(V.double())
    close = {"rtol": 1e-5, "atol": 3e-5}
    wide = [x.double() for x in (s, V, b, d)]
    torch.testing.assert_close(affine(s, V, b).double(), affine(wide[0], wide[1], wide[2]), **close)
    pulled, wanted = pull_back_through_weights(d, V).double(), pull_back_through_weights(wide[3], wide[1])
    torch.testing.assert_close(pulled, wanted, **close)
    for below in (True, False):
        for other in (True, False):  # the update goes to V itself, or, as momentum's, to another tensor
            T, T_wide = (x.clone() if other else x for x in (V, wide[1]))
            got = descend(d, s, V, T, 0.1, below)
            want = descend(wide[3], wide[0], wide[1], T_wide, 0.1, below)
            assert (got is None) == (want is None) == (not below)
            if got is not None and want is not None:
                torch.testing.assert_close(got.double(), want, **close)
            torch.testing.assert_close(T.double(), T_wide, **close)
