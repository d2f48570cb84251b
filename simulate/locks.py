"""Who is writing to a data set: one writer for each address, found out within two seconds, dead writers forgotten.

A writer keeps a file `.writer-...` in the data set under an exclusive lock of the operating system, which ends with the
process however it ends. Several may write to one data set as long as their ranges of addresses do not meet: shards.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PATIENCE = 2.0  # seconds to wait for another process that is just looking, too


class HeldError(RuntimeError):
    """Another process writes these addresses; the message names it."""


def _plain(path: str, flags: int) -> int:
    """Opens no file that a link points to."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _locked(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
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


def writers(path: Path) -> list[dict[str, Any]]:
    """Those alive: host, pid, first and last address, and since when (seconds since the epoch)."""
    found = []
    for name in sorted(path.glob(".writer-*")):
        with contextlib.suppress(OSError, ValueError), open(name, "r+", opener=_plain) as stream:
            if not _locked(stream):  # its owner lives
                found.append(_said(json.load(stream)))
    return found


@contextmanager
def writing(path: Path, first: int, last: int) -> Iterator[None]:
    """Hold networks [first, last) of the data set in `path`. Raises HeldError where a living process has some."""
    name = path / f".writer-{first}-{last}-{socket.gethostname()}-{os.getpid()}"
    with _alone(path):
        for other in writers(path):
            if other["first"] < last and first < other["last"]:
                who = f"process {other['pid']} on {other['host']}, since {time.ctime(other['since'])}"
                raise HeldError(
                    f"output={path}: networks {other['first']} to {other['last'] - 1} are being written by {who}"
                )
        for dead in path.glob(".writer-*"):
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
