"""The compiled loops of a CPU: normals by address, and the arithmetic of a block without weights.

`simulate.numerics.normals`, `simulate.numerics.gram` and `simulate.networks.one_pass` call them. Loops that call each
other must share one file, which is why this one is long: numba's cache checks only the file of the function that it
stores, so after an edit of a loop in another file it would run yesterday's code. M counts networks, n neurons, D
samples and K vectors. Sums over neurons are accumulated in float64.
"""

import math
from typing import Any

import numpy as np
from numba import float32, float64, int32, int64, njit, uint32, uint64

# The constants of Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC11).
MULTIPLIERS, WEYL, ROUNDS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85), 10
_M0, _M1, _W0, _W1 = uint32(MULTIPLIERS[0]), uint32(MULTIPLIERS[1]), uint32(WEYL[0]), uint32(WEYL[1])
# LANES: counters in a group. A counter gives four words, so that normals come in groups of 64 (of 32 in float64).
LANES = 16
# CHUNK: groups whose words the loops hold at a time, in the first-level cache.
CHUNK = 8
# UNROLLED: up to so many samples and vectors, sums over them are written out. Loops over as many as this are inlined
# with the number, so that the compiler writes them out.
UNROLLED = 4
# ROUNDING: a pivot below this fraction of the diagonal is rounding error; its sample depends linearly on earlier ones.
ROUNDING = 1e-13

# TANH: the slope of tanh as `_slope` has it.
TANH = (1.0, 0.0, -1.0, 0.0)

# Sums may be reordered to fill vector registers; NaN and infinity keep their meaning, since a network may diverge.
_vectorized = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
# These loops become part of their callers: for a few neurons a call would cost as much as the work.
_vectorized_inline = njit(forceinline=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
# These are written into their callers before they are compiled: each level of calls makes machine code of its own.
_part = njit(inline="always", error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@njit(cache=True, inline="always")
def _words(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    for _ in range(ROUNDS):
        p0, p1 = uint64(_M0) * uint64(c0), uint64(_M1) * uint64(c2)
        c0, c1 = uint32(p1 >> uint64(32)) ^ c1 ^ k0, uint32(p1)
        c2, c3 = uint32(p0 >> uint64(32)) ^ c3 ^ k1, uint32(p0)
        k0, k1 = uint32(k0 + _W0), uint32(k1 + _W1)
    return c0, c1, c2, c3


@njit(cache=True)
def philox(out: Any, count: int, start: Any, tensor: Any, per_network: Any, k0: Any, k1: Any) -> None:
    """Set out (4, count or more) uint32 to the words at the counters start, start + 1, ..., start + count - 1."""
    for i in range(count):
        counter = start + uint64(i)
        out[0, i], out[1, i], out[2, i], out[3, i] = _words(
            uint32(counter), uint32(counter >> uint64(32)), tensor, per_network, k0, k1
        )


_finite = njit(forceinline=True, error_model="numpy", fastmath=True)  # all numbers are finite here


@_finite
def _pair(word: Any, turned: Any, scale: Any) -> Any:
    """Two float32 normals of scale `scale` from two words."""
    u = float32(word) * float32(2.0**-32) + float32(2.0**-33)
    bits = np.float32(u).view(np.int32)
    e = (bits - int32(0x3F3504F3)) >> int32(23)  # u = m 2^e with m in [sqrt(1/2), sqrt(2))
    m = np.int32(bits - (e << int32(23))).view(np.float32) - float32(1.0)
    p = float32(7.0376836292e-2)
    p = p * m - float32(1.1514610310e-1)
    p = p * m + float32(1.1676998740e-1)
    p = p * m - float32(1.2420140846e-1)
    p = p * m + float32(1.4249322787e-1)
    p = p * m - float32(1.6668057665e-1)
    p = p * m + float32(2.0000714765e-1)
    p = p * m - float32(2.4999993993e-1)
    p = p * m + float32(3.3333331174e-1)
    square, power = m * m, float32(e)
    log = m + (m * square * p - power * float32(2.12194440e-4) - float32(0.5) * square) + power * float32(0.693359375)
    radius = scale * math.sqrt(float32(-2.0) * log)  # u <= 1, so log <= 0
    turn = float32(int32(turned)) * float32(2.0**-32)
    quarter = int32(turn * float32(4.0) + math.copysign(float32(0.5), turn))
    angle = (turn - float32(quarter) * float32(0.25)) * float32(2.0 * math.pi)
    w = angle * angle
    sine = angle + angle * w * (
        float32(-1.6666654611e-1) + w * (float32(8.3321608736e-3) - w * float32(1.9515295891e-4))
    )
    cosine = float32(1.0) - w * float32(0.5)
    cosine += (
        w
        * w
        * (float32(4.166664568298827e-2) - w * (float32(1.388731625493765e-3) - w * float32(2.443315711809948e-5)))
    )
    odd = (quarter & int32(1)) != 0
    x, y = (sine, cosine) if odd else (cosine, sine)
    signs = np.int32((quarter + int32(1)) << int32(30)), np.int32(quarter << int32(30))
    return _signed(radius * x, signs[0]), _signed(radius * y, signs[1])


@_finite
def _signed(x: Any, signs: Any) -> Any:
    """x, or -x where the highest bit of `signs` is set."""
    return np.int32(np.float32(x).view(np.int32) ^ (signs & int32(-(2**31)))).view(np.float32)


@_finite
def box_muller(words: Any, groups: int, out: Any, first: int, scale: Any) -> None:
    """Set groups first, first + 1, ... of out (groups, 4, LANES) float32 to normals made from words (4, counters)."""
    for q in range(groups):
        for r in (0, 2):
            for j in range(LANES):
                i = q * LANES + j
                out[first + q, r, j], out[first + q, r + 1, j] = _pair(words[r, i], words[r + 1, i], scale)


@njit(cache=True, error_model="numpy", fastmath=True)
def _whole(out: Any, start: Any, tensor: Any, per_network: Any, k0: Any, k1: Any, scale: Any) -> None:
    """Fill out (groups, 4, LANES) float32."""
    words = np.empty((4, CHUNK * LANES), np.uint32)  # made here, so that the compiler knows that it overlaps nothing
    for first in range(0, len(out), CHUNK):
        groups = min(CHUNK, len(out) - first)
        philox(words, groups * LANES, start + uint64(first * LANES), tensor, per_network, k0, k1)
        box_muller(words, groups, out, first, scale)


@njit(cache=True)
def _trimmed(out: Any, start: Any, tensor: Any, per_network: Any, k0: Any, k1: Any, scale: Any) -> None:
    """Fill out (M, N) float32 where N is no multiple of a group; the rest of a network's last group is dropped."""
    normal, total, size = np.empty((CHUNK, 4, LANES), np.float32), len(out) * int64(per_network), 4 * LANES
    flat = normal.reshape(CHUNK, size)
    for first in range(0, total, CHUNK):
        groups = min(CHUNK, total - first)
        _whole(normal[:groups], start + uint64(first * LANES), tensor, per_network, k0, k1, scale)
        for q in range(groups):
            m, begin = (first + q) // int64(per_network), (first + q) % int64(per_network) * size
            for i in range(min(size, out.shape[1] - begin)):
                out[m, begin + i] = flat[q, i]


@njit(cache=True)
def normals(out: Any, address: Any) -> None:
    """Fill out (M, N) float32. address: the first counter, the tensor, its groups of a network, two words of the key,
    and the scale."""
    M, N = out.shape
    if N % (4 * LANES):
        _trimmed(out, *address)
    else:
        _whole(out.reshape(M * N // (4 * LANES), 4, LANES), *address)


@njit(cache=True)
def uniforms(out: Any, start: Any, tensor: Any, per_network: Any, k0: Any, k1: Any) -> None:
    """Fill out (groups, 2, LANES) float64 from 64 bits each: the first row in (0, 1), the second in [-1/2, 1/2)."""
    words = np.empty((4, LANES), np.uint32)
    for group in range(len(out)):
        philox(words, LANES, start + uint64(group * LANES), tensor, per_network, k0, k1)
        for j in range(LANES):
            out[group, 0, j] = (float64(words[0, j]) + (float64(words[1, j]) + 0.5) * 2.0**-32) * 2.0**-32
            out[group, 1, j] = (float64(words[2, j]) + float64(words[3, j]) * 2.0**-32) * 2.0**-32 - 0.5


@_vectorized_inline
def _dots(u: Any, s: Any, m: int, out: Any, slot: int, k: int, a: int) -> None:
    """Set out[slot, k:k+4, a:a+4] = u[m, k:k+4] s[m, a:a+4]^T; each of the eight rows is read and widened once."""
    t00 = t01 = t02 = t03 = t10 = t11 = t12 = t13 = 0.0
    t20 = t21 = t22 = t23 = t30 = t31 = t32 = t33 = 0.0
    for j in range(u.shape[2]):
        x0, x1 = float64(u[m, k, j]), float64(u[m, k + 1, j])
        x2, x3 = float64(u[m, k + 2, j]), float64(u[m, k + 3, j])
        y0, y1 = float64(s[m, a, j]), float64(s[m, a + 1, j])
        y2, y3 = float64(s[m, a + 2, j]), float64(s[m, a + 3, j])
        t00, t01, t02, t03 = t00 + x0 * y0, t01 + x0 * y1, t02 + x0 * y2, t03 + x0 * y3
        t10, t11, t12, t13 = t10 + x1 * y0, t11 + x1 * y1, t12 + x1 * y2, t13 + x1 * y3
        t20, t21, t22, t23 = t20 + x2 * y0, t21 + x2 * y1, t22 + x2 * y2, t23 + x2 * y3
        t30, t31, t32, t33 = t30 + x3 * y0, t31 + x3 * y1, t32 + x3 * y2, t33 + x3 * y3
    out[slot, k, a], out[slot, k, a + 1], out[slot, k, a + 2], out[slot, k, a + 3] = t00, t01, t02, t03
    out[slot, k + 1, a], out[slot, k + 1, a + 1], out[slot, k + 1, a + 2], out[slot, k + 1, a + 3] = t10, t11, t12, t13
    out[slot, k + 2, a], out[slot, k + 2, a + 1], out[slot, k + 2, a + 2], out[slot, k + 2, a + 3] = t20, t21, t22, t23
    out[slot, k + 3, a], out[slot, k + 3, a + 1], out[slot, k + 3, a + 2], out[slot, k + 3, a + 3] = t30, t31, t32, t33


@_vectorized_inline
def _dots_two(u: Any, s: Any, m: int, out: Any) -> None:
    """Do what `_dots` does for two vectors and two samples."""
    t00 = t01 = t10 = t11 = 0.0
    for j in range(u.shape[2]):
        x0, x1, y0, y1 = float64(u[m, 0, j]), float64(u[m, 1, j]), float64(s[m, 0, j]), float64(s[m, 1, j])
        t00, t01, t10, t11 = t00 + x0 * y0, t01 + x0 * y1, t10 + x1 * y0, t11 + x1 * y1
    out[0, 0, 0], out[0, 0, 1], out[0, 1, 0], out[0, 1, 1] = t00, t01, t10, t11


@_vectorized_inline
def _cross(u: Any, s: Any, m: int, out: Any) -> None:
    """Set out[0, k, a] = sum_j u_kj s_aj of network m: (K, n), (D, n) -> (K, D)."""
    K, n = u.shape[1:]
    D = s.shape[1]
    if K == D == 2:
        _dots_two(u, s, m, out)
        return
    rest_k, rest_a = K - K % 4, D - D % 4
    for k in range(0, rest_k, 4):
        for a in range(0, rest_a, 4):
            _dots(u, s, m, out, 0, k, a)
    for k in range(K):
        for a in range(rest_a if k < rest_k else 0, D):
            total = 0.0
            for j in range(n):
                total += float64(u[m, k, j]) * float64(s[m, a, j])
            out[0, k, a] = total


@_vectorized
def crosses(u: Any, s: Any, out: Any) -> None:
    for m in range(len(u)):
        _cross(u, s, m, out[m : m + 1])


@_vectorized_inline
def _squares(s: Any, m: int, out: Any, a: int) -> None:
    """Set the lower triangle of out[m, a:a+4, a:a+4] to that of s[m, a:a+4] s[m, a:a+4]^T."""
    t00 = t10 = t11 = t20 = t21 = t22 = t30 = t31 = t32 = t33 = 0.0
    for j in range(s.shape[2]):
        x0, x1 = float64(s[m, a, j]), float64(s[m, a + 1, j])
        x2, x3 = float64(s[m, a + 2, j]), float64(s[m, a + 3, j])
        t00, t10, t11 = t00 + x0 * x0, t10 + x1 * x0, t11 + x1 * x1
        t20, t21, t22 = t20 + x2 * x0, t21 + x2 * x1, t22 + x2 * x2
        t30, t31, t32, t33 = t30 + x3 * x0, t31 + x3 * x1, t32 + x3 * x2, t33 + x3 * x3
    out[m, a, a], out[m, a + 1, a], out[m, a + 1, a + 1] = t00, t10, t11
    out[m, a + 2, a], out[m, a + 2, a + 1], out[m, a + 2, a + 2] = t20, t21, t22
    out[m, a + 3, a], out[m, a + 3, a + 1], out[m, a + 3, a + 2], out[m, a + 3, a + 3] = t30, t31, t32, t33


@_vectorized_inline
def _square(s: Any, m: int, out: Any) -> None:
    """Set the lower triangle of out[m] to that of the Gram matrix of network m."""
    D, n = s.shape[1:]
    if D == 2:
        t00 = t10 = t11 = 0.0
        for j in range(n):
            x0, x1 = float64(s[m, 0, j]), float64(s[m, 1, j])
            t00, t10, t11 = t00 + x0 * x0, t10 + x1 * x0, t11 + x1 * x1
        out[m, 0, 0], out[m, 1, 0], out[m, 1, 1] = t00, t10, t11
        return
    rest = D - D % 4
    for a in range(0, rest, 4):
        for b in range(0, a, 4):
            _dots(s, s, m, out, m, a, b)
        _squares(s, m, out, a)
    for a in range(rest, D):
        for b in range(a + 1):
            total = 0.0
            for j in range(n):
                total += float64(s[m, a, j]) * float64(s[m, b, j])
            out[m, a, b] = total


@_vectorized_inline
def _mirror(out: Any, m: int, scale: Any, shift: Any) -> None:
    """Make a symmetric matrix shift + scale out[m] of a lower triangle."""
    for a in range(out.shape[1]):
        for b in range(a + 1):
            out[m, a, b] = out[m, b, a] = out[m, a, b] * scale + shift


@_vectorized
def gram(s: Any, out: Any, scale: Any, shift: Any) -> None:
    for m in range(len(s)):
        _square(s, m, out)
        _mirror(out, m, scale, shift)


@_vectorized_inline
def _mix_four(C: Any, x: Any, out: Any, m: int) -> None:
    """Set out_k = sum_a C_ka x_a of network m for four samples and lower triangular C."""
    c00, c10, c11, c20, c21 = C[m, 0, 0], C[m, 1, 0], C[m, 1, 1], C[m, 2, 0], C[m, 2, 1]
    c22, c30, c31, c32, c33 = C[m, 2, 2], C[m, 3, 0], C[m, 3, 1], C[m, 3, 2], C[m, 3, 3]
    for j in range(x.shape[2]):
        x0, x1, x2, x3 = float64(x[m, 0, j]), float64(x[m, 1, j]), float64(x[m, 2, j]), float64(x[m, 3, j])
        out[m, 0, j] = c00 * x0
        out[m, 1, j] = c10 * x0 + c11 * x1
        out[m, 2, j] = c20 * x0 + c21 * x1 + c22 * x2
        out[m, 3, j] = c30 * x0 + c31 * x1 + c32 * x2 + c33 * x3


@_vectorized_inline
def _mix_two(C: Any, x: Any, out: Any, m: int) -> None:
    """Do what `_mix_four` does for two samples."""
    c00, c10, c11 = C[m, 0, 0], C[m, 1, 0], C[m, 1, 1]
    for j in range(x.shape[2]):
        x0, x1 = float64(x[m, 0, j]), float64(x[m, 1, j])
        out[m, 0, j] = c00 * x0
        out[m, 1, j] = c10 * x0 + c11 * x1


@_vectorized_inline
def _add(wide: Any, factors: Any, slot: int, k: int, rows: Any, m: int, count: int) -> None:
    """Add sum_a factors[slot, k, a] rows[m, a, j] over a < count to wide_j."""
    rest = count - count % 4
    for a in range(0, rest, 4):
        f0, f1, f2, f3 = factors[slot, k, a], factors[slot, k, a + 1], factors[slot, k, a + 2], factors[slot, k, a + 3]
        for j in range(len(wide)):
            wide[j] += f0 * rows[m, a, j] + f1 * rows[m, a + 1, j] + f2 * rows[m, a + 2, j] + f3 * rows[m, a + 3, j]
    for a in range(rest, count):
        factor = factors[slot, k, a]
        for j in range(len(wide)):
            wide[j] += factor * rows[m, a, j]


@_vectorized_inline
def _mixed(C: Any, x: Any, out: Any, m: int, wide: Any) -> None:
    """Set out[m] to the product of C[m] and x[m]. wide: scratch of n numbers."""
    D = x.shape[1]
    if D == 4:
        _mix_four(C, x, out, m)
    elif D == 2:
        _mix_two(C, x, out, m)
    else:
        for k in range(D):
            wide.fill(0.0)
            _add(wide, C, m, k, x, m, k + 1)
            for j in range(len(wide)):
                out[m, k, j] = wide[j]


@_vectorized
def mix(C: Any, x: Any, out: Any) -> None:
    wide = np.empty(x.shape[2])
    for m in range(len(x)):
        _mixed(C, x, out, m, wide)


# Without "reassoc", which would cancel what is added and taken away to round.
@njit(forceinline=True, error_model="numpy", fastmath={"contract"})
def _tanh(z: Any) -> Any:
    """tanh z in float32 within 3 units of the last place, never beyond 1: -e/(2 + e) for e = exp(-2|z|) - 1."""
    a = abs(z)
    a = float32(9.5) if a > float32(9.5) else a  # NaN stays NaN
    # exp(-2 a) = 2^k exp(r) with |r| <= log(2)/2. Adding 1.5 * 2^23 + 127 rounds to an integer, and leaves 2^k's bits.
    shifted = a * float32(-2.8853900817779268) + float32(12583039.0)
    power = np.int32(np.float32(shifted).view(np.int32) << int32(23)).view(np.float32)
    r = float32(-2.0) * a - (shifted - float32(12583039.0)) * float32(0.6931471805599453)
    # The polynomial has the least largest error of exp(r) - 1 on this interval, 1.4e-8 of it.
    p = float32(1.388239589410972e-3)
    p = p * r + float32(8.367180962436742e-3)
    p = p * r + float32(4.166722126950418e-2)
    p = p * r + float32(1.666653868178574e-1)
    p = p * r + float32(4.999999804178136e-1)
    e = power * (p * (r * r) + r) + (power - float32(1.0))
    return math.copysign(-e / (float32(2.0) + e), z)


@_vectorized
def activate(s: Any, tanh: bool, below: Any) -> None:
    """Set s (M, D, n), which holds z, to the activations of `simulate.numerics.gram.Form`."""
    for m in range(len(s)):
        for a in range(s.shape[1]):
            if tanh:
                for j in range(s.shape[2]):
                    s[m, a, j] = _tanh(s[m, a, j])
            else:
                for j in range(s.shape[2]):
                    s[m, a, j] = s[m, a, j] if s[m, a, j] > 0 else below * s[m, a, j]


@njit(cache=True, error_model="numpy")  # without sums in one instruction, so that torch makes the same of them
def kernels(square: Any, share: Any, C_b: Any, g: Any) -> None:
    """Set g (M, D, D) to C_b + share square."""
    flat, flat_square = g.reshape(-1), square.reshape(-1)
    for i in range(len(flat)):
        flat[i] = flat_square[i] * share + C_b


@njit(forceinline=True, error_model="numpy")
def _factor(D: int, g: Any, m: int, C: Any) -> None:
    """Set C[m] (D, D) to the factor of g[m] that `factor` defines."""
    for j in range(D):
        pivot = g[m, j, j]
        for k in range(j):
            pivot -= C[m, j, k] ** 2
        # The comparison is not "pivot > ...", so that a NaN stays one.
        root = 0.0 if pivot <= ROUNDING * g[m, j, j] else math.sqrt(pivot)
        for i in range(j, D):
            total = g[m, i, j]
            for k in range(j):
                total -= C[m, i, k] * C[m, j, k]
            C[m, i, j] = total / root if root != 0.0 else 0.0
        for i in range(j):
            C[m, i, j] = 0.0


@njit(cache=True, error_model="numpy")
def factors(g: Any, C: Any) -> None:
    for m in range(len(g)):
        if g.shape[1] == UNROLLED:
            _factor(UNROLLED, g, m, C)
        else:
            _factor(g.shape[1], g, m, C)


@njit(forceinline=True, error_model="numpy")
def inverse(D: int, C: Any, m: int, P: Any) -> None:
    """Set P (D, D) such that the rows of P phi are orthonormal, where the Gram matrix of phi has the factor C[m].

    Rows of P are zero where C[m] has zero columns.
    """
    for j in range(D):
        for i in range(D):
            if i < j or C[m, i, i] == 0.0:
                P[i, j] = 0.0
                continue
            total = 1.0 if i == j else 0.0
            for k in range(j, i):
                total -= C[m, i, k] * P[k, j]
            P[i, j] = total / C[m, i, i]


@_vectorized_inline
def _slope(t: Any, bend: Any) -> Any:
    """The slope c0 + c1 t + c2 t^2, and c3 more above zero, for bend = (c0, c1, c2, c3), in float64."""
    wide = float64(t)
    return bend[0] + wide * (bend[1] + wide * bend[2]) + (bend[3] if wide > 0 else 0.0)


@_vectorized_inline
def _blend_four(f: Any, s: Any, g: Any, x: Any, slopes: Any, bend: Any, out: Any, m: int) -> None:
    """Set out_k = (sum_a f_ka s_a + sum_q g_kq x_q) slope_k of network m for four vectors, with the slopes of `_slope`.

    There are up to four rows of s; missing rows alias the last one with coefficient zero.
    """
    D, T = s.shape[1], slopes.shape[1]
    b, c, d, t1, t2, t3 = min(1, D - 1), min(2, D - 1), D - 1, 1 % T, 2 % T, 3 % T
    f00, f01, f02, f03 = f[0, 0, 0], f[0, 0, 1], f[0, 0, 2], f[0, 0, 3]
    f10, f11, f12, f13 = f[0, 1, 0], f[0, 1, 1], f[0, 1, 2], f[0, 1, 3]
    f20, f21, f22, f23 = f[0, 2, 0], f[0, 2, 1], f[0, 2, 2], f[0, 2, 3]
    f30, f31, f32, f33 = f[0, 3, 0], f[0, 3, 1], f[0, 3, 2], f[0, 3, 3]
    g00, g10, g11, g20, g21 = g[0, 0, 0], g[0, 1, 0], g[0, 1, 1], g[0, 2, 0], g[0, 2, 1]
    g22, g30, g31, g32, g33 = g[0, 2, 2], g[0, 3, 0], g[0, 3, 1], g[0, 3, 2], g[0, 3, 3]
    for j in range(s.shape[2]):
        y0, y1, y2, y3 = float64(s[m, 0, j]), float64(s[m, b, j]), float64(s[m, c, j]), float64(s[m, d, j])
        x0, x1, x2, x3 = float64(x[m, 0, j]), float64(x[m, 1, j]), float64(x[m, 2, j]), float64(x[m, 3, j])
        z0 = f00 * y0 + f01 * y1 + f02 * y2 + f03 * y3 + g00 * x0
        z1 = f10 * y0 + f11 * y1 + f12 * y2 + f13 * y3 + (g10 * x0 + g11 * x1)
        z2 = f20 * y0 + f21 * y1 + f22 * y2 + f23 * y3 + (g20 * x0 + g21 * x1 + g22 * x2)
        z3 = f30 * y0 + f31 * y1 + f32 * y2 + f33 * y3 + (g30 * x0 + g31 * x1 + g32 * x2 + g33 * x3)
        out[m, 0, j] = z0 * _slope(slopes[m, 0, j], bend)
        out[m, 1, j] = z1 * _slope(slopes[m, t1, j], bend)
        out[m, 2, j] = z2 * _slope(slopes[m, t2, j], bend)
        out[m, 3, j] = z3 * _slope(slopes[m, t3, j], bend)


@_vectorized_inline
def _blend_two(f: Any, s: Any, g: Any, x: Any, slopes: Any, bend: Any, out: Any, m: int) -> None:
    """Do what `_blend_four` does for two vectors and up to two rows of s."""
    b, t1 = s.shape[1] - 1, 1 % slopes.shape[1]
    f00, f01, f10, f11 = f[0, 0, 0], f[0, 0, 1], f[0, 1, 0], f[0, 1, 1]
    g00, g10, g11 = g[0, 0, 0], g[0, 1, 0], g[0, 1, 1]
    for j in range(s.shape[2]):
        y0, y1, x0, x1 = float64(s[m, 0, j]), float64(s[m, b, j]), float64(x[m, 0, j]), float64(x[m, 1, j])
        out[m, 0, j] = (f00 * y0 + f01 * y1 + g00 * x0) * _slope(slopes[m, 0, j], bend)
        out[m, 1, j] = (f10 * y0 + f11 * y1 + (g10 * x0 + g11 * x1)) * _slope(slopes[m, t1, j], bend)


@_vectorized_inline
def _blend_few(f: Any, s: Any, g: Any, x: Any, slopes: Any, bend: Any, out: Any, m: int) -> None:
    """Do what `_blend_four` does for up to UNROLLED vectors."""
    D, Q, T = s.shape[1], x.shape[1], slopes.shape[1]
    b, c, d, q, r, t = min(1, D - 1), min(2, D - 1), D - 1, min(1, Q - 1), min(2, Q - 1), Q - 1
    for k in range(Q):
        f0, f1, f2, f3 = f[0, k, 0], f[0, k, 1], f[0, k, 2], f[0, k, 3]
        g0, g1, g2, g3 = g[0, k, 0], g[0, k, 1], g[0, k, 2], g[0, k, 3]
        row = k % T
        for j in range(s.shape[2]):
            y0, y1, y2, y3 = float64(s[m, 0, j]), float64(s[m, b, j]), float64(s[m, c, j]), float64(s[m, d, j])
            x0, x1, x2, x3 = float64(x[m, 0, j]), float64(x[m, q, j]), float64(x[m, r, j]), float64(x[m, t, j])
            known = f0 * y0 + f1 * y1 + f2 * y2 + f3 * y3
            fresh = g0 * x0 + g1 * x1 + g2 * x2 + g3 * x3
            out[m, k, j] = (known + fresh) * _slope(slopes[m, row, j], bend)


@_vectorized_inline
def _along(K: int, D: int, R: Any, overlap: Any, known: Any, P: Any, scale: Any, A: Any) -> None:
    """Set A = scale^2 (known - R overlap P^T) P, where R and P are lower triangular; `known` is overwritten."""
    for k in range(K):
        for a in range(D):
            total = 0.0
            for q in range(k + 1):
                total += R[0, k, q] * overlap[0, q, a]
            A[0, k, a] = total
        for a in range(D):
            total = known[0, k, a]
            for b in range(a + 1):
                total -= A[0, k, b] * P[a, b]
            known[0, k, a] = total
        for a in range(D):
            total = 0.0
            for b in range(a, D):
                total += known[0, k, b] * P[b, a]
            A[0, k, a] = total * scale**2


@_part
def _work(K: int, D: int) -> Any:
    """Arrays for `_pulled` with up to K vectors: P, overlap, known, R and A."""
    R, A = np.zeros((1, K, max(K, UNROLLED))), np.zeros((1, K, max(D, UNROLLED)))
    return np.empty((D, D)), np.empty((1, K, D)), np.empty((1, K, D)), R, A


@_part
def _pulled(
    u: Any, C: Any, xi: Any, s: Any, x: Any, bias: Any, scale: Any, slopes: Any, bend: Any, split: int, out: Any,
    work: Any, wide: Any,
) -> None:  # fmt: skip
    """Set out to what is pulled back for one network, whose arrays these are, and whose R is in `work`.

    wide: scratch of n numbers.
    """
    K, (D, n), T = u.shape[1], s.shape[1:], slopes.shape[1]
    P, overlap, known, R, A = work
    _cross(x, s, 0, overlap)
    _cross(u, xi, 0, known)
    for k in range(K if len(bias) else 0):
        for a in range(D):
            overlap[0, k, a] += bias[0, k, 0]
    if K == D == UNROLLED:  # the compiler knows the sizes here, and writes the loops out
        inverse(UNROLLED, C, 0, P)
        _along(UNROLLED, UNROLLED, R, overlap, known, P, scale, A)
    else:
        inverse(D, C, 0, P)
        _along(K, D, R, overlap, known, P, scale, A)
    few = D <= UNROLLED and split == K
    if few and K == UNROLLED and bend == TANH:  # the compiler knows the numbers
        _blend_four(A, s, R, x, slopes, TANH, out, 0)
    elif few and K == UNROLLED:
        _blend_four(A, s, R, x, slopes, bend, out, 0)
    elif few and D <= 2 and K == 2:
        _blend_two(A, s, R, x, slopes, bend, out, 0)
    elif few and K < UNROLLED:
        _blend_few(A, s, R, x, slopes, bend, out, 0)
    else:
        for k in range(K):
            wide.fill(0.0)
            _add(wide, A, 0, k, s, 0, D)
            _add(wide, R, 0, k, x, 0, k + 1)
            first, rows = (k, 1) if k < split else (split + (k - split) * T, T)
            for row in range(first, first + rows):
                for j in range(n):
                    out[0, row, j] = wide[j] * _slope(slopes[0, row % T, j], bend)


@_vectorized
def pull_back(
    u: Any, factors: Any, C: Any, xi: Any, s: Any, x: Any, bias: Any, scale: Any, slopes: Any, bend: Any, split: int,
    out: Any,
) -> None:  # fmt: skip
    K, (D, n) = u.shape[1], s.shape[1:]
    work, wide = _work(K, D), np.empty(n)
    for m in range(len(u)):
        h = m + 1
        for k in range(K):
            for q in range(K):
                work[3][0, k, q] = factors[m, k, q]
        of_C, of_xi, of_s = C[m:h], xi[m:h], s[m:h]
        _pulled(u[m:h], of_C, of_xi, of_s, x[m:h], bias[m:h], scale, slopes[m:h], bend, split, out[m:h], work, wide)


@_part
def _backward(
    u: Any, square: Any, C: Any, xi: Any, s: Any, x: Any, bias: Any, scale: Any, bend: Any, split: Any, out: Any,
    squares: Any, work: Any, wide: Any,
) -> None:  # fmt: skip
    """Fill out with what `pull_back` gives, and its Gram matrices."""
    K = u.shape[1]
    for m in range(len(u)):
        h = m + 1
        if K == UNROLLED:
            _factor(UNROLLED, square[m:h], 0, work[3])
        else:
            _factor(K, square[m:h], 0, work[3])
        of_C, of_xi, of_s = C[m:h], xi[m:h], s[m:h]
        _pulled(u[m:h], of_C, of_xi, of_s, x[m:h], bias[m:h], scale, of_s, bend, split, out[m:h], work, wide)
        _square(out, m, squares)
        _mirror(squares, m, 1.0, 0.0)


@_vectorized_inline
def _cut(flat: Any, first: Any, M: int, K: Any, n: Any) -> Any:
    """An array (M, K, n) in a flat one."""
    return flat[first : first + M * K * n].reshape(M, K, n)


@_vectorized_inline
def _address(addresses: Any, layer: int, first: Any, key: Any, scale: Any) -> Any:
    """That of `normals` for networks from the `first` of a block on."""
    tensor, per_network = addresses[layer, 1], addresses[layer, 2]
    start = addresses[layer, 0] + uint64(first) * per_network * uint64(LANES)
    return start, uint32(tensor), uint32(per_network), key[0], key[1], float32(scale)


@_vectorized_inline
def _append(u: Any, K: Any, n: Any, units: int) -> Any:
    """K vectors u (M, K, n) and unit vectors along the first neurons."""
    longer = np.zeros((len(u), K + units, n), np.float32)
    for m in range(len(u)):
        for k in range(K):
            for j in range(n):
                longer[m, k, j] = u[m, k, j]
        for k in range(units):
            longer[m, K + k, k] = 1.0
    return longer


@_vectorized_inline
def _add_rates(H: Any, g: Any, ratio: Any, shift: Any, square: Any, first: Any, shared: bool) -> None:
    """Add (ratio g_ab + shift) u_ia . u_jb to H (M, n_L, D, n_L, D), for vectors from the `first` on: one a sample, or
    one that all samples share."""
    M, outputs, D = H.shape[:3]
    if outputs == 1 and square.shape[1] == D and not shared:
        flat_H, flat_g, flat = H.reshape(-1), g.reshape(-1), square.reshape(-1)
        for i in range(len(flat_H)):
            flat_H[i] += (flat_g[i] * ratio + shift) * flat[i]
        return
    each = 1 if shared else D
    for m in range(M):
        for i in range(outputs):
            for a in range(D):
                row = first + i * each + (0 if shared else a)
                for j in range(outputs):
                    for b in range(D):
                        column = first + j * each + (0 if shared else b)
                        H[m, i, a, j, b] += (g[m, a, b] * ratio + shift) * square[m, row, column]


@_vectorized
def weigh(H: Any, u: Any, s: Any, ratio: Any, shift: Any) -> None:
    """Do what `simulate.numerics.gram.weigh` does; s is of one network where all share theirs."""
    g, square = np.empty((1, s.shape[1], s.shape[1])), np.empty((1, u.shape[1], u.shape[1]))
    for m in range(len(u)):
        if m < len(s):
            gram(s[m : m + 1], g, 1.0, 0.0)
        gram(u[m : m + 1], square, 1.0, 0.0)
        _add_rates(H[m : m + 1], g, ratio, shift, square, 0, False)


@_part
def _up(given: Any, form: Any, held: Any, first: Any, after: Any, last: bool, place_of_z: Any, g: Any, z: Any) -> None:
    """Draw all layers of networks first, ..., after - 1 of a block."""
    inputs, sizes, C_b, C_W, addresses, key = given
    xi_of, s_of, ends, C, square, _ = held
    L, D, count = len(g), g.shape[2], after - first
    for m in range(count):
        for a in range(D):
            for b in range(D):
                square[m, a, b] = inputs[a, b]
    for layer in range(L):
        n, share = sizes[layer + 1], C_W[layer] / sizes[layer]
        of_layer = g[layer, first:after]
        kernels(square, share, C_b, of_layer)
        factors(of_layer, C[layer])
        if layer == L - 1 and not last:
            return
        xi, s = _cut(xi_of, ends[layer], count, D, n), _cut(s_of, ends[layer], count, D, n)
        kept = place_of_z[layer] >= 0
        of_z = _cut(z, place_of_z[layer] + first * D * n if kept else 0, count if kept else 0, D, n)
        address = _address(addresses[0], layer, first, key, 1.0)
        normals(xi.reshape(count, D * n), address)
        if kept:
            mix(C[layer], xi, of_z)
        if layer < L - 1:
            mix(C[layer], xi, s)
            activate(s, form[0], form[1])
            gram(s, square, 1.0, 0.0)


@_part
def _down(
    given: Any, form: Any, held: Any, first: Any, after: Any, rates: Any, at: Any, work: Any, g: Any, H: Any
) -> None:
    """Add the NTK of their layers in `at` to H (layers, M, n_L, D, n_L, D)."""
    _, sizes, C_b, C_W, addresses, key = given
    xi_of, s_of, ends, C, _, wide = held
    (ratio, shift), (arrays, x_of, u_of, square_of) = rates, work
    L, D, outputs, count = len(g), g.shape[2], H.shape[2], after - first
    begun, rows, turn = int64(0), int64(0), 0  # layers of `at` above this one, and the vectors that come from them
    u, square = _cut(u_of[0], 0, count, 0, 1), _cut(square_of[0], 0, count, 0, 0)
    for layer in range(L - 1, -1, -1):
        n, of_layer = sizes[layer], g[layer, first:after]
        if at[layer]:
            u = _append(u, rows, sizes[layer + 1], outputs)
            square = _cut(square_of[1 - turn], 0, count, rows + outputs, rows + outputs)
            gram(u, square, 1.0, 0.0)
            _add_rates(H[len(H) - 1 - begun, first:after], of_layer, ratio[layer], shift[layer], square, rows, True)
        for k in range(begun):
            begin = k * outputs * D
            _add_rates(H[len(H) - 1 - k, first:after], of_layer, ratio[layer], shift[layer], square, begin, False)
        split = rows
        if at[layer]:
            begun, rows = begun + 1, rows + outputs * D
        if layer == 0 or not begun:
            continue
        K, scale = u.shape[1], math.sqrt(C_W[layer] / n)
        x, bias = _cut(x_of, 0, count, K, n), np.empty((count if C_b > 0 else 0, K, 1), np.float32)
        normals(x.reshape(count, K * n), _address(addresses[1], layer, first, key, scale))
        if C_b > 0:
            normals(bias.reshape(count, K), _address(addresses[2], layer, first, key, math.sqrt(C_b)))
        xi, s = _cut(xi_of, ends[layer], count, D, sizes[layer + 1]), _cut(s_of, ends[layer - 1], count, D, n)
        out, of_out = _cut(u_of[turn], 0, count, rows, n), _cut(square_of[turn], 0, count, rows, rows)
        _backward(u, square, C[layer], xi, s, x, bias, scale, form[2], split, out, of_out, arrays, wide[:n])
        u, square, turn = out, of_out, 1 - turn


@_vectorized
def networks(
    given: Any, form: Any, rates: Any, last: bool, at: Any, place_of_z: Any, together: int, g: Any, z: Any, H: Any
) -> None:
    """Draw all layers of a block, and pull vectors back through them, `together` networks at a time, which stay in the
    second-level cache. `simulate.networks.one_pass` says what the arguments are."""
    sizes, (L, M, D) = given[1], g.shape[:3]
    outputs, widest, ends = sizes[L], 0, np.zeros(L + 1, np.int64)
    for layer in range(L):
        ends[layer + 1] = ends[layer] + together * D * sizes[layer + 1]
        widest = max(widest, sizes[layer + 1])
    arrays = np.empty(ends[L], np.float32), np.empty(ends[L], np.float32), ends, np.empty((L, together, D, D))
    held = *arrays, np.empty((together, D, D)), np.empty(widest)
    most = len(H) * outputs * D + outputs  # vectors that are pulled back at most
    of_most = together * most * widest if len(H) else 0
    x, u = np.empty(of_most, np.float32), np.empty((2, of_most), np.float32)
    work = _work(most, D), x, u, np.empty((2, together * most**2))
    for first in range(0, M, together):
        after = min(first + together, M)
        _up(given, form, held, first, after, last, place_of_z, g, z)
        if len(H):
            _down(given, form, held, first, after, rates, at, work, g, H)
