"""Writer locks: at most one live writer per address range.

Conflicts are reported within two seconds, and locks of dead processes are ignored. A writer keeps a file `.writer-...`
in the data set under an exclusive lock of the operating system, which ends with the process however it ends. Several
processes (shards) may write to one data set as long as their ranges of addresses do not overlap.

A file system can lose a lock whose owner lives (a server of NFS that restarts), and a worker process can be about to
commit when its parent is killed. So each commit checks that its writer is still the one entered (`Writer.fence`).
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from simulate.store import disk
from simulate.store.files import StoreError, commit, unlocked

# PATIENCE: seconds to wait for the list of writers; a thousand shards may enter it at once.
PATIENCE = 120.0
_WRITER = re.compile(r"\.writer-(\d+)-(\d+)-(.*)-(\d+)")


class HeldError(RuntimeError):
    """Another process is writing networks of this range; the message names it."""


@dataclass(frozen=True)
class Writer:
    """The right to write networks [first, last) of the data set in `path`. Worker processes use that of their parent.

    entry: the file that stands for it, and its inode. turn: a lock of the threads of a process, where several commit.
    """

    path: Path
    first: int
    last: int
    entry: Path
    inode: int
    turn: AbstractContextManager[Any] = field(default_factory=contextlib.nullcontext, compare=False)

    @contextmanager
    def fence(self, alone: bool = False) -> Iterator[None]:
        """A context during which nobody else can become the writer; alone: nor be in such a context. StoreError where
        somebody has become it, OSError where that cannot be known."""
        with _list_of_writers(self.path, shared=not alone):
            if not self.entered():
                raise StoreError(
                    f"output={self.path}: this process is no longer the writer of networks {self.first} to "
                    f"{self.last - 1}: {self.entry.name} was removed or replaced; nothing was written"
                )
            yield

    def entered(self) -> bool:
        """Whether the file that was made when the writer entered is in its place. It is opened, because file systems
        of networks may remember what was there before."""
        try:
            with disk.open_for_reading(self.entry) as stream:
                return disk.inode(stream) == self.inode
        except FileNotFoundError:
            return False

    def commit(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """Write the file `name` of the data set, whole or not at all (`simulate.store.files.commit`). StoreError where
        another process is the writer by now, OSError where the disk fails."""
        commit(self.path / name, write, self.fence, self.path)


@contextmanager
def _list_of_writers(path: Path, shared: bool = False) -> Iterator[None]:
    """Keep other processes out while this one looks at the writers and enters itself; if shared, only those that would
    enter."""
    with disk.open_shared(path / ".writers") as stream:
        deadline = disk.clock() + PATIENCE
        while not disk.try_lock(stream, shared):
            if disk.clock() > deadline:
                raise HeldError(
                    f"output={path}: its list of writers is held by another process for more than {PATIENCE:g} s"
                )
            disk.sleep(0.01)
        yield


def _checked(entry: Any) -> dict[str, Any]:
    """The entry of a writer. Raises ValueError where no writer wrote it."""
    kinds = {"first": int, "last": int, "pid": int, "host": str, "since": float}
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), kind) for key, kind in kinds.items()):
        raise ValueError
    return entry


def _entries(path: Path, first: int, last: int) -> Iterator[Path]:
    """The files of writers, live or dead, whose ranges by name overlap networks [first, last)."""
    for name in disk.names(path):
        match = _WRITER.fullmatch(name)
        if match and int(match[1]) < last and first < int(match[2]):
            yield path / name


def writers(path: Path, first: int = 0, last: int = 2**63) -> list[dict[str, Any]]:
    """The live writers whose ranges overlap networks [first, last).

    Each is a mapping of host, pid, first, last (their range [first, last)) and since (seconds since the epoch). Doubt
    means that a writer lives: an entry that cannot be opened or read is told by the name of its file.
    """
    found = []
    for name in _entries(path, first, last):
        with contextlib.suppress(FileNotFoundError):  # its owner has just left
            if not unlocked(name):
                found.append(_entry(name))
    return found


def _entry(name: Path) -> dict[str, Any]:
    try:
        with disk.open_for_reading(name) as stream:
            return _checked(json.load(stream))
    except FileNotFoundError:
        raise
    except (OSError, ValueError):  # unreadable, empty as yet, or not ours
        return _of_name(name)


def _of_name(name: Path) -> dict[str, Any]:
    """What the name of a writer's file says of it."""
    match = _WRITER.fullmatch(name.name)
    assert match
    since = 0.0
    with contextlib.suppress(OSError):
        found = disk.status(name)
        since = found.st_mtime if found else 0.0
    return {"first": int(match[1]), "last": int(match[2]), "host": match[3], "pid": int(match[4]), "since": since}


@contextmanager
def writing(path: Path, first: int, last: int) -> Iterator[Writer]:
    """Hold networks [first, last) of the data set in `path` as long as the context lasts.

    Raises HeldError where a live process holds some of them, OSError where the file system has no locks.
    """
    name = path / f".writer-{first}-{last}-{disk.host()}-{disk.process()}"
    with contextlib.ExitStack() as held:
        with _list_of_writers(path):
            for other in writers(path, first, last):
                who = f"process {other['pid']} on {other['host']}, since {time.ctime(other['since'])}"
                raise HeldError(
                    f"output={path}: networks {other['first']} to {other['last'] - 1} are being written by {who}"
                )
            for dead in _entries(path, first, last):
                with contextlib.suppress(FileNotFoundError):
                    # While it is there, a writer that has lost its lock would take itself for the one entered.
                    disk.remove(dead)
            stream = held.enter_context(disk.create(name))
            disk.lock(stream)
            entry = {"first": first, "last": last, "host": disk.host(), "pid": disk.process(), "since": disk.now()}
            stream.write(json.dumps(entry).encode())
            stream.flush()
            writer = Writer(path, first, last, name, disk.inode(stream))
            held.callback(_leave, writer)
        yield writer


def _leave(writer: Writer) -> None:
    with contextlib.suppress(OSError):  # what stays counts as dead, since its lock ends now
        if writer.entered():
            disk.remove(writer.entry)
