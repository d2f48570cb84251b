"""Each step in which the store touches the disk or asks the system who and when it is.

`files`, `locks`, `parts` and `manifest` call these functions as `disk.sync(...)` and nothing below them, so that the
tests can put a machine that crashes in their place (tests/behaviour/faults/machine.py). All raise OSError.
"""

import errno
import fcntl
import os
import secrets
import socket
import stat
import time
from pathlib import Path
from typing import IO

now, clock, sleep, process = time.time, time.monotonic, time.sleep, os.getpid  # called as disk.now()


def host() -> str:
    """The name of this machine."""
    return socket.gethostname()


def number() -> int:
    """A random number that no other process has, in this container or another."""
    return secrets.randbits(62)


def create(path: Path) -> IO[bytes]:
    """A new file, open for writing. FileExistsError where there is one, or a link."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb")


def open_shared(path: Path) -> IO[bytes]:
    """The file, made if there is none, to be locked; OSError where it is a link."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b")


def open_for_reading(path: Path) -> IO[bytes]:
    """The file as it is; OSError where it is a link. It never waits for a writer of a pipe."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, made if there is none, and return when that is on the disk.

    OSError where it is a link or a pipe.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags, 0o666), "ab") as stream:
        stream.write(content)
        sync(stream)


def lock(stream: IO[bytes]) -> None:
    """Wait until no other process has a lock of the file, and hold it until the stream or the process ends."""
    fcntl.flock(stream, fcntl.LOCK_EX)


def try_lock(stream: IO[bytes], shared: bool = False) -> bool:
    """Lock the file if it is free; whether it was. Shared locks exclude only those that are not shared."""
    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _flush(descriptor: int) -> None:
    """Flush down to the disk. On macOS fsync leaves the data in the disk's own cache and F_FULLFSYNC does not, but some
    file systems, mostly of networks, do not have it."""
    if full := getattr(fcntl, "F_FULLFSYNC", None):
        try:
            fcntl.fcntl(descriptor, full)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY):
                raise
    os.fsync(descriptor)


def sync(stream: IO[bytes]) -> None:
    """Return when what was written to the file is on the disk."""
    stream.flush()
    _flush(stream.fileno())


def sync_folder(path: Path) -> None:
    """Return when the names of the folder's files are on the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        _flush(folder)
    finally:
        os.close(folder)


def replace(old: Path, new: Path) -> None:
    """Give a file a new name, instead of the file that has it now."""
    os.replace(old, new)


def remove(path: Path) -> None:
    """Remove a file."""
    os.unlink(path)


def make(folder: Path) -> None:
    """Make one folder. FileExistsError where the name is taken, FileNotFoundError where the one above is missing."""
    os.mkdir(folder)


def may_write(folder: Path) -> bool:
    """Whether this user may add files to the folder."""
    return os.access(folder, os.W_OK)


def names(folder: Path) -> list[str]:
    """The names in a folder, in order; none where there is no folder."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def status(path: Path) -> os.stat_result | None:
    """Kind, size, time and inode of a file or link, or None where there is none."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def inode(stream: IO[bytes]) -> int:
    """The number of a file, which no other file has as long as this one is open."""
    return os.fstat(stream.fileno()).st_ino


def is_plain(path: Path) -> bool:
    """Whether there is a file that is neither a link nor a pipe, device or folder."""
    found = status(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_folder(path: Path) -> bool:
    """Whether there is a folder, which a link may lead to."""
    return exists(path) and stat.S_ISDIR(os.stat(path).st_mode)


def exists(path: Path) -> bool:
    """Whether there is a file, which a link may lead to. Unlike Path.exists, an error of the disk is not a no."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def size(path: Path) -> int:
    """Bytes of a file."""
    return os.stat(path).st_size


def read(path: Path) -> bytes:
    """The content of a file."""
    return path.read_bytes()


def source(path: Path) -> Path:
    """What parquet files are read from."""
    return path
