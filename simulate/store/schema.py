"""The one check of a manifest: its form, by manifest.schema.json, and that its parts agree with each other.

The form is a JSON schema and not code, so that tools in other languages can check and read manifests, too.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from simulate.settings import comparable, with_defaults
from simulate.settings.reader import printable
from simulate.store.layout import MOST_COLUMNS, Layout

LONGEST = 120  # characters of a value in an error message


@cache
def _validator() -> Validator:
    whole = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)  # 1.0 is not
    schema = json.loads(files("simulate.store").joinpath("manifest.schema.json").read_text())
    return extend(Draft202012Validator, type_checker=whole)(schema)


def parsed(content: bytes) -> Any:
    """The content of a JSON file; ValueError where it is none, which includes NaN and infinity."""
    try:
        return json.loads(content, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def check_form(manifest: Any) -> None:
    """ValueError, which names the entry, where the manifest has not the form of the schema."""
    try:
        error = best_match(_validator().iter_errors(manifest))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if error is not None:
        found = printable(error.message)
        where = ".".join(map(str, error.absolute_path)) or "it"
        raise ValueError(f"{where}: {found if len(found) <= LONGEST else found[:LONGEST] + '...'}")


def check_agreement(manifest: Mapping[str, Any], layout: Layout) -> None:
    """ValueError where the settings are not those of the identity, or the layout is not that of the settings.

    Each part carries the digest of the identity, so whatever agrees with it is what the rows were made with.
    """
    for key, one, other in _disagreements(manifest, layout):
        raise ValueError(f"{key}={_short(one)}, but {_short(other)} elsewhere in it")
    if layout.column_count() > MOST_COLUMNS:
        raise ValueError(f"more than {MOST_COLUMNS} columns")
    layout.arrow({})


def _short(value: Any) -> str:
    return text if len(text := repr(value)) <= LONGEST else f"{text[:LONGEST]}..."


def _disagreements(manifest: Mapping[str, Any], layout: Layout) -> Iterator[tuple[str, Any, Any]]:
    settings, identity = with_defaults(manifest["settings"]), comparable(manifest["identity"])
    for group, entries in identity.items():
        if group in ("claim", "output", "workers", "samples"):
            continue
        chosen = settings.get(group)
        if not isinstance(entries, dict) or not isinstance(chosen, dict):
            if entries != chosen:
                yield group, chosen, entries
            continue
        for key, value in entries.items():
            resolved = key in ("n_0", "block") and chosen.get(key) is None  # from the samples, and by simulate.running
            if not resolved and chosen.get(key) != value:
                yield f"{group}.{key}", chosen.get(key), value
    ensemble, network, observables = settings["ensemble"], settings["network"], settings["observables"]
    for key, one, other in (
        ("networks", manifest["networks"], ensemble["networks"]),
        ("first", manifest["first"], ensemble["first"]),
        ("network.widths", network["widths"], network["widths"][: network["depth"] - 1]),
        ("layout.depth", layout.depth, network["depth"]),
        ("layout.outputs", layout.outputs, network["outputs"]),
        ("layout.dtype", layout.dtype, ensemble["dtype"]),
        ("layout.steps", list(layout.steps), sorted(observables["steps"])),
        ("layout.record", list(layout.record), observables["record"]),
        ("layout.noises", layout.noises, len(observables["noises"])),
        ("layout.keep", layout.keep, ensemble["keep"]),
        ("layout.tuples", layout.tuples, observables["tuples"]),
        ("layout.kernel_layers", list(layout.kernel_layers), sorted(observables["layers"])),
        ("layout.output_layers", list(layout.output_layers), sorted(observables["output_layers"])),
    ):
        absent = key.endswith("_layers") and not one and not _placed(layout, key)
        if one != other and not absent:
            yield key, one, other
    ends = (layout.depth,) if _placed(layout, "end") else ()
    layers = sorted({*layout.kernel_layers, *layout.output_layers, *ends})
    if list(layout.layers) != layers:
        yield "layout.layers", list(layout.layers), layers
    if layers and layers[-1] > layout.depth:
        yield "layout.layers", layers, layout.depth


def _placed(layout: Layout, key: str) -> bool:
    """Whether a family is recorded at the kernel layers, the output layers, or the end."""
    where = {"layout.kernel_layers": "layers", "layout.output_layers": "output_layers", "end": "end"}[key]
    return any(family.where == where for family in layout.families())
