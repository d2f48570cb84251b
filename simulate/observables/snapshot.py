"""One layer of a block of networks at one step, as the observables see it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


def _absent() -> Tensor:
    raise RuntimeError("this sampler does not give what the observable needs; settings should have refused it")


def _nothing() -> tuple[Tensor, Tensor | None, Tensor | None]:
    raise RuntimeError("this sampler has no weights to differentiate by; settings should have refused it")


@dataclass(frozen=True)
class Snapshot:
    """Everything is a function, so that only what is recorded is computed."""

    layer: int
    outputs: int  # neurons that are measured one by one
    preactivations: Callable[[], Tensor] = _absent  # (M, D, n_l)
    kernel: Callable[[], Tensor] = _absent  # (M, D, D) float64
    ntk: Callable[[], Tensor] = _absent  # (M, n_L, D, n_L, D) float64
    differentials: Callable[[], tuple[Tensor, Tensor | None, Tensor | None]] = _nothing  # simulate.differentials
    fourth: Callable[[], Tensor] = _absent  # (M, n_L D)
    loss: Callable[[], Tensor] = _absent  # (M,)
    moved: Callable[[], Tensor] = _absent  # (M,)
    taylor: Callable[[], Tensor] = _absent  # (M, 3, n_L D)


@lru_cache(maxsize=64)
def _triangle(k: int, device: torch.device) -> Tensor:
    row, column = torch.triu_indices(k, k, device=device)
    return row * k + column


def upper(matrix: Tensor) -> Tensor:
    """The upper triangle, row by row: (M, k, k) -> (M, k (k + 1) / 2)."""
    return matrix.flatten(1).index_select(1, _triangle(matrix.shape[-1], matrix.device))
