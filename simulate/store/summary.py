"""Settings by dotted names, as a frame, a repr and the README of a data set show them."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from simulate.settings.reader import printable

# Lists with one entry for each layer: where all entries are equal, `flat` gives the entry.
LAYERWISE = ("network.widths", "dynamics.lambda_b", "dynamics.lambda_W")
# The settings of `in_short`, by their names in a manifest. One that a data set lacks, or that is null, is left out.
SHORT = (
    "activation.name", "activation.slope", "activation.expression", "network.width", "network.widths", "network.depth",
    "network.outputs", "initialization.C_b", "initialization.C_W", "inputs.source", "features.name", "dynamics.name",
    "dynamics.steps", "dynamics.eta", "observables.record", "ensemble.sampler", "ensemble.dtype", "ensemble.seed",
)  # fmt: skip
OPTIONS = ("activation.name", "inputs.source", "features.name", "dynamics.name")  # they are set as activation=tanh


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a manifest by dotted names, as {"initialization.C_W": 1.0}; lists are JSON texts.

    A list with one entry for each layer becomes its entry where all are equal. Equal widths are `network.width`, as
    they are set; different ones are the text `network.widths`.
    """
    return dict(_entries(settings, ""))


def _entries(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _entries(entry, f"{name}.{key}" if name else str(key))
        return
    if isinstance(value, list | tuple):
        values = list(value)
        if name in LAYERWISE and values and all(entry == values[0] for entry in values):
            value = values[0]
            name = "network.width" if name == "network.widths" else name
        else:
            value = json.dumps(values)
    yield name, value


def in_short(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that tell most about a data set, by the names that set them, each in one printable line."""
    flattened = flat(settings)
    if flattened.get("dynamics.name") == "none":
        flattened |= {"dynamics.steps": None, "dynamics.eta": None}
    if flattened.get("features.name") == "none":
        flattened["features.name"] = None
    return {
        name.partition(".")[0] if name in OPTIONS else name: printable(str(flattened[name]))
        for name in SHORT
        if flattened.get(name) is not None
    }


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: numbers that are not finite become the texts "nan", "inf" and "-inf", and bytes of a path that are
    no characters become escapes."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
