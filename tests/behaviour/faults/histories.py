"""One history: writers, a worker and a reader on a machine that crashes, and what was promised to them."""

import re
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from simulate.running.plan import missing_ranges
from simulate.store import cells, commits, head, locks, parts
from simulate.store.files import StoreError, make_folder
from simulate.store.folders import HEAD
from simulate.store.manifest import MANIFEST, create
from simulate.store.parts import NOWHERE, committed, gaps, part_name, read_part, settle, write_part, write_sums
from simulate.store.sets import DataSet, open_data_set
from tests.behaviour.faults.files import File, Folder
from tests.behaviour.faults.machine import Machine
from tests.behaviour.faults.made import CELL, NETWORKS, PART, PATH, Made, Parquet
from tests.behaviour.faults.turns import Death, Process, ViolationError

FAULTS = (  # chances of a step; each seed has one of these mixtures
    {"death": 0.005, "crash": 0.004},
    {"error": 0.02, "slow": 0.01},
    {"slow": 0.05, "lost": 0.03},
    {"death": 0.004, "crash": 0.002, "error": 0.004, "slow": 0.02, "lost": 0.01},
)
SPANS = (  # what the writers write, in turn
    [(0, 20)],
    [(0, 10), (10, 20)],
    [(0, 20), (0, 10), (10, 20), (4, 20)],
)
HELD = re.compile(r"networks (\d+) to (\d+) are being written by process (\d+) on (\S+), since")


class History:
    """One seed: the processes on one machine, and what was promised to them."""

    def __init__(self, seed: int, made: "Made", steered: "Steered | None", broken: "Broken | None"):
        # Every fifth seed keeps sums; a draw would change the histories of the others.
        self.made, self.broken = made.summed if made.summed and seed % 5 == 3 else made, broken
        self.machine = Machine(seed, {})
        self.rng = self.machine.rng
        self.machine.faults = dict(self.rng.choice(FAULTS))
        self.machine.on_change, self.machine.on_crash = self.check_names, self.check_contents
        self.spans = self.rng.choice(SPANS)
        if steered:
            self.machine.faults, self.machine.steer = {}, partial(steered, self)
        self.reported: set[tuple[int, int]] = set()
        self.created = False
        self.lives: list[tuple[Process, int, tuple[str, int], tuple[int, int]]] = []
        self.ends: dict[tuple[Process, int], float] = {}
        self.tasks: list[tuple[int, locks.Writer, int, int]] = []  # of the worker process

    def run(self) -> None:
        """Raises ViolationError, or what the store raised and must not."""
        with self.machine.installed() as patch:
            self.made.install(patch)
            if self.broken:
                self.broken(patch)
            count = self.rng.choice((1, 2, 3, 4, 4))
            writers = [self._repeatedly(self._write, self.spans[k % len(self.spans)]) for k in range(count)]
            roles = [*writers, self._repeatedly(self._read)]
            if self.rng.random() < 0.3:
                roles.append(self._worker)
            self.machine.run(*roles)
            self.machine.faults, self.machine.steer = {}, lambda process, step: None
            self.machine.time += 1000
            self.machine.run(self._finish)

    # Processes

    def _repeatedly(self, attempt: Callable[..., None], *arguments: Any) -> Callable[[Process], None]:
        def role(process: Process) -> None:
            for _ in range(12):
                try:
                    process.begin()
                    self.machine.sleep(self.rng.uniform(0, self.rng.choice((0.1, 2))))
                    attempt(process, *arguments)
                    return
                except Death:
                    if self.machine.failure:
                        return
                except (locks.HeldError, BrokenProcessPool):
                    pass  # it tries again
                except OSError as error:
                    swept = isinstance(error, FileNotFoundError) and ".tmp" in str(error)
                    if not process.errors and not (swept and self.machine.counts["slow"]):
                        raise

        return role

    def _write(self, process: Process, span: tuple[int, int]) -> None:
        began, life = self.machine.time, process.life
        self.lives.append((process, life, process.name, span))
        try:
            make_folder(PATH)
            with locks.writing(PATH, *span) as writer:
                notes = create(writer, self.made.manifest, *self.made.samples)
                if not self.made.layout.keeps_rows:
                    notes += head.keep(writer, self.made.layout, self.made.digest, self.made.head, NOWHERE)
                assert not notes, notes
                self.created = True
                self._fill(process, writer)
        except locks.HeldError as error:
            self._check_refusal(str(error), process, span, began)
            raise
        except StoreError as error:
            if "no longer the writer" not in str(error) or not self.machine.counts["lost"]:
                raise
        finally:
            self.ends[process, life] = self.machine.time

    def _fill(self, process: Process, writer: locks.Writer) -> None:
        there, log = committed(PATH), commits.read(PATH, self.made.digest)
        for first, last in there:
            if writer.first < last and first < writer.last:
                lines = log.get(part_name(first, last), [])
                # A worker may have the name of its parent here, and take its log for known before it is flushed.
                alone = not any(other.role == self._worker for other in self.machine.processes)
                assert lines or not alone, f"{part_name(first, last)} has no line"
                note = settle(writer, self.made.layout, self.made.digest, first, last, lines)
                if not self.made.layout.keeps_rows:
                    note = note or head.settle(writer, first, last, self.made.head.plan)
                assert not note, note
        done = [(max(a, writer.first), min(b, writer.last)) for a, b in committed(PATH)]
        done = [(a, b) for a, b in done if a < b]
        given = []
        for first, last in missing_ranges(writer.first, writer.last, done, PART):
            if self.rng.random() < 0.5 and any(p.role == self._worker and not p.ended for p in self.machine.processes):
                given.append((process.life, writer, first, last))
                self.tasks.append(given[-1])
            else:
                self._commit(writer, first, last)
        while any(task in self.tasks for task in given):
            self.machine.sleep(0.1)
        if not {(first, last) for *_, first, last in given} <= self.reported:
            raise BrokenProcessPool
        ranges = committed(PATH)
        if not list(gaps(ranges, writer.first, writer.last)):  # a run that ends well says so, whoever wrote the parts
            self.reported |= {part for part in ranges if part[0] < writer.last and writer.first < part[1]}

    def _commit(self, writer: locks.Writer, first: int, last: int) -> None:
        made, metadata = self.made, {"identity": self.made.digest}
        if made.layout.keeps_rows:
            values, status = made.rows(first, last)
            write_part(writer, made.layout, metadata, first, values, status)
        else:
            write_sums(writer, metadata, first, last, made.sums(first, last), made.head.plan)
        self.reported.add((first, last))

    def _worker(self, process: Process) -> None:
        """A worker process, which can outlive its parent for a while. Its task ends in any case."""
        writers = [other for other in self.machine.processes if other.role not in (self._worker,)]
        while not all(other.ended for other in writers) and not self.machine.failure:
            try:
                process.begin()
                process.name = process.name[0], 4711  # in the namespace of its parent, and so another number
                while not self.tasks and not all(other.ended for other in writers):
                    self.machine.sleep(0.5)
                if self.tasks:
                    try:
                        self._commit(*self.tasks[0][1:])
                    finally:
                        self.tasks.pop(0)
            except (Death, locks.HeldError, StoreError):
                pass
            except OSError:
                if not process.errors and not self.machine.counts["slow"]:
                    raise

    def _read(self, process: Process) -> None:
        for _ in range(3):
            before, created, errors = set(self.reported), self.created, process.errors
            try:
                data = open_data_set(PATH)
                ranges = committed(PATH)
                found = self._networks(data, ranges)
            except StoreError:
                if created and process.errors == errors:
                    raise
            else:
                assert before <= set(ranges), f"{before - set(ranges)} are missing"
                assert found == [n for first, last in ranges for n in range(first, last)]
            self.machine.sleep(1.0)

    def _networks(self, data: DataSet, ranges: list[tuple[int, int]]) -> list[int]:
        """The networks that parts hold, in their order."""
        columns = ["network"] if data.layout.keeps_rows else None
        tables = [read_part(PATH, data.layout, *part, columns) for part in ranges]
        if data.layout.keeps_rows:
            return [n for table in tables for n in table["network"].to_pylist()[:: len(data.layout.layers)]]
        assert head.plan_of(head.head_of(data)) == self.made.head.plan
        assert not any(cells.fault(table, *part) for table, part in zip(tables, ranges, strict=True))
        return [n for table in tables for k in table["cell"].to_pylist() for n in range(k * CELL, (k + 1) * CELL)]

    def _finish(self, process: Process) -> None:
        """A run without faults completes the set, and removes what others have left."""
        self._write(process, (0, NETWORKS))
        data = open_data_set(PATH)
        assert data.complete
        assert self._networks(data, committed(PATH)) == list(range(NETWORKS))
        if data.layout.keeps_rows:
            assert np.array_equal(data.read("g")[:, 0, 0, 0], np.arange(NETWORKS))
        left = [name for name in self.files() if (name.startswith(".") and name != ".writers") or "damaged" in name]
        assert not left, left

    # What is promised

    def files(self) -> dict[str, File]:
        """The files of the data set by name, in whatever folder of it they are; that of the head as "head"."""
        found: dict[str, File] = {}
        folders: list[tuple[str, File]] = [("", self.machine.root)]
        while folders:
            above, folder = folders.pop()
            assert isinstance(folder, Folder)
            for name, file in folder.files.items():
                if isinstance(file, Folder):
                    folders.append((name, file))
                else:
                    found[HEAD if above == HEAD else name] = file
        return found

    def check_names(self, replaced: str | None = None) -> None:
        """No network is written twice or in two parts, and none that was reported is missing."""
        if replaced and parts._PART.fullmatch(replaced):
            raise ViolationError(f"{replaced} is committed twice")
        ranges = sorted((int(m[1]), int(m[2])) for m in map(parts._PART.fullmatch, self.files()) if m)
        for (_, last), (first, _) in pairwise(ranges):
            if first < last:
                raise ViolationError(f"networks are committed twice: {ranges}")
        if lost := self.reported - set(ranges):
            raise ViolationError(f"networks {lost} were reported as committed and are lost")

    def check_contents(self) -> None:
        """After a crash of the machine, all that has a name is whole."""
        self.check_names()
        for name in (MANIFEST,) if self.made.layout.keeps_rows else (MANIFEST, HEAD):
            if self.created and name not in self.files():
                raise ViolationError(f"{name} is lost")
        for name, file in self.files().items():
            key = ("network", 0, CELL - 1) if name == HEAD else None
            if match := parts._PART.fullmatch(name):
                first, last = int(match[1]), int(match[2]) - 1
                rows = self.made.layout.keeps_rows
                key = ("network", first, last) if rows else ("cell", first // CELL, last // CELL)
            if key:
                if file.content != Parquet.written[key]:
                    raise ViolationError(f"{name} is cut")
            elif not name.startswith(".") and not name.endswith(".jsonl") and not file.content.rstrip(b"\0"):
                raise ViolationError(f"{name} is empty")

    def _check_refusal(self, text: str, process: Process, span: tuple[int, int], began: float) -> None:
        """Whoever is named held the networks named, some of which were wanted, while this process tried."""
        if "its list of writers is held" in text:  # by one that was slow in each of the few steps of entering
            assert self.machine.time - began > locks.PATIENCE
            return
        match = HELD.search(text)
        assert match, text
        named, held = (match[4], int(match[3])), (int(match[1]), int(match[2]) + 1)
        assert max(held[0], span[0]) < min(held[1], span[1]), text
        for other, life, name, its_span in self.lives:
            if (other, life) == (process, process.life) or (name, its_span) != (named, held):
                continue
            end = self.ends.get((other, life), other.death if other.life == life else 0.0)
            if end >= began or process.errors:  # in doubt, a dead one counts as a holder
                return
        raise ViolationError(f"{text}: nobody was")


Steered = Callable[[History, Process, str], str | None]  # the fault of a step
Broken = Callable[[pytest.MonkeyPatch], None]  # takes a precaution out of the store


def play(seed: int, made: Made, steered: Steered | None = None, broken: Broken | None = None) -> History:
    history = History(seed, made, steered, broken)
    try:
        history.run()
    except BaseException as error:
        steps = "\n".join(f"{when - 1e9:10.3f} {name} {what}" for when, name, what in history.machine.trace[-60:])
        raise ViolationError(f"seed {seed}: {error!r}\n{steps}\nFAULTS_SEED={seed} repeats it") from error
    return history
