"""The numbers of each family of columns: a Snapshot in, one number per network and index tuple out."""

from collections.abc import Callable
from itertools import combinations_with_replacement, product

import torch
from torch import Tensor

from simulate.observables.snapshot import Snapshot, upper


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


def kernel(snapshot: Snapshot) -> Tensor:
    return upper(snapshot.kernel())


def outputs(snapshot: Snapshot) -> Tensor:
    """z_i;a of the first n_L neurons, neuron first: (M, n_L D)."""
    return snapshot.preactivations()[..., : snapshot.outputs].transpose(1, 2).flatten(1)


def ntk(snapshot: Snapshot) -> Tensor:
    """H_ij;ab for (i, a) <= (j, b): the upper triangle of the (n_L D) x (n_L D) matrix."""
    H = snapshot.ntk()
    rows = H.shape[1] * H.shape[2]
    return upper(H.reshape(len(H), rows, rows))


def fourth(snapshot: Snapshot) -> Tensor:
    return snapshot.fourth()


def loss(snapshot: Snapshot) -> Tensor:
    return snapshot.loss()[:, None]


def moved(snapshot: Snapshot) -> Tensor:
    return snapshot.moved()[:, None]


def taylor(snapshot: Snapshot) -> Tensor:
    return snapshot.taylor().flatten(1)


# Keyed by the column prefix of simulate.schema.
MEASURE: dict[str, Callable[[Snapshot], Tensor]] = {
    "g": kernel,
    "m1": moment(1),
    "m2": moment(2),
    "m3": moment(3),
    "m4": moment(4),
    "z": outputs,
    "H": ntk,
    "dH": dntk,
    "ddI": ddntk1,
    "ddII": ddntk2,
    "d4": fourth,
    "loss": loss,
    "moved": moved,
    "taylor": taylor,
}
__all__ = ["MEASURE", "Snapshot"]
