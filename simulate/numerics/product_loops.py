"""Loops over the weights of many networks, which numba compiles for each I; `simulate.numerics.products` calls them.

Loops that inline each other share one file: numba's cache checks only the file of the function that it stores.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import float32, njit

# Sums may be reordered to fill vector registers; NaN and infinity keep their meaning, since a network may diverge.
_vectorized = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
_vectorized_inline = njit(inline="always", error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
# TILE: samples, and incoming neurons, of one step of a loop; their factors and sums fill the vector registers.
# FEW_OUTPUTS: largest I with loops for few outputs.
TILE, FEW_OUTPUTS = 4, 4


@_vectorized_inline
def _spread(s: Any, V: Any, z: Any, m_s: int, m: int, a: int, j: int, I: int) -> None:
    """Add s[m_s, a:a+4, j:j+4] V[m, j:j+4] to z[m, a:a+4]."""
    s00, s01, s02, s03 = s[m_s, a, j], s[m_s, a, j + 1], s[m_s, a, j + 2], s[m_s, a, j + 3]
    s10, s11, s12, s13 = s[m_s, a + 1, j], s[m_s, a + 1, j + 1], s[m_s, a + 1, j + 2], s[m_s, a + 1, j + 3]
    s20, s21, s22, s23 = s[m_s, a + 2, j], s[m_s, a + 2, j + 1], s[m_s, a + 2, j + 2], s[m_s, a + 2, j + 3]
    s30, s31, s32, s33 = s[m_s, a + 3, j], s[m_s, a + 3, j + 1], s[m_s, a + 3, j + 2], s[m_s, a + 3, j + 3]
    for i in range(I):
        w0, w1, w2, w3 = V[m, j, i], V[m, j + 1, i], V[m, j + 2, i], V[m, j + 3, i]
        z[m, a, i] += s00 * w0 + s01 * w1 + s02 * w2 + s03 * w3
        z[m, a + 1, i] += s10 * w0 + s11 * w1 + s12 * w2 + s13 * w3
        z[m, a + 2, i] += s20 * w0 + s21 * w1 + s22 * w2 + s23 * w3
        z[m, a + 3, i] += s30 * w0 + s31 * w1 + s32 * w2 + s33 * w3


@_vectorized_inline
def _gather(d: Any, V: Any, below: Any, m: int, a: int, j: int, I: int) -> None:
    """Set below[m, a:a+4, j:j+4] = d[m, a:a+4] V[m, j:j+4]^T."""
    t00 = t01 = t02 = t03 = t10 = t11 = t12 = t13 = float32(0)
    t20 = t21 = t22 = t23 = t30 = t31 = t32 = t33 = float32(0)
    for i in range(I):
        e0, e1, e2, e3 = d[m, a, i], d[m, a + 1, i], d[m, a + 2, i], d[m, a + 3, i]
        w0, w1, w2, w3 = V[m, j, i], V[m, j + 1, i], V[m, j + 2, i], V[m, j + 3, i]
        t00 += e0 * w0
        t01 += e0 * w1
        t02 += e0 * w2
        t03 += e0 * w3
        t10 += e1 * w0
        t11 += e1 * w1
        t12 += e1 * w2
        t13 += e1 * w3
        t20 += e2 * w0
        t21 += e2 * w1
        t22 += e2 * w2
        t23 += e2 * w3
        t30 += e3 * w0
        t31 += e3 * w1
        t32 += e3 * w2
        t33 += e3 * w3
    below[m, a, j], below[m, a, j + 1], below[m, a, j + 2], below[m, a, j + 3] = t00, t01, t02, t03
    below[m, a + 1, j], below[m, a + 1, j + 1], below[m, a + 1, j + 2], below[m, a + 1, j + 3] = t10, t11, t12, t13
    below[m, a + 2, j], below[m, a + 2, j + 1], below[m, a + 2, j + 2], below[m, a + 2, j + 3] = t20, t21, t22, t23
    below[m, a + 3, j], below[m, a + 3, j + 1], below[m, a + 3, j + 2], below[m, a + 3, j + 3] = t30, t31, t32, t33


@_vectorized_inline
def _outer(d: Any, s: Any, T: Any, rate: Any, m_s: int, m: int, a: int, j: int, I: int) -> None:
    """Subtract rate s[m_s, a:a+4, j:j+4]^T d[m, a:a+4] from T[m, j:j+4]."""
    c00, c01, c02, c03 = s[m_s, a, j], s[m_s, a, j + 1], s[m_s, a, j + 2], s[m_s, a, j + 3]
    c10, c11, c12, c13 = s[m_s, a + 1, j], s[m_s, a + 1, j + 1], s[m_s, a + 1, j + 2], s[m_s, a + 1, j + 3]
    c20, c21, c22, c23 = s[m_s, a + 2, j], s[m_s, a + 2, j + 1], s[m_s, a + 2, j + 2], s[m_s, a + 2, j + 3]
    c30, c31, c32, c33 = s[m_s, a + 3, j], s[m_s, a + 3, j + 1], s[m_s, a + 3, j + 2], s[m_s, a + 3, j + 3]
    for i in range(I):
        e0, e1, e2, e3 = rate * d[m, a, i], rate * d[m, a + 1, i], rate * d[m, a + 2, i], rate * d[m, a + 3, i]
        T[m, j, i] -= c00 * e0 + c10 * e1 + c20 * e2 + c30 * e3
        T[m, j + 1, i] -= c01 * e0 + c11 * e1 + c21 * e2 + c31 * e3
        T[m, j + 2, i] -= c02 * e0 + c12 * e1 + c22 * e2 + c32 * e3
        T[m, j + 3, i] -= c03 * e0 + c13 * e1 + c23 * e2 + c33 * e3


@_vectorized_inline
def _spread_one(s: Any, V: Any, z: Any, m_s: int, m: int, a: int, j: int, I: int) -> None:
    """Do what `_spread` does for one sample."""
    s0, s1, s2, s3 = s[m_s, a, j], s[m_s, a, j + 1], s[m_s, a, j + 2], s[m_s, a, j + 3]
    for i in range(I):
        z[m, a, i] += s0 * V[m, j, i] + s1 * V[m, j + 1, i] + s2 * V[m, j + 2, i] + s3 * V[m, j + 3, i]


@_vectorized_inline
def _gather_one(d: Any, V: Any, below: Any, m: int, a: int, j: int, I: int) -> None:
    """Do what `_gather` does for one sample."""
    t0 = t1 = t2 = t3 = float32(0)
    for i in range(I):
        e = d[m, a, i]
        t0 += e * V[m, j, i]
        t1 += e * V[m, j + 1, i]
        t2 += e * V[m, j + 2, i]
        t3 += e * V[m, j + 3, i]
    below[m, a, j], below[m, a, j + 1], below[m, a, j + 2], below[m, a, j + 3] = t0, t1, t2, t3


@_vectorized_inline
def _outer_one(d: Any, s: Any, T: Any, rate: Any, m_s: int, m: int, a: int, j: int, I: int) -> None:
    """Do what `_outer` does for one sample."""
    c0, c1, c2, c3 = s[m_s, a, j], s[m_s, a, j + 1], s[m_s, a, j + 2], s[m_s, a, j + 3]
    for i in range(I):
        e = rate * d[m, a, i]
        T[m, j, i] -= c0 * e
        T[m, j + 1, i] -= c1 * e
        T[m, j + 2, i] -= c2 * e
        T[m, j + 3, i] -= c3 * e


@_vectorized
def _affine_few(s: Any, V: Any, b: Any, z: Any) -> None:
    """Do what `affine` of `loops_of` does, for up to FEW_OUTPUTS outgoing neurons."""
    M, J, I = V.shape
    w = np.empty(J, np.float32)
    for m in range(M):
        m_s = m if len(s) > 1 else 0
        for i in range(I):
            for j in range(J):
                w[j] = V[m, j, i]
            for a in range(s.shape[1]):
                total = float32(0)
                for j in range(J):
                    total += s[m_s, a, j] * w[j]
                z[m, a, i] = b[m, i] + total


@_vectorized_inline
def _bend(below: Any, slopes: Any, bend: Any, m: int) -> None:
    """Multiply below[m] by the slopes c0 + c1 t + c2 t^2, and c3 more above zero, for bend = (c0, c1, c2, c3). Row a of
    below has row a mod D of t = slopes[m], of which there are D."""
    c0, c1, c2, c3 = float32(bend[0]), float32(bend[1]), float32(bend[2]), float32(bend[3])
    for a in range(below.shape[1]):
        row = a % slopes.shape[1]
        for j in range(below.shape[2]):
            t = slopes[m, row, j]
            below[m, a, j] *= c0 + t * (c1 + t * c2) + (c3 if t > 0 else float32(0))


@_vectorized_inline
def _sink(d: Any, b: Any, rate: Any, m: int, total: Any) -> None:
    """Subtract rate sum_a d[m, a] from b[m]. total: scratch, (I,)"""
    total[:] = 0
    for a in range(d.shape[1]):
        for i in range(len(total)):
            total[i] += d[m, a, i]
    for i in range(len(total)):
        b[m, i] -= rate * total[i]


@_vectorized
def _backward_few(d: Any, s: Any, V: Any, T: Any, b: Any, rates: Any, below: Any, slopes: Any, bend: Any) -> None:
    """Do what `backward` of `loops_of` does, for up to FEW_OUTPUTS outgoing neurons."""
    M, J, I = V.shape
    N = d.shape[1]
    rate, rate_b = float32(rates[0]), float32(rates[1])
    w, update, sums = np.empty(J, np.float32), np.empty(J, np.float32), np.empty(I, np.float32)
    for m in range(M):
        m_s = m if len(s) > 1 else 0
        for i in range(I):
            if len(below):
                for j in range(J):
                    w[j] = V[m, j, i]
                for a in range(N):
                    if i == 0:
                        for j in range(J):
                            below[m, a, j] = d[m, a, i] * w[j]
                    else:
                        for j in range(J):
                            below[m, a, j] += d[m, a, i] * w[j]
            if len(T):
                update[:] = 0
                for a in range(N):
                    for j in range(J):
                        update[j] += d[m, a, i] * s[m_s, a, j]
                for j in range(J):
                    T[m, j, i] -= rate * update[j]
        if len(b):
            _sink(d, b, rate_b, m, sums)
        if len(slopes):
            _bend(below, slopes, bend, m)


@cache
def loops_of(I: int) -> tuple[Any, Any]:
    """The loops (affine, backward) for I outgoing neurons.

    A compiler that knows I knows that rows of one array do not overlap, and keeps sums in registers: at 64 neurons this
    is three times as fast as when it has to find out.
    """
    if I <= FEW_OUTPUTS:
        return _affine_few, _backward_few

    @_vectorized
    def affine(s: Any, V: Any, b: Any, z: Any) -> None:
        """Set z = s V + b."""
        M, J, _ = V.shape
        N = s.shape[1]
        rest_j, rest_a = J - J % TILE, N - N % TILE
        for m in range(M):
            m_s = m if len(s) > 1 else 0  # all networks share their inputs
            for a in range(N):
                for i in range(I):
                    z[m, a, i] = b[m, i]
            for a in range(0, rest_a, TILE):
                for j in range(0, rest_j, TILE):
                    _spread(s, V, z, m_s, m, a, j, I)
            for a in range(rest_a, N):
                for j in range(0, rest_j, TILE):
                    _spread_one(s, V, z, m_s, m, a, j, I)
            for a in range(N):
                for j in range(rest_j, J):
                    for i in range(I):
                        z[m, a, i] += s[m_s, a, j] * V[m, j, i]

    @_vectorized
    def backward(d: Any, s: Any, V: Any, T: Any, b: Any, rates: Any, below: Any, slopes: Any, bend: Any) -> None:
        """Set below = d V^T, then subtract rate s^T d from T, which may be V, and rate_b sum_a d_a from b, for rates =
        (rate, rate_b); last, multiply below by slopes as `_bend` does. Each is left out where its array is empty."""
        M, J, _ = V.shape
        N = d.shape[1]
        sums = np.empty(I, np.float32)
        pulls, updates, rate, rate_b = len(below) > 0, len(T) > 0, float32(rates[0]), float32(rates[1])
        rest_j, rest_a = J - J % TILE, N - N % TILE
        for m in range(M):
            m_s = m if len(s) > 1 else 0
            for j in range(0, rest_j, TILE):
                if pulls:
                    for a in range(0, rest_a, TILE):
                        _gather(d, V, below, m, a, j, I)
                    for a in range(rest_a, N):
                        _gather_one(d, V, below, m, a, j, I)
                if updates:
                    for a in range(0, rest_a, TILE):
                        _outer(d, s, T, rate, m_s, m, a, j, I)
                    for a in range(rest_a, N):
                        _outer_one(d, s, T, rate, m_s, m, a, j, I)
            for j in range(rest_j, J):
                for a in range(N if pulls else 0):
                    total = float32(0)
                    for i in range(I):
                        total += d[m, a, i] * V[m, j, i]
                    below[m, a, j] = total
                for a in range(N if updates else 0):
                    for i in range(I):
                        T[m, j, i] -= rate * s[m_s, a, j] * d[m, a, i]
            if len(b):
                _sink(d, b, rate_b, m, sums)
            if len(slopes):
                _bend(below, slopes, bend, m)

    return affine, backward
