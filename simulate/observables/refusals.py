"""Why settings forbid to record an observable: what it takes for granted of the network or of its training."""

from collections.abc import Callable, Iterable
from itertools import chain
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
            yield "initialization", weights, f"{name} is known for Gaussian weights: its averages are over those"
        if settings.ensemble.condition is not None:
            right = f"null: {name} averages over last weights of the prior"
            yield "ensemble.condition.noise", settings.ensemble.condition.noise, right

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


def without_weights(name: str) -> Callable[[Any], Iterable[Refusal]]:
    """Refusals of what takes the normals of networks whose weights are not drawn."""

    def refusals(settings: Any) -> Iterable[Refusal]:
        if settings.ensemble.sampler != "law":
            right = f"{name} takes the normals of networks without weights: it goes with ensemble.sampler=law alone"
            yield "observables.record", list(settings.observables.record), right
        if settings.initialization.weights != "gaussian":
            why = "rows of a frame are Gaussian to order one alone, so that controls have means of order 1/n"
            right = f"{name} is known for Gaussian weights: {why}"
            yield "initialization", settings.initialization.weights, right

    return refusals


def both(*refusals: Callable[[Any], Iterable[Refusal]]) -> Callable[[Any], Iterable[Refusal]]:
    """The refusals of several kinds, one after the other."""
    return lambda settings: chain.from_iterable(of(settings) for of in refusals)


def of_prior(settings: Any) -> Iterable[Refusal]:
    """Refusals of Bayesian inference with networks of the prior, docs/theory.md (16.1)."""
    if not settings.observables.noises:
        yield "observables.noises", [], "the variances of targets about outputs that posterior is for, as [0.1, 0.01]"
    if settings.initialization.weights != "gaussian":
        right = "posterior is known for Gaussian weights: outputs are Gaussian given g with these alone"
        yield "initialization", settings.initialization.weights, right
    if settings.dynamics.name != "none":
        yield "dynamics", settings.dynamics.name, "posterior is that of networks that are not trained: dynamics=none"


def conditioned(settings: Any) -> Iterable[Refusal]:
    """Refusals of what belongs to networks whose last layer is drawn given targets, docs/theory.md (16.3)."""
    if settings.ensemble.condition is None:
        right = "log_w and prior_ntk are those of networks with a conditioned last layer: ensemble.condition.noise=0.1"
        yield "observables.record", list(settings.observables.record), right


def conditioned_by_law(settings: Any) -> Iterable[Refusal]:
    """Refusals of what such networks have without weights alone."""
    if settings.ensemble.sampler != "law":
        right = "prior_ntk goes with ensemble.sampler=law alone"
        yield "observables.record", list(settings.observables.record), right
    yield from conditioned(settings)


def two_neurons(name: str) -> Callable[[Any], Iterable[Refusal]]:
    """Refusals of what is an angle over a layer's neurons."""

    def refusals(settings: Any) -> Iterable[Refusal]:
        sizes = [*settings.network.widths, settings.network.outputs]
        narrow = [layer for layer in settings.observables.layers if sizes[layer - 1] < 2]
        if narrow:
            right = f"{name} is an angle over a layer's neurons, and layer {narrow[0]} has one neuron"
            yield "observables.layers", list(settings.observables.layers), right

    return refusals
