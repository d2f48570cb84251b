"""Neuron moments: (1/n) sum_i z_i;a z_i;b ... of a layer, accumulated in float64.

Products of distinct neurons follow from these in one network:
sum_{i != j} z_ia z_ib z_jc z_jd = n^2 m2_ab m2_cd - n m4_abcd (`analysis.estimators`).
"""

from collections.abc import Callable
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from simulate.observables.snapshot import Snapshot


def moment(order: int) -> Callable[[Snapshot], Tensor]:
    """The observable of that order: (M, C) for sample tuples a <= b <= ..."""

    def measure(snapshot: Snapshot) -> Tensor:
        z = snapshot.preactivations().double()
        columns = []
        for samples in combinations_with_replacement(range(z.shape[1]), order):
            product = z[:, samples[0]]
            for a in samples[1:]:
                product = product * z[:, a]
            columns.append(product.mean(dim=-1))
        return torch.stack(columns, dim=1)

    return measure
