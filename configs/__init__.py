"""The choices of a user, one folder a choice and one file an option. `compose` makes one config of them.

This package is the only one that knows Hydra; both command lines and the notebook functions go through it. Its files
may be joined by those of a user's own folders (`configs.folder`).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.composing import Folders, in_one_line
from configs.composing import composed as _compose
from configs.folder import (
    SEARCH_PATH,
    ConfigError,
    keys,
    options,
    own_folders,
    own_options,
    printable,
    read_override,
)
from configs.hydra_settings import LAUNCHER, RUN, SWEEP, is_hydras, output_of, refusal
from configs.sweeps import FORM, SHARED, axes_of, check_axis, product, quoted, text, values_of

__all__ = [
    "ConfigError",
    "Point",
    "compose",
    "keys",
    "options",
    "own_folders",
    "own_options",
    "points",
    "printable",
    "text",
]

Folder = str | Path | None
OPEN = ("sweep", "cluster.options")  # empty mappings, to which anything may be added
FORMULA = "activation.expression"  # its value has parentheses, which Hydra's grammar takes in quotes only


@dataclass(frozen=True)
class Point:
    """A point of a sweep: its values of the swept settings, the overrides that make it, and its config."""

    special: dict[str, str]
    overrides: tuple[str, ...]
    config: dict[str, Any]


@dataclass
class _Given:
    """Overrides by the number of their values, and the setting of Hydra that names the output, if one does."""

    fixed: list[str]
    swept: dict[str, list[str]]
    typed: dict[str, str]  # the swept ones as they were typed
    folder_key: str | None


def compose(name: str, overrides: Sequence[str], config_dir: Folder = None) -> dict[str, Any]:
    """The config `name` with the overrides, in Hydra's grammar, as plain dicts.

    config_dir: a folder whose option files are found in addition to the package's. Raises ConfigError for an unknown
    key or option, a missing value, a comma sweep, or a folder that cannot be used.
    """
    folders = own_folders(overrides, config_dir)
    given = _given(overrides, folders)
    _refuse_swept(given)
    _refuse_folder_key(given, sweep=False)
    return _compose(name, given.fixed, folders)


def points(
    name: str, overrides: Sequence[str], config_dir: Folder = None, sweeping: bool = True, whole: bool = True
) -> list[Point]:
    """All points of a sweep in the order of the product.

    The comma lists among the overrides are swept, and the `sweep:` of the experiment's file unless an override sets the
    same key. Each of several experiments has its own. All points share the cluster and the plugins. Raises ConfigError
    as `compose` does; for comma lists only without `sweeping`. Without `whole`, values may be missing and
    interpolations are left as they are.
    """
    folders = own_folders(overrides, config_dir)
    given = _given(overrides, folders)
    if not sweeping:
        _refuse_swept(given)
    swept = {key: [{key: value} for value in values] for key, values in given.swept.items()}
    for key, axis in swept.items():
        check_axis(key, axis)
    # The base has the first value of each comma list: in `dynamics=a,b dynamics.eta=1` the second needs the first.
    base = _compose(name, _with(given.fixed, {k: v[0] for k, v in given.swept.items()}), folders, whole)
    named = {override.partition("=")[0].lstrip("+~") for override in given.fixed} | set(swept)
    groups = {key: axis for key, axis in swept.items() if "." not in key}
    sweeps = {}  # by options of the swept groups, what their files sweep
    for chosen in itertools.product(*(given.swept[key] for key in groups)):
        first = {key: values[0] for key, values in given.swept.items()} | dict(zip(groups, chosen, strict=True))
        of_files = _compose(name, _with(given.fixed, first), folders, whole) if groups else base
        sweeps[chosen] = axes_of(of_files.get("sweep"), named)
    out = []
    for special in product(groups, swept, sweeps):
        made_by = _with(given.fixed, special)
        out.append(Point(special, tuple(made_by), _compose(name, made_by, folders, whole) if special else base))
    _refuse_folder_key(given, sweep=any(point.special for point in out))
    for point in out:
        for key in SHARED:
            if key != "sweep" and point.config.get(key) != base.get(key):
                raise ConfigError(
                    f"{key}={point.config.get(key)!r} at {point.special}: {key} is one for the whole sweep"
                )
    return out


def _with(fixed: Sequence[str], special: dict[str, str]) -> list[str]:
    return [*fixed, *(f"{key}={value}" for key, value in special.items())]


def _refuse_swept(given: _Given) -> None:
    for key, values in given.swept.items():
        check_axis(key, [{key: value} for value in values])
        raise ConfigError(f"{given.typed[key]}: several values need a sweep (-m), a list is written [a,b]")


def _refuse_folder_key(given: _Given, sweep: bool) -> None:
    if given.folder_key == RUN and sweep:
        raise ConfigError(f"{RUN}: these settings are a sweep; use {SWEEP}= or output=")
    if given.folder_key == SWEEP and not sweep:
        raise ConfigError(f"{SWEEP}: these settings are no sweep; use {RUN}= or output=")


def _in_quotes(typed: str) -> str:
    """The override with a formula in quotes, which a shell takes away; a comma list stays one."""
    key, _, value = typed.partition("=")
    if key.lstrip("+") != FORMULA or not value or value[0] in "'\"[" or "\\" in value:
        return typed
    return f"{key}=" + ",".join(quoted(part.strip()) for part in value.split(","))


def _given(overrides: Sequence[str], folders: Folders) -> _Given:
    """The overrides, checked one by one.

    The last of two values of a key counts, as in Hydra, be they lists or not. ConfigError for two launchers or two
    lists of plugins, and for two names of the output.
    """
    from hydra.errors import HydraException

    fixed: list[tuple[str, str]] = []  # key, override
    swept: dict[str, list[str]] = {}
    as_typed: dict[str, str] = {}
    outputs: dict[str, str] = {}  # the override that names the output, by its key
    for typed in overrides:
        override = _in_quotes(typed)
        if typed.startswith(f"{LAUNCHER}="):
            override = "cluster=" + typed.partition("=")[2]
        try:
            parsed = read_override(override)
        except (HydraException, RecursionError, ValueError) as error:
            raise in_one_line(error, [typed]) from None
        key, group = parsed.get_key_element(), parsed.key_or_group
        if not group:
            raise ConfigError(f"{typed}: an override has the form KEY=VALUE")
        if group == SEARCH_PATH and key == group and not override.startswith("~"):
            continue  # these are the folders
        if group in (RUN, SWEEP, "output"):
            outputs[group] = typed
        if group in (RUN, SWEEP):
            key, override = "output", output_of(group, override)
        elif is_hydras(group):
            raise refusal(typed, group)
        if any(group == name or group.startswith(f"{name}.") for name in OPEN):
            override = "++" + override.lstrip("+") if not override.startswith("~") else override
            if key == "sweep" and not isinstance(parsed.value(), dict | None):
                raise ConfigError(f"{typed}: {FORM}")
        if group in SHARED and (earlier := [given for other, given in fixed if other == key and given != override]):
            raise ConfigError(f"{earlier[0]}, {override}: {group} is given twice")
        if parsed.is_sweep_override():
            fixed = [(other, given) for other, given in fixed if other != key]
            swept[key], as_typed[key] = values_of(parsed, typed, folders), typed
        else:
            swept.pop(key, None)
            fixed.append((key, override))
    if len(outputs) > 1:
        raise ConfigError(f"{', '.join(outputs.values())}: the output is named twice")
    folder_key = next((key for key in outputs if key != "output"), None)
    return _Given([override for _, override in fixed], swept, as_typed, folder_key)
