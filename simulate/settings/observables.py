"""Settings of what is recorded: observables, layers, samples and steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simulate.observables.columns import OBSERVABLES, recorded
from simulate.settings.network import Network
from simulate.settings.reader import Reader, SettingsError, choice, integer, is_list, real
from simulate.settings.training import Dynamics


@dataclass(frozen=True)
class Observables:
    """The observables that are recorded, where and when.

    layers: those at which kernel, moments, ntk_sums, response, angles and jacobian are recorded. output_layers: those
    at which outputs, ntk, dntk, ddntk and fourth are. tuples: the tuples of samples by observable; an observable that
    is not named has all. steps: of training. noises: variances of targets about outputs, of each of which posterior
    is recorded.
    """

    record: tuple[str, ...]
    layers: tuple[int, ...]
    output_layers: tuple[int, ...]
    tuples: Mapping[str, tuple[tuple[int, ...], ...]]
    steps: tuple[int, ...]
    noises: tuple[float, ...] = ()


def read_observables(r: Reader, network: Network, dynamics: Dynamics) -> Observables:
    depth = network.depth

    def names(value: Any) -> tuple[str, ...]:
        out = tuple(choice(v, tuple(OBSERVABLES)) for v in (value if is_list(value) else [value]))
        if not out or len(set(out)) != len(out):
            raise ValueError
        return out

    def chosen(low: int, high: int) -> Callable[[Any], tuple[int, ...]]:
        def check(value: Any) -> tuple[int, ...]:
            out = tuple(integer(v, low, high) for v in (value if is_list(value) else [value]))
            if not out or sorted(set(out)) != list(out):
                raise ValueError
            return out

        return check

    record = r.get("record", names, f"different names among {', '.join(OBSERVABLES)}")
    layers = r.get(
        "layers",
        lambda v: tuple(range(1, depth + 1)) if v == "all" else chosen(1, depth)(v),
        f"all, or rising layer numbers from 1 to depth = {depth}",
    )
    output_layers = r.get(
        "output_layers",
        lambda v: (depth,) if v == "last" else tuple(range(1, depth + 1)) if v == "all" else chosen(1, depth)(v),
        f"last, all, or rising layer numbers from 1 to depth = {depth}",
    )
    for layer in output_layers[: -1 if output_layers[-1] == depth else None]:
        if network.widths[layer - 1] < network.outputs:
            right = f"layer {layer} has {network.widths[layer - 1]} neurons for network.outputs={network.outputs}"
            raise SettingsError(r.key("output_layers"), list(output_layers), right)
    tuples = r.get(
        "tuples", _tuples, "all, or lists of samples by observable, as {ntk: [[0,0],[0,1]], dntk: [[0,0,0]]}"
    )
    steps = r.get(
        "steps",
        lambda v: ((0, dynamics.steps) if dynamics.steps else (0,)) if v == "ends" else chosen(0, dynamics.steps)(v),
        f"ends, or rising step numbers from 0 to dynamics.steps = {dynamics.steps}",
    )
    noises = r.get("noises", _noises, "different variances > 0, as [0.1, 0.01]") if "noises" in r.config else ()
    r.close()
    if noises and not any("posterior" in observable.needs for observable in recorded(record)):
        right = f"none where posterior is not recorded: observables.record={list(record)}"
        raise SettingsError(r.key("noises"), list(noises), right)
    untrained = [observable.name for observable in recorded(record) if "training" in observable.needs]
    if dynamics.name == "none" and untrained:
        right = f"{', '.join(untrained)} needs training: choose dynamics=gradient_descent"
        raise SettingsError("observables.record", list(record), right)
    return Observables(record, layers, output_layers, tuples, steps, noises)


def _noises(value: Any) -> tuple[float, ...]:
    out = tuple(real(v, 0.0, strict=True) for v in (value if is_list(value) else [value]))
    if len(set(out)) != len(out):
        raise ValueError
    return out


def _tuples(value: Any) -> Mapping[str, tuple[tuple[int, ...], ...]]:
    """Sample tuples in rising order, because an observable has one column for all orders that symmetry makes equal."""
    if value == "all":
        return {}
    choosable = [observable.name for observable in OBSERVABLES.values() if observable.choosable]
    out = {}
    for name, chosen in value.items():
        order = OBSERVABLES[choice(name, choosable)].slots
        out[name] = tuple(sorted({tuple(sorted(integer(a, 0) for a in samples)) for samples in chosen}))
        if not out[name] or any(len(samples) != order for samples in out[name]):
            raise ValueError
    return out
