"""The files of a machine that crashes: what processes see of them, and what a crash leaves."""

import io
import random
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.behaviour.faults.machine import Machine


class File:
    """What processes see of a file, and what a crash leaves of it."""

    kind = stat.S_IFREG

    def __init__(self, number: int, now: float):
        self.number, self.time = number, now
        self.content, self.durable = b"", b""
        self.locks: dict[Any, bool] = {}  # open stream -> whether its lock is shared

    def crash(self, rng: random.Random) -> None:
        self.locks.clear()
        if self.content != self.durable:
            safe = len(self.durable) if self.content.startswith(self.durable) else 0  # what was added may be cut
            cut = self.content[: rng.randint(safe, len(self.content))]
            zeros = cut[:safe] + b"\0" * (len(cut) - safe)
            self.content = self.durable = rng.choice((self.durable, self.content, cut, zeros))


class Folder(File):
    """Names of files; `pending` are the changes since the folder was flushed, each a mapping name -> file or None."""

    kind = stat.S_IFDIR

    def __init__(self, number: int, now: float):
        super().__init__(number, now)
        self.files: dict[str, File] = {}
        self.flushed: dict[str, File] = {}
        self.pending: list[dict[str, File | None]] = []

    def change(self, **files: File | None) -> None:
        self.pending.append(files)
        self._apply(self.files, files)

    def _apply(self, to: dict[str, File], files: dict[str, File | None]) -> None:
        for name, file in files.items():
            if file is None:
                to.pop(name, None)
            else:
                to[name] = file

    def flush(self) -> None:
        self.flushed, self.pending = dict(self.files), []

    def crash(self, rng: random.Random) -> None:
        kept = self.pending[: rng.randrange(len(self.pending) + 1)]  # in order, as a journal has it
        if rng.random() < 0.5:
            kept = [change for change in self.pending if rng.random() < 0.5]
        for change in kept:
            self._apply(self.flushed, change)
        self.files, self.pending = dict(self.flushed), []
        for file in self.files.values():
            file.crash(rng)


class Stream(io.BytesIO):
    """An open file. It writes all at once when it is flushed, in two steps."""

    def __init__(self, machine: "Machine", file: File, writes: bool):
        super().__init__(b"" if writes else file.content)
        self.machine, self.file, self.writes, self.process = machine, file, writes, machine.current
        self.life = self.process.life
        self.process.streams.add(self)

    def flush(self) -> None:
        if self.writes and not self.closed and self.file.content != self.getvalue():
            self.machine.step("write")
            self.file.content = self.getvalue()[: len(self.getvalue()) // 2]
            self.machine.step("write")
            self.file.content, self.file.time = self.getvalue(), self.machine.time

    def close(self) -> None:
        if self.life == self.process.life and not self.process.dead:
            try:
                self.flush()
            finally:
                self.file.locks.pop(self, None)
                self.process.streams.discard(self)
        super().close()
