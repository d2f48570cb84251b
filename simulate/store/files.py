"""Files that appear whole or not at all: each is written under another name, flushed to the disk, and renamed.

A kill at any moment leaves either the file or nothing.
"""

import contextlib
import fcntl
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from simulate.settings.reader import printable

_TEMPORARY = re.compile(r"\..*\.([^.]*)\.(\d+)\.tmp")
YOUNG_SECONDS = 10.0  # temporary files are kept for so long in any case
REMOTE_SECONDS = 86400.0  # age from which temporary files are removed though it is not known who holds them


class StoreError(RuntimeError):
    """A data set cannot be read, or must not be written to; the message is one line."""

    def __init__(self, text: str):
        super().__init__(printable(text))


def commit(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file through a temporary one: write, flush, rename, and flush the folder.

    A link at the temporary name is removed and never followed. OSError where the disk fails; no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{host()}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb") as stream:
            with contextlib.suppress(OSError):  # a file system without locks: `sweep_up` goes by age
                fcntl.flock(stream, fcntl.LOCK_EX)
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def host() -> str:
    """The name of this machine as the names of temporary files have it, without dots."""
    return socket.gethostname().replace(".", "-")


def sweep_up(path: Path) -> None:
    """Remove files that killed processes had begun to write.

    A writer locks its file as long as it writes, which tells live from dead across containers, where numbers of
    processes do not. A file that is younger than YOUNG_SECONDS, or that cannot be locked on this file system and is
    younger than REMOTE_SECONDS, is kept: its writer may have no lock yet, or none that is seen here.
    """
    for name in path.glob(".*.tmp"):
        if not _TEMPORARY.fullmatch(name.name):
            continue
        with contextlib.suppress(FileNotFoundError):  # its owner or another sweep may remove it first
            age = time.time() - name.lstat().st_mtime
            if age > REMOTE_SECONDS or (age > YOUNG_SECONDS and _unlocked(name)):
                name.unlink()


def _unlocked(name: Path) -> bool:
    """Whether no process holds a lock of the file; False where that cannot be known."""
    try:
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True
