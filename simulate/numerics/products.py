"""Products of few samples with the weights of many networks, and the rank-N update of gradient descent.

W is stored by incoming neuron, V = W^T of shape (M, J, I), J = n_{l-1} and I = n_l, so that the row of V that one
incoming neuron feeds is contiguous. The loops below, compiled by numba for each I, go over V once where a library goes
over it three times; those for a few outputs take down to a sixth of its time. For other narrow layers, and on other
devices, torch's batched products are taken. Which is chosen follows from the shapes alone. N samples.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import float32, njit
from torch import Tensor

_fast = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
_inlined = njit(inline="always", error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
TILE = 4  # samples, and incoming neurons, that are worked on together: their factors and sums fill the vector registers
FEW, NARROW, LANES, WIDE = 4, 48, 16, 192  # neurons; see `_looped`


def _looped(V: Tensor) -> bool:
    """A few outgoing neurons, as outputs are, or whole vectors of them, unless their rest does not count: elsewhere a
    library is as fast."""
    I = V.shape[2]
    whole = I >= NARROW and (I % LANES == 0 or I >= WIDE)
    return V.is_cpu and V.dtype == torch.float32 and V.shape[1] >= TILE and (whole or I <= FEW) and V.is_contiguous()


@_inlined
def _spread(s: Any, V: Any, z: Any, at: int, m: int, a: int, j: int, I: int) -> None:
    """z[m, a:a+4] += s[at, a:a+4, j:j+4] V[m, j:j+4]"""
    s00, s01, s02, s03 = s[at, a, j], s[at, a, j + 1], s[at, a, j + 2], s[at, a, j + 3]
    s10, s11, s12, s13 = s[at, a + 1, j], s[at, a + 1, j + 1], s[at, a + 1, j + 2], s[at, a + 1, j + 3]
    s20, s21, s22, s23 = s[at, a + 2, j], s[at, a + 2, j + 1], s[at, a + 2, j + 2], s[at, a + 2, j + 3]
    s30, s31, s32, s33 = s[at, a + 3, j], s[at, a + 3, j + 1], s[at, a + 3, j + 2], s[at, a + 3, j + 3]
    for i in range(I):
        w0, w1, w2, w3 = V[m, j, i], V[m, j + 1, i], V[m, j + 2, i], V[m, j + 3, i]
        z[m, a, i] += s00 * w0 + s01 * w1 + s02 * w2 + s03 * w3
        z[m, a + 1, i] += s10 * w0 + s11 * w1 + s12 * w2 + s13 * w3
        z[m, a + 2, i] += s20 * w0 + s21 * w1 + s22 * w2 + s23 * w3
        z[m, a + 3, i] += s30 * w0 + s31 * w1 + s32 * w2 + s33 * w3


@_inlined
def _gather(d: Any, V: Any, below: Any, m: int, a: int, j: int, I: int) -> None:
    """below[m, a:a+4, j:j+4] = d[m, a:a+4] V[m, j:j+4]^T"""
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


@_inlined
def _outer(d: Any, s: Any, T: Any, rate: Any, at: int, m: int, a: int, j: int, I: int) -> None:
    """T[m, j:j+4] -= rate s[at, a:a+4, j:j+4]^T d[m, a:a+4]"""
    c00, c01, c02, c03 = s[at, a, j], s[at, a, j + 1], s[at, a, j + 2], s[at, a, j + 3]
    c10, c11, c12, c13 = s[at, a + 1, j], s[at, a + 1, j + 1], s[at, a + 1, j + 2], s[at, a + 1, j + 3]
    c20, c21, c22, c23 = s[at, a + 2, j], s[at, a + 2, j + 1], s[at, a + 2, j + 2], s[at, a + 2, j + 3]
    c30, c31, c32, c33 = s[at, a + 3, j], s[at, a + 3, j + 1], s[at, a + 3, j + 2], s[at, a + 3, j + 3]
    for i in range(I):
        e0, e1, e2, e3 = rate * d[m, a, i], rate * d[m, a + 1, i], rate * d[m, a + 2, i], rate * d[m, a + 3, i]
        T[m, j, i] -= c00 * e0 + c10 * e1 + c20 * e2 + c30 * e3
        T[m, j + 1, i] -= c01 * e0 + c11 * e1 + c21 * e2 + c31 * e3
        T[m, j + 2, i] -= c02 * e0 + c12 * e1 + c22 * e2 + c32 * e3
        T[m, j + 3, i] -= c03 * e0 + c13 * e1 + c23 * e2 + c33 * e3


@_inlined
def _spread_one(s: Any, V: Any, z: Any, at: int, m: int, a: int, j: int, I: int) -> None:
    s0, s1, s2, s3 = s[at, a, j], s[at, a, j + 1], s[at, a, j + 2], s[at, a, j + 3]
    for i in range(I):
        z[m, a, i] += s0 * V[m, j, i] + s1 * V[m, j + 1, i] + s2 * V[m, j + 2, i] + s3 * V[m, j + 3, i]


@_inlined
def _gather_one(d: Any, V: Any, below: Any, m: int, a: int, j: int, I: int) -> None:
    t0 = t1 = t2 = t3 = float32(0)
    for i in range(I):
        e = d[m, a, i]
        t0 += e * V[m, j, i]
        t1 += e * V[m, j + 1, i]
        t2 += e * V[m, j + 2, i]
        t3 += e * V[m, j + 3, i]
    below[m, a, j], below[m, a, j + 1], below[m, a, j + 2], below[m, a, j + 3] = t0, t1, t2, t3


@_inlined
def _outer_one(d: Any, s: Any, T: Any, rate: Any, at: int, m: int, a: int, j: int, I: int) -> None:
    c0, c1, c2, c3 = s[at, a, j], s[at, a, j + 1], s[at, a, j + 2], s[at, a, j + 3]
    for i in range(I):
        e = rate * d[m, a, i]
        T[m, j, i] -= c0 * e
        T[m, j + 1, i] -= c1 * e
        T[m, j + 2, i] -= c2 * e
        T[m, j + 3, i] -= c3 * e


@_fast
def _affine_few(s: Any, V: Any, b: Any, z: Any) -> None:
    M, J, I = V.shape
    w = np.empty(J, np.float32)
    for m in range(M):
        at = m if len(s) > 1 else 0
        for i in range(I):
            for j in range(J):
                w[j] = V[m, j, i]
            for a in range(s.shape[1]):
                total = float32(0)
                for j in range(J):
                    total += s[at, a, j] * w[j]
                z[m, a, i] = b[m, i] + total


@_fast
def _backward_few(d: Any, s: Any, V: Any, T: Any, rate: Any, below: Any) -> None:
    """As `backward` of `_loops`."""
    M, J, I = V.shape
    N = d.shape[1]
    w, move = np.empty(J, np.float32), np.empty(J, np.float32)
    for m in range(M):
        at = m if len(s) > 1 else 0
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
                move[:] = 0
                for a in range(N):
                    for j in range(J):
                        move[j] += d[m, a, i] * s[at, a, j]
                for j in range(J):
                    T[m, j, i] -= rate * move[j]


@cache
def _loops(I: int) -> tuple[Any, Any]:
    """(affine, backward) for I outgoing neurons. Where the compiler knows I it knows that rows of one array do not
    overlap, and keeps sums in registers: at 64 neurons three times as fast as when it has to find out."""
    if I <= FEW:
        return _affine_few, _backward_few

    @_fast
    def affine(s: Any, V: Any, b: Any, z: Any) -> None:
        M, J, _ = V.shape
        N = s.shape[1]
        rest_j, rest_a = J - J % TILE, N - N % TILE
        for m in range(M):
            at = m if len(s) > 1 else 0  # inputs are the same for all networks
            for a in range(N):
                for i in range(I):
                    z[m, a, i] = b[m, i]
            for a in range(0, rest_a, TILE):
                for j in range(0, rest_j, TILE):
                    _spread(s, V, z, at, m, a, j, I)
            for a in range(rest_a, N):
                for j in range(0, rest_j, TILE):
                    _spread_one(s, V, z, at, m, a, j, I)
            for a in range(N):
                for j in range(rest_j, J):
                    for i in range(I):
                        z[m, a, i] += s[at, a, j] * V[m, j, i]

    @_fast
    def backward(d: Any, s: Any, V: Any, T: Any, rate: Any, below: Any) -> None:
        """below = d V^T unless it is empty, then T -= rate s^T d unless it is empty; T may be V."""
        M, J, _ = V.shape
        N = d.shape[1]
        wanted, moves = len(below) > 0, len(T) > 0
        rest_j, rest_a = J - J % TILE, N - N % TILE
        for m in range(M):
            at = m if len(s) > 1 else 0
            for j in range(0, rest_j, TILE):
                if wanted:
                    for a in range(0, rest_a, TILE):
                        _gather(d, V, below, m, a, j, I)
                    for a in range(rest_a, N):
                        _gather_one(d, V, below, m, a, j, I)
                if moves:
                    for a in range(0, rest_a, TILE):
                        _outer(d, s, T, rate, at, m, a, j, I)
                    for a in range(rest_a, N):
                        _outer_one(d, s, T, rate, at, m, a, j, I)
            for j in range(rest_j, J):
                for a in range(N if wanted else 0):
                    total = float32(0)
                    for i in range(I):
                        total += d[m, a, i] * V[m, j, i]
                    below[m, a, j] = total
                for a in range(N if moves else 0):
                    for i in range(I):
                        T[m, j, i] -= rate * s[at, a, j] * d[m, a, i]

    return affine, backward


def _one_for_all(s: Tensor) -> Tensor:
    return s[:1] if len(s) > 1 and s.stride(0) == 0 else s


def affine(s: Tensor, V: Tensor, b: Tensor) -> Tensor:
    """z = s V + b: (M, N, J), (M, J, I), (M, I) -> (M, N, I)."""
    if not _looped(V):
        return torch.baddbmm(b[:, None, :], s, V)
    z = torch.empty(*s.shape[:2], V.shape[2], dtype=s.dtype)
    _loops(V.shape[2])[0](_one_for_all(s).numpy(), V.numpy(), b.numpy(), z.numpy())
    return z


def pull_back(d: Tensor, V: Tensor) -> Tensor:
    """d V^T: (M, N, I), (M, J, I) -> (M, N, J)."""
    if not _looped(V):
        return torch.bmm(d, V.mT)
    below, none = torch.empty(*d.shape[:2], V.shape[1], dtype=d.dtype), torch.empty(0, 0, 0, dtype=d.dtype).numpy()
    _loops(V.shape[2])[1](d.numpy(), none, V.numpy(), none, float32(0), below.numpy())
    return below


def descend(d: Tensor, s: Tensor, V: Tensor, T: Tensor, rate: float, below: bool) -> Tensor | None:
    """T -= rate s^T d in place, T being V or shaped like it; d V^T (M, N, J) of V as it was, if `below`.

    d: (M, N, I) errors at this layer; s: (M, N, J) activations below it.
    """
    if not _looped(V):
        out = torch.bmm(d, V.mT) if below else None
        T.baddbmm_(s.mT, d, alpha=-rate)
        return out
    out = torch.empty(s.shape if below else (0, 0, 0), dtype=s.dtype)
    _loops(V.shape[2])[1](d.numpy(), _one_for_all(s).numpy(), V.numpy(), T.numpy(), float32(rate), out.numpy())
    return out if below else None
