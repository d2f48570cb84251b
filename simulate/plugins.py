"""A user's Python files, named by `plugins=[my.py]`: imported, they register activations, observables, measures, ...

A plugin uses the decorators and records that the package uses. It is loaded only when the command line, a notebook or
a config names it, never because a data set does. It is the user's own code and runs with the user's rights. Its digest
is part of the identity of the data sets that are made with it, unless it registers only records that decide no rows,
such as launchers and measures.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from simulate.registry import REGISTRIES, Registry
from simulate.settings.plugin import Plugin, differences, recorded_plugins
from simulate.settings.reader import SettingsError, is_list, nonempty

__all__ = ["Plugin", "deciding_rows", "hidden_but", "in_words", "load", "load_in_worker", "loaded", "of_no_file"]
__all__ += ["sources", "unmet"]

PREFIX = "nearly_gaussian_plugin_"  # begins the module names of plugins
PACKAGES = ("simulate", "analysis", "configs")


@dataclass(frozen=True)
class _Loaded:
    plugin: Plugin
    path: Path
    added: tuple[tuple[Registry[Any], str, Any], ...]  # registry, name, record


_loaded: dict[str, _Loaded] = {}  # by base name; a process has one text of a name


class _Text(SourceLoader):
    """Runs the very bytes whose digest was taken, and leaves no compiled file next to the user's."""

    def __init__(self, path: Path, data: bytes):
        self._path, self._data = path, data

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_data(self, path: str) -> bytes:
        return self._data


def load(names: Any, *folders: str | Path | None) -> tuple[Plugin, ...]:
    """Import the files that `plugins` names, each once in a process; sorted by name.

    A relative path is looked for in the current folder, then in `folders`. SettingsError with one line for what is
    not a list of Python files, for two files of one name, and for whatever a file raises, with its line.
    """
    if not is_list(names):
        raise SettingsError("plugins", names, "a list of Python files, as [my.py]")
    paths: list[Path] = []
    for name in names:
        path = _find(name, folders)
        if same := next((other for other in paths if other.name == path.name), None):
            raise SettingsError("plugins", str(name), f"{same} has the same name; a list names each file once")
        paths.append(path)
    return tuple(sorted(_load(path) for path in paths))


def _find(name: Any, own: Sequence[str | Path | None]) -> Path:
    """The file, absolute and with symbolic links resolved."""
    try:
        given = Path(nonempty(name)).expanduser()
    except (ValueError, RuntimeError):
        raise SettingsError("plugins", name, "the path of a Python file") from None
    folders = [Path.cwd(), *(Path(folder).expanduser() for folder in own if folder is not None)]
    found = list(dict.fromkeys((f / given).resolve() for f in folders if (f / given).is_file()))
    if not found:
        where = "" if given.is_absolute() else f" in {' or '.join(map(str, folders))}"
        raise SettingsError("plugins", str(name), f"no such file{where}")
    if len({path.read_bytes() for path in found}) > 1:
        raise SettingsError("plugins", str(name), f"{found[0]} and {found[1]} differ; give the path of one")
    if found[0].suffix != ".py":
        raise SettingsError("plugins", str(name), "the name of a Python file ends in .py")
    return found[0]


def _load(path: Path, digest: str | None = None) -> Plugin:
    """Import one file, whose sha256 has to be `digest` where that is given."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError("plugins", str(path), error.strerror or "cannot be read") from None
    plugin = Plugin(path.name, hashlib.sha256(data).hexdigest())
    if digest not in (None, plugin.digest):
        raise SettingsError(
            "plugins",
            path.name,
            f"{path} has changed since the run began; put it back, or start anew in another output",
        )
    if earlier := _loaded.get(path.name):
        if earlier.plugin != plugin:
            raise SettingsError(
                "plugins", path.name, f"another text of that name ({earlier.path}) is loaded; start a new process"
            )
        return plugin
    before = {id(registry): set(registry) for registry in REGISTRIES}
    try:
        _import(path, data)
    except BaseException as error:
        for registry, name, _ in _added(before):
            del registry[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise SettingsError("plugins", path.name, _in_one_line(error, path)) from None
    _loaded[path.name] = _Loaded(plugin, path, tuple(_added(before)))
    return plugin


def _import(path: Path, data: bytes) -> None:
    name = PREFIX + path.stem
    spec = spec_from_file_location(name, path, loader=_Text(path, data))
    assert spec
    assert spec.loader
    sys.modules[name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _added(before: dict[int, set[str]]) -> list[tuple[Registry[Any], str, Any]]:
    """The records that a plugin has registered: those that are new, without those of modules of the package which the
    plugin imports."""
    return [
        (registry, name, record)
        for registry in REGISTRIES
        for name, record in registry.items()
        if name not in before.get(id(registry), ())
        and registry.origin.get(name, "simulate").partition(".")[0] not in PACKAGES
    ]


def _in_one_line(error: BaseException, path: Path) -> str:
    """The error as `line N: TypeError: ...`, where N is the innermost line of the file itself."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    words = traceback.format_exception_only(error)[0].splitlines()[0]
    return f"line {lines[-1]}: {words}" if lines else words


@contextmanager
def hidden_but(plugins: Sequence[Plugin]) -> Iterator[None]:
    """A context without the records of plugins that this process has loaded and these settings do not name, so that no
    data set is made with a record that its identity does not tell."""
    hidden = [entry for loaded in _loaded.values() if loaded.plugin not in plugins for entry in loaded.added]
    for registry, name, _ in hidden:
        del registry[name]
    try:
        yield
    finally:
        for registry, name, record in hidden:
            registry[name] = record


def deciding_rows(plugins: Sequence[Plugin]) -> tuple[Plugin, ...]:
    """The plugins that belong to the identity of a data set: all but those whose records all decide no rows."""
    kept = []
    for plugin in plugins:
        added = _loaded[plugin.name].added
        if not added or any(registry.rows for registry, _, _ in added):
            kept.append(plugin)
    return tuple(kept)


def in_words(plugin: Plugin) -> str:
    """The records of a loaded plugin by kind, as "launcher mine; observable spread, tail"."""
    names: dict[str, list[str]] = {}
    for registry, name, _ in _loaded[plugin.name].added:
        names.setdefault(registry.kind, []).append(name)
    return "; ".join(f"{kind} {', '.join(added)}" for kind, added in names.items()) or "nothing"


def loaded() -> tuple[Plugin, ...]:
    """The plugins of this process."""
    return tuple(sorted(entry.plugin for entry in _loaded.values()))


def of_no_file() -> list[str]:
    """The records that neither the package nor a plugin has registered, but a notebook or a program: no other process
    has them, and nothing tells one text of them from another."""
    return [
        f"{registry.kind} {name}"
        for registry in REGISTRIES
        for name in registry
        if not (origin := registry.origin[name]).startswith(PREFIX) and origin.partition(".")[0] not in PACKAGES
    ]


def unmet(settings: Any) -> str:
    """In words, the plugins that a data set was made with and this process has not loaded; empty if there are none.

    settings: those of the data set's manifest. ValueError where the manifest's entries are no plugins.
    """
    recorded = recorded_plugins(settings)
    names = {plugin.name for plugin in recorded}
    return "; ".join(differences(recorded, [plugin for plugin in loaded() if plugin.name in names]))


def sources(plugins: Sequence[Plugin]) -> tuple[tuple[str, str], ...]:
    """(path, digest) of loaded plugins, for `load_in_worker`."""
    return tuple((str(_loaded[plugin.name].path), plugin.digest) for plugin in plugins)


def load_in_worker(sources: Sequence[tuple[str, str]]) -> None:
    """Load the plugins of the parent process. SettingsError where a file has changed since."""
    for path, digest in sources:
        _load(Path(path), digest)
