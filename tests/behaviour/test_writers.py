"""Many writers at once: each holds its networks, and the others stop and name it."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

import simulate
from simulate.__main__ import main
from simulate.api import read_one
from simulate.running import runner
from simulate.running.prepare import prepare
from simulate.store import disk, locks
from simulate.store.parts import committed, part_path
from tests import forks


def writer(path: Path, *extra: str) -> forks.Forked | subprocess.Popen[str]:
    slow = ["network.width=256", "network.depth=6", "ensemble.sampler=dense", "ensemble.networks=20000"]
    command = ["-m", "simulate", *slow, "ensemble.device=cpu", "workers=1", f"output={path}", *extra]
    return forks.start(*command, start_new_session=True)


FORKS = """
import os, sys, time, traceback
from pathlib import Path
import numpy as np
from simulate.store import disk, locks, parts
from simulate.store.layout import Layout
code, count = compile(sys.argv[1], "writer", "exec"), int(sys.argv[2])
for k in range(count):
    if not os.fork():
        try:
            exec(code, globals() | {"k": k})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
print(*(os.waitstatus_to_exitcode(os.wait()[1]) for k in range(count)))
"""


def forked(code: str, count: int) -> tuple[list[int], str]:
    """Exit codes and errors of so many processes at once, which run the code with the number k. They are forks of one
    that has imported the store, which would take each of them a second."""
    done = forks.run("-c", FORKS, code, str(count))
    return [int(word) for word in done.stdout.split()], done.stderr


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
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
            pass  # other addresses and another data set do not conflict
        assert main(["network.width=256", "network.depth=6", "ensemble.sampler=dense", "ensemble.networks=20000",
                     "ensemble.device=cpu", f"output={tmp_path}/a"]) == 2  # fmt: skip
        assert f"process {holder}" in capsys.readouterr().err
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    assert locks.writers(tmp_path / "a") == [], "dead writers hold nothing"
    with locks.writing(tmp_path / "a", 0, 10):
        assert len(list((tmp_path / "a").glob(".writer-*"))) == 1


def test_ten_writers_twenty_rounds(tmp_path: Path) -> None:
    """Ten processes lock the same range twenty times each, and add the next part while they hold the lock.

    Each process gets its turns, no two hold the lock at a time, and each network is written exactly once.
    """
    code = f"""
path = Path({str(tmp_path)!r})
layout = Layout(1, 1, 1, (1,), (1,), (), (0,), ("kernel",), {{}}, "float32")
for _ in range(20):
    while True:
        try:
            with locks.writing(path, 0, 2000) as writer:
                first = 10 * len(parts.committed(path))
                assert not parts.part_path(path, first, first + 10).exists()
                values = {{"g": np.full((10, 1, 1, 1), first, np.float32)}}
                parts.write_part(writer, layout, {{}}, first, values, np.zeros((10, 1), np.int8))
            break
        except locks.HeldError:
            time.sleep(0.002)
"""
    assert forked(code, 10) == ([0] * 10, "")
    done = committed(tmp_path)
    assert done == [(first, first + 10) for first in range(0, 2000, 10)]
    columns = [pq.read_table(part_path(tmp_path, *part), partitioning=None)["network"] for part in done]
    assert np.array_equal(np.concatenate([column.to_numpy() for column in columns]), np.arange(2000))


def test_a_hundred_writers_at_once(tmp_path: Path) -> None:
    """A hundred writers with a range each start at once, as shards of a large sweep do, and none is refused."""
    code = f"""
with locks.writing(Path({str(tmp_path)!r}), 10 * k, 10 * k + 10):
    time.sleep(1)
"""
    assert forked(code, 100) == ([0] * 100, "")
    assert locks.writers(tmp_path) == []


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(stream: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(disk.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks available"), locks.writing(tmp_path, 0, 10):
        pass


def test_a_sweep_that_may_not_open_enough_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighty locks with 64 files are refused before anything is written, unless the system allows more when asked."""
    job = prepare(read_one(["network.width=8", f"output={tmp_path}/s"]))
    before, raise_limit = resource.getrlimit(resource.RLIMIT_NOFILE), resource.setrlimit

    def refuse(*_: Any) -> None:
        raise ValueError  # as where the hard limit, which cannot be raised again, is 64

    try:
        raise_limit(resource.RLIMIT_NOFILE, (64, before[1]))
        with monkeypatch.context() as patch:
            patch.setattr(resource, "setrlimit", refuse)
            with pytest.raises(simulate.SettingsError, match="a run of 80 data sets needs 120 open files"):
                runner.run([job] * 80, runner.Progress(quiet=True))
        assert not (tmp_path / "s").exists()
        runner._check_open_files(80)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 120, "the control"
    finally:
        raise_limit(resource.RLIMIT_NOFILE, before)


# A worker that, as a compiled loop does, lets no other thread of its process run.
BUSY = """
import ctypes, multiprocessing, os, time
from simulate.processes import follow_parent

def work(pipe):
    follow_parent()
    pipe.send(os.getpid())
    ctypes.PyDLL(None).sleep(20)

if __name__ == "__main__":
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=work, args=(theirs,)).start()
    print(ours.recv(), flush=True)
    time.sleep(20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends a process with its parent")
def test_a_worker_within_a_loop_leaves_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(BUSY)
    command, where = [sys.executable, tmp_path / "busy.py"], os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=where) as parent:
        assert parent.stdout
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([worker], timeout=2)
    assert [process.pid for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
