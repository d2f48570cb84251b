"""Products of a few samples with the weights of many networks on a CUDA device, by kernels in Triton that read the
weights once. M counts networks and N samples; V is (M, J, I) as in `simulate.numerics.products`."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from simulate.numerics.device import warps_of

LARGEST = 1024  # up to so many neurons on either side, a program holds its rows or columns of the weights
TILE = 4096  # entries of the weights that a program holds


@triton.jit
def _affine(s, V, b, z, N, J, I, shared: tl.int64, ROWS: tl.constexpr, COLUMNS: tl.constexpr) -> None:
    """Set z[m, a, i] = b[m, i] + sum_j s[m, a, j] V[m, j, i] for one m and some i. shared: the stride of m in s."""
    m = tl.program_id(0).to(tl.int64)
    j, i = tl.arange(0, ROWS), tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    cells = (j < J)[:, None] & (i < I)[None, :]
    weights = tl.load(V + (m * J + j[:, None]) * I + i[None, :], mask=cells, other=0.0)
    bias = tl.load(b + m * I + i, mask=i < I, other=0.0)
    for a in range(N):
        row = tl.load(s + m * shared + a * J + j, mask=j < J, other=0.0)
        tl.store(z + (m * N + a) * I + i, bias + tl.sum(row[:, None] * weights, axis=0), mask=i < I)


@triton.jit
def _descend(
    d, s, V, T, below, N, J, I, shared: tl.int64, rate: tl.float64, PULLS: tl.constexpr, UPDATES: tl.constexpr,
    SAME: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    """PULLS: set below[m, a, j] = sum_i d[m, a, i] V[m, j, i]. UPDATES: subtract rate sum_a s[m, a, j] d[m, a, i] from
    T[m, j, i]; SAME: T is V. All for one m and some j, whose weights are read once."""
    m = tl.program_id(0).to(tl.int64)
    j, i = tl.program_id(1) * ROWS + tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    cells, at = (j < J)[:, None] & (i < I)[None, :], (m * J + j[:, None]) * I + i[None, :]
    weights = tl.load(V + at, mask=cells, other=0.0)
    update = tl.zeros([ROWS, COLUMNS], weights.dtype)
    for a in range(N):
        error = tl.load(d + (m * N + a) * I + i, mask=i < I, other=0.0)
        if PULLS:
            tl.store(below + (m * N + a) * J + j, tl.sum(error[None, :] * weights, axis=1), mask=j < J)
        if UPDATES:
            update += tl.load(s + m * shared + a * J + j, mask=j < J, other=0.0)[:, None] * error[None, :]
    if UPDATES:
        old = weights if SAME else tl.load(T + at, mask=cells, other=0.0)
        tl.store(T + at, old - tl.full([ROWS, COLUMNS], rate, update.dtype) * update, mask=cells)


def holds(V: Tensor) -> bool:
    """Whether `affine` and `descend` take weights V (M, J, I)."""
    return V.is_contiguous() and max(V.shape[1:]) <= LARGEST


def _rows(s: Tensor) -> tuple[Tensor, int]:
    """s (M, N, J) with contiguous rows, and its stride over networks, 0 where all of them share s."""
    s = s if s[:1].is_contiguous() and s.stride(0) in (0, s[0].numel()) else s.contiguous()
    return s, s.stride(0) if len(s) > 1 else 0


def affine(s: Tensor, V: Tensor, b: Tensor) -> Tensor:
    """The preactivations s V + b: (M, N, J), (M, J, I), (M, I) -> (M, N, I)."""
    (M, J, I), N = V.shape, s.shape[1]
    z = torch.empty(M, N, I, dtype=V.dtype, device=V.device)
    if z.numel():
        rows = triton.next_power_of_2(J)
        columns = min(triton.next_power_of_2(I), max(8, TILE // rows))
        s, stride = _rows(s)
        grid, warps = (M, triton.cdiv(I, columns)), warps_of(rows * columns, 1024)
        _affine[grid](s, V, b.contiguous(), z, N, J, I, stride, ROWS=rows, COLUMNS=columns, num_warps=warps)
    return z


def descend(d: Tensor, s: Tensor | None, V: Tensor, T: Tensor | None, rate: float, below: bool) -> Tensor | None:
    """What `simulate.numerics.products.descend` does, and without T only d V^T."""
    (M, J, I), N = V.shape, d.shape[1]
    out = torch.empty(M, N, J, dtype=V.dtype, device=V.device) if below else None
    if M * N:
        columns = triton.next_power_of_2(I)
        rows = min(triton.next_power_of_2(J), max(8, TILE // columns))
        s, stride = (V, 0) if s is None else _rows(s)
        same = T is not None and T.data_ptr() == V.data_ptr()
        arrays = (d.contiguous(), s, V, V if T is None else T, V if out is None else out)
        flags = {"PULLS": below, "UPDATES": T is not None, "SAME": same}
        grid, warps = (M, triton.cdiv(J, rows)), warps_of(rows * columns, 1024)
        _descend[grid](*arrays, N, J, I, stride, rate, **flags, ROWS=rows, COLUMNS=columns, num_warps=warps)
    return out
