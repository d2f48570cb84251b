"""Up to four writers and a reader share a data set on a machine that crashes (machine.py): nothing is lost or doubled.

Each seed is one history. FAULTS_SEED=N repeats one and prints its last steps; FAULTS_SECONDS=N runs seeds from
FAULTS_FIRST on for so many seconds of a core.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simulate.store import disk, head, locks, manifest, parts
from tests.behaviour.faults.histories import Broken, History, Steered, play
from tests.behaviour.faults.machine import STEPS, Machine
from tests.behaviour.faults.made import NETWORKS, PART, Made
from tests.behaviour.faults.turns import Process, ViolationError

FIRST_SEED = int(os.environ.get("FAULTS_FIRST", "20261125"))
SECONDS = float(os.environ.get("FAULTS_SECONDS", "15"))


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    gc.freeze()  # else each collection walks through all that the suite has imported
    yield Made()
    gc.unfreeze()


def test_histories(made: Made) -> None:
    """As many seeds as fit into FAULTS_SECONDS of a core, or the one of FAULTS_SEED."""
    if seed := os.environ.get("FAULTS_SEED"):
        play(int(seed), made)
        return
    deadline, seeds, steps, counts = time.process_time() + SECONDS, 0, 0, dict.fromkeys(Machine.KINDS, 0)
    while time.process_time() < deadline or seeds < 100:
        machine = play(FIRST_SEED + seeds, made).machine
        seeds, steps = seeds + 1, steps + machine.steps
        counts = {kind: counts[kind] + machine.counts[kind] for kind in counts}
    print(f"{seeds} seeds, {steps} steps, {counts}")
    assert all(counts.values()), counts


# Histories whose faults are chosen, where chance would take too long:


def killed_after_the_last_part(history: History, process: Process, step: str) -> str | None:
    """A writer dies when it has renamed the last part; the machine crashes when the next one has ended."""
    whole = len(list(filter(parts._PART.fullmatch, history.files()))) == NETWORKS // PART
    kill = whole and process.role != history._worker and not history.machine.counts["death"]
    if kill and step == "sync_folder networks":
        return "death"
    return "crash" if len(history.reported) == NETWORKS // PART and step.startswith("remove .writer") else None


def slow_after_the_check(history: History, process: Process, step: str) -> str | None:
    """A writer is slow when it has checked that it is the writer, and locks are lost meanwhile."""
    if step.startswith("replace .part"):
        return "slow"
    return "lost" if step.startswith("open_for_reading .writer") else None


def entries_in_doubt(history: History, process: Process, step: str) -> str | None:
    """Those that are not writers cannot open the entries of writers."""
    entered = any(stream.writes for stream in process.streams)
    return "error" if step.startswith("open_for_reading .writer") and not entered else None


def dead_entries_stay(history: History, process: Process, step: str) -> str | None:
    """Locks are lost, and those that enter cannot remove the entries of writers that have none."""
    if step.startswith("remove .writer"):
        return "error"
    if step.startswith("replace .part"):
        return "slow"
    return "lost" if step.startswith("open_for_reading .writer") else None


# Negative controls: each takes one precaution out of the store.


def files_are_not_flushed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disk, "sync", lambda stream: stream.flush())


def folders_are_not_flushed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disk, "sync_folder", lambda path: None)


def parents_are_not_flushed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disk, "may_write", lambda path: False)


def names_given_by_others_are_not_flushed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(manifest, "disk", SimpleNamespace(**vars(disk) | {"sync_folder": lambda path: None}))


def no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(locks.Writer, "fence", lambda writer, alone=False: nullcontext())


def a_fence_without_lock(patch: pytest.MonkeyPatch) -> None:
    both = locks._list_of_writers
    patch.setattr(locks, "_list_of_writers", lambda path, shared=False: nullcontext() if shared else both(path))


def doubt_is_free(patch: pytest.MonkeyPatch) -> None:
    def unlocked(path: Path) -> bool:
        try:
            with disk.open_for_reading(path) as stream:
                return disk.try_lock(stream, shared=True)
        except FileNotFoundError:
            raise
        except OSError:
            return True

    patch.setattr(locks, "unlocked", unlocked)


def entries_that_stay_are_ignored(patch: pytest.MonkeyPatch) -> None:
    def remove(path: Path) -> None:
        with suppress(OSError):
            disk.remove(path)

    patch.setattr(locks, "disk", SimpleNamespace(**vars(disk) | {"remove": remove}))


def temporaries_are_numbered_by_process(patch: pytest.MonkeyPatch) -> None:
    """Two containers can have the same name and number; each removed what was left under its name."""

    def create(path: Path) -> Any:
        if path.name.endswith(".tmp"):
            with suppress(FileNotFoundError):
                disk.remove(path)
        return made(path)

    made = disk.create
    patch.setattr(disk, "create", create)
    patch.setattr(disk, "number", disk.process)


def a_head_that_is_there_is_replaced(patch: pytest.MonkeyPatch) -> None:
    """A shard looked for the head of sums before another one gave it its name."""
    commit_table = head.commit_table
    patch.setattr(head, "commit_table", lambda *arguments, first: commit_table(*arguments))


CONTROLS: list[tuple[Broken, Steered | None]] = [
    (files_are_not_flushed, None),
    (folders_are_not_flushed, None),
    (parents_are_not_flushed, None),
    (names_given_by_others_are_not_flushed, killed_after_the_last_part),
    (no_fence, None),
    (a_fence_without_lock, slow_after_the_check),
    (doubt_is_free, entries_in_doubt),
    (entries_that_stay_are_ignored, dead_entries_stay),
    (temporaries_are_numbered_by_process, None),
    (a_head_that_is_there_is_replaced, None),
]
MOST_SEEDS = 200


@pytest.mark.parametrize(("broken", "steered"), CONTROLS, ids=lambda value: getattr(value, "__name__", "by_chance"))
def test_a_broken_store_is_found(broken: Broken, steered: Steered | None, made: Made) -> None:
    """Without any one precaution a promise is broken within MOST_SEEDS seeds, and with it none is on the same ones."""
    for seed in range(FIRST_SEED, FIRST_SEED + MOST_SEEDS):
        try:
            play(seed, made, steered, broken)
        except ViolationError as error:
            print(str(error).splitlines()[0])
            play(seed, made, steered)
            return
        if steered:
            play(seed, made, steered)
    pytest.fail(f"not found in {MOST_SEEDS} seeds")


def test_a_manifest_that_is_found_is_flushed(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another shard may have given it its name just now. Seed 20276234 found that a crash then took it away."""
    done: list[tuple[str, Path]] = []

    def watched(name: str, function: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def call(path: Path) -> Any:
            done.append((name, path))
            return function(path)

        return call

    with locks.writing(tmp_path, 0, NETWORKS) as writer:
        manifest.create(writer, made.manifest, *made.samples)
        for name in ("read", "sync_folder"):
            monkeypatch.setattr(disk, name, watched(name, getattr(disk, name)))
        manifest.create(writer, made.manifest, *made.samples)
    assert done[-2:] == [("read", tmp_path / manifest.MANIFEST), ("sync_folder", tmp_path)]


def test_a_broken_promise_is_told_by_a_process_that_is_dead() -> None:
    """What unwinds after a crash ends in Death, which must not take the place of what was found."""
    machine = Machine(0, {})

    def broken() -> None:
        raise ViolationError("broken")

    def role(process: Process) -> None:
        process.die()
        try:
            machine.crash()
        finally:
            machine.step("remove")

    machine.on_crash = broken
    with pytest.raises(ViolationError, match="broken"):
        machine.run(role)


def test_the_machine_has_all_steps() -> None:
    """The machine stands in for every function of the disk: no step of the store passes it by."""
    assert len(STEPS) > 20
    assert [name for name in sorted(STEPS) if not hasattr(Machine, name)] == []
