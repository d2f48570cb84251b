"""Models that are trained together with networks: from their starts, by their algorithm and with their batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from simulate.networks import activations, dense
from simulate.networks.differentials import differentials
from simulate.settings import Activation
from simulate.training import paths, taylor
from simulate.training.algorithms import Training, batch_weights
from simulate.training.paths import Weights


@dataclass(frozen=True)
class Models:
    """Taylor models of networks that have not been trained yet. x: (D, n_0), the train samples first.

    The P outputs (i, a) have the order i D + a.
    """

    training: Training
    x: Tensor

    @cached_property
    def _start(self) -> tuple[list[Tensor], list[Tensor]]:
        return dense.forward(self.training.parameters, self.x, self.training.s)

    @property
    def _rates(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.training.dynamics.lambda_b, self.training.dynamics.lambda_W

    @cached_property
    def _known(self) -> tuple[Tensor, Tensor]:
        """z (M, P) and H (M, P, P) at the start, float64."""
        z, signals = self._start
        H = dense.ntk(self.training.parameters, z, signals, self.training.slope, *self._rates)
        flat = z[-1].double().transpose(1, 2).flatten(1)
        return flat, H.reshape(-1, flat.shape[1], flat.shape[1])

    @cached_property
    def _trained(self) -> tuple[Tensor, Tensor]:
        """Targets (N,) of the train outputs, and their places among the P."""
        (N, outputs), D = self.training.y.shape, len(self.x)
        train = torch.tensor([i * D + a for i in range(outputs) for a in range(N)], device=self.x.device)
        return self.training.y.double().T.flatten(), train

    @property
    def _weights(self) -> Weights | None:
        return partial(batch_weights, self.training) if self.training.dynamics.batch else None

    def linear(self, steps: tuple[int, ...]) -> Iterator[Tensor]:
        """Outputs of the linear model at each of the steps, (M, P), docs/theory.md (5.25): it has the network's H."""
        targets, train = self._trained
        model = paths.linear(*self._known, train)
        found = paths.trajectory([model], targets, train, self.training.dynamics, steps, self._weights)
        return (outputs[:, 0] for outputs in found)

    def _differentials(self, activation: Activation) -> tuple[Tensor, Tensor, Tensor]:
        """dH, ddI and ddII at the start, docs/theory.md (3.1) to (3.3)."""
        orders = activations.derivatives(activation)
        dH, ddI, ddII = differentials(self.training.parameters, *self._start, orders, *self._rates, second=True)
        assert ddI is not None
        assert ddII is not None
        return dH, ddI, ddII

    def movement(self, activation: Activation) -> tuple[Tensor, Tensor]:
        """-2 dH s + dd s^2 of docs/theory.md (5.9) with s = (z - y)/H of each network's first output at its first
        sample, and the part of it that is even in the sign of the last layer, (M,) each.

        H is above zero, so that neither diverges as a model may that is followed to its end. They have one mean,
        because a network and the one with its last layer's sign reversed are equally likely.
        """
        dH, ddI, ddII = (tensor.flatten(1)[:, 0] for tensor in self._differentials(activation))
        z, H = (tensor.flatten(1)[:, 0] for tensor in self._known)
        y, dd = self.training.y[0, 0].double(), ddI + 2 * ddII
        s = (z - y) / H
        return -2 * dH * s + dd * s**2, -2 * dH * z / H + dd * (z**2 + y**2) / H**2

    def of_all_orders(self, activation: Activation, steps: tuple[int, ...]) -> Iterator[Tensor]:
        """Outputs of the models of order 1, 2 and 3 at each of the steps, (M, 3, P), docs/theory.md (5.8)."""
        known, (targets, train) = self._differentials(activation), self._trained
        return taylor.trajectory(*self._known, known, targets, train, self.training.dynamics, steps, self._weights)
