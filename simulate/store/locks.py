"""Who is writing to a data set: one writer for each address, found out within two seconds, dead writers forgotten.

A writer keeps a file `.writer-...` in the data set under an exclusive lock of the operating system, which ends with the
process however it ends. Several may write to one data set as long as their ranges of addresses do not meet: shards.
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

PATIENCE = 120.0  # seconds to wait for others that are entering themselves, too: a thousand shards may start at once
_WRITER = re.compile(r"\.writer-(\d+)-(\d+)-.*")


class HeldError(RuntimeError):
    """Another process writes these addresses; the message names it."""


def _plain(path: str, flags: int) -> int:
    """Opens no file that a link points to."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _locked(stream: IO[str]) -> bool:
    """Whether this process has it now; OSError where the file system knows no locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While one process looks at the writers and enters itself, no other does."""
    with open(path / ".writers", "a", opener=_plain) as stream:
        until = time.monotonic() + PATIENCE
        while not _locked(stream):
            if time.monotonic() > until:
                raise HeldError(
                    f"output={path}: its list of writers is held by another process for more than {PATIENCE:g} s"
                )
            time.sleep(0.01)
        yield


def _said(entry: Any) -> dict[str, Any]:
    """ValueError for what no writer wrote."""
    kinds = {"first": int, "last": int, "pid": int, "host": str, "since": float}
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), kind) for key, kind in kinds.items()):
        raise ValueError
    return entry


def _entries(path: Path, first: int, last: int) -> Iterator[Path]:
    """Files of writers, alive or dead, whose names say that they have some of networks [first, last)."""
    for name in sorted(path.glob(".writer-*")):
        match = _WRITER.fullmatch(name.name)
        if match and int(match[1]) < last and first < int(match[2]):
            yield name


def writers(path: Path, first: int = 0, last: int = 2**63) -> list[dict[str, Any]]:
    """Those alive that have some of networks [first, last): host, pid, first and last address, and since when (seconds
    since the epoch)."""
    found = []
    for name in _entries(path, first, last):
        with contextlib.suppress(OSError, ValueError), open(name, "r+", opener=_plain) as stream:
            if not _locked(stream):  # its owner lives
                found.append(_said(json.load(stream)))
    return found


@contextmanager
def writing(path: Path, first: int, last: int) -> Iterator[None]:
    """Hold networks [first, last) of the data set in `path`. Raises HeldError where a living process has some."""
    name = path / f".writer-{first}-{last}-{socket.gethostname()}-{os.getpid()}"
    with _alone(path):
        for other in writers(path, first, last):
            who = f"process {other['pid']} on {other['host']}, since {time.ctime(other['since'])}"
            raise HeldError(
                f"output={path}: networks {other['first']} to {other['last'] - 1} are being written by {who}"
            )
        for dead in _entries(path, first, last):
            with contextlib.suppress(OSError), open(dead, "r+", opener=_plain) as stream:
                if _locked(stream):
                    dead.unlink()
        mine = open(name, "x", opener=_plain)  # noqa: SIM115
        fcntl.flock(mine, fcntl.LOCK_EX)
        said = {"first": first, "last": last, "host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        mine.write(json.dumps(said))
        mine.flush()
    try:
        yield
    finally:
        name.unlink(missing_ok=True)
        mine.close()
