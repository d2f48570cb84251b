"""Networks that answer to first order to their own NTK at the start, a control for trained ones: docs/theory.md (5.28).

Their outputs are z^(1) = z_frozen + l[fH](e0), with fH = H(0) - Theta. Indices are those of `composite`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.stages import stages
from analysis.theory.activations import Array
from analysis.theory.composite import initial, train_indices
from analysis.theory.cumulants import cumulants
from analysis.theory.order_n import of_flow
from analysis.theory.path import Eta, each_eta
from analysis.theory.recursion import Flow
from analysis.theory.responses import Responses, responses


@dataclass(frozen=True)
class OwnKernel:
    """One step. mean1 (P,), covariance1 (P, P): coefficients of 1/n of E z^(1) and, without what is of second order in
    fH, of Cov z^(1). Theta (P, P)."""

    Theta: Array
    responses: Responses
    mean1: Array
    covariance1: Array

    def shift(self, z: Array, H: Array, y: Array) -> Array:
        """l[fH](e0) of docs/theory.md (5.28) of each of M networks, (M, P), from their z(0) (M, P) and H(0) (M, P, P),
        for the targets y (P_t,)."""
        errors = z[:, self.responses.train] - y
        return np.einsum("Nim,Nm->Ni", self.responses.moved(H - self.Theta), errors)


def own_kernel(
    at_start: Flow, targets: Array, eta: Eta, steps: Sequence[int], algorithm: str, momentum: float = 0.0
) -> list[OwnKernel]:
    """These networks after each of the steps, docs/theory.md (5.28). at_start has the tensors `composite.TENSORS`;
    other arguments are those of `order_n.of_flow`.

    What the terms of docs/theory.md (5.29) and (5.30) with Theta1, G1 and kz predict is theirs; the terms that are left
    are of second order in fH, or come from dH, ddI and ddII.
    """
    N, n_L = targets.shape
    start, D = initial(at_start, n_L), at_start.K.shape[-1]
    train = train_indices(N, n_L, D)
    etas = each_eta(eta, steps[-1])
    found = []
    for answer in responses(start, train, etas, steps, stages(algorithm, momentum)):
        none = {name: np.zeros_like(getattr(answer, name)) for name in ("two", "q", "s")}
        still = replace(start, kH=np.zeros_like(start.kH))
        left = cumulants(still, replace(answer, **none), targets.T.ravel(), full=False)
        found.append(OwnKernel(start.Theta, answer, left.mean1, left.covariance1))
    return found


def own_answer_mean1(
    at_start: Flow,
    targets: Array,
    eta: Eta,
    steps: Sequence[int],
    algorithm: str,
    momentum: float = 0.0,
    loss: str = "mse",
) -> Array:
    """The coefficients (S, P) of 1/n of the mean of `frozen.own_answers` after each of the steps, for any loss: what is
    left of docs/theory.md (5.38) if the NTK neither fluctuates nor moves. Arguments are those of `own_kernel`."""
    zeros: dict[str, Any] = {name: np.zeros_like(at_start[name]) for name in "ABPQRSTU"}
    still = replace(at_start, **zeros)
    return of_flow(still, {}, targets, eta, steps, algorithm, momentum, loss).taylor_errors[:, 0]
