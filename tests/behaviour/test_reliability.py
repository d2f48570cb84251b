"""Each promise of docs/reliability.md by its fault."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
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
from simulate.store.parts import committed, gaps, part_name, set_aside
from simulate.store.sets import DataSet, open_data_set

SMALL = ["network.width=8", "ensemble.networks=400", "ensemble.block=20"]


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one block each, however little work that is."""
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
    """A part of the same shape from a data set of another seed."""
    with_seed = name.parent.parent / "foreign"
    run([prepare(read_one([*SMALL, "ensemble.seed=9", f"output={with_seed}", "workers=1"]))], _quiet())
    name.write_bytes((with_seed / name.name).read_bytes())


def _quiet() -> runner.Progress:
    return runner.Progress(quiet=True)


@pytest.mark.parametrize("fault", [truncate, flip, empty, swap, foreign])
def test_damaged_parts_are_set_aside_and_computed_again(
    fault: Callable[[Path, Path], None], run: Callable[..., DataSet], tmp_path: Path, many_parts: None
) -> None:
    data = run(*SMALL, f"output={tmp_path}/a")
    whole, names = data.table(), sorted(data.path.glob("part-*.parquet"))
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
    assert again.table().equals(whole)
    for name, raw in damaged.items():
        assert name.with_name(f"{name.name}.damaged-1").read_bytes() == raw, "set aside, not deleted"
    assert all(name.stat().st_mtime_ns == when for name, when in kept.items() if name not in bad)
    assert status.status(again, verify=True)["damaged"] == {}


def writer(path: Path, *extra: str) -> subprocess.Popen[str]:
    slow = ["network.width=256", "network.depth=6", "ensemble.sampler=dense", "ensemble.networks=20000"]
    command = [sys.executable, "-m", "simulate", *slow, "ensemble.device=cpu", "workers=1", f"output={path}", *extra]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_second_writer_stops_and_names_the_holder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = writer(tmp_path / "a")
    try:
        wait_for(lambda: bool(locks.writers(tmp_path / "a")))
        holder = locks.writers(tmp_path / "a")[0]["pid"]
        job = prepare(read_one(["network.width=8", f"output={tmp_path}/b"]))
        (tmp_path / "b").mkdir()
        began = time.monotonic()
        named = pytest.raises(locks.HeldError, match=rf"networks 0 to 19999 .* process {holder} on")
        with named, locks.writing(tmp_path / "a", 100, 200):
            pass
        assert time.monotonic() - began < 2
        with locks.writing(tmp_path / "a", 20000, 30000), locks.writing(tmp_path / "b", 0, job.last):
            pass  # other addresses, and another data set
        assert main(["network.width=256", "network.depth=6", "ensemble.sampler=dense", "ensemble.networks=20000",
                     "ensemble.device=cpu", f"output={tmp_path}/a"]) == 2  # fmt: skip
        assert f"process {holder}" in capsys.readouterr().err
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    assert locks.writers(tmp_path / "a") == [], "the dead hold nothing"
    with locks.writing(tmp_path / "a", 0, 10):
        assert len(list((tmp_path / "a").glob(".writer-*"))) == 1


def test_ten_writers_twenty_rounds(tmp_path: Path) -> None:
    """Ten processes want the same range over and over, and add the next part when they have it: never two at a time,
    each gets its turn, no network is there twice or missing."""
    code = f"""
import time
from pathlib import Path
import numpy as np
from simulate.store import locks, parts
from simulate.store.layout import Layout
path = Path({str(tmp_path)!r})
layout = Layout(1, 1, 1, (1,), (1,), (), (0,), ("kernel",), {{}}, "float32")
for _ in range(20):
    while True:
        try:
            with locks.writing(path, 0, 2000):
                first = 10 * len(parts.committed(path))
                assert not (path / parts.part_name(first, first + 10)).exists()
                values = {{"g": np.full((10, 1, 1, 1), first, np.float32)}}
                parts.write_part(path, layout, {{}}, first, values, np.zeros((10, 1), np.int8))
            break
        except locks.HeldError:
            time.sleep(0.002)
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(10)]
    assert [p.wait(timeout=240) for p in processes] == [0] * 10
    there = committed(tmp_path)
    assert there == [(first, first + 10) for first in range(0, 2000, 10)]
    rows = [pq.read_table(tmp_path / part_name(*part), partitioning=None)["network"] for part in there]
    assert np.array_equal(np.concatenate([one.to_numpy() for one in rows]), np.arange(2000))


def test_shards_side_by_side_are_one_data_set(run: Callable[..., DataSet], tmp_path: Path, many_parts: None) -> None:
    """Ranges of addresses written by different runs, in any order, and then grown."""
    whole = run(*SMALL).table()
    out = f"output={tmp_path}/s"
    run(*SMALL[:1], "ensemble.block=20", "ensemble.networks=150", out)
    data = run(*SMALL, out)
    assert data.table().equals(whole)


def test_shards_of_separate_processes_are_one_data_set(
    run: Callable[..., DataSet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five at once, one of them killed and called again, then a sixth that finds everything done."""
    many = ["network.width=64", "ensemble.sampler=dense", "ensemble.networks=3000", "ensemble.device=cpu", "workers=1"]
    out = f"output={tmp_path}/a"

    def shard(k: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "simulate", *many, out, f"--shard={k}/5"]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    running = [shard(k) for k in (3, 0, 4, 2, 1)]
    running[1].kill()
    assert running[1].wait() != 0
    assert [p.wait(timeout=120) for p in running[2:]] == [0, 0, 0]
    assert running[0].wait() == 0
    for p in running:
        p.communicate()
    last = shard(0)
    assert last.communicate(timeout=120)[1].count("error") == 0
    data = open_data_set(tmp_path / "a")
    assert data.complete
    assert data.table().equals(run(*many).table())
    assert main([*many, out, "--shard=5/5"]) == 2
    assert "0 <= K < N" in capsys.readouterr().err


def test_a_hundred_writers_at_once(tmp_path: Path) -> None:
    """As the shards of a large sweep start: each its own range, none refused."""
    code = f"""
import sys, time
from pathlib import Path
from simulate.store import locks
k = int(sys.argv[1])
with locks.writing(Path({str(tmp_path)!r}), 10 * k, 10 * k + 10):
    time.sleep(1)
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(k)], stderr=subprocess.PIPE) for k in range(100)]
    assert [p.communicate(timeout=120)[1] for p in processes] == [b""] * 100
    assert [p.returncode for p in processes] == [0] * 100
    assert locks.writers(tmp_path) == []


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(stream: object, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks available"), locks.writing(tmp_path, 0, 10):
        pass


def test_parts_are_enough_for_all_shards() -> None:
    """Each of a thousand shards has some, of about the same size."""
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


@pytest.mark.parametrize("when", ["write", "fsync", "replace"])
def test_a_kill_in_each_step_of_a_commit_loses_nothing(
    when: str, run: Callable[..., DataSet], tmp_path: Path, many_parts: None
) -> None:
    """SIGKILL while a part is being written, flushed or renamed: all parts before it are there, and it is not."""
    code = f"""
import os, signal, sys
from simulate.running import plan
from simulate.store import parts
import simulate
plan.PART_WORK, plan.PARTS = 0, 10**6
count = 0
def killing(right):
    def call(*arguments, **named):
        global count
        count += 1
        if count == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return right(*arguments, **named)
    return call
if {when!r} == "write":
    parts.pq.write_table = killing(parts.pq.write_table)
else:
    setattr(os, {when!r}, killing(getattr(os, {when!r})))
simulate.run(*{SMALL!r}, "output={tmp_path}/a", "workers=1", "ensemble.device=cpu")
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    there = committed(tmp_path / "a")
    assert 2 <= len(there) < 20
    before = {name: name.stat().st_mtime_ns for name in (tmp_path / "a").glob("part-*.parquet")}
    data = run(*SMALL, f"output={tmp_path}/a")
    assert data.table().equals(run(*SMALL).table())
    assert all(name.stat().st_mtime_ns == stamp for name, stamp in before.items()), "nothing computed twice"


def test_status(
    run: Callable[..., DataSet], tmp_path: Path, capsys: pytest.CaptureFixture[str], many_parts: None
) -> None:
    data = run(*SMALL, f"output={tmp_path}/a")
    assert status.main([str(tmp_path)]) == 0
    set_aside(data.path, 40, 60)
    (data.path / part_name(100, 120)).write_bytes(b"")
    assert status.main([str(tmp_path / "a"), "--verify"]) == 1
    said = capsys.readouterr().out
    assert "380 of 400 networks, 1 gap, nobody is writing" in said
    assert "set aside: part-000000000040-000000000060.parquet.damaged-1" in said
    assert "damaged: part-000000000100-000000000120.parquet cannot be read" in said
    assert list(gaps([(0, 5), (7, 9)], 0, 12)) == [(5, 7), (9, 12)]
    logs = tmp_path / "slurm"
    logs.mkdir()
    (logs / "7_0.log").write_text("error: cut off\n10 networks in 1 data set, 1.0 s\n")
    (logs / "7_1.log").write_text("something\nerror: out of memory\n\n")
    assert status.main([str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"failed: {logs / '7_1.log'}: error: out of memory" in said
    assert "7_0" not in said, "it went on and got through"
    assert status.main([str(tmp_path / "nowhere")]) == 2
    assert status.main([]) == 2


def test_no_pickle_no_eval() -> None:
    """Nothing in the source loads what could run."""
    root = Path(__file__).parents[2]
    for folder in ("simulate", "analysis", "configs"):
        for path in (root / folder).rglob("*.py"):
            text = path.read_text()
            for word in ("pickle.load", "torch.load", "eval(", "exec(", "allow_pickle=True", "hydra.utils.instantiate"):
                assert word not in text.replace("model_eval(", ""), f"{path}: {word}"
    assert np.load  # numpy's own loader refuses pickles unless told otherwise
