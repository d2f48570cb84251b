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
import io
import os
import random
import stat
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from simulate.store import disk

# The steps that a machine has instead of `disk`: all of its functions.
STEPS = {
    name
    for name, value in vars(disk).items()
    if callable(value) and not isinstance(value, type) and not name.startswith("_")
} - {"IO"}
ERRORS = (errno.EIO, errno.ESTALE, errno.EACCES)
STEP, SLOWEST = 0.02, 30.0  # seconds of a step, and of the longest delay


class Death(BaseException):
    """A process is killed at this step; nothing that it does while it unwinds has an effect."""


class ViolationError(AssertionError):
    """A promise was broken."""


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


class Process:
    """A process, or those that take its place when it has ended, each with a name of its own."""

    def __init__(self, machine: "Machine", role: Callable[["Process"], None]):
        self.machine, self.role = machine, role
        self.baton = threading.Lock()
        self.baton.acquire()
        self.wake, self.life, self.dead, self.ended = 0.0, 0, False, False
        self.streams: set[Stream] = set()
        self.errors = 0  # of the disk, in this life
        self.name, self.death, self.faulty = ("", 0), float("inf"), True

    def begin(self) -> None:
        """A new life. Names are few: containers can share the name of the machine and the numbers of processes."""
        rng = self.machine.rng
        self.life, self.dead, self.errors, self.death = self.life + 1, False, 0, float("inf")
        self.name = rng.choice(self.machine.identities)
        self.faulty = rng.random() < 0.5  # the others have no faults of their own

    def die(self) -> None:
        self.dead, self.wake, self.death = True, 0.0, self.machine.time
        for stream in self.streams:
            stream.file.locks.pop(stream, None)
        self.streams.clear()

    def thread(self) -> None:
        self.baton.acquire()
        try:
            self.role(self)
        except Death:
            pass
        except BaseException as error:
            self.machine.fail(error)
        self.ended = True
        self.machine.hand_over(self)


class Machine:
    """`faults` maps the kinds of faults to the chance that a step has one; `seed` decides everything else."""

    KINDS: ClassVar = ("death", "crash", "error", "slow", "lost")

    def __init__(self, seed: int, faults: dict[str, float]):
        self.rng, self.faults = random.Random(seed), faults
        self.time, self.steps, self.inodes = 1e9, 0, 0
        self.root = Folder(0, self.time)
        self.processes: list[Process] = []  # those that go first come first
        self.changes = self.rng.choice((0.02, 0.1, 1.0))  # the chance that a step changes this order
        self.current: Process
        self.failure: BaseException | None = None
        self.trace: list[tuple[float, tuple[str, int], str]] = []
        self.done = threading.Lock()
        # on_change is called after each rename, with the name if there was a file of that name before.
        self.on_change: Callable[[str | None], None] = lambda replaced: None
        self.on_crash: Callable[[], None] = lambda: None
        # steer names the fault of a step where it is not left to chance.
        self.steer: Callable[[Process, str], str | None] = lambda process, step: None
        self.identities = self.rng.choice(([("left", 7)], [("left", 7), ("left", 1), ("right.site", 7)]))
        self.counts = dict.fromkeys(self.KINDS, 0)

    # Processes

    def run(self, *roles: Callable[[Process], None]) -> None:
        """Run processes until all have ended. Raises what any of them raised."""
        self.processes = [Process(self, role) for role in roles]
        threads = [threading.Thread(target=process.thread, daemon=True) for process in self.processes]
        self.done.acquire()
        for process, thread in zip(self.processes, threads, strict=True):
            process.begin()
            thread.start()
        self.current = self.rng.choice(self.processes)
        self.current.baton.release()
        self.done.acquire()
        self.done.release()
        for thread in threads:
            thread.join()
        if self.failure:
            raise self.failure

    def fail(self, error: BaseException) -> None:
        """End everything with this error."""
        self.failure = self.failure or error
        for process in self.processes:
            process.die()

    def _next(self) -> Process | None:
        if self.rng.random() < self.changes:
            self.rng.shuffle(self.processes)
        earliest: Process | None = None
        for process in self.processes:
            if process.ended:
                continue
            if process.dead or process.wake <= self.time:
                return process
            if earliest is None or process.wake < earliest.wake:
                earliest = process
        if earliest:
            self.time = earliest.wake
        return earliest

    def hand_over(self, process: Process) -> None:
        """Let the generator choose which process goes on; returns when it is this one's turn again."""
        chosen = self._next()
        if chosen is process:
            return
        if chosen:
            self.current = chosen
            chosen.baton.release()
        else:
            self.done.release()
        if not process.ended:
            process.baton.acquire()

    def step(self, name: str) -> bool:
        """A step of the current process: others may go first, and it may die. Whether the step fails."""
        process = self.current
        if process.dead:
            raise Death
        self.steps += 1
        self.time += STEP
        self.hand_over(process)
        if process.dead:
            raise Death
        self.trace.append((self.time, process.name, name))
        fault, chance = self.steer(process, name), self.rng.random()
        for kind, share in self.faults.items():
            if chance < share and (process.faulty or kind in ("crash", "lost")):
                fault = kind
                break
            chance -= share
        if fault:
            self.counts[fault] += 1
            self.trace.append((self.time, process.name, f"-> {fault}"))
        if fault == "slow":
            self.sleep(self.rng.uniform(0, SLOWEST))
        elif fault == "lost":
            self._lose_a_lock()
        elif fault == "death":
            process.die()
            raise Death
        elif fault == "crash":
            for other in self.processes:
                other.die()
            self.root.crash(self.rng)
            self.on_crash()
            raise Death
        return fault == "error"

    def sleep(self, seconds: float) -> None:
        """Sleep for so long or longer."""
        process = self.current
        process.wake = self.time + seconds + self.rng.uniform(0, 0.5)
        self.hand_over(process)
        if process.dead:
            raise Death

    def _lose_a_lock(self) -> None:
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
        self.on_change(new.name if replaced else None)

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
