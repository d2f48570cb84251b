"""Reading of files that others may have put there: only plain files, and never more than is asked for."""

import hashlib
import stat
from pathlib import Path
from typing import IO, Any

from simulate.store import disk
from simulate.store.files import retried

CHUNK = 2**20  # bytes that are read at a time


def read_plain(path: Path, most: int) -> bytes:
    """The content of a file of at most `most` bytes.

    ValueError where it is larger, or where a link, pipe, device or folder stands in its place, which is not opened or
    followed; FileNotFoundError where there is nothing; OSError where it cannot be read now.
    """
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
    _check_plain(path)
    with disk.open_for_reading(path) as stream:
        return stream.read(size)


def sha256(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file's content, and the number of its bytes. Raises as `read_plain` does."""
    return retried(lambda: _sha256(path))


def _sha256(path: Path) -> tuple[str, int]:
    _check_plain(path)
    digest, size = hashlib.sha256(), 0
    with disk.open_for_reading(path) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


class Hashed:
    """A stream that takes the digest of what is written to it."""

    stream: IO[bytes]
    closed = False

    def __init__(self) -> None:
        self._sha256, self._bytes = hashlib.sha256(), 0

    def around(self, stream: IO[bytes]) -> "Hashed":
        """This stream, which writes to another one from now on."""
        self.stream = stream
        return self

    def write(self, content: bytes) -> int:
        self._sha256.update(content)
        self._bytes += len(content)
        return self.stream.write(content)

    def digest(self) -> tuple[str, int]:
        """The SHA-256, and the number of bytes, of what was written."""
        return self._sha256.hexdigest(), self._bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
