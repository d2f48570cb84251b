"""Processes that take turns: a seeded generator chooses which makes the next step, and which step fails."""

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from tests.behaviour.faults.files import Stream

STEP, SLOWEST = 0.02, 30.0  # seconds of a step, and of the longest delay


class Death(BaseException):
    """A process is killed at this step; nothing that it does while it unwinds has an effect."""


class ViolationError(AssertionError):
    """A promise was broken."""


class Process:
    """A process, or those that take its place when it has ended, each with a name of its own."""

    def __init__(self, machine: "Turns", role: Callable[["Process"], None]):
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


class Turns(ABC):
    """`faults` maps the kinds of faults to the chance that a step has one; `seed` decides everything else."""

    KINDS: ClassVar = ("death", "crash", "error", "slow", "lost")

    def __init__(self, seed: int, faults: dict[str, float]):
        self.rng, self.faults = random.Random(seed), faults
        self.time, self.steps = 1e9, 0
        self.processes: list[Process] = []  # those that go first come first
        self.changes = self.rng.choice((0.02, 0.1, 1.0))  # the chance that a step changes this order
        self.current: Process
        self.failure: BaseException | None = None
        self.trace: list[tuple[float, tuple[str, int], str]] = []
        self.done = threading.Lock()
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

    def judge(self, check: Callable[..., None], *arguments: Any) -> None:
        """Ask whether a promise is broken, and end everything if so: a process that dies while it unwinds would raise
        Death in the place of this error."""
        try:
            check(*arguments)
        except ViolationError as error:
            self.fail(error)
            raise

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
            self.lose_a_lock()
        elif fault == "death":
            process.die()
            raise Death
        elif fault == "crash":
            for other in self.processes:
                other.die()
            self.crash()
            raise Death
        return fault == "error"

    def sleep(self, seconds: float) -> None:
        """Sleep for so long or longer."""
        process = self.current
        process.wake = self.time + seconds + self.rng.uniform(0, 0.5)
        self.hand_over(process)
        if process.dead:
            raise Death

    # What the processes share

    @abstractmethod
    def crash(self) -> None:
        """What was not flushed may be gone, and locks are."""

    @abstractmethod
    def lose_a_lock(self) -> None:
        """Writers lose their locks while they live."""
