"""Arithmetic of a block for which batched library calls are slow: Gram matrices, small products and factors.

Each function has three forms: loops compiled by numba on a CPU, kernels on a CUDA device (`simulate.numerics.device`),
and torch operations elsewhere (`simulate.numerics.plain`). Tests in `tests/exact/numerics` hold them to each other on a
CPU.
M counts networks, n neurons, D samples and K vectors. Sums over neurons are accumulated in float64.

Loops that inline each other must share one file, which is why this one is long: numba's cache checks only the file of
the function that it stores, so after an edit of an inlined loop in another file it would run yesterday's code.
"""

import math
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numba import float64, njit
from torch import Tensor

from simulate.numerics import plain
from simulate.numerics.normals import on_device

# Sums may be reordered to fill vector registers; NaN and infinity keep their meaning, since a network may diverge.
_vectorized = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
# These loops become part of their callers: for a few neurons a call would cost as much as the work.
_vectorized_inline = njit(forceinline=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


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
def _cross(u: Any, s: Any, m: int, out: Any) -> None:
    """Set out[0, k, a] = sum_j u_kj s_aj of network m: (K, n), (D, n) -> (K, D)."""
    K, n = u.shape[1:]
    D = s.shape[1]
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
def _crosses(u: Any, s: Any, out: Any) -> None:
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


@_vectorized
def _gram(s: Any, out: Any, scale: Any, shift: Any) -> None:
    M, D, n = s.shape
    rest = D - D % 4
    for m in range(M):
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
        for a in range(D):
            for b in range(a + 1):
                out[m, a, b] = out[m, b, a] = out[m, a, b] * scale + shift


def _kernels(*arrays: Tensor) -> ModuleType | None:
    """The kernels for these arrays, or None where torch operations are used: off CUDA, and beyond MOST rows."""
    if not on_device(arrays[0].device):
        return None
    from simulate.numerics import device

    return device if max(array.shape[1] for array in arrays) <= device.MOST else None


def gram(s: Tensor, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """The Gram matrix shift + scale sum_j s_aj s_bj of each network: (M, D, n) -> (M, D, D) float64."""
    if s.shape[0] > 1 and s.stride(0) == 0:  # all networks share s, as they share inputs
        return gram(s[0][None], scale, shift).expand(len(s), -1, -1)
    if not s.is_cpu:
        kernels = _kernels(s)
        return kernels.cross(s, s, scale, shift) if kernels else plain.gram(s, scale, shift)
    out = torch.empty(s.shape[0], s.shape[1], s.shape[1], dtype=torch.float64)
    _gram(s.numpy(), out.numpy(), scale, shift)
    return out


def cross(u: Tensor, s: Tensor) -> Tensor:
    """The products sum_j u_kj s_aj of each network: (M, K, n), (M, D, n) -> (M, K, D) float64."""
    if not u.is_cpu:
        kernels = _kernels(u, s) or plain
        return kernels.cross(u, s)
    out = torch.empty(*u.shape[:2], s.shape[1], dtype=torch.float64)
    _crosses(u.numpy(), s.numpy(), out.numpy())
    return out


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


@_vectorized
def _mix(C: Any, x: Any, out: Any) -> None:
    M, D, n = x.shape
    wide = np.empty(n)
    for m in range(M):
        if D == 4:
            _mix_four(C, x, out, m)
        elif D == 2:
            _mix_two(C, x, out, m)
        else:
            for k in range(D):
                wide[:] = 0.0
                _add(wide, C, m, k, x, m, k + 1)
                for j in range(n):
                    out[m, k, j] = wide[j]


def mix(C: Tensor, x: Tensor) -> Tensor:
    """The product C x for lower triangular C: (M, D, D) float64, (M, D, n) -> (M, D, n).

    The result has the dtype of x and is rounded to it once, at the end.
    """
    if not x.is_cpu:
        kernels = _kernels(x)
        return kernels.blend(C, x) if kernels else plain.mix(C, x)
    out = torch.empty_like(x)
    _mix(C.numpy(), x.numpy(), out.numpy())
    return out


# UNROLLED: up to so many samples and vectors, sums over them are written out. Loops over as many as this are inlined
# with the number, so that the compiler writes them out.
UNROLLED = 4
# ROUNDING: a pivot below this fraction of the diagonal is rounding error; its sample depends linearly on earlier ones.
ROUNDING = 1e-13


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
def _factors(g: Any, C: Any) -> None:
    for m in range(len(g)):
        if g.shape[1] == UNROLLED:
            _factor(UNROLLED, g, m, C)
        else:
            _factor(g.shape[1], g, m, C)


def factor(g: Tensor) -> Tensor:
    """The lower triangular C with C C^T = g for positive semidefinite g of any rank, both (M, D, D) float64.

    This is Cholesky's, except that an exhausted pivot gives a zero column, so that equal inputs, more inputs than
    neurons and dead ReLU networks pass.
    """
    if not g.is_cpu:
        kernels = _kernels(g)
        return (kernels or plain).factor(g, ROUNDING)
    C = torch.empty(g.shape, dtype=g.dtype)
    _factors(g.numpy(), C.numpy())
    return C


@njit(forceinline=True, error_model="numpy")
def _inverse(D: int, C: Any, m: int, P: Any) -> None:
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
    """The slope c0 + c1 t + c2 t^2 for bend = (c0, c1, c2), in float64."""
    wide = float64(t)
    return bend[0] + wide * (bend[1] + wide * bend[2])


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


@_vectorized
def _pull_back(
    u: Any, factors: Any, C: Any, xi: Any, s: Any, x: Any, bias: Any, scale: Any, slopes: Any, bend: Any, out: Any
) -> None:
    M, K, _ = u.shape
    D, n = s.shape[1:]
    P, overlap, known, wide = np.empty((D, D)), np.empty((1, K, D)), np.empty((1, K, D)), np.empty(n)
    R, A = np.zeros((1, K, max(K, UNROLLED))), np.zeros((1, K, max(D, UNROLLED)))
    for m in range(M):
        R[0, :, :K] = factors[m]
        _cross(x, s, m, overlap)
        _cross(u, xi, m, known)
        for k in range(K if len(bias) else 0):
            for a in range(D):
                overlap[0, k, a] += bias[m, k, 0]
        if K == D == UNROLLED:  # the compiler knows the sizes here, and writes the loops out
            _inverse(UNROLLED, C, m, P)
            _along(UNROLLED, UNROLLED, R, overlap, known, P, scale, A)
        else:
            _inverse(D, C, m, P)
            _along(K, D, R, overlap, known, P, scale, A)
        if D <= UNROLLED and K == UNROLLED:
            _blend_four(A, s, R, x, slopes, bend, out, m)
        elif D <= 2 and K == 2:
            _blend_two(A, s, R, x, slopes, bend, out, m)
        elif D <= UNROLLED and K < UNROLLED:
            _blend_few(A, s, R, x, slopes, bend, out, m)
        else:
            for k in range(K):
                wide[:] = 0.0
                _add(wide, A, 0, k, s, m, D)
                _add(wide, R, 0, k, x, m, k + 1)
                row = k % slopes.shape[1]
                for j in range(n):
                    out[m, k, j] = wide[j] * _slope(slopes[m, row, j], bend)


def pull_back(
    u: Tensor, R: Tensor, C: Tensor, xi: Tensor, s: Tensor, x: Tensor, bias: Tensor, scale: float, slopes: Tensor | None
) -> Tensor:
    """The vectors W^T u times slopes (M, K, n) for weights W that took the activations s (M, D, n) to C xi.

    W is unknown otherwise, docs/theory.md (10.3). u: (M, K, n_above). R: (M, K, K) float64, lower triangular, the
    factor of their Gram matrix, or for orthogonal weights that of `simulate.networks.haar.remainder`. x: (M, K, n) and
    bias: (M, K, 1), or of length 0 without biases, are fresh normals of variance scale^2 and C_b. slopes: (M, T, n),
    of rows k = 0..T-1 and again of the next T; None for 1 - s^2, which is tanh's. The result has the dtype of s.

    With Q = scale P s for the inverse P of C, known and unknown part together are R x + A s, where A (K, D) needs
    products over neurons only: no direction is ever formed. Sums are in float64 and rounded once at the end, so that
    terms may cancel.
    """
    if not s.is_cpu:
        kernels = _kernels(u, s) or plain
        slopes = torch.addcmul(s.new_ones(()), s, s, value=-1) if slopes is None else slopes
        return kernels.pull_back(u, R, C, xi, s, x, bias, scale, slopes)
    slopes, bend = (s, (1.0, 0.0, -1.0)) if slopes is None else (slopes, (0.0, 1.0, 0.0))
    out = torch.empty(*u.shape[:2], s.shape[2], dtype=s.dtype)
    forward = C.numpy(), xi.numpy(), s.numpy()
    _pull_back(u.numpy(), R.numpy(), *forward, x.numpy(), bias.numpy(), scale, slopes.numpy(), bend, out.numpy())
    return out
