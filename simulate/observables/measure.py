"""The numbers of each family of columns: a snapshot in, one number per network and column out.

A function registered with `whole` gives the whole tensor, of which `columns` picks the components that are recorded;
one registered with `components` is told which ones, and computes these alone.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from simulate.observables.columns import Family, Index
from simulate.observables.snapshot import Snapshot, Weighted

Function = Callable[..., Tensor]
MEASURED: dict[str, Callable[[Any, Family, list[Index]], Tensor]] = {}


def components(prefix: str) -> Callable[[Function], Function]:
    """Registers a function of (snapshot, indices) that gives the components (M, C) at C index tuples."""

    def register(function: Function) -> Function:
        if prefix in MEASURED:
            raise ValueError(f"column {prefix!r} is there already; choose another prefix")
        MEASURED[prefix] = lambda snapshot, family, indices: function(snapshot, indices)
        return function

    return register


def whole(prefix: str) -> Callable[[Function], Function]:
    """Registers a function of a snapshot that gives the whole tensor: (M, ...) with an axis for the label, if the
    family has one, then one axis of size D, or P, for each slot (or n_L and D for an output and a sample)."""

    def register(function: Function) -> Function:
        if prefix in MEASURED:
            raise ValueError(f"column {prefix!r} is there already; choose another prefix")

        def pick(snapshot: Snapshot, family: Family, indices: list[Index]) -> Tensor:
            tensor = function(snapshot)
            tensor = tensor.reshape(len(tensor), -1)
            places = family.positions(indices, snapshot.samples, snapshot.outputs)
            return tensor.index_select(1, torch.tensor(places, device=tensor.device))

        MEASURED[prefix] = pick
        return function

    return register


def columns(snapshot: Snapshot, family: Family, indices: list[Index]) -> Tensor:
    """The components of a family at the index tuples, (M, C)."""
    return MEASURED[family.prefix](snapshot, family, indices)


@whole("g")
def kernel(snapshot: Snapshot) -> Tensor:
    return snapshot.kernel()


def moment(snapshot: Snapshot, indices: list[Index]) -> Tensor:
    """Neuron moments (1/n) sum_i z_i;a z_i;b ... of the layer, accumulated in float64.

    Products of distinct neurons follow from these in one network (docs/theory.md (7.1)):
    sum_{i != j} z_ia z_ib z_jc z_jd = n^2 m2_ab m2_cd - n m4_abcd (`analysis.estimators`).
    """
    z = snapshot.preactivations().double()
    means = []
    for first, *others in indices:
        product = z[:, first]
        for sample in others:
            product = product * z[:, sample]
        means.append(product.mean(dim=-1))
    return torch.stack(means, dim=1)


for order in (1, 2, 3, 4):
    components(f"m{order}")(moment)


@whole("z")
def outputs(snapshot: Snapshot) -> Tensor:
    """z_i;a of the first n_L neurons, neuron first."""
    return snapshot.preactivations()[..., : snapshot.outputs].transpose(1, 2)


@whole("H")
def ntk(snapshot: Snapshot) -> Tensor:
    return snapshot.ntk()


@whole("dH")
def dntk(snapshot: Weighted) -> Tensor:
    return snapshot.differentials()[0]


@whole("ddI")
def ddntk1(snapshot: Weighted) -> Tensor:
    ddI = snapshot.differentials()[1]
    assert ddI is not None
    return ddI


@whole("ddII")
def ddntk2(snapshot: Weighted) -> Tensor:
    ddII = snapshot.differentials()[2]
    assert ddII is not None
    return ddII


@whole("d4")
def fourth(snapshot: Weighted) -> Tensor:
    return snapshot.fourth()


@whole("loss")
def loss(snapshot: Weighted) -> Tensor:
    return snapshot.loss()


@whole("moved")
def moved(snapshot: Weighted) -> Tensor:
    return snapshot.moved()


@whole("taylor")
def taylor(snapshot: Weighted) -> Tensor:
    return snapshot.taylor()
