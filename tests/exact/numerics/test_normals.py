"""The generator gives known answers, its loops agree with its torch form, and normals have their law."""

import numpy as np
import pytest
import torch
from scipy import stats

from simulate.networks import streams
from simulate.numerics import loops, normals

CPU = torch.device("cpu")
FALSE_ALARM = 1e-4  # probability that a correct generator fails one of the statistical tests below


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
    loops.philox(out, 1, start, *map(np.uint32, (*counter[2:], *key)))
    assert tuple(out[:, 0]) == answer
    if counter[1] < 2**31:  # counters beyond are negative in torch, which has no unsigned 64-bit integers
        words = normals._words_torch(1, int(start), counter[2], counter[3], key, CPU)
        assert tuple(int(w) for w in words) == answer


@pytest.mark.parametrize("start", [0, 2**32 - 8, 2**40 + 5])
def test_both_forms_give_the_same_words(start: int) -> None:
    """The loops and torch give the same words, also where the low half of the counter overflows."""
    out = np.empty((4, 64), np.uint32)
    loops.philox(out, 64, np.uint64(start), *map(np.uint32, (7, 3, 11, 2**32 - 1)))
    words = normals._words_torch(64, start, 7, 3, (11, 2**32 - 1), CPU)
    np.testing.assert_array_equal(out, np.stack([w.numpy() for w in words]))


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("N", [1, 63, 64, 65, 4099])
def test_normals_of_both_forms(dtype: torch.dtype, rtol: float, N: int) -> None:
    """The loops and torch give the same normals to rounding; an array that is passed as `out` is filled with them."""
    M, first, key = 100, 2**33 + 5, (2**32 - 1, 12)  # 100 networks have more groups than a chunk
    where = normals.Address(M, N, first, 5, key, 1.5, dtype, CPU)
    got = normals.normal(where)
    array = torch.full((M, N), torch.nan, dtype=dtype)
    assert torch.equal(normals.normal(where, array), got)
    assert torch.equal(array, got)
    rows = 4 if dtype == torch.float32 else 2
    per_network = -(-N // (16 * rows))
    address = (5, per_network, *key)
    want = normals._normals_torch(M * per_network, first * per_network * 16, address, 1.5, dtype, CPU)
    torch.testing.assert_close(got, want.reshape(M, -1)[:, :N], rtol=rtol, atol=rtol)


def transformed(words: np.ndarray) -> np.ndarray:
    """The normals that the loops make of words (4, counters), in the same order."""
    groups = words.shape[1] // loops.LANES
    out = np.empty((groups, 4, loops.LANES), np.float32)
    loops.box_muller(words, groups, out, 0, np.float32(1.0))
    return out.transpose(1, 0, 2).reshape(words.shape)


def test_float32_normals_are_those_of_the_formula() -> None:
    """Normals are sqrt(-2 log u) (cos, sin)(2 pi v), in float64 from the same words, within 3e-6."""
    out = np.empty((4, 4096), np.uint32)
    loops.philox(out, 4096, np.uint64(0), *map(np.uint32, (1, 2, 3, 4)))
    out[0, :4] = [0, 1, 2**32 - 1, 2**31]  # these words give the deepest tail and u = 1
    z = transformed(out)
    for r in (0, 2):
        uniform = np.minimum(out[r].astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33), 1).astype(float)
        radius, angle = np.sqrt(-2 * np.log(uniform)), 2 * np.pi * out[r + 1].astype(np.int32) * 2.0**-32
        np.testing.assert_allclose(z[r], radius * np.cos(angle), atol=3e-6)
        np.testing.assert_allclose(z[r + 1], radius * np.sin(angle), atol=3e-6)
    assert np.isfinite(z).all()
    assert np.hypot(z[0, 0], z[1, 0]) > 6.7


def test_the_logarithm_stays_below_zero() -> None:
    """No float32 u from 1/2 to 1 gives NaN, which a positive logarithm by rounding would make of a radius."""
    words = np.zeros((4, 2**20), np.uint32)
    for start in range(2**31, 2**32, 2**28):  # u takes 2^23 values in [1/2, 1), one for 2^8 words
        words[0] = words[2] = start + 2**8 * np.arange(2**20, dtype=np.uint64)
        assert np.isfinite(transformed(words)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_have_their_law(dtype: torch.dtype) -> None:
    """Four million normals across networks and tensors pass Kolmogorov's and Smirnov's test and moments to the eighth.

    Negative control: the same test fails on normals that are one percent too wide.
    """
    stream = streams.Stream(streams.key(0, "law"), 0, 1000, dtype, CPU)
    z = torch.cat([stream.normal(kind, 2, 1000) for kind in range(4)], dim=1).double().numpy().reshape(-1)

    def smallest_p(x: np.ndarray) -> float:
        p = [stats.kstest(x, "norm").pvalue]
        double = {2: 1, 4: 3, 6: 15, 8: 105, 12: 10395, 16: 2027025}
        for k in (2, 4, 6, 8):
            error = np.sqrt((double[2 * k] - double[k] ** 2) / len(x))
            p.append(2 * stats.norm.sf(abs((x**k).mean() - double[k]) / error))
        return min(p) * len(p)

    assert smallest_p(z) > FALSE_ALARM
    assert smallest_p(1.01 * z) < FALSE_ALARM


@pytest.mark.parametrize("lag", [1, 16, 64, 1000, 4000])
def test_normals_are_independent(lag: int) -> None:
    """Values and squares are uncorrelated at distances of a pair, a group, a network and a tensor."""
    stream = streams.Stream(streams.key(1, "law"), 0, 1000, torch.float32, CPU)
    z = torch.cat([stream.normal(kind, 2, 1000) for kind in range(4)], dim=1).double().numpy().reshape(-1)
    a, b = z[:-lag], z[lag:]
    values = [a * b, (a**2 - 1) * (b**2 - 1) / 2, a * (b**2 - 1) / np.sqrt(2)]
    t = [v.mean() * np.sqrt(len(v)) for v in values]
    assert max(map(abs, t)) < stats.norm.isf(FALSE_ALARM / 6)


def test_a_number_depends_on_its_address_alone() -> None:
    """A number does not depend on what is drawn with it, but does on every part of its address."""
    key = streams.key(1, "law")

    def draw(first: int = 10, M: int = 4, kind: int = 0, layer: int = 1, key: tuple[int, int] = key) -> torch.Tensor:
        return streams.Stream(key, first, M, torch.float32, CPU).normal(kind, layer, 5, 40)

    base = draw()
    assert torch.equal(base[2:3], draw(12, 1))
    assert torch.equal(base, draw(0, 50)[10:14])
    others = [draw(14), draw(kind=1), draw(layer=2), draw(key=streams.key(2, "law")), draw(key=streams.key(1, "low"))]
    others += [draw(10 + 2**32), draw(key=streams.key(1 + 2**32, "law"))]
    numbers = torch.cat([base, *others]).reshape(-1)
    assert len(torch.unique(numbers)) > 0.99 * len(numbers)
