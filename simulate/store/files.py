"""Files that appear whole or not at all: each is written under another name, flushed to the disk, and renamed.

A kill at any moment leaves either the file or nothing.
"""

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from simulate.settings.reader import printable

_TEMPORARY = re.compile(r"\..*\.([^.]*)\.(\d+)\.tmp")
REMOTE_SECONDS = 86400.0  # age from which temporary files of other hosts are removed


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

    Files of live local processes are kept; on other hosts liveness is unknown, so theirs are kept for a day.
    """
    for name in path.glob(".*.tmp"):
        if not (match := _TEMPORARY.fullmatch(name.name)):
            continue
        with contextlib.suppress(FileNotFoundError):  # its owner or another sweep may remove it first
            if match[1] == host():
                dead = not _lives(int(match[2]))
            else:
                dead = time.time() - name.lstat().st_mtime > REMOTE_SECONDS
            if dead:
                name.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # the process belongs to another user
        return True
    return True
