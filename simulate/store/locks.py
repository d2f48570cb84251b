"""Writer locks: at most one live writer per address range.

Conflicts are reported within two seconds, and locks of dead processes are ignored. A writer keeps a file `.writer-...`
in the data set under an exclusive lock of the operating system, which ends with the process however it ends. Several
processes (shards) may write to one data set as long as their ranges of addresses do not overlap.
"""

import contextlib
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

# PATIENCE: seconds to wait for the list of writers; a thousand shards may enter it at once.
PATIENCE = 120.0
_WRITER = re.compile(r"\.writer-(\d+)-(\d+)-(.*)-(\d+)")


class HeldError(RuntimeError):
    """Another process is writing networks of this range; the message names it."""


def _open_no_link(path: str, flags: int) -> int:
    """An opener that refuses links."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _locked(stream: IO[str]) -> bool:
    """Lock the file if it is free; whether it was. Raises OSError where the file system has no locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _entering(path: Path) -> Iterator[None]:
    """Keep other processes out while this one looks at the writers and enters itself."""
    with open(path / ".writers", "a", opener=_open_no_link) as stream:
        deadline = time.monotonic() + PATIENCE
        while not _locked(stream):
            if time.monotonic() > deadline:
                raise HeldError(
                    f"output={path}: its list of writers is held by another process for more than {PATIENCE:g} s"
                )
            time.sleep(0.01)
        yield


def _checked(entry: Any) -> dict[str, Any]:
    """The entry of a writer. Raises ValueError where no writer wrote it."""
    kinds = {"first": int, "last": int, "pid": int, "host": str, "since": float}
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), kind) for key, kind in kinds.items()):
        raise ValueError
    return entry


def _entries(path: Path, first: int, last: int) -> Iterator[Path]:
    """The files of writers, live or dead, whose ranges by name overlap networks [first, last)."""
    for name in sorted(path.glob(".writer-*")):
        match = _WRITER.fullmatch(name.name)
        if match and int(match[1]) < last and first < int(match[2]):
            yield name


def writers(path: Path, first: int = 0, last: int = 2**63) -> list[dict[str, Any]]:
    """The live writers whose ranges overlap networks [first, last).

    Each is a mapping of host, pid, first, last (their range [first, last)) and since (seconds since the epoch). Doubt
    means that a writer lives: an entry that cannot be opened or read is told by the name of its file.
    """
    found = []
    for name in _entries(path, first, last):
        try:
            with open(name, "r+", opener=_open_no_link) as stream:
                if not _locked(stream):  # its owner lives
                    found.append(_entry(name, stream))
        except FileNotFoundError:
            continue  # its owner has just left
        except OSError:
            found.append(_of_name(name))
    return found


def _entry(name: Path, stream: IO[str]) -> dict[str, Any]:
    try:
        return _checked(json.load(stream))
    except ValueError:  # empty as yet, or not ours
        return _of_name(name)


def _of_name(name: Path) -> dict[str, Any]:
    """What the name of a writer's file says of it."""
    match = _WRITER.fullmatch(name.name)
    assert match
    since = 0.0
    with contextlib.suppress(OSError):
        since = name.lstat().st_mtime
    return {"first": int(match[1]), "last": int(match[2]), "host": match[3], "pid": int(match[4]), "since": since}


@contextmanager
def writing(path: Path, first: int, last: int) -> Iterator[None]:
    """Hold networks [first, last) of the data set in `path` as long as the context lasts.

    Raises HeldError where a live process holds some of them, OSError where the file system has no locks.
    """
    name = path / f".writer-{first}-{last}-{socket.gethostname()}-{os.getpid()}"
    with _entering(path):
        for other in writers(path, first, last):
            who = f"process {other['pid']} on {other['host']}, since {time.ctime(other['since'])}"
            raise HeldError(
                f"output={path}: networks {other['first']} to {other['last'] - 1} are being written by {who}"
            )
        for dead in _entries(path, first, last):
            with contextlib.suppress(OSError), open(dead, "r+", opener=_open_no_link) as stream:
                if _locked(stream):
                    dead.unlink()
        held = open(name, "x", opener=_open_no_link)  # noqa: SIM115
        fcntl.flock(held, fcntl.LOCK_EX)
        entry = {"first": first, "last": last, "host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        held.write(json.dumps(entry))
        held.flush()
    try:
        yield
    finally:
        name.unlink(missing_ok=True)
        held.close()
