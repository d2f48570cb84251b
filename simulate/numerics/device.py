"""The arithmetic of a block on a CUDA device: kernels in Triton, which CUDA builds of torch bring along.

They stand for chains of torch operations, which write and read an array in the device's memory for each operation.
`tests/exact/numerics/test_device.py` holds them to the loops of a CPU. Where TRITON_INTERPRET=1 stands in the
environment before this module is imported, the kernels run on a CPU, slowly. M counts networks, n neurons, D samples
and K vectors. Sums over neurons are accumulated in float64.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from simulate.numerics.plain import inverse

COUNTERS = 512  # counters of the generator that a program takes, four words each
MOST = 16  # up to so many samples or vectors, a program holds all of them; beyond, library calls are faster


@triton.jit
def _box_muller(word, turned):
    """Two float32 normals from two words, by the polynomials of the loops; the device's own are good to 2^-22 only."""
    u = word.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10  # 2^-32 and 2^-33
    bits = u.to(tl.int32, bitcast=True)
    exponent = (bits - 0x3F3504F3) >> 23  # u = m 2^e with m in [sqrt(1/2), sqrt(2))
    m = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
    e = exponent.to(tl.float32)
    p = m * 7.0376836292e-2 - 1.1514610310e-1
    p = p * m + 1.1676998740e-1
    p = p * m - 1.2420140846e-1
    p = p * m + 1.4249322787e-1
    p = p * m - 1.6668057665e-1
    p = p * m + 2.0000714765e-1
    p = p * m - 2.4999993993e-1
    p = p * m + 3.3333331174e-1
    square = m * m
    log = m + (m * square * p - e * 2.12194440e-4 - 0.5 * square) + e * 0.693359375
    radius = tl.sqrt_rn(tl.maximum(-2.0 * log, 0.0))
    turn = turned.to(tl.int32, bitcast=True).to(tl.float32) * 2.3283064365386963e-10
    quarter = (turn * 4.0 + tl.where(turn < 0, -0.5, 0.5)).to(tl.int32)
    angle = (turn - quarter.to(tl.float32) * 0.25) * 6.283185307179586
    w = angle * angle
    sine = angle + angle * w * (-1.6666654611e-1 + w * (8.3321608736e-3 - w * 1.9515295891e-4))
    cosine = 1.0 - w * 0.5
    cosine += w * w * (4.166664568298827e-2 - w * (1.388731625493765e-3 - w * 2.443315711809948e-5))
    odd = (quarter & 1) != 0
    x, y = tl.where(odd, sine, cosine), tl.where(odd, cosine, sine)
    x = tl.where(((quarter + 1) & 2) != 0, -x, x)
    y = tl.where((quarter & 2) != 0, -y, y)
    return radius * x, radius * y


@triton.jit
def _box_muller_wide(w0, w1, w2, w3):
    """Two float64 normals from four words."""
    u = (w0.to(tl.float64) + (w1.to(tl.float64) + 0.5) * 2.3283064365386963e-10) * 2.3283064365386963e-10
    v = (w2.to(tl.float64) + w3.to(tl.float64) * 2.3283064365386963e-10) * 2.3283064365386963e-10 - 0.5
    radius, angle = tl.sqrt(-2.0 * tl.log(u)), v * 6.283185307179586
    return radius * tl.cos(angle), radius * tl.sin(angle)


@triton.jit
def _words(counter, tensor, per_network, k0, k1):
    """The four words at counters of any shape."""
    c0, c1 = counter.to(tl.uint32), (counter >> 32).to(tl.uint32)
    c2, c3 = tl.full(c0.shape, tensor, tl.uint32), tl.full(c0.shape, per_network, tl.uint32)
    return tl.philox_impl(c0, c1, c2, c3, tl.full(c0.shape, k0, tl.uint32), tl.full(c0.shape, k1, tl.uint32), 10)


# No kernel of their own for each value.
VARYING = ["total", "N", "start", "tensor", "per_network", "k0", "k1", "scale", "below", "split"]


@triton.jit(do_not_specialize=VARYING)
def _normals(
    out, total: tl.int64, N: tl.int64, start: tl.int64, tensor: tl.uint32, per_network: tl.int32, k0: tl.uint32,
    k1: tl.uint32, scale: tl.float64, WIDE: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Fill out (M, N) from counters start, ..., start + total - 1. WIDE: whether it is float64."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    w0, w1, w2, w3 = _words(start + i, tensor, per_network, k0, k1)
    group, lane = (i // LANES).to(tl.int32), (i % LANES).to(tl.int32)  # 2^31 groups have no room on any device
    at = group % per_network * (LANES * (2 if WIDE else 4)) + lane
    row, inside = out + (group // per_network).to(tl.int64) * N, i < total
    if WIDE:
        z0, z1 = _box_muller_wide(w0, w1, w2, w3)
        tl.store(row + at, scale * z0, mask=inside & (at < N))
        tl.store(row + at + LANES, scale * z1, mask=inside & (at + LANES < N))
    else:
        factor = tl.full([BLOCK], scale, tl.float32)
        z0, z1 = _box_muller(w0, w1)
        z2, z3 = _box_muller(w2, w3)
        tl.store(row + at, factor * z0, mask=inside & (at < N))
        tl.store(row + at + LANES, factor * z1, mask=inside & (at + LANES < N))
        tl.store(row + at + 2 * LANES, factor * z2, mask=inside & (at + 2 * LANES < N))
        tl.store(row + at + 3 * LANES, factor * z3, mask=inside & (at + 3 * LANES < N))


def normal(out: Tensor, start: int, address: tuple[int, int, int, int], scale: float, lanes: int) -> Tensor:
    """Fill out (M, N), float32 or float64, with the normals that `simulate.numerics.normals.normal` defines.

    start: the first counter; address: the words tensor, groups of a network and the key; lanes: counters in a group.
    """
    M, N = out.shape
    total = M * address[1] * lanes
    _normals[(triton.cdiv(total, COUNTERS),)](
        out, total, N, start, *address, scale, WIDE=out.dtype == torch.float64, LANES=lanes, BLOCK=COUNTERS
    )
    return out


@triton.jit
def _cross(
    u, s, out, K, D, n, scale: tl.float64, shift: tl.float64, VECTORS: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Set out[m, k, a] = shift + scale sum_j u[m, k, j] s[m, a, j] for one m."""
    m = tl.program_id(0).to(tl.int64)
    k, a, neurons = tl.arange(0, VECTORS), tl.arange(0, ROWS), tl.arange(0, BLOCK)
    total = tl.zeros([VECTORS, ROWS, BLOCK], tl.float64)
    for first in range(0, n, BLOCK):
        j = first + neurons
        inside = (j < n)[None, :]
        x = tl.load(u + (m * K + k[:, None]) * n + j[None, :], mask=(k < K)[:, None] & inside, other=0.0)
        y = tl.load(s + (m * D + a[:, None]) * n + j[None, :], mask=(a < D)[:, None] & inside, other=0.0)
        total += x.to(tl.float64)[:, None, :] * y.to(tl.float64)[None, :, :]
    cells = (k < K)[:, None] & (a < D)[None, :]
    tl.store(out + (m * K + k[:, None]) * D + a[None, :], shift + scale * tl.sum(total, axis=2), mask=cells)


def cross(u: Tensor, s: Tensor, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """shift + scale sum_j u_kj s_aj of each network: (M, K, n), (M, D, n) -> (M, K, D) float64."""
    (M, K, n), D = u.shape, s.shape[1]
    out = torch.empty(M, K, D, dtype=torch.float64, device=u.device)
    if out.numel():
        vectors, rows = triton.next_power_of_2(K), triton.next_power_of_2(D)
        block = min(triton.next_power_of_2(n), max(16, 1024 // (vectors * rows)))
        warps = warps_of(vectors * rows * block, 256)
        u, s = u.contiguous(), s.contiguous()
        _cross[(M,)](u, s, out, K, D, n, scale, shift, VECTORS=vectors, ROWS=rows, BLOCK=block, num_warps=warps)
    return out


def warps_of(entries: int, each: int) -> int:
    """Warps of a program that works on so many entries at a time, one for `each` entries."""
    return max(1, min(8, entries // each))


@triton.jit
def _blend(
    R, x, A, s, slopes, out, K, D, repeat, n, ALONG: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Set out[m, k, j] = sum_q R[m, k, q] x[m, q, j], or (ALONG) that + sum_a A[m, k, a] s[m, a, j], times
    slopes[m, k % repeat, j]."""
    m = tl.program_id(0).to(tl.int64)
    k, j = tl.arange(0, ROWS), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([ROWS, BLOCK], tl.float64)
    for q in range(K):
        factors = tl.load(R + (m * K + k) * K + q, mask=k < K, other=0.0)
        total += factors[:, None] * tl.load(x + (m * K + q) * n + j, mask=j < n, other=0.0).to(tl.float64)[None, :]
    cells = (k < K)[:, None] & (j < n)[None, :]
    if ALONG:
        for a in range(D):
            factors = tl.load(A + (m * K + k) * D + a, mask=k < K, other=0.0)
            total += factors[:, None] * tl.load(s + (m * D + a) * n + j, mask=j < n, other=0.0).to(tl.float64)[None, :]
        total *= tl.load(slopes + (m * repeat + k[:, None] % repeat) * n + j[None, :], mask=cells, other=0.0).to(
            tl.float64
        )
    tl.store(out + (m * K + k[:, None]) * n + j[None, :], total, mask=cells)


def blend(
    R: Tensor, x: Tensor, A: Tensor | None = None, s: Tensor | None = None, slopes: Tensor | None = None
) -> Tensor:
    """R x, or (R x + A s) times slopes: (M, K, K) and (M, K, D) float64, (M, K, n), (M, D, n), (M, T, n) -> (M, K, n).

    slopes: of rows k = 0..T-1 and again of the next T. The result has the dtype of x and is rounded to it once.
    """
    M, K, n = x.shape
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    if out.numel():
        R, x = R.contiguous(), x.contiguous()
        A, s, slopes = (R if t is None else t.contiguous() for t in (A, s, slopes))
        rows = triton.next_power_of_2(K)
        block = min(triton.next_power_of_2(n), max(32, 1024 // rows))
        grid, warps = (M, triton.cdiv(n, block)), warps_of(rows * block, 256)
        along = s is not R
        sizes = (K, s.shape[1], slopes.shape[1], n)
        _blend[grid](R, x, A, s, slopes, out, *sizes, ALONG=along, ROWS=rows, BLOCK=block, num_warps=warps)
    return out


@triton.jit
def _factors(g, C, M, D, rounding: tl.float64, BLOCK: tl.constexpr) -> None:
    """Set C[m] to the factor of g[m], one network a lane."""
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    here, from_, to = m < M, g + m * D * D, C + m * D * D
    for j in range(D):
        diagonal = tl.load(from_ + j * D + j, mask=here, other=1.0)
        pivot = diagonal
        for k in range(j):
            entry = tl.load(to + j * D + k, mask=here, other=0.0)
            pivot -= entry * entry
        # The comparison is not "pivot > ...", so that a NaN stays one.
        dead = pivot <= rounding * diagonal
        root = tl.sqrt(tl.where(dead, 1.0, pivot))
        for i in range(j, D):
            total = tl.load(from_ + i * D + j, mask=here, other=0.0)
            for k in range(j):
                left = tl.load(to + i * D + k, mask=here, other=0.0)
                total -= left * tl.load(to + j * D + k, mask=here, other=0.0)
            tl.store(to + i * D + j, tl.where(dead, 0.0, total / root), mask=here)
        for i in range(j):
            tl.store(to + i * D + j, tl.zeros([BLOCK], tl.float64), mask=here)
        tl.debug_barrier()  # what was stored is read again


def factor(g: Tensor, rounding: float) -> Tensor:
    """The lower triangular factor that `simulate.numerics.gram.factor` defines: (M, D, D) float64."""
    C = torch.empty(g.shape, dtype=g.dtype, device=g.device)
    if C.numel():
        _factors[(triton.cdiv(len(g), 128),)](g.contiguous(), C, len(g), g.shape[-1], rounding, BLOCK=128)
    return C


def pull_back(
    u: Tensor, R: Tensor, C: Tensor, xi: Tensor, s: Tensor, x: Tensor, bias: Tensor, scale: float, slopes: Tensor
) -> Tensor:
    """What `simulate.numerics.gram.pull_back` gives."""
    P, overlap = inverse(C), cross(x, s)
    if len(bias):
        overlap += bias.double()
    known = cross(u, xi).baddbmm_(torch.bmm(R, overlap), P.mT, alpha=-1)
    return blend(R, x, torch.bmm(known, P).mul_(scale**2), s, slopes)
