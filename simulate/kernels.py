"""The arithmetic of a block for which batched library calls are slow: Gram matrices, small products and factors.

Each function has two forms: loops compiled by numba on a CPU, and torch operations on every other device, which
`tests/exact/test_kernels.py` also runs on a CPU and holds to the loops. M networks, n neurons, D and K samples or
vectors. Sums over neurons are accumulated in float64.
"""

import math
from typing import Any

import numpy as np
import torch
from numba import float64, njit
from torch import Tensor

# Sums may be reordered to fill vector registers; NaN and infinity keep their meaning, since a network may diverge.
_fast = njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})

# ------------------------------------------------------------------------------------------- small products


@_fast
def _dots(u: Any, s: Any, out: Any, m: int, k: int, a: int) -> None:
    """out[m, k:k+4, a:a+4] = u[m, k:k+4] s[m, a:a+4]^T: sixteen sums while eight rows are read and widened once."""
    t00 = t01 = t02 = t03 = t10 = t11 = t12 = t13 = 0.0
    t20 = t21 = t22 = t23 = t30 = t31 = t32 = t33 = 0.0
    for j in range(u.shape[2]):
        x0, x1 = float64(u[m, k, j]), float64(u[m, k + 1, j])
        x2, x3 = float64(u[m, k + 2, j]), float64(u[m, k + 3, j])
        y0, y1 = float64(s[m, a, j]), float64(s[m, a + 1, j])
        y2, y3 = float64(s[m, a + 2, j]), float64(s[m, a + 3, j])
        t00 += x0 * y0
        t01 += x0 * y1
        t02 += x0 * y2
        t03 += x0 * y3
        t10 += x1 * y0
        t11 += x1 * y1
        t12 += x1 * y2
        t13 += x1 * y3
        t20 += x2 * y0
        t21 += x2 * y1
        t22 += x2 * y2
        t23 += x2 * y3
        t30 += x3 * y0
        t31 += x3 * y1
        t32 += x3 * y2
        t33 += x3 * y3
    out[m, k, a], out[m, k, a + 1], out[m, k, a + 2], out[m, k, a + 3] = t00, t01, t02, t03
    out[m, k + 1, a], out[m, k + 1, a + 1], out[m, k + 1, a + 2], out[m, k + 1, a + 3] = t10, t11, t12, t13
    out[m, k + 2, a], out[m, k + 2, a + 1], out[m, k + 2, a + 2], out[m, k + 2, a + 3] = t20, t21, t22, t23
    out[m, k + 3, a], out[m, k + 3, a + 1], out[m, k + 3, a + 2], out[m, k + 3, a + 3] = t30, t31, t32, t33


@_fast
def _cross(u: Any, s: Any, out: Any) -> None:
    M, K, n = u.shape
    D = s.shape[1]
    rest_k, rest_a = K - K % 4, D - D % 4
    for m in range(M):
        for k in range(0, rest_k, 4):
            for a in range(0, rest_a, 4):
                _dots(u, s, out, m, k, a)
        for k in range(K):
            for a in range(rest_a if k < rest_k else 0, D):
                total = 0.0
                for j in range(n):
                    total += float64(u[m, k, j]) * float64(s[m, a, j])
                out[m, k, a] = total


@_fast
def _gram(s: Any, out: Any) -> None:
    M, D, n = s.shape
    rest = D - D % 4
    for m in range(M):
        for a in range(0, rest, 4):
            for b in range(0, a + 4, 4):
                _dots(s, s, out, m, a, b)
        for a in range(rest, D):
            for b in range(a + 1):
                total = 0.0
                for j in range(n):
                    total += float64(s[m, a, j]) * float64(s[m, b, j])
                out[m, a, b] = total
        for a in range(D):
            for b in range(a):
                out[m, b, a] = out[m, a, b]


def _gram_torch(s: Tensor) -> Tensor:
    return _cross_torch(s, s)


def gram(s: Tensor) -> Tensor:
    """sum_j s_aj s_bj: (M, D, n) -> (M, D, D) float64."""
    if len(s) > 1 and s.stride(0) == 0:  # the same for all networks, as inputs are
        return gram(s[0][None]).expand(len(s), -1, -1)
    if not s.is_cpu:
        return _gram_torch(s)
    out = torch.empty(len(s), s.shape[1], s.shape[1], dtype=torch.float64)
    _gram(s.numpy(), out.numpy())
    return out


def _cross_torch(u: Tensor, s: Tensor) -> Tensor:
    return torch.bmm(u.double(), s.double().mT)


def cross(u: Tensor, s: Tensor) -> Tensor:
    """sum_j u_kj s_aj: (M, K, n), (M, D, n) -> (M, K, D) float64."""
    if not s.is_cpu:
        return _cross_torch(u, s)
    out = torch.empty(*u.shape[:2], s.shape[1], dtype=torch.float64)
    _cross(u.numpy(), s.numpy(), out.numpy())
    return out


FEW = 4  # rows that are mixed in one pass


@_fast
def _mix_few(A: Any, s: Any, out: Any) -> None:
    """Of at most four rows s: where there are fewer, the last counts as the others too, times zero."""
    M, K, D = A.shape
    f = np.zeros((K, FEW))
    for m in range(M):
        s0, s1, s2, s3 = s[m, 0], s[m, min(1, D - 1)], s[m, min(2, D - 1)], s[m, D - 1]
        for k in range(K):
            for a in range(D):
                f[k, a] = A[m, k, a]
        for k in range(K):
            f0, f1, f2, f3 = f[k, 0], f[k, 1], f[k, 2], f[k, 3]
            for j in range(s.shape[2]):
                out[m, k, j] = f0 * float64(s0[j]) + f1 * float64(s1[j]) + f2 * float64(s2[j]) + f3 * float64(s3[j])


@_fast
def _blend_few(A: Any, s: Any, B: Any, x: Any, times: Any, out: Any) -> None:
    M, K, D = A.shape
    Q, T = B.shape[2], times.shape[1]
    f, g = np.zeros((K, FEW)), np.zeros((K, FEW))
    for m in range(M):
        s0, s1, s2, s3 = s[m, 0], s[m, min(1, D - 1)], s[m, min(2, D - 1)], s[m, D - 1]
        x0, x1, x2, x3 = x[m, 0], x[m, min(1, Q - 1)], x[m, min(2, Q - 1)], x[m, Q - 1]
        for k in range(K):
            for a in range(D):
                f[k, a] = A[m, k, a]
            for q in range(Q):
                g[k, q] = B[m, k, q]
        for k in range(K):
            f0, f1, f2, f3 = f[k, 0], f[k, 1], f[k, 2], f[k, 3]
            g0, g1, g2, g3 = g[k, 0], g[k, 1], g[k, 2], g[k, 3]
            t = k % T
            for j in range(s.shape[2]):
                old = f0 * float64(s0[j]) + f1 * float64(s1[j]) + f2 * float64(s2[j]) + f3 * float64(s3[j])
                new = g0 * float64(x0[j]) + g1 * float64(x1[j]) + g2 * float64(x2[j]) + g3 * float64(x3[j])
                out[m, k, j] = (old + new) * float64(times[m, t, j])


@_fast
def _mix(A: Any, s: Any, out: Any) -> None:
    M, K, D = A.shape
    n = s.shape[2]
    wide = np.empty(n, np.float64)
    for m in range(M):
        for k in range(K):
            wide[:] = 0.0
            for a in range(D):
                factor = A[m, k, a]
                if factor != 0.0:
                    for j in range(n):
                        wide[j] += factor * s[m, a, j]
            for j in range(n):
                out[m, k, j] = wide[j]


@_fast
def _blend(A: Any, s: Any, B: Any, x: Any, times: Any, out: Any) -> None:
    M, K, D = A.shape
    n, T = s.shape[2], times.shape[1]
    wide = np.empty(n, np.float64)
    for m in range(M):
        for k in range(K):
            wide[:] = 0.0
            for a in range(D):
                factor = A[m, k, a]
                for j in range(n):
                    wide[j] += factor * s[m, a, j]
            for q in range(B.shape[2]):
                factor = B[m, k, q]
                if factor != 0.0:
                    for j in range(n):
                        wide[j] += factor * x[m, q, j]
            for j in range(n):
                out[m, k, j] = wide[j] * times[m, k % T, j]


def _mix_torch(A: Tensor, s: Tensor) -> Tensor:
    return torch.bmm(A, s.double()).to(s.dtype)


def mix(A: Tensor, s: Tensor) -> Tensor:
    """sum_a A_ka s_aj: (M, K, D) float64, (M, D, n) -> (M, K, n) as s, rounded once at the end."""
    if not s.is_cpu:
        return _mix_torch(A, s)
    out = torch.empty(*A.shape[:2], s.shape[2], dtype=s.dtype)
    (_mix_few if A.shape[2] <= FEW else _mix)(A.numpy(), s.numpy(), out.numpy())
    return out


def _blend_torch(A: Tensor, s: Tensor, B: Tensor, x: Tensor, times: Tensor) -> Tensor:
    product = torch.bmm(A, s.double()).baddbmm_(B, x.double())
    return product.unflatten(1, (-1, times.shape[1])).mul_(times[:, None]).flatten(1, 2).to(s.dtype)


def blend(A: Tensor, s: Tensor, B: Tensor, x: Tensor, times: Tensor) -> Tensor:
    """(sum_a A_ka s_aj + sum_q B_kq x_qj) t_kj: (M, K, D), (M, D, n), (M, K, Q), (M, Q, n) -> (M, K, n) as s.

    times: (M, T, n), for rows k = 0..T-1 and again for the next T. A and B are float64; rounded once at the end, so
    that terms may cancel.
    """
    if not s.is_cpu:
        return _blend_torch(A, s, B, x, times)
    out = torch.empty(*A.shape[:2], s.shape[2], dtype=s.dtype)
    few = max(A.shape[2], B.shape[2]) <= FEW
    (_blend_few if few else _blend)(*(t.numpy() for t in (A, s, B, x, times, out)))
    return out


# ------------------------------------------------------------------------------------------- small factors

# A pivot below this share of its own variance is rounding of zero: the sample is a combination of earlier ones.
TINY = 1e-13


@njit(cache=True, error_model="numpy")
def _factor(g: Any, C: Any) -> None:
    M, D, _ = g.shape
    for m in range(M):
        for j in range(D):
            pivot = g[m, j, j]
            for k in range(j):
                pivot -= C[m, j, k] ** 2
            # Not "pivot > ...": a NaN has to stay one.
            root = 0.0 if pivot <= TINY * g[m, j, j] else math.sqrt(pivot)
            for i in range(j, D):
                total = g[m, i, j]
                for k in range(j):
                    total -= C[m, i, k] * C[m, j, k]
                C[m, i, j] = total / root if root != 0.0 else 0.0
            for i in range(j):
                C[m, i, j] = 0.0


def _factor_torch(g: Tensor) -> Tensor:
    D = g.shape[-1]
    C = torch.zeros_like(g)
    for j in range(D):
        column = g[:, j:, j] - torch.einsum("mak,mk->ma", C[:, j:, :j], C[:, j, :j])
        dead = column[:, 0] <= TINY * g[:, j, j]
        root = torch.where(dead, 1.0, column[:, 0]).sqrt_()
        C[:, j:, j] = torch.where(dead[:, None], 0.0, column / root[:, None])
    return C


def factor(g: Tensor) -> Tensor:
    """Lower triangular C with C C^T = g for positive semidefinite g of any rank, (M, D, D) float64.

    Plain Cholesky, except that an exhausted pivot gives a zero column: equal inputs, more inputs than neurons
    and dead ReLU networks pass.
    """
    if not g.is_cpu:
        return _factor_torch(g)
    C = torch.empty(g.shape, dtype=g.dtype)
    _factor(g.numpy(), C.numpy())
    return C


@njit(cache=True, error_model="numpy")
def _inverse(C: Any, P: Any) -> None:
    M, D, _ = C.shape
    for m in range(M):
        for j in range(D):
            for i in range(D):
                if i < j or C[m, i, i] == 0.0:
                    P[m, i, j] = 0.0
                    continue
                total = 1.0 if i == j else 0.0
                for k in range(j, i):
                    total -= C[m, i, k] * P[m, k, j]
                P[m, i, j] = total / C[m, i, i]


def _inverse_torch(C: Tensor) -> Tensor:
    one = torch.eye(C.shape[-1], dtype=C.dtype, device=C.device)
    dead = C.diagonal(dim1=1, dim2=2) == 0
    return torch.linalg.solve_triangular(C + torch.diag_embed(dead.to(C.dtype)), one, upper=False) * ~dead[..., None]


def inverse(C: Tensor) -> Tensor:
    """P (M, D, D) with P phi orthonormal where phi has the Gram matrix C C^T; zero rows where C has zero columns."""
    if not C.is_cpu:
        return _inverse_torch(C)
    P = torch.empty(C.shape, dtype=C.dtype)
    _inverse(C.numpy(), P.numpy())
    return P
