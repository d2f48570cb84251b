"""A user's Python file that a data set was made with, as settings and manifests name it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Plugin:
    """name: base name of the file, whose folder is not part of a data set's identity. digest: sha256 of its text."""

    name: str
    digest: str


def recorded_plugins(settings: Mapping[str, Any]) -> list[Plugin]:
    """The plugins that a manifest's settings name. Nothing is loaded. ValueError for entries that are no plugins."""
    entries = settings.get("plugins", [])
    if not isinstance(entries, list):
        raise ValueError("plugins is not a list")
    for entry in entries:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("name", "digest")):
            raise ValueError("plugins is not a list of names and digests")
    return [Plugin(entry["name"], entry["digest"]) for entry in entries]


def differences(recorded: Sequence[Plugin], given: Sequence[Plugin]) -> Iterator[str]:
    """In words, how the plugins that a data set was made with differ from the given ones."""
    now = {plugin.name: plugin.digest for plugin in given}
    for plugin in recorded:
        if plugin.name not in now:
            yield f"{plugin.name} (sha256 {plugin.digest[:8]}): name it in plugins=[{plugin.name}]"
        elif now[plugin.name] != plugin.digest:
            yield (
                f"another text of {plugin.name} (sha256 {plugin.digest[:8]}, not {now[plugin.name][:8]}): "
                f"name that one in plugins=[...]"
            )
    known = {plugin.name for plugin in recorded}
    for name in now:
        if name not in known:
            yield f"no {name}: leave it out of plugins=[...]"
