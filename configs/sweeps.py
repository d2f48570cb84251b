"""The axes of a sweep: lists of values by setting, and lists that `zip` pairs."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.folder import ConfigError, options, read_override

SHARED = ("cluster", "plugins", "sweep")  # all points of a sweep have these in common, and a command gives them once
UNSWEPT = (*SHARED, "output", "workers")  # these have no list of values
ZIP = "zip"  # in `sweep`, the settings whose lists are paired
FORM = "a mapping of settings to lists of values, as {network.width: [64, 128]}"
Axis = list[dict[str, str]]  # values by setting, at each place of the axis


def text(value: Any) -> str:
    """A value in the grammar of overrides, which gives it back unchanged."""
    if hasattr(value, "tolist"):  # of numpy or torch
        value = value.tolist()
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(text, value)) + "]"
    if isinstance(value, str | Path):
        return str(value) if _reads_as(str(value)) else quoted(str(value))
    return str(value)


def _reads_as(word: str) -> bool:
    from hydra.errors import HydraException

    try:
        read = read_override(f"key={word}")
        return not read.is_sweep_override() and bool(read.value() == word)
    except HydraException:
        return False


def quoted(word: str) -> str:
    """The word in quotes. A backslash in Hydra's quotes stands for itself unless a quote follows."""
    return "'" + re.sub(r"(\\+)(?='|$)", r"\1\1", word).replace("'", "\\'") + "'"


def values_of(parsed: Any, typed: str, folders: Sequence[Path]) -> list[str]:
    """The values of an override: of a comma list, choice(), range(), or glob() over the options of a group."""
    from hydra.core.override_parser.types import Glob

    if parsed.is_interval_sweep():
        raise ConfigError(f"{typed}: an interval has no list of values; give them, as 1,2,3 or range(1,4)")
    if not isinstance(parsed.value(), Glob):
        try:
            return list(parsed.sweep_string_iterator())
        except ValueError as error:  # range(1,2,0)
            raise ConfigError(f"{typed}: {error}") from None
    known = options(parsed.key_or_group, *folders)
    found = list(parsed.value().filter(known))
    if not found:
        there = f"there are {', '.join(known)}" if known else f"{parsed.key_or_group} is no group of options"
        raise ConfigError(f"{typed}: no option matches; {there}")
    return found


def axes_of(sweep: Any, named: set[str]) -> dict[str, Axis]:
    """The axes of the setting `sweep`, without those that are null or whose setting is `named` by an override.

    ConfigError where it is no mapping of settings to lists, where paired lists differ in length or have a setting that
    is swept twice, and where overrides name some settings of a pair and not the others.
    """
    lists = {str(key): values for key, values in (sweep or {}).items()} if isinstance(sweep, Mapping | None) else None
    paired = {} if lists is None else lists.pop(ZIP, None) or {}
    lists = None if lists is None else {key: values for key, values in lists.items() if values is not None}
    if lists is None or not all(isinstance(values, list) for values in lists.values()):
        raise ConfigError(f"sweep={text(sweep)}: {FORM}")
    if not isinstance(paired, Mapping) or not all(isinstance(values, list) for values in paired.values()):
        raise ConfigError(f"sweep.zip={text(paired)}: {FORM}")
    if len({len(values) for values in paired.values()}) > 1:
        sizes = ", ".join(f"{key} has {len(values)}" for key, values in paired.items())
        raise ConfigError(f"sweep.zip={text(paired)}: paired lists have one length; {sizes}")
    if twice := set(lists) & set(paired):
        raise ConfigError(
            f"sweep.zip={text(paired)}: {min(twice)} is an axis of its own too; sweep={{{min(twice)}: null}} ends that"
        )
    paired = {str(key): values for key, values in paired.items()}
    axes = {key: [{key: text(v)} for v in values] for key, values in lists.items() if key not in named}
    over = named & set(paired)
    if over and set(paired) - over:
        raise ConfigError(
            f"{min(over)}: sweep.zip pairs it with {', '.join(sorted(set(paired) - over))}; set all of them, or "
            "sweep.zip=null"
        )
    if paired and not over:
        rows = zip(*paired.values(), strict=True)
        axes[ZIP] = [{key: text(v) for key, v in zip(paired, row, strict=True)} for row in rows]
    for key, axis in axes.items():
        check_axis(key, axis)
    return axes


def check_axis(key: str, axis: Axis) -> None:
    """ConfigError for an axis without values, with a value twice, or of a setting that all points share."""
    for setting in axis[0] if axis else [key]:
        if setting.lstrip("+").partition(".")[0] in UNSWEPT:
            values = ",".join(point[setting] for point in axis)
            quotes = f"; a comma in a name needs quotes, as {setting}=\"'a,b'\"" if setting == "output" else ""
            raise ConfigError(f"{setting}={values}: one for the whole sweep, it is not swept{quotes}")
    key = f"sweep.{ZIP}" if key == ZIP else key
    if not axis:
        raise ConfigError(f"{key}=[]: a sweep needs values")
    places = [",".join(map(_plainly, point.values())) for point in axis]
    for place, point in zip(places, axis, strict=True):
        if places.count(place) > 1:
            values = ",".join(point.values())
            listed = ",".join(",".join(other.values()) for other in axis)
            raise ConfigError(f"{key}={listed}: {values} is there twice, and a sweep has each point once")


def _plainly(value: str) -> str:
    """Equal values in one spelling: 100 and 1e2, tanh and 'tanh'."""
    try:
        return repr(float(value))
    except ValueError:
        return value[1:-1] if value[:1] in ("'", '"') and value[:1] == value[-1:] else value


def product(
    groups: Mapping[str, Axis], swept: Mapping[str, Axis], sweeps: Mapping[tuple[str, ...], Mapping[str, Axis]]
) -> Iterator[dict[str, str]]:
    """The values of the swept settings at each point. sweeps: by options of the swept groups, what their files
    sweep."""
    first = next(iter(sweeps.values()))
    if all(list(sweep.items()) == list(first.items()) for sweep in sweeps.values()):
        yield from _points({**first, **swept})
        return
    for chosen, sweep in sweeps.items():
        yield from _points({**sweep, **swept, **{k: [{k: o}] for k, o in zip(groups, chosen, strict=True)}})


def _points(axes: Mapping[str, Axis]) -> Iterator[dict[str, str]]:
    for places in itertools.product(*axes.values()):
        yield {key: value for place in places for key, value in place.items()}
