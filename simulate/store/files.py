"""Files that appear whole or not at all: written under another name, flushed to the disk, and renamed.

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
A_DAY = 86400.0


class StoreError(RuntimeError):
    """A data set that cannot be read, or that must not be written to; one line."""

    def __init__(self, text: str):
        super().__init__(printable(text))


def commit(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write through a temporary file, flush, rename, and flush the folder. Never through a link that lies there."""
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
    return socket.gethostname().replace(".", "-")


def sweep_up(path: Path) -> None:
    """Remove what killed processes had begun to write. A process that lives keeps its file; of those on other machines
    it is not known, and theirs are kept for a day."""
    for name in path.glob(".*.tmp"):
        if not (match := _TEMPORARY.fullmatch(name.name)):
            continue
        with contextlib.suppress(FileNotFoundError):  # removed by its owner, or by somebody else's sweep
            if match[1] == host():
                dead = not _lives(int(match[2]))
            else:
                dead = time.time() - name.lstat().st_mtime > A_DAY
            if dead:
                name.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
