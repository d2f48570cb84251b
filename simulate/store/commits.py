"""The commit log: a line for each part, with its digest, who wrote it, and on what it was computed.

    DIR/commits/FIRST-LAST-HOST-PID-INODE.jsonl   the lines of one process that writes networks [FIRST, LAST)

INODE is that of the writer's lock, because containers may share the names of hosts and the numbers of processes.

A line is on the disk before its part gets its name, so that no part of this format is without one. A line without a
part stands for networks that are missing. Clocks of machines differ, so no line makes another invalid: a part is whole
if its digest is that of any of its lines, and damaged if it has lines and none fits.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simulate.store import disk
from simulate.store.folders import COMMITS, names, own_folder
from simulate.store.locks import Writer
from simulate.store.plain import read_plain
from simulate.store.schema import parsed

Line = dict[str, Any]
Log = dict[str, list[Line]]  # the lines by the name of the part, by rising time
MOST_BYTES = 2**28  # upper bound on the size of a log
KINDS = {"part": str, "identity": str, "sha256": str, "bytes": int, "rows": int, "networks": int, "writer": dict}


def line(part: str, identity: str, digest: tuple[str, int], rows: int, count: int, made: Mapping[str, Any]) -> Line:
    """The line of a part. digest: its SHA-256 and its bytes; count: its networks; made: device, code and seconds, or
    adopted."""
    writer = {"host": disk.host(), "pid": disk.process(), "time": disk.now()}
    about = {"part": part, "identity": identity, "sha256": digest[0], "bytes": digest[1], "rows": rows}
    return {**about, "networks": count, "writer": writer, **made}


def append(writer: Writer, entry: Line) -> None:
    """Add a line to the log of this process, and return when it is on the disk. OSError where the disk fails."""
    folder = own_folder(writer.path, COMMITS)
    name = folder / f"{writer.first}-{writer.last}-{disk.host()}-{disk.process()}-{writer.inode}.jsonl"
    known = disk.status(name) is not None
    # An end of line comes first and not last, so that what a crash left of a line spoils no other.
    disk.append(name, b"\n" * known + json.dumps(entry, allow_nan=False).encode())
    if not known:
        disk.sync_folder(folder)


def read(path: Path, identity: str) -> Log:
    """The lines of the data set with this digest; those that no writer of ours wrote, or not to their end, are left
    out. OSError where a log cannot be read now."""
    log: Log = {}
    for name in names(path, COMMITS):
        if name.endswith(".jsonl"):
            for entry in _lines(path / COMMITS / name):
                if entry["identity"] == identity:
                    log.setdefault(entry["part"], []).append(entry)
    for lines in log.values():
        lines.sort(key=lambda entry: entry["writer"]["time"])
    return log


def _lines(name: Path) -> Iterator[Line]:
    try:
        content = read_plain(name, MOST_BYTES)
    except (FileNotFoundError, ValueError):
        return
    # A crash may leave zeros in the place of a line that was not flushed, and of the end of line before it.
    for text in re.split(rb"[\n\0]", content):
        try:
            entry = parsed(text)
        except ValueError:
            continue
        whole = isinstance(entry, dict) and all(type(entry.get(key)) is kind for key, kind in KINDS.items())
        if whole and type(entry["writer"].get("time")) is float:
            yield entry


def fitting(lines: list[Line], digest: tuple[str, int]) -> Line | None:
    """The latest line with this SHA-256 and number of bytes."""
    return next((entry for entry in reversed(lines) if (entry["sha256"], entry["bytes"]) == digest), None)
