"""Columns of dH, ddI and ddII: one of each set of components that a symmetry makes equal."""

from itertools import combinations_with_replacement, product

import torch
from torch import Tensor

from simulate.observables.snapshot import Snapshot


def _flat(tensor: Tensor, indices: list[tuple[int, ...]]) -> Tensor:
    """The components at the indices, (M, C)."""
    columns = torch.tensor(indices, device=tensor.device).T
    return tensor[(slice(None), *columns)]


def dntk(snapshot: Snapshot) -> Tensor:
    dH, _, _ = snapshot.differentials()
    rows = range(dH.shape[1])
    return _flat(dH, [(p, q, k) for p in rows for q, k in combinations_with_replacement(rows, 2)])


def ddntk1(snapshot: Snapshot) -> Tensor:
    _, ddI, _ = snapshot.differentials()
    assert ddI is not None
    rows = range(ddI.shape[1])
    return _flat(ddI, [(p, *others) for p in rows for others in combinations_with_replacement(rows, 3)])


def ddntk2(snapshot: Snapshot) -> Tensor:
    _, _, ddII = snapshot.differentials()
    assert ddII is not None
    rows = range(ddII.shape[1])
    both = combinations_with_replacement(list(product(rows, rows)), 2)
    return _flat(ddII, [(p, q, k, m) for (p, k), (q, m) in both])
