"""What is known of networks at initialisation at order 1/n, over joint indices of output and sample.

A joint index p = (output, sample), output first, runs over P = n_L D values. The tensors are those of the last layer
with the Kronecker deltas of docs/theory.md (1.3), (2.5), (2.6) and (3.4) to (3.6).
"""

from dataclasses import dataclass

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.recursion import Flow

# `flow` has to be asked for these.
TENSORS = ("K", "Theta", "G1", "Theta1", "V", "A", "B", "D", "F", "P", "Q", "R", "S", "T", "U")


def last(flow: Flow, name: str) -> Array:
    """A tensor of the last layer, of which docs/theory.md (5.27) is made."""
    return tensor(flow, name, -1)


def tensor(flow: Flow, name: str, layer: int) -> Array:
    """A tensor of the layer at this position, of which docs/theory.md (5.27) and (5.34) are made, or an error that says
    what to ask `flow` for."""
    try:
        return flow[name][layer]
    except KeyError:
        raise ValueError(f"tensors: {name} is needed; ask flow for {', '.join(TENSORS)}") from None


@dataclass(frozen=True)
class Initial:
    """Means and cumulants at initialisation that enter training at order 1/n, docs/theory.md (5.27).

    All but K and Theta are multiplied by n. Axes are joint indices, P values each, in the order of the arguments.
    """

    K: Array  # (P, P) E z z at infinite width
    Theta: Array  # (P, P) E H at infinite width
    G1: Array  # (P, P)
    Theta1: Array  # (P, P)
    k4: Array  # (P, P, P, P) connected E z z z z
    kH: Array  # (P, P, P, P) covariance of H_ij and H_kl
    kz: Array  # (P, P, P, P) E z_c z_d fH_ij, where fH = H - E H
    kd: Array  # (P, P, P, P) E dH_ijk z_c
    I: Array  # (P, P, P, P) E ddI
    II: Array  # (P, P, P, P) E ddII


def initial(flow: Flow, outputs: int) -> Initial:
    """The tensors of the last layer of a flow for networks of so many outputs, docs/theory.md (5.27).

    Raises ValueError for a flow that lacks one of them.
    """

    def of(name: str) -> Array:
        return last(flow, name)

    V, A, B, D, F, Q, R, S, T, U = (_Lifted(of(name), outputs) for name in "VABDFQRSTU")
    P = _Lifted(of("P").transpose(0, 3, 1, 2), outputs)  # its first and its last sample belong to one output
    K, Theta, G1, Theta1 = (np.asarray(np.kron(np.eye(outputs), of(name)), np.float64) for name in TENSORS[:4])
    return Initial(
        K=K,
        Theta=Theta,
        G1=G1,
        Theta1=Theta1,
        k4=V("ijkl") + V("ikjl") + V("iljk"),
        kH=A("ijkl") + B("ikjl") + B("iljk"),
        kz=D("ijkl") + F("ikjl") + F("iljk"),
        kd=P("iljk") + Q("ijkl") + Q("ikjl"),
        I=R("ijkl") + R("iklj") + R("iljk"),
        II=S("ijkl") + T("iklj") + U("iljk"),
    )


def train_indices(N: int, outputs: int, D: int) -> Array:
    """The joint indices (N outputs,) of the first N of D samples, output first, docs/theory.md (5.27)."""
    return np.concatenate([output * D + np.arange(N) for output in range(outputs)])


@dataclass(frozen=True)
class _Lifted:
    """A tensor of four samples (D, D, D, D), the first two of which belong to one output and the last two to one."""

    tensor: Array
    outputs: int

    def __call__(self, order: str) -> Array:
        """(P, P, P, P) with axes i, j, k, l; `order` names that of each axis of the tensor."""
        first, second, third, fourth = list(order.upper())
        eye = np.eye(self.outputs)
        lifted = np.einsum(f"{first}{second},{third}{fourth},{order}->IiJjKkLl", eye, eye, self.tensor)
        return np.asarray(lifted.reshape((self.outputs * len(self.tensor),) * 4))
