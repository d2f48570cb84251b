"""The choices of a user, one folder a choice and one file an option. `compose` makes one config of them.

This package is the only one that knows Hydra; both command lines and the notebook functions go through it. Its files
may be joined by those of a user's own folder (`configs.folder`).
"""

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from configs.folder import ConfigError, broken, checked, keys, options, own_options

__all__ = ["ConfigError", "checked", "compose", "keys", "options", "own_options", "points"]

Folder = str | Path | None
UNSWEPT = ("cluster", "plugins")  # all points of a sweep share these
# Settings of Hydra itself, and the settings that replace them here.
INSTEAD = {
    "hydra/launcher": "use cluster=",
    "hydra.searchpath": "use --config-dir=DIR",
    "hydra.run.dir": "use output=",
    "hydra.sweep.dir": "use output=",
}
LAUNCHER = "hydra/launcher="  # another spelling of cluster=


FORMULA = "activation.expression"  # its value has parentheses, which Hydra's grammar takes in quotes only


def _quoted(overrides: Sequence[str]) -> list[str]:
    """The overrides with formulas in quotes, which a shell takes away; a comma list stays one."""

    def quoted(text: str) -> str:
        key, _, value = text.partition("=")
        if key.lstrip("+") != FORMULA or not value or value[0] in "'\"[" or "\\" in value:
            return text
        return f"{key}=" + ",".join("'" + part.strip().replace("'", "\\'") + "'" for part in value.split(","))

    return [quoted(text) for text in overrides]


def compose(name: str, overrides: Sequence[str], config_dir: Folder = None) -> dict[str, Any]:
    """The config `name` with the overrides, in Hydra's grammar, as plain dicts.

    config_dir: a folder whose option files are found in addition to the package's. Raises ConfigError for an unknown
    key or option, a missing value, a comma sweep, or a folder that cannot be used.
    """
    folder = checked(config_dir)
    fixed, swept = _split(_quoted(overrides), folder)
    if swept:
        _refuse_unswept(swept)
        key, values = next(iter(swept.items()))
        raise ConfigError(f"{key}={','.join(values)}: several values need a sweep (-m), a list is written [a,b]")
    return _compose(name, fixed, folder)


def points(
    name: str, overrides: Sequence[str], config_dir: Folder = None
) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """All points of a sweep in the order of the product, each as (its values of the swept settings, its config).

    The comma lists among the overrides are swept, and the `sweep:` of the experiment's file unless an override sets the
    same key. Each of several experiments has its own. All points share the cluster and the plugins. Raises ConfigError
    as `compose` does.
    """
    folder = checked(config_dir)
    fixed, swept = _split(_quoted(overrides), folder)
    _refuse_unswept(swept)
    # The base has the first value of each comma list: in `dynamics=a,b dynamics.eta=1` the second needs the first.
    base = _compose(name, [*fixed, *(f"{key}={values[0]}" for key, values in swept.items())], folder)
    named = {override.partition("=")[0].lstrip("+~") for override in fixed} | set(swept)
    groups = {key: values for key, values in swept.items() if "." not in key}
    sweeps: dict[tuple[str, ...], dict[str, list[str]]] = {}  # by options of the swept groups, what their files sweep
    for chosen in itertools.product(*groups.values()):
        first = {key: values[0] for key, values in swept.items()} | dict(zip(groups, chosen, strict=True))
        whole = _compose(name, [*fixed, *(f"{k}={v}" for k, v in first.items())], folder) if groups else base
        from_file = whole.get("sweep") or {}
        if not isinstance(from_file, dict) or not all(isinstance(v, list) for v in from_file.values()):
            raise ConfigError(f"sweep={from_file!r}: a mapping of settings to lists of values")
        sweeps[chosen] = {key: [_text(v) for v in vs] for key, vs in from_file.items() if key not in named}
        _refuse_unswept(sweeps[chosen])
    out = []
    for special in _product(groups, swept, sweeps):
        point = [*fixed, *(f"{k}={v}" for k, v in special.items())]
        out.append((special, _compose(name, point, folder) if special else base))
    for special, config in out:
        for key in UNSWEPT:
            if config.get(key) != base.get(key):
                raise ConfigError(f"{key}={config.get(key)!r} at {special}: {key} is one for the whole sweep")
    return out


def _product(
    groups: dict[str, list[str]], swept: dict[str, list[str]], sweeps: dict[tuple[str, ...], dict[str, list[str]]]
) -> Iterator[dict[str, str]]:
    """The values of the swept settings at each point. sweeps: by options of the swept groups, what their files
    sweep."""
    if len({tuple((key, *values) for key, values in sweep.items()) for sweep in sweeps.values()}) == 1:
        axes = next(iter(sweeps.values())) | swept
        yield from (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
        return
    for chosen, sweep in sweeps.items():
        axes = sweep | swept | {key: [option] for key, option in zip(groups, chosen, strict=True)}
        for values in itertools.product(*axes.values()):
            yield dict(zip(axes, values, strict=True))


def _refuse_unswept(axes: dict[str, list[str]]) -> None:
    for key, values in axes.items():
        if not values:
            raise ConfigError(f"{key}=[]: a sweep needs values")
        if key.lstrip("+").partition(".")[0] in UNSWEPT:
            raise ConfigError(f"{key}={','.join(values)}: one for the whole sweep, it is not swept")


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    return "[" + ",".join(map(_text, value)) + "]" if isinstance(value, list) else str(value)


def _values(parsed: Any, text: str, folder: Path | None) -> list[str]:
    """The values of a sweep: of a comma list, choice(), range(), or glob() over the options of a group."""
    from hydra.core.override_parser.types import Glob

    if parsed.is_interval_sweep():
        raise ConfigError(f"{text}: an interval has no list of values; give them, as 1,2,3 or range(1,4)")
    if not isinstance(parsed.value(), Glob):
        return list(parsed.sweep_string_iterator())
    known = options(parsed.key_or_group, folder)
    found = list(parsed.value().filter(known))
    if not found:
        there = f"there are {', '.join(known)}" if known else f"{parsed.key_or_group} is no group of options"
        raise ConfigError(f"{text}: no option matches; {there}")
    return found


def _split(overrides: Sequence[str], folder: Path | None = None) -> tuple[list[str], dict[str, list[str]]]:
    """The overrides with one value, and those with several.

    The last of two values of a key counts, as in Hydra, be they lists or not. ConfigError for two launchers or two
    lists of plugins, and for a comma list with a value twice.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    fixed: list[tuple[str, str]] = []  # key, override
    swept: dict[str, list[str]] = {}
    for typed in overrides:
        text = "cluster=" + typed.removeprefix(LAUNCHER) if typed.startswith(LAUNCHER) else typed
        try:
            (parsed,) = OverridesParser.create().parse_overrides([text])
        except HydraException as error:
            raise _plain(error, [text]) from None
        key, group = parsed.get_key_element(), parsed.key_or_group
        if parsed.is_hydra_override():
            instead = INSTEAD.get(group, "see --help for what there is")
            raise ConfigError(f"{text}: settings of Hydra itself have no effect here; {instead}")
        if group in UNSWEPT and (earlier := [given for other, given in fixed if other == key and given != text]):
            raise ConfigError(f"{earlier[0]}, {text}: {group} is given twice")
        if parsed.is_sweep_override():
            fixed = [(other, given) for other, given in fixed if other != key]
            swept[key] = _values(parsed, text, folder)
            if repeated := [value for value, count in Counter(swept[key]).items() if count > 1]:
                raise ConfigError(f"{text}: {repeated[0]} is there twice, and a sweep has each point once")
        else:
            swept.pop(key, None)
            fixed.append((key, text))
    return [text for _, text in fixed], swept


def _compose(name: str, overrides: Sequence[str], folder: Path | None, whole: bool = True) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        with initialize_config_module("configs", version_base="1.3"):
            config = hydra_compose(name, overrides=[*_search_path(folder), *overrides])
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=whole)
    except (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError, RecursionError) as error:
        if folder and (fault := broken(folder)):
            raise ConfigError(fault) from None
        raise _plain(error, overrides, name, folder) from None
    assert isinstance(plain, dict)
    if "experiment" in plain:
        raise ConfigError(f"experiment={plain['experiment']!r}: the file needs the first line # @package _global_")
    return {str(key): value for key, value in plain.items()}


def _search_path(folder: Path | None) -> list[str]:
    if folder is None:
        return []
    # A backslash in Hydra's quotes stands for itself unless a quote follows.
    quoted = re.sub(r"(\\+)(?='|$)", r"\1\1", str(folder)).replace("'", "\\'")
    return [f"hydra.searchpath=['file://{quoted}']"]


def _plain(error: Exception, overrides: Sequence[str], name: str = "", folder: Path | None = None) -> ConfigError:
    """The error in one line that names the setting, with a suggestion where a key is unknown."""
    text = str(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        given = next((o for o in overrides if o.partition("=")[0] == match[1]), match[1])
        return ConfigError(f"{given}: no such setting; {_hint(match[1], name, folder)}")
    if match := re.search(r"Could not (?:find|load) '([^']+)/([^']+)'", text):
        known = ", ".join(options(match[1].partition("/")[0], folder))
        where = re.search(r"In '([^']+/[^']+)':", text)
        return ConfigError(
            f"{match[1]}={match[2]}: no such option{f', in {where[1]}' if where else ''}; there are {known}"
        )
    if isinstance(error, RecursionError):
        return ConfigError(f"{' '.join(overrides)}: the defaults of some files name each other in a circle")
    if match := re.search(r"full_key: (\S+)", text):
        return ConfigError(f"{match[1]}: {text.splitlines()[0]}; give it as {match[1]}=...")
    return ConfigError(
        f"{' '.join(overrides)}: "
        + " ".join(line.strip() for line in text.splitlines() if not line.startswith("See https"))
    )


def _hint(key: str, name: str, folder: Path | None) -> str:
    """A suggestion for an unknown key: an option of its group that has it, or a key of nearly the same name."""
    group, known = key.partition(".")[0], _keys(_compose(name, [], folder, whole=False))
    for option in options(group, folder) if group in known and "." in key else []:
        try:
            having = _keys(_compose(name, [f"{group}={option}"], folder, whole=False))
        except ConfigError:
            continue
        if key in having:
            return f"{group}={option} has it"
        known += having
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]}?" if near else "see --cfg for those there are"


def _keys(config: Any, prefix: str = "") -> list[str]:
    """Every key of a config, with dots."""
    if not isinstance(config, dict):
        return [prefix.rstrip(".")]
    return [key for name, value in config.items() for key in _keys(value, f"{prefix}{name}.")] + [prefix.rstrip(".")]
