"""A layer without weights on a CUDA device, forward and backward, in one kernel in Triton each.

A program has one network. Its normals are drawn where they are used; what the backward pass reads is written once, and
nothing else of the size of a layer is. M counts networks, n neurons, D samples and K vectors. Sums are in float64, and
rounded once.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from simulate.numerics.device import VARYING, _box_muller, _box_muller_wide, _words, warps_of
from simulate.numerics.gram import Form
from simulate.numerics.loops import LANES
from simulate.numerics.normals import Address

ENTRIES = 8192  # products of entries that a program holds at a time, unless a block of neurons is the smallest
SMALLEST = 64  # neurons of a block at least: a group of normals


@triton.jit
def _columns(EACH: tl.constexpr, WHOLE: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr):
    """The neurons of a block in the order of the columns of `_fresh`."""
    e = tl.arange(0, BLOCK)
    if WHOLE:
        e = e // (EACH * LANES) * (EACH * LANES) + e % EACH * LANES + e // EACH % LANES
    return e


@triton.jit
def _fresh(
    address, k, first, n, EACH: tl.constexpr, WHOLE: tl.constexpr, LANES: tl.constexpr, ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Normals of rows k of (K, n) at neurons first + `_columns`. address: the counter at which the network begins,
    tensor, groups of a network, two words of the key, and scale. EACH: normals of a counter. WHOLE: rows begin with a
    group, and the normals of a counter are columns next to each other; elsewhere each entry takes one of them."""
    start, tensor, per_network, k0, k1, scale = address
    if WHOLE:
        at = (k * n + first)[:, None] // EACH + tl.arange(0, BLOCK // EACH)[None, :]
        w0, w1, w2, w3 = _words(start + at, tensor, per_network, k0, k1)
        if EACH == 2:
            x, y = _box_muller_wide(w0, w1, w2, w3)
            drawn = tl.join(x, y)
        else:
            z0, z1 = _box_muller(w0, w1)
            z2, z3 = _box_muller(w2, w3)
            drawn = tl.join(tl.join(z0, z2), tl.join(z1, z3))
        drawn = tl.reshape(drawn, [ROWS, BLOCK])
    else:
        at = (k * n + first)[:, None] + tl.arange(0, BLOCK)[None, :]
        row = at // LANES % EACH
        counter = start + at // (EACH * LANES) * LANES + at % LANES
        w0, w1, w2, w3 = _words(counter, tensor, per_network, k0, k1)
        if EACH == 2:
            x, y = _box_muller_wide(w0, w1, w2, w3)
        else:
            x, y = _box_muller(tl.where(row < 2, w0, w2), tl.where(row < 2, w1, w3))
        drawn = tl.where(row % 2 == 0, x, y)
    return tl.full([ROWS, BLOCK], scale, drawn.dtype) * drawn


@triton.jit
def _tanh(z):
    """tanh z: in float32 -e/(2 + e) for e = exp(-2|z|) - 1, within 3 units of the last place and never beyond 1; in
    float64 to 1e-14."""
    if z.dtype == tl.float64:
        a = tl.abs(z)
        w, t = z * z, tl.exp(-2.0 * a)
        series = a - a * w * (1 / 3 - w * (2 / 15 - w * (17 / 315 - w * (62 / 2835))))
        size = tl.where(a < 0.02, series, (1.0 - t) / (1.0 + t))
    else:
        a = tl.abs(z)
        a = tl.where(a > 9.5, 9.5, a)  # NaN stays NaN
        shifted = a * -2.8853900817779268 + 12583039.0
        power = (shifted.to(tl.int32, bitcast=True) << 23).to(tl.float32, bitcast=True)
        k = shifted - 12583039.0
        r = (-2.0 * a - k * 0.693359375) + k * 2.12194440e-4  # log 2 in two parts, where products are not fused
        p = r * 1.388239589410972e-3 + 8.367180962436742e-3  # the polynomial of the loops
        p = p * r + 4.166722126950418e-2
        p = p * r + 1.666653868178574e-1
        p = p * r + 4.999999804178136e-1
        e = power * (p * (r * r) + r) + (power - 1.0)
        size = tl.div_rn(-e, 2.0 + e)
    return tl.where(z < 0, -size, size)


@triton.jit
def _products(x, y):
    """sum_j x_kj y_aj: (K, n), (D, n) -> (K, D) float64."""
    return tl.sum(x.to(tl.float64)[:, None, :] * y.to(tl.float64)[None, :, :], axis=2)


@triton.jit
def _mixture(R, rows, inside, x, k, K, OUT: tl.constexpr, BLOCK: tl.constexpr):
    """sum_q R[row, q] x[q] of rows of R (..., K): (OUT, BLOCK) float64. k: the indices of rows of x."""
    total = tl.zeros([OUT, BLOCK], tl.float64)
    for q in range(K):
        row = tl.sum(tl.where((k == q)[:, None], x, 0.0), axis=0)
        factors = tl.load(R + rows * K + q, mask=inside, other=0.0)
        total += factors[:, None] * row.to(tl.float64)[None, :]
    return total


@triton.jit
def _solved(Y, C, a, D, TURNED: tl.constexpr):
    """X with X C^T = Y, or (TURNED) X C = Y, for lower triangular C (D, D); zero where C has zero columns."""
    X = tl.zeros_like(Y)
    for i in range(D):
        b = D - 1 - i if TURNED else i
        others = tl.load(C + (a * D + b if TURNED else b * D + a), mask=a < D, other=0.0)
        pivot = tl.load(C + b * D + b)
        right = tl.sum(tl.where((a == b)[None, :], Y, 0.0) - X * others[None, :], axis=1)
        found = tl.where(pivot == 0.0, 0.0, right / tl.where(pivot == 0.0, 1.0, pivot))
        X = tl.where((a == b)[None, :], found[:, None], X)
    return X


@triton.jit(do_not_specialize=VARYING)
def _forward(
    C, xi, z, s, square, D, n, start: tl.int64, tensor: tl.uint32, per_network: tl.int32, k0: tl.uint32, k1: tl.uint32,
    scale: tl.float64, below: tl.float64, TANH: tl.constexpr, KEEP: tl.constexpr, HOLD: tl.constexpr,
    EACH: tl.constexpr, WHOLE: tl.constexpr, LANES: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Set xi and s (HOLD), z (KEEP), (M, D, n) each, and the Gram matrix of s for one m."""
    m, k = tl.program_id(0).to(tl.int64), tl.arange(0, ROWS)
    address = start + m * per_network * LANES, tensor, per_network, k0, k1, scale
    total = tl.zeros([ROWS, ROWS], tl.float64)
    for first in range(0, n, BLOCK):
        j = first + _columns(EACH, WHOLE, LANES, BLOCK)
        at, cells = (m * D + k[:, None]) * n + j[None, :], (k < D)[:, None] & (j < n)[None, :]
        x = _fresh(address, k, first, n, EACH, WHOLE, LANES, ROWS, BLOCK)
        mixed = _mixture(C, m * D + k, k < D, x, k, D, ROWS, BLOCK).to(x.dtype)
        if KEEP:
            tl.store(z + at, mixed, mask=cells)
        found = _tanh(mixed) if TANH else tl.where(mixed > 0, mixed, tl.full([ROWS, BLOCK], below, x.dtype) * mixed)
        if HOLD:
            tl.store(xi + at, x, mask=cells)
            tl.store(s + at, found, mask=cells)
        found = tl.where(cells, found, 0.0)
        total += _products(found, found)
    tl.store(square + (m * D + k[:, None]) * D + k[None, :], total, mask=(k < D)[:, None] & (k < D)[None, :])


@triton.jit(do_not_specialize=VARYING)
def _backward(
    u, R, C, xi, s, bias, out, square, K, D, n, above, rows, split, start: tl.int64, tensor: tl.uint32,
    per_network: tl.int32, k0: tl.uint32, k1: tl.uint32, scale: tl.float64, below: tl.float64, TANH: tl.constexpr,
    BIASED: tl.constexpr, HELD: tl.constexpr, EACH: tl.constexpr, WHOLE: tl.constexpr, LANES: tl.constexpr,
    VECTORS: tl.constexpr, ROWS: tl.constexpr, OUT: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Set out (M, rows, n) to the vectors that are pulled back, and square to its Gram matrix, for one m. above: the
    neurons of u and xi. HELD: a block has all neurons, and its normals are drawn once."""
    m, k, a, o = tl.program_id(0).to(tl.int64), tl.arange(0, VECTORS), tl.arange(0, ROWS), tl.arange(0, OUT)
    address = start + m * per_network * LANES, tensor, per_network, k0, k1, scale
    inside, sample, vector = o < rows, a < D, tl.where(o < split, o, split + (o - split) // D)
    known, overlap = tl.zeros([OUT, ROWS], tl.float64), tl.zeros([VECTORS, ROWS], tl.float64)
    for first in range(0, above, BLOCK):
        j = first + tl.arange(0, BLOCK)
        here = (j < above)[None, :]
        v = tl.load(u + (m * K + vector[:, None]) * above + j[None, :], mask=inside[:, None] & here, other=0.0)
        known += _products(
            v, tl.load(xi + (m * D + a[:, None]) * above + j[None, :], mask=sample[:, None] & here, other=0.0)
        )
    if HELD:
        x = _fresh(address, k, 0, n, EACH, WHOLE, LANES, VECTORS, BLOCK)
    for first in range(0, n, BLOCK):
        j = first + _columns(EACH, WHOLE, LANES, BLOCK)
        if not HELD:
            x = _fresh(address, k, first, n, EACH, WHOLE, LANES, VECTORS, BLOCK)
        cells = sample[:, None] & (j < n)[None, :]
        overlap += _products(x, tl.load(s + (m * D + a[:, None]) * n + j[None, :], mask=cells, other=0.0))
    if BIASED:
        overlap += tl.load(bias + m * K + k, mask=k < K, other=0.0).to(tl.float64)[:, None]
    C += m * D * D
    seen = _solved(_mixture(R, m * K + vector, inside, overlap, k, K, OUT, ROWS), C, a, D, False)
    along = _solved(scale * scale * (known - seen), C, a, D, True)
    total = tl.zeros([OUT, OUT], tl.float64)
    for first in range(0, n, BLOCK):
        j = first + _columns(EACH, WHOLE, LANES, BLOCK)
        if not HELD:
            x = _fresh(address, k, first, n, EACH, WHOLE, LANES, VECTORS, BLOCK)
        wide = _mixture(R, m * K + vector, inside, x, k, K, OUT, BLOCK)
        for b in range(D):
            factors = tl.sum(tl.where((a == b)[None, :], along, 0.0), axis=1)
            signal = tl.load(s + (m * D + b) * n + j, mask=j < n, other=0.0)
            wide += factors[:, None] * signal.to(tl.float64)[None, :]
        cells = inside[:, None] & (j < n)[None, :]
        signals = tl.load(s + (m * D + o[:, None] % D) * n + j[None, :], mask=cells, other=0.0).to(tl.float64)
        flat = tl.full([OUT, BLOCK], below, tl.float64)
        slopes = 1.0 - signals * signals if TANH else tl.where(signals > 0, 1.0, flat)
        found = tl.where(cells, wide * slopes, 0.0).to(x.dtype)
        tl.store(out + (m * rows + o[:, None]) * n + j[None, :], found, mask=cells)
        total += _products(found, found)
    tl.store(square + (m * rows + o[:, None]) * rows + o[None, :], total, mask=inside[:, None] & inside[None, :])


def _shape(n: int, most: int, address: Address) -> dict[str, Any]:
    """The constants that follow from n neurons, from the most rows that a program holds, and from an address."""
    rows, each = triton.next_power_of_2(most), 2 if address.dtype == torch.float64 else 4
    entries = rows * max(rows, 4)
    block = min(triton.next_power_of_2(n), max(SMALLEST, ENTRIES // entries))
    found = {"EACH": each, "WHOLE": n % (each * LANES) == 0, "LANES": LANES, "BLOCK": block}
    return found | {"num_warps": warps_of(entries * block, 1024)}


def _words_of(address: Address, form: Form) -> tuple[float, ...]:
    """The numbers of an address and of a form, as both kernels take them."""
    return address.start, address.tensor, address.per_network, *address.key, address.scale, form.below


def forward(C: Tensor, address: Address, form: Form, keep: bool, hold: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The parts of `simulate.numerics.layer.Layer` that `simulate.numerics.layer.forward` gives."""
    M, D, _ = C.shape
    where: dict[str, Any] = {"dtype": address.dtype, "device": C.device}
    n = address.N // D
    xi, s = (torch.empty(M, D, n if hold else 0, **where) for _ in range(2))
    z, square = torch.empty(M, D, n, **where) if keep else s, torch.empty(M, D, D, dtype=C.dtype, device=C.device)
    flags = {"TANH": form.tanh, "KEEP": keep, "HOLD": hold, "ROWS": triton.next_power_of_2(D)}
    of_address = _words_of(address, form)
    _forward[(M,)](C.contiguous(), xi, z, s, square, D, n, *of_address, **flags, **_shape(n, D, address))
    return xi, z, s, square


def backward(
    u: Tensor, R: Tensor, C: Tensor, xi: Tensor, s: Tensor, address: Address, bias: Tensor, form: Form, split: int
) -> tuple[Tensor, Tensor]:
    """What `simulate.numerics.layer.backward` gives, by the factor R of the Gram matrices of u."""
    (M, K, above), (_, D, n) = u.shape, s.shape
    rows = split + (K - split) * D
    out = torch.empty(M, rows, n, dtype=s.dtype, device=s.device)
    square = torch.empty(M, rows, rows, dtype=torch.float64, device=s.device)
    shape = _shape(n, max(K, D, rows), address)
    flags = {"TANH": form.tanh, "BIASED": len(bias) > 0, "HELD": n <= shape["BLOCK"]}
    sizes = {"VECTORS": K, "ROWS": D, "OUT": rows}
    powers = {name: triton.next_power_of_2(size) for name, size in sizes.items()}
    arrays = (t.contiguous() for t in (u, R, C, xi, s, bias))
    numbers = (K, D, n, above, rows, split, *_words_of(address, form))
    _backward[(M,)](*arrays, out, square, *numbers, **flags, **powers, **shape)
    return out, square
