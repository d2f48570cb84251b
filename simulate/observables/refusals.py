"""Why settings forbid to record an observable: what it takes for granted of the network or of its training."""

from collections.abc import Callable, Iterable
from typing import Any

Refusal = tuple[str, object, str]  # a setting, its value, what would be right


def averages(name: str, outputs: int = 1, depth: int = 1) -> Callable[[Any], Iterable[Refusal]]:
    """Refusals of what averages over weights, for which it takes their law."""

    def refusals(settings: Any) -> Iterable[Refusal]:
        network, weights = settings.network, settings.initialization.weights
        if network.outputs < outputs:
            yield "network.outputs", network.outputs, f"{name} needs two outputs"
        if network.depth < depth:
            yield "network.depth", network.depth, f"{name} needs a hidden layer"
        if weights != "gaussian":
            yield "initialization", weights, f"{name} is known for Gaussian weights"

    return refusals


def no_model(name: str) -> Callable[[Any], Iterable[Refusal]]:
    """Refusals of Taylor models, which follow some algorithms alone."""

    def refusals(settings: Any) -> Iterable[Refusal]:
        dynamics, observables = settings.dynamics, settings.observables
        if dynamics.name not in dynamics.followed or dynamics.loss != "mse":
            right = f"{name} needs dynamics={' or '.join(dynamics.followed)} with loss=mse"
            yield "observables.record", list(observables.record), right
        if dynamics.rules:
            right = f"none where {name} is recorded: models follow the loss alone"
            yield "dynamics.rules", dict(dynamics.rules), right
        if dynamics.tolerance:
            yield "dynamics.tolerance", dynamics.tolerance, f"0 where {name} is recorded: models do not stop"
        if observables.output_layers[-1] != settings.network.depth:
            yield (
                "observables.output_layers",
                list(observables.output_layers),
                f"{name} needs the last layer among them",
            )

    return refusals
