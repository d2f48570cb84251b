"""Reading of files that others may have put there: only plain files, and never more than is asked for."""

import hashlib
import stat
from pathlib import Path

from simulate.store import disk
from simulate.store.files import retried

CHUNK = 2**20  # bytes that are read at a time


def read_plain(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes.

    ValueError where it is larger, or where a link, pipe, device or folder stands in its place, which is not opened or
    followed; FileNotFoundError where there is nothing; OSError where it cannot be read now.
    """
    _check_plain(path)
    content = retried(lambda: _read(path, most + 1))
    if len(content) > most:
        raise ValueError(f"more than {most} bytes")
    return content


def _check_plain(path: Path) -> None:
    found = disk.status(path)
    if found is None:
        raise FileNotFoundError(f"there is no {path.name}")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("not a plain file")


def _read(path: Path, size: int) -> bytes:
    with disk.open_for_reading(path) as stream:
        return stream.read(size)


def sha256(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file's content, and the number of its bytes. Raises as `read_plain` does."""
    _check_plain(path)
    return retried(lambda: _sha256(path))


def _sha256(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with disk.open_for_reading(path) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
