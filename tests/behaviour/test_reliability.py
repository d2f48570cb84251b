"""Each promise of docs/reliability.md holds under the fault that it names."""

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simulate import status
from simulate.__main__ import main
from simulate.api import read_one
from simulate.running import plan, runner
from simulate.running.plan import part_size, share
from simulate.running.prepare import prepare
from simulate.running.runner import run
from simulate.store import locks
from simulate.store.files import StoreError
from simulate.store.parts import committed, gaps, part_path, set_aside
from simulate.store.sets import DataSet, open_data_set
from tests import forks

SMALL = ["network.width=8", "ensemble.networks=400", "ensemble.block=20"]


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one block each, however little work a block is."""
    monkeypatch.setattr(plan, "PART_WORK", 0)
    monkeypatch.setattr(plan, "PARTS", 10**6)


def truncate(name: Path, other: Path) -> None:
    name.write_bytes(name.read_bytes()[: name.stat().st_size // 2])


def flip(name: Path, other: Path) -> None:
    raw = bytearray(name.read_bytes())
    raw[len(raw) // 3] ^= 4
    name.write_bytes(raw)


def empty(name: Path, other: Path) -> None:
    name.write_bytes(b"")


def swap(name: Path, other: Path) -> None:
    first, second = name.read_bytes(), other.read_bytes()
    name.write_bytes(second)
    other.write_bytes(first)


def foreign(name: Path, other: Path) -> None:
    """Replace a part by one of the same shape from a data set of another seed."""
    output = name.parents[2] / "foreign"
    run([prepare(read_one([*SMALL, "ensemble.seed=9", f"output={output}", "workers=1"]))], _quiet())
    name.write_bytes((output / "networks" / name.name).read_bytes())


def _quiet() -> runner.Progress:
    return runner.Progress(quiet=True)


@pytest.mark.parametrize("fault", [truncate, flip, empty, swap, foreign])
def test_damaged_parts_are_set_aside_and_computed_again(
    fault: Callable[[Path, Path], None], run: Callable[..., DataSet], tmp_path: Path, many_parts: None
) -> None:
    data = run(*SMALL, f"output={tmp_path}/a")
    all_rows, names = data.table(), sorted(data.path.glob("networks/part-*.parquet"))
    assert len(names) == 20
    kept = {name: name.stat().st_mtime_ns for name in names}
    fault(names[3], names[7])
    bad = [names[3], names[7]] if fault is swap else [names[3]]
    assert sorted(status.status(data, verify=True)["damaged"]) == [name.name for name in bad]
    if fault not in (swap, foreign):
        with pytest.raises(StoreError, match="damaged"):
            data.table()
    damaged = {name: name.read_bytes() for name in bad}
    again = run(*SMALL, f"output={tmp_path}/a")
    assert again.table().equals(all_rows)
    for name, raw in damaged.items():
        assert (data.path / "damaged" / f"{name.name}.damaged-1").read_bytes() == raw, (
            "a damaged part is set aside, not deleted"
        )
    assert all(name.stat().st_mtime_ns == when for name, when in kept.items() if name not in bad)
    assert status.status(again, verify=True)["damaged"] == {}


def test_ranges_of_different_runs_are_one_data_set(
    run: Callable[..., DataSet], tmp_path: Path, many_parts: None
) -> None:
    """A data set that grew in two runs equals one that was made in one."""
    all_rows = run(*SMALL).table()
    out = f"output={tmp_path}/s"
    run(*SMALL[:1], "ensemble.block=20", "ensemble.networks=150", out)
    data = run(*SMALL, out)
    assert data.table().equals(all_rows)


def test_shards_of_separate_processes_are_one_data_set(
    run: Callable[..., DataSet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five shards run at once, and one of them is killed and run again: the data set is that of one run.

    A shard beyond the last is refused.
    """
    many = ["network.width=64", "ensemble.sampler=dense", "ensemble.networks=3000", "ensemble.device=cpu", "workers=1"]
    out = f"output={tmp_path}/a"

    def shard(k: int) -> forks.Forked | subprocess.Popen[str]:
        return forks.start("-m", "simulate", *many, out, f"--shard={k}/5")

    running = [shard(k) for k in (3, 0, 4, 2, 1)]
    running[1].kill()
    assert running[1].wait() != 0
    assert [p.wait(timeout=120) for p in running[2:]] == [0, 0, 0]
    assert running[0].wait() == 0
    for p in running:
        p.communicate()
    repeated = shard(0)
    assert repeated.communicate(timeout=120)[1].count("error") == 0
    data = open_data_set(tmp_path / "a")
    assert data.complete
    assert data.table().equals(run(*many).table())
    assert main([*many, out, "--shard=5/5"]) == 2
    assert "0 <= K < N" in capsys.readouterr().err


def test_parts_are_enough_for_all_shards() -> None:
    """Each of a thousand shards has some parts, and shards are of about the same size."""
    job = prepare(read_one(["network.width=64", "ensemble.networks=100000000", "ensemble.device=cpu",
                                   "observables=ntk", "output=nowhere"]))  # fmt: skip
    spans = [share(job.first, job.last, part_size(job, 1000), (k, 1000)) for k in range(1000)]
    sizes = [b - a for a, b in spans]
    assert sum(sizes) == 10**8
    assert 0.7 * 10**5 < min(sizes) <= max(sizes) < 1.3 * 10**5


def test_shards_cover_each_network_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, size, N = int(rng.integers(0, 500)), int(rng.integers(1, 70)), int(rng.integers(1, 12))
        last = first + int(rng.integers(1, 600))
        ranges = [share(first, last, size, (k, N)) for k in range(N)]
        assert [n for low, high in ranges for n in range(low, high)] == list(range(first, last))
        assert all(low % size == 0 or low == first for low, high in ranges if low < high)


@pytest.mark.parametrize("step", ["write", "sync", "replace"])
def test_a_kill_in_each_step_of_a_commit_loses_nothing(
    step: str, run: Callable[..., DataSet], tmp_path: Path, many_parts: None
) -> None:
    """SIGKILL while a part is written, flushed or renamed loses this part and none of those before it."""
    code = f"""
import os, signal, sys
from simulate.running import plan
from simulate.store import disk, parts
import simulate
plan.PART_WORK, plan.PARTS = 0, 10**6
count = 0
def killing(function):
    def call(*arguments, **options):
        global count
        count += 1
        if count == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
if {step!r} == "write":
    parts.pq.write_table = killing(parts.pq.write_table)
else:
    setattr(disk, {step!r}, killing(getattr(disk, {step!r})))
simulate.run(*{SMALL!r}, "output={tmp_path}/a", "workers=1", "ensemble.device=cpu")
"""
    killed = forks.run("-c", code)
    assert killed.returncode == -signal.SIGKILL
    assert 2 <= len(committed(tmp_path / "a")) < 20
    before = {name: name.stat().st_mtime_ns for name in (tmp_path / "a").glob("networks/part-*.parquet")}
    data = run(*SMALL, f"output={tmp_path}/a")
    assert data.table().equals(run(*SMALL).table())
    assert all(name.stat().st_mtime_ns == stamp for name, stamp in before.items()), "nothing is computed twice"


def test_status(
    run: Callable[..., DataSet], tmp_path: Path, capsys: pytest.CaptureFixture[str], many_parts: None
) -> None:
    data = run(*SMALL, f"output={tmp_path}/a")
    assert status.main([str(tmp_path)]) == 0
    with locks.writing(data.path, 0, 400) as writer:
        set_aside(writer, part_path(data.path, 40, 60))
    part_path(data.path, 100, 120).write_bytes(b"")
    assert status.main([str(tmp_path / "a"), "--verify"]) == 1
    stdout = capsys.readouterr().out
    assert "380 of 400 networks, 1 gap, nobody is writing" in stdout
    assert "set aside: part-000000000040-000000000060.parquet.damaged-1" in stdout
    assert "damaged: part-000000000100-000000000120.parquet differs from its digest" in stdout
    assert list(gaps([(0, 5), (7, 9)], 0, 12)) == [(5, 7), (9, 12)]
    logs = tmp_path / "slurm"
    logs.mkdir()
    (logs / "7_0.log").write_text("error: cut off\n10 networks in 1 data set, 1.0 s\n")
    (logs / "7_1.log").write_text("something\nerror: out of memory\n\n")
    assert status.main([str(tmp_path)]) == 1
    stdout = capsys.readouterr().out
    assert f"failed: {logs / '7_1.log'}: error: out of memory" in stdout
    assert "7_0" not in stdout, "this task was resumed and ended well"
    assert status.main([str(tmp_path / "nowhere")]) == 2
    assert status.main([]) == 2


CODE_FROM_DATA = re.compile(
    r"pickle\.load|torch\.load|(?<![\w.])eval\(|(?<![\w.])exec\(|allow_pickle=True|hydra\.utils\.instantiate"
)


def test_no_pickle_no_eval() -> None:
    """Nothing in the source loads data that could execute code."""
    root = Path(__file__).parents[2]
    for folder in ("simulate", "analysis", "configs"):
        for path in (root / folder).rglob("*.py"):
            assert not CODE_FROM_DATA.search(path.read_text()), path
    assert CODE_FROM_DATA.search("x = eval(text)"), "the control"
    assert not CODE_FROM_DATA.search("hermite_e.hermeval(z, c) + model.eval()")
