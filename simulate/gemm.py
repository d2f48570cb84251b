"""Products of few samples with the weights of many networks, and the rank-N update of gradient descent.

W is stored by incoming neuron, V = W^T of shape (M, J, I), J = n_{l-1} and I = n_l, so that the row of V that one
incoming neuron feeds is contiguous. For wide layers the loops below, compiled by numba, go over V once where a library
goes over it three times; for narrow ones, and on other devices, torch's batched products are faster. Which is chosen
follows from the shapes alone. N samples.
"""

from typing import Any

import torch
from numba import float32, njit
from torch import Tensor

_fast = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
WIDE = 192  # neurons from which on the loops win (docs/performance.md)
TILE = 4  # samples, and incoming neurons, that are worked on together: their factors and sums fill the vector registers


def _looped(V: Tensor) -> bool:
    return V.is_cpu and V.dtype == torch.float32 and min(V.shape[1:]) >= WIDE and V.is_contiguous()


@_fast
def _spread(z: Any, s: Any, V: Any, a: int, j: int) -> None:
    """z[a:a+4] += s[a:a+4, j:j+4] V[j:j+4]"""
    z0, z1, z2, z3 = z[a], z[a + 1], z[a + 2], z[a + 3]
    v0, v1, v2, v3 = V[j], V[j + 1], V[j + 2], V[j + 3]
    s00, s01, s02, s03 = s[a, j], s[a, j + 1], s[a, j + 2], s[a, j + 3]
    s10, s11, s12, s13 = s[a + 1, j], s[a + 1, j + 1], s[a + 1, j + 2], s[a + 1, j + 3]
    s20, s21, s22, s23 = s[a + 2, j], s[a + 2, j + 1], s[a + 2, j + 2], s[a + 2, j + 3]
    s30, s31, s32, s33 = s[a + 3, j], s[a + 3, j + 1], s[a + 3, j + 2], s[a + 3, j + 3]
    for i in range(V.shape[1]):
        w0, w1, w2, w3 = v0[i], v1[i], v2[i], v3[i]
        z0[i] += s00 * w0 + s01 * w1 + s02 * w2 + s03 * w3
        z1[i] += s10 * w0 + s11 * w1 + s12 * w2 + s13 * w3
        z2[i] += s20 * w0 + s21 * w1 + s22 * w2 + s23 * w3
        z3[i] += s30 * w0 + s31 * w1 + s32 * w2 + s33 * w3


@_fast
def _affine(s: Any, V: Any, b: Any, z: Any) -> None:
    M, J, I = V.shape
    N = s.shape[1]
    for m in range(M):
        at = m if len(s) > 1 else 0  # inputs are the same for all networks
        for a in range(N):
            for i in range(I):
                z[m, a, i] = b[m, i]
        for j in range(0, J - TILE + 1, TILE):
            for a in range(0, N - TILE + 1, TILE):
                _spread(z[m], s[at], V[m], a, j)
        rest_j, rest_a = J - J % TILE, N - N % TILE
        for a in range(N):
            row = z[m, a]
            for j in range(rest_j if a < rest_a else 0, J):
                factor, v = s[at, a, j], V[m, j]
                for i in range(I):
                    row[i] += factor * v[i]


@_fast
def _gather(below: Any, d: Any, V: Any, a: int, j: int) -> None:
    """below[a:a+4, j:j+4] = d[a:a+4] V[j:j+4]^T"""
    d0, d1, d2, d3 = d[a], d[a + 1], d[a + 2], d[a + 3]
    v0, v1, v2, v3 = V[j], V[j + 1], V[j + 2], V[j + 3]
    t00 = t01 = t02 = t03 = t10 = t11 = t12 = t13 = float32(0)
    t20 = t21 = t22 = t23 = t30 = t31 = t32 = t33 = float32(0)
    for i in range(V.shape[1]):
        e0, e1, e2, e3, w0, w1, w2, w3 = d0[i], d1[i], d2[i], d3[i], v0[i], v1[i], v2[i], v3[i]
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
    below[a, j], below[a, j + 1], below[a, j + 2], below[a, j + 3] = t00, t01, t02, t03
    below[a + 1, j], below[a + 1, j + 1], below[a + 1, j + 2], below[a + 1, j + 3] = t10, t11, t12, t13
    below[a + 2, j], below[a + 2, j + 1], below[a + 2, j + 2], below[a + 2, j + 3] = t20, t21, t22, t23
    below[a + 3, j], below[a + 3, j + 1], below[a + 3, j + 2], below[a + 3, j + 3] = t30, t31, t32, t33


@_fast
def _outer(T: Any, d: Any, s: Any, a: int, j: int, rate: Any) -> None:
    """T[j:j+4] -= rate s[a:a+4, j:j+4]^T d[a:a+4]"""
    d0, d1, d2, d3 = d[a], d[a + 1], d[a + 2], d[a + 3]
    t0, t1, t2, t3 = T[j], T[j + 1], T[j + 2], T[j + 3]
    c00, c01, c02, c03 = rate * s[a, j], rate * s[a, j + 1], rate * s[a, j + 2], rate * s[a, j + 3]
    c10, c11, c12, c13 = rate * s[a + 1, j], rate * s[a + 1, j + 1], rate * s[a + 1, j + 2], rate * s[a + 1, j + 3]
    c20, c21, c22, c23 = rate * s[a + 2, j], rate * s[a + 2, j + 1], rate * s[a + 2, j + 2], rate * s[a + 2, j + 3]
    c30, c31, c32, c33 = rate * s[a + 3, j], rate * s[a + 3, j + 1], rate * s[a + 3, j + 2], rate * s[a + 3, j + 3]
    for i in range(T.shape[1]):
        e0, e1, e2, e3 = d0[i], d1[i], d2[i], d3[i]
        t0[i] -= c00 * e0 + c10 * e1 + c20 * e2 + c30 * e3
        t1[i] -= c01 * e0 + c11 * e1 + c21 * e2 + c31 * e3
        t2[i] -= c02 * e0 + c12 * e1 + c22 * e2 + c32 * e3
        t3[i] -= c03 * e0 + c13 * e1 + c23 * e2 + c33 * e3


@_fast
def _backward(d: Any, s: Any, V: Any, T: Any, rate: Any, below: Any) -> None:
    """below = d V^T unless it is empty, then T -= rate s^T d unless it is empty; T may be V."""
    M, J, I = V.shape
    N = d.shape[1]
    wanted, moves, rest_a = len(below) > 0, len(T) > 0, N - N % TILE
    for m in range(M):
        at = m if len(s) > 1 else 0
        for j in range(0, J, TILE):
            whole = j + TILE <= J
            for a in range(0, rest_a if whole and wanted else 0, TILE):
                _gather(below[m], d[m], V[m], a, j)
            for a in range(rest_a if whole else 0, N if wanted else 0):
                e = d[m, a]
                for k in range(j, min(j + TILE, J)):
                    v, total = V[m, k], float32(0)
                    for i in range(I):
                        total += e[i] * v[i]
                    below[m, a, k] = total
            for a in range(0, rest_a if whole and moves else 0, TILE):
                _outer(T[m], d[m], s[at], a, j, rate)
            for a in range(rest_a if whole else 0, N if moves else 0):
                e = d[m, a]
                for k in range(j, min(j + TILE, J)):
                    t, factor = T[m, k], rate * s[at, a, k]
                    for i in range(I):
                        t[i] -= factor * e[i]


def _one_for_all(s: Tensor) -> Tensor:
    return s[:1] if len(s) > 1 and s.stride(0) == 0 else s


def affine(s: Tensor, V: Tensor, b: Tensor) -> Tensor:
    """z = s V + b: (M, N, J), (M, J, I), (M, I) -> (M, N, I)."""
    if not _looped(V):
        return torch.baddbmm(b[:, None, :], s, V)
    z = torch.empty(*s.shape[:2], V.shape[2], dtype=s.dtype)
    _affine(_one_for_all(s).numpy(), V.numpy(), b.numpy(), z.numpy())
    return z


def pull_back(d: Tensor, V: Tensor) -> Tensor:
    """d V^T: (M, N, I), (M, J, I) -> (M, N, J)."""
    if not _looped(V):
        return torch.bmm(d, V.mT)
    below, none = torch.empty(*d.shape[:2], V.shape[1], dtype=d.dtype), torch.empty(0, 0, 0, dtype=d.dtype).numpy()
    _backward(d.numpy(), none, V.numpy(), none, float32(0), below.numpy())
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
    _backward(d.numpy(), _one_for_all(s).numpy(), V.numpy(), T.numpy(), float32(rate), out.numpy())
    return out if below else None
