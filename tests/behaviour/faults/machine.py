"""A machine in memory that crashes: processes that take turns at each step on its disk, and a disk that forgets.

`Machine.installed` puts it in the place of simulate/store/disk.py. A seeded generator chooses which process makes the
next step, and which step fails. Processes are threads of which one runs at a time. What a step does:

- a process dies: its locks end, what it wrote stays;
- the machine crashes: of what was not flushed, any part may be gone, in files as in folders; all processes die;
- an error of the disk that passes, before or after the step had its effect;
- a delay of up to half a minute, while the others go on;
- a lock of a writer is lost though the writer lives.
"""

import errno
import os
import stat
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from simulate.store import disk
from tests.behaviour.faults.files import File, Folder, Stream
from tests.behaviour.faults.turns import Turns

# The steps that a machine has instead of `disk`: all of its functions.
STEPS = {
    name
    for name, value in vars(disk).items()
    if callable(value) and not isinstance(value, type) and not name.startswith("_")
} - {"IO"}
ERRORS = (errno.EIO, errno.ESTALE, errno.EACCES)


class Machine(Turns):
    """Turns on a disk in memory."""

    def __init__(self, seed: int, faults: dict[str, float]):
        super().__init__(seed, faults)
        self.inodes = 0
        self.root = Folder(0, self.time)
        # on_change is called after each rename, with the name if there was a file of that name before.
        self.on_change: Callable[[str | None], None] = lambda replaced: None
        self.on_crash: Callable[[], None] = lambda: None

    def crash(self) -> None:
        self.root.crash(self.rng)
        self.judge(self.on_crash)

    def lose_a_lock(self) -> None:
        folders = [self.root]
        while folders:
            for name, file in folders.pop().files.items():
                if isinstance(file, Folder):
                    folders.append(file)
                elif name.startswith(".writer-"):
                    file.locks.clear()

    # The disk

    def _find(self, path: Path) -> File:
        file: File = self.root
        for part in path.parts[1:]:
            if not isinstance(file, Folder):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
            if part not in file.files:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
            file = file.files[part]
        return file

    def _folder(self, path: Path) -> Folder:
        folder = self._find(path)
        assert isinstance(folder, Folder)
        return folder

    def _new(self, kind: type[File], path: Path) -> File:
        folder = self._folder(path.parent)
        if path.name in folder.files:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        self.inodes += 1
        file = kind(self.inodes, self.time)
        folder.change(**{path.name: file})
        return file

    def create(self, path: Path) -> Stream:
        return Stream(self, self._new(File, path), writes=True)

    def open_shared(self, path: Path) -> Stream:
        with suppress(FileExistsError):
            self._new(File, path)
        return Stream(self, self._find(path), writes=False)

    def open_for_reading(self, path: Path) -> Stream:
        return Stream(self, self._find(path), writes=False)

    def append(self, path: Path, content: bytes) -> None:
        with suppress(FileExistsError):
            self._new(File, path)
        file, half = self._find(path), len(content) // 2
        for piece in (content[:half], content[half:]):
            self.step("write")
            file.content += piece
        file.durable = file.content

    def try_lock(self, stream: Stream, shared: bool = False) -> bool:
        others = [is_shared for other, is_shared in stream.file.locks.items() if other is not stream]
        if others and not (shared and all(others)):
            return False
        stream.file.locks[stream] = shared
        return True

    def lock(self, stream: Stream) -> None:
        while not self.try_lock(stream):
            self.sleep(0.05)

    def sync(self, stream: Stream) -> None:
        stream.flush()
        stream.file.durable = stream.file.content

    def sync_folder(self, path: Path) -> None:
        self._folder(path).flush()

    def replace(self, old: Path, new: Path) -> None:
        file, folder, target = self._find(old), self._folder(old.parent), self._folder(new.parent)
        replaced = new.name in target.files
        if folder is target:
            folder.change(**{old.name: None, new.name: file})
        else:
            target.change(**{new.name: file})
            folder.change(**{old.name: None})
        self.judge(self.on_change, new.name if replaced else None)

    def remove(self, path: Path) -> None:
        self._find(path)
        self._folder(path.parent).change(**{path.name: None})

    def make(self, folder: Path) -> None:
        self._new(Folder, folder)

    def names(self, folder: Path) -> list[str]:
        with suppress(FileNotFoundError):
            return sorted(self._folder(folder).files)
        return []

    def status(self, path: Path) -> types.SimpleNamespace | None:
        with suppress(FileNotFoundError):
            file = self._find(path)
            return types.SimpleNamespace(
                st_mode=file.kind, st_size=len(file.content), st_mtime=file.time, st_ino=file.number
            )
        return None

    def is_plain(self, path: Path) -> bool:
        return self.exists(path) and self._find(path).kind == stat.S_IFREG

    def is_folder(self, path: Path) -> bool:
        return self.exists(path) and self._find(path).kind == stat.S_IFDIR

    def exists(self, path: Path) -> bool:
        return self.status(path) is not None

    def size(self, path: Path) -> int:
        return len(self._find(path).content)

    def read(self, path: Path) -> bytes:
        return self._find(path).content

    def source(self, path: Path) -> bytes:
        return self._find(path).content

    # What is no step: it cannot fail, and nobody else can tell when it happens.

    def inode(self, stream: Stream) -> int:
        return stream.file.number

    def may_write(self, folder: Path) -> bool:
        return True

    def host(self) -> str:
        return self.current.name[0]

    def process(self) -> int:
        return self.current.name[1]

    def number(self) -> int:
        return self.rng.getrandbits(62)

    def now(self) -> float:
        return self.time

    clock = now

    @contextmanager
    def installed(self) -> Iterator[pytest.MonkeyPatch]:
        """Let the store use this machine."""
        with pytest.MonkeyPatch.context() as patch:
            for name in STEPS:
                function = getattr(self, name)
                steady = name in ("inode", "may_write", "host", "process", "number", "now", "clock", "sleep")
                patch.setattr(disk, name, function if steady else self._as_step(name, function))
            yield patch

    def _as_step(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any, *arguments: Any, **options: Any) -> Any:
            what = target.name if isinstance(target, Path) else ""
            if not self.step(f"{name} {what}"):
                return function(target, *arguments, **options)
            if self.rng.random() < 0.5:  # the error comes after the step, which had its effect
                result = function(target, *arguments, **options)
                if isinstance(result, Stream):
                    result.close()
            self.current.errors += 1
            code = self.rng.choice(ERRORS)
            raise OSError(code, os.strerror(code), str(target))

        return call
