"""What is carried from layer to layer up through the weights of a block of networks."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from simulate.networks.responses import jacobian_traces, responses
from simulate.networks.sums import sums
from simulate.settings import Settings
from simulate.training.algorithms import Training


@dataclass(frozen=True)
class Upward:
    """What is carried up through the weights of a block of networks at one step: one way up gives it at all layers."""

    settings: Settings
    training: Training
    z: list[Tensor]
    signals: list[Tensor]

    def slopes(self) -> list[Tensor]:
        below = self.settings.observables.layers[-1] - 1
        return [self.training.slope(self.z[k], self.signals[k + 1]) for k in range(below)]

    @cached_property
    def sums(self) -> Tensor:
        dynamics, C_W = self.settings.dynamics, self.settings.initialization.C_W
        loops = "ntk_loops" in self.settings.observables.record
        rates = dynamics.lambda_b, dynamics.lambda_W
        return sums(self.training.parameters, self.signals, self.slopes(), *rates, C_W, loops)

    @cached_property
    def responses(self) -> list[Tensor]:
        return responses(self.training.parameters, self.signals[0][0], self.slopes())

    @cached_property
    def jacobians(self) -> dict[int, Tensor]:
        return jacobian_traces(self.training.parameters, self.slopes(), self.settings.observables.layers)
