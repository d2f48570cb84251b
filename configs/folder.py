"""A user's own folder: option files that are found in addition to the package's.

DIR/experiment/mine.yaml     experiment=mine
DIR/activation/steep.yaml    activation=steep
"""

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

PRIMARY = ("simulate", "analysis")


class ConfigError(ValueError):
    """A choice that cannot be taken; one line, whatever was typed."""

    def __init__(self, text: str):
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


def groups() -> list[str]:
    """The choices of the package."""
    return sorted(entry.name for entry in files("configs").iterdir() if entry.is_dir() and _names(entry))


def options(group: str, folder: Path | None = None) -> list[str]:
    """The files of a group, as `GROUP=` takes them: the package's and those of the user's own folder."""
    entry = files("configs").joinpath(group)
    return sorted({*(_names(entry) if entry.is_dir() else []), *own_options(group, folder)})


def own_options(group: str, folder: Path | None) -> list[str]:
    """The files of a group in the user's own folder."""
    if folder is None:
        return []
    root = folder / group
    paths = [path for path in root.rglob("*.yaml") if path.is_file()]
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in paths)


def _names(folder: Traversable) -> list[str]:
    names, folders = [], [("", folder)]
    for prefix, inner in folders:
        for entry in inner.iterdir():
            if entry.is_dir():
                folders.append((f"{prefix}{entry.name}/", entry))
            elif entry.name.endswith(".yaml"):
                names.append(prefix + entry.name.removesuffix(".yaml"))
    return sorted(names)


def checked(config_dir: str | Path | None) -> Path | None:
    """The folder, absolute. ConfigError where it is none, or where the package's file would win over one in it."""
    if config_dir is None:
        return None
    folder = Path(config_dir).expanduser().resolve()
    if not str(config_dir) or not folder.is_dir():
        raise ConfigError(f"--config-dir={config_dir}: no such folder")
    for name in [*PRIMARY, *(f"{group}/{option}" for group in groups() for option in options(group))]:
        if (folder / f"{name}.yaml").exists():
            package = files("configs").joinpath(f"{name}.yaml")
            raise ConfigError(f"{folder / name}.yaml: the package has {package}; choose another name")
    for group in groups():
        for path in (folder / group).rglob("*.yml"):
            raise ConfigError(f"{path}: the name of an option's file ends in .yaml")
    return folder


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


def keys(group: str, name: str) -> list[str]:
    """The settings that an option file gives by itself, read off its lines: a YAML library takes a while to load."""
    return re.findall(r"^(\w+):", files("configs").joinpath(group).joinpath(f"{name}.yaml").read_text(), re.MULTILINE)
