"""What is measured: each function takes a Snapshot and gives one number per network and sample tuple."""

from collections.abc import Callable

from torch import Tensor

from simulate.observables.differentials import ddntk1, ddntk2, dntk
from simulate.observables.moments import moment
from simulate.observables.snapshot import Snapshot, upper


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
