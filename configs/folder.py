"""Folders of a user: option files that are found in addition to the package's.

DIR/experiment/mine.yaml     experiment=mine
DIR/activation/steep.yaml    activation=steep

A folder is named by --config-dir=DIR, or by hydra.searchpath=[DIR,...].
"""

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

PRIMARY = ("simulate", "analysis")
SEARCH_PATH = "hydra.searchpath"
SEARCH = re.compile(r"\+{0,2}hydra\.searchpath=(.*)", re.DOTALL)


def printable(text: str) -> str:
    """The text in one line: line breaks and other characters that a terminal would obey become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class ConfigError(ValueError):
    """A choice that cannot be taken; one line, whatever was typed."""

    def __init__(self, text: str):
        super().__init__(printable(text))


@cache
def groups() -> tuple[str, ...]:
    """The choices of the package."""
    return tuple(sorted(entry.name for entry in files("configs").iterdir() if entry.is_dir() and _names(entry)))


def options(group: str, *folders: Path) -> list[str]:
    """The files of a group, as `GROUP=` takes them: the package's and those of the user's own folders."""
    entry = files("configs").joinpath(group)
    return sorted({*(_names(entry) if entry.is_dir() else []), *own_options(group, *folders)})


def own_options(group: str, *folders: Path) -> list[str]:
    """The files of a group in the user's own folders."""
    roots = [folder / group for folder in folders]
    paths = [(root, path) for root in roots for path in root.rglob("*.yaml") if path.is_file()]
    return sorted({path.relative_to(root).with_suffix("").as_posix() for root, path in paths})


def _names(folder: Traversable) -> list[str]:
    names, folders = [], [("", folder)]
    for prefix, inner in folders:
        for entry in inner.iterdir():
            if entry.is_dir():
                folders.append((f"{prefix}{entry.name}/", entry))
            elif entry.name.endswith(".yaml"):
                names.append(prefix + entry.name.removesuffix(".yaml"))
    return sorted(names)


def own_folders(overrides: Sequence[str], config_dir: str | Path | None = None) -> tuple[Path, ...]:
    """The user's folders, absolute: config_dir, and those of hydra.searchpath among the overrides.

    ConfigError where one does not exist, or where two files have the same name, of which only one could be found.
    """
    named = [] if config_dir is None else [(f"--config-dir={config_dir}", str(config_dir))]
    searched = [match[1] for text in overrides if (match := SEARCH.fullmatch(text))]
    if len(searched) > 1:
        raise ConfigError(f"{SEARCH_PATH}={searched[0]}, {SEARCH_PATH}={searched[1]}: {SEARCH_PATH} is given twice")
    if searched:
        named += [(f"{SEARCH_PATH}={searched[0]}", entry) for entry in _search_path(searched[0])]
    found = tuple(dict.fromkeys(_folder(given, entry) for given, entry in named))
    for index, folder in enumerate(found):
        _refuse_ambiguous(folder, found[:index])
    return found


@lru_cache(maxsize=1024)
def read_override(text: str) -> Any:
    """An override as Hydra reads it, which takes milliseconds. HydraException where it has not the form of one."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (parsed,) = OverridesParser.create().parse_overrides([text])
    return parsed


def _search_path(text: str) -> list[str]:
    from hydra.errors import HydraException  # late: it takes a third of a second

    try:
        parsed = read_override(f"{SEARCH_PATH}={text}")
    except HydraException:
        parsed = None
    entries = parsed.value() if parsed and not parsed.is_sweep_override() else None
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ConfigError(f"{SEARCH_PATH}={text}: a list of folders, as {SEARCH_PATH}=[file:///DIR]")
    return entries


def _folder(given: str, entry: str) -> Path:
    """The folder of an entry: DIR, file://DIR, or pkg://PACKAGE."""
    scheme, _, path = entry.rpartition("://")
    try:
        if scheme == "pkg":
            folder = Path(str(files(path)))
        elif scheme in ("", "file"):
            folder = Path(path).expanduser().resolve()
        else:
            raise ConfigError(f"{given}: {entry} is neither DIR nor file://DIR nor pkg://PACKAGE")
        missing = not path or not folder.is_dir()
    except (ImportError, RuntimeError, OSError, TypeError, AttributeError) as error:
        raise ConfigError(f"{given}: {entry}: {error}") from None
    except ValueError as error:  # a null character, or an empty name of a package
        raise error if isinstance(error, ConfigError) else ConfigError(f"{given}: {entry}: {error}") from None
    if missing:
        raise ConfigError(f"{given}: no such folder" + (f" {path}" if not given.endswith(f"={entry}") else ""))
    return folder


def _refuse_ambiguous(folder: Path, others: Sequence[Path]) -> None:
    for name in [*PRIMARY, *(f"{group}/{option}" for group in groups() for option in options(group))]:
        if (folder / f"{name}.yaml").exists():
            package = files("configs").joinpath(f"{name}.yaml")
            raise ConfigError(f"{folder / name}.yaml: the package has {package}; choose another name")
    for group in groups():
        for path in (folder / group).rglob("*.yml"):
            raise ConfigError(f"{path}: the name of an option's file ends in .yaml")
        for option in own_options(group, folder):
            for other in others:
                if (second := other / group / f"{option}.yaml").exists():
                    first = folder / group / f"{option}.yaml"
                    raise ConfigError(f"{first}: {second} has the same name; choose another for one of them")


def broken(folder: Path) -> str:
    """The fault of the first file of the folder that is not a mapping in YAML, in one line; empty if there is none."""
    from omegaconf import OmegaConf
    from yaml import MarkedYAMLError, YAMLError

    for group in groups():
        for option in own_options(group, folder):
            path = folder / group / f"{option}.yaml"
            try:
                if not OmegaConf.is_dict(OmegaConf.load(path)):
                    return f"{path}: not a mapping of settings"
            except MarkedYAMLError as error:
                line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
                return f"{path}: {line}{error.problem}"
            except (YAMLError, OSError, ValueError) as error:
                return f"{path}: {error}"
    return ""


def keys_with_defaults(group: str, option: str, folders: Sequence[Path] = ()) -> set[str]:
    """The settings in an option's file and in those of its group on which it builds; none where a file is wrong."""
    from yaml import YAMLError, safe_load

    known: set[str] = set()
    names = [option]
    for name in names:  # it grows
        places: list[Traversable] = [*folders, files("configs")]
        paths = [path for place in places if (path := place.joinpath(group).joinpath(f"{name}.yaml")).is_file()]
        try:
            content = safe_load(paths[0].read_text()) if paths else None
        except (OSError, ValueError, YAMLError):
            continue
        bases = content.pop("defaults", None) if isinstance(content, dict) else None
        known |= {str(key) for key in content} if isinstance(content, dict) else set()
        names += [str(base) for base in bases if base not in (*names, "_self_")] if isinstance(bases, list) else []
    return known


def keys(group: str, name: str) -> list[str]:
    """The settings that an option file gives by itself, read off its lines: a YAML library takes a while to load."""
    return re.findall(r"^(\w+):", files("configs").joinpath(group).joinpath(f"{name}.yaml").read_text(), re.MULTILINE)
