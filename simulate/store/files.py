"""Files that appear whole or not at all: each is written under another name, flushed to the disk, and renamed.

A kill or a crash at any moment leaves either the file or nothing.
"""

import contextlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, TypeVar

from simulate.settings.reader import printable
from simulate.store import disk

_TEMPORARY = re.compile(r"\..*\.([^.]*)\.(\d+)\.tmp")
YOUNG_SECONDS = 10.0  # temporary files are kept for so long in any case
PAUSES = (0.1, 0.5, 2.0)  # seconds until an error of the disk is tried again
REMOTE_SECONDS = 86400.0  # age from which temporary files are removed though it is not known who holds them


_T = TypeVar("_T")


class StoreError(RuntimeError):
    """A data set cannot be read, or must not be written to; the message is one line."""

    def __init__(self, text: str):
        super().__init__(printable(text))


def commit(
    path: Path,
    write: Callable[[IO[bytes]], object],
    fence: Callable[[], AbstractContextManager[None]] = nullcontext,
    folder: Path | None = None,
) -> None:
    """Write a file through a temporary one: write, flush, rename, and flush the folder.

    fence: a context in which the file is renamed; what it raises prevents that. folder: where the temporary file is, on
    the same file system, if not where the file will be. OSError where the disk fails. No temporary file is left, and no
    link is followed.
    """
    temporary = (folder or path.parent).joinpath(f".{path.name}.{disk.host().replace('.', '-')}.{disk.number()}.tmp")
    try:
        with disk.create(temporary) as stream:
            with contextlib.suppress(OSError):  # a file system without locks: `sweep_up` goes by age
                disk.lock(stream)
            write(stream)
            disk.sync(stream)
        with fence():
            disk.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell; `sweep_up` removes what stays
            disk.remove(temporary)
        raise
    disk.sync_folder(path.parent)


def retried(read: Callable[[], _T]) -> _T:
    """What `read` returns. Errors of the disk are tried again, because network file systems have some that pass.

    OSError where they last, and at once where a file is missing or a folder.
    """
    for pause in PAUSES:
        try:
            return read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise
        except OSError:
            disk.sleep(pause)
    return read()


def make_folder(path: Path, durable: Path | None = None) -> None:
    """Make a folder and those above it, if they are missing. OSError where that fails, or where there is a file.

    It returns when their names are on the disk. That holds also for folders that are here already, as far up as this
    user may write: another process may have made them just now. durable: one above, whose own name is on the disk.
    """
    path = path.absolute()
    _make(path)
    for above in path.parents:
        if not disk.may_write(above):
            break
        disk.sync_folder(above)
        if durable and above == durable.absolute():
            break


def _make(folder: Path) -> None:
    try:
        disk.make(folder)
    except FileNotFoundError:
        _make(folder.parent)
        _make(folder)
    except OSError:
        if not disk.is_folder(folder):
            raise


def sweep_up(path: Path) -> None:
    """Remove files that killed processes had begun to write.

    A writer locks its file as long as it writes, which tells live from dead across containers, where numbers of
    processes do not. A file that is younger than YOUNG_SECONDS, or that cannot be locked on this file system and is
    younger than REMOTE_SECONDS, is kept: its writer may have no lock yet, or none that is seen here.
    """
    for name in disk.names(path):
        if not _TEMPORARY.fullmatch(name):
            continue
        with contextlib.suppress(FileNotFoundError):  # its owner or another sweep may remove it first
            found = disk.status(path / name)
            age = disk.now() - found.st_mtime if found else 0.0
            if age > REMOTE_SECONDS or (age > YOUNG_SECONDS and unlocked(path / name)):
                disk.remove(path / name)


def unlocked(path: Path) -> bool:
    """Whether no process holds the file's lock; False where that cannot be known. FileNotFoundError where it is gone.

    A shared lock is tried, so that those who ask at the same time do not take each other for a holder.
    """
    try:
        with disk.open_for_reading(path) as stream:
            return disk.try_lock(stream, shared=True)
    except FileNotFoundError:
        raise
    except OSError:
        return False
