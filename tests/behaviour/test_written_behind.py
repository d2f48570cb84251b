"""Parts that threads commit while others are computed: data sets, logs and steps are those of a run without threads. A
CPU stands for the device."""

import json
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import simulate
from simulate.running import compute, plan
from simulate.running.progress import Progress
from simulate.store import commits, disk, locks
from simulate.store.parts import committed
from simulate.store.sets import DataSet, open_data_set

RUN = ["observables=ntk", "network.width=8", "network.depth=2", "ensemble.device=cpu", "workers=1",
       "ensemble.block=64", "ensemble.first=100", "ensemble.networks=600"]  # fmt: skip
PARTS = 10  # of RUN where a part is a block: the first and the last block are not wanted whole


class FullError(OSError):
    pass


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU counts as a device that computes while the host writes, and a part is a block."""
    monkeypatch.setattr(plan, "PART_WORK", 1)
    monkeypatch.setattr(plan, "PARTS", 10**6)
    monkeypatch.setattr(plan, "APART", ("cpu",))
    monkeypatch.setattr(plan, "cores", lambda: 4)


def run(folder: Path, *overrides: str) -> DataSet:
    return simulate.run(*RUN, *overrides, f"output={folder}")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """The steps on the disk from now on: by which thread, which, and on what file or folder."""
    found: list[tuple[str, str, str]] = []

    def watched(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any, *arguments: Any) -> Any:
            about = target.name.split(".parquet")[0].lstrip(".") if isinstance(target, Path) else ""
            found.append((threading.current_thread().name, name, about))
            return step(target, *arguments)

        return call

    for name in ("create", "append", "replace", "sync", "sync_folder", "try_lock"):
        monkeypatch.setattr(disk, name, watched(name, getattr(disk, name)))
    return found


def commits_of(steps: list[tuple[str, str, str]]) -> list[tuple[str, ...]]:
    """The steps of each commit of a part, which one thread makes from the first to the last."""
    under_way: dict[str, list[str]] = {}
    ended = []
    for thread, name, about in steps:
        if name == "create" and about.startswith("part"):
            under_way[thread] = []
        if thread in under_way:
            under_way[thread].append(name)
            if (name, about) == ("sync_folder", "networks"):
                ended.append(tuple(under_way.pop(thread)))
    return sorted(ended)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_threads_write_the_same_data_set(
    threads: int, apart: None, steps: list[tuple[str, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows, each part with one line in the log, by the same steps. A CPU writes in its own thread."""
    monkeypatch.setattr(plan, "APART", ())
    one = run(tmp_path / "one")
    alone = commits_of(steps)
    assert {thread for thread, *_ in steps} == {"MainThread"}
    assert len(alone) == PARTS
    steps.clear()
    monkeypatch.setattr(plan, "APART", ("cpu",) if threads else ())
    monkeypatch.setattr(plan, "WRITERS", threads)
    other = run(tmp_path / "other")
    assert other.table().equals(one.table())
    assert commits_of(steps) == alone
    writers = {thread for thread, name, about in steps if name == "create" and about.startswith("part")}
    assert ("MainThread" in writers) == (threads == 0)
    assert len(writers) <= max(threads, 1)
    (log,) = (tmp_path / "other" / "commits").iterdir()
    entered = [json.loads(line)["part"] for line in log.read_text().splitlines()]
    assert sorted(entered) == sorted(path.name for path in (tmp_path / "other" / "networks").iterdir())


@pytest.mark.parametrize("together", [False, True], ids=["in turn", "control"])
def test_threads_enter_the_log_in_turn(
    together: bool, apart: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a part's line to its name, no other thread is at the log. Without turns, some are."""
    inside, most, append = [0], [0], commits.append

    def slowly(*arguments: Any) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.02)
        append(*arguments)
        inside[0] -= 1

    monkeypatch.setattr(commits, "append", slowly)
    if together:
        monkeypatch.setattr("simulate.running.workers.Lock", nullcontext)
    run(tmp_path / "a")
    assert (most[0] > 1) == together


def stopped_by_the_disk(patch: pytest.MonkeyPatch) -> type[BaseException]:
    write = compute.write_part

    def full(writer: Any, layout: Any, metadata: Any, first: int, *others: Any) -> None:
        if first == 64 * 5:
            raise FullError
        write(writer, layout, metadata, first, *others)

    patch.setattr(compute, "write_part", full)
    return FullError


def stopped_by_hand(patch: pytest.MonkeyPatch) -> type[BaseException]:
    def advance(progress: Progress, name: str, networks: int, seconds: float | None = None) -> None:
        advanced.append(networks)
        if len(advanced) == 3:
            raise KeyboardInterrupt

    advanced: list[int] = []
    patch.setattr(Progress, "advance", advance)
    return KeyboardInterrupt


@pytest.mark.parametrize("stopped", [stopped_by_the_disk, stopped_by_hand])
def test_a_run_that_is_stopped_goes_on(
    stopped: Callable[[pytest.MonkeyPatch], type[BaseException]], apart: None, tmp_path: Path
) -> None:
    """Its parts are whole, its threads and locks have ended, and the next run makes what it has not."""
    whole = run(tmp_path / "whole").table()
    before = threading.active_count()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(stopped(patch)):
        run(tmp_path / "a")
    assert threading.active_count() == before
    assert locks.writers(tmp_path / "a") == []
    there = committed(tmp_path / "a")
    assert 3 <= len(there) < PARTS
    assert not list((tmp_path / "a").glob(".*tmp"))
    part = open_data_set(tmp_path / "a").table()
    assert part.equals(whole[whole["network"].isin(part["network"])].reset_index(drop=True))
    assert run(tmp_path / "a").table().equals(whole)
    assert set(there) <= set(committed(tmp_path / "a"))
