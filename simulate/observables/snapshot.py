"""One layer of a block of networks at one step, as the functions of `simulate.observables.measure` see it.

A sampler that cannot give something does not have the method: without weights there are `preactivations`, `kernel` and
`ntk`, with weights all of them. An observable that uses more than the first two declares what it needs
(`Observable.needs`). M networks, D samples, n_l neurons, P = n_L D outputs (i, a) in the order i D + a.
"""

from typing import Any, Protocol

from torch import Tensor


class Snapshot(Protocol):
    """What both samplers have."""

    @property
    def layer(self) -> int: ...

    @property
    def step(self) -> int:
        """Steps of training done."""

    @property
    def outputs(self) -> int:
        """n_L: how many neurons stand for the outputs in every layer."""

    @property
    def samples(self) -> int:
        """D, the train samples first."""

    def preactivations(self) -> Tensor:
        """z(l), (M, D, n_l)"""

    def kernel(self) -> Tensor:
        """g(l), the covariance of the layer's neurons given the layer below, (M, D, D) float64"""

    def ntk(self) -> Tensor:
        """H_ij;ab of the layer's first n_L neurons, (M, n_L, D, n_L, D) float64"""


class Weighted(Snapshot, Protocol):
    """What networks with weights have in addition."""

    @property
    def training(self) -> Any:
        """`simulate.training.algorithms.Training`: parameters W and b of all layers, train samples, rule."""

    def differentials(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """dH (M, P, P, P), and ddI and ddII (M, P, P, P, P) where ddntk is recorded"""

    def fourth(self) -> Tensor:
        """(M, P)"""

    def loss(self) -> Tensor:
        """(M,)"""

    def moved(self) -> Tensor:
        """(M,)"""

    def taylor(self) -> Tensor:
        """Outputs of the Taylor models of order 1, 2, 3, (M, 3, P)"""
