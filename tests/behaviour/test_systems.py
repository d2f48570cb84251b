"""Systems other than Linux: what only Linux has is hidden from a run, which makes the same rows; Windows is refused."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

import simulate
from simulate.store import disk
from simulate.store.sets import find

# What Python runs first in the process and in its workers. psutil has its own ways on each system, so it may read /proc
# here. What the libraries of the system read for themselves is not hidden.
SITECUSTOMIZE = """
import builtins, ctypes, io, os, sys

for name in ("sched_getaffinity", "sched_setaffinity", "fork", "forkpty", "memfd_create", "posix_fadvise"):
    delattr(os, name)

def hiding(opened):
    def open_or_not(path, *arguments, **named):
        caller = sys._getframe(1)
        while caller.f_globals["__name__"] == "pathlib" or caller.f_globals["__name__"].startswith("pathlib."):
            caller = caller.f_back
        asks = caller.f_globals["__name__"]
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(("/proc/", "/sys/", "/dev/shm")):
            if not asks.startswith("psutil"):
                raise FileNotFoundError(2, "hidden", os.fspath(path))
        return opened(path, *arguments, **named)
    return open_or_not

builtins.open, io.open, os.open = hiding(builtins.open), hiding(io.open), hiding(os.open)

class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name in ("mallopt", "malloc_trim", "mallinfo2", "prctl"):
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Library
with open(os.environ["HIDDEN_FROM"], "a") as log:
    log.write(" ".join(sys.orig_argv) + "\\n")
"""
# The demo's first claim in little. The libraries have loaded their files for Linux when the system calls itself a Mac.
PROGRAM = """
import ctypes, os, pathlib, sys
import analysis.pipeline, simulate.running.runner
from analysis.__main__ import main as analyze
from simulate.__main__ import main
from simulate.system import cores

sys.platform = "darwin"
for only_linux in (
    lambda: os.sched_getaffinity(0), lambda: os.fork(), lambda: open("/proc/meminfo"),
    lambda: pathlib.Path("/proc/self/statm").read_text(), lambda: ctypes.CDLL(None).mallopt,
):
    try:
        only_linux()
    except (AttributeError, FileNotFoundError):
        continue
    sys.exit("something is not hidden")
assert cores() == os.cpu_count()
*arguments, output = sys.argv[1:]
sys.exit(main([*arguments, "workers=2", f"output={output}"]) or analyze([f"data={output}", "figures=false"]))
"""
CLAIM = ("experiment=demo/preactivations", "ensemble.networks=300", "ensemble.device=cpu")


def test_the_first_claim_of_the_demo_needs_nothing_that_only_linux_has(tmp_path: Path) -> None:
    """Affinity, /proc, mallopt and fork are hidden from the process and from its worker. The rows are the same bits."""
    (tmp_path / "prelude").mkdir()
    (tmp_path / "prelude" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    where = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "prelude"), *sys.path]),
        "HIDDEN_FROM": str(tmp_path / "log"),
    }
    command = [sys.executable, "-c", PROGRAM, *CLAIM, str(tmp_path / "there")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | where)
    assert done.returncode == 0, done.stderr
    assert "each of 2 processes" in done.stderr
    assert "spawn_main" in (tmp_path / "log").read_text()
    assert (tmp_path / "there" / "analysis" / "report.html").exists()
    there = {data.path.name: data.table() for data in find(tmp_path / "there")}
    here = simulate.sweep(*CLAIM, "workers=1", f"output={tmp_path}/here")
    assert len(here) == len(there) == 5
    for data in here:
        assert data.table().equals(there[data.path.name])


@pytest.mark.parametrize("package", ["simulate", "analysis"])
def test_windows_is_refused_in_one_line(package: str) -> None:
    """Where fcntl is missing, as on Windows, both command lines say so before anything else."""
    program = f"import sys; sys.modules['fcntl'] = None; import runpy; runpy.run_module('{package}')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: writers lock their files by fcntl, which Windows does not have: use Linux")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("refusal", [None, errno.ENOTSUP, errno.EIO])
def test_flushes_reach_the_disk_of_a_mac(refusal: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS fsync stops at the disk's own cache: F_FULLFSYNC is asked for, and fsync where a file system lacks it.

    An error of the disk stays one.
    """
    calls = []

    def control(descriptor: int, command: int) -> None:
        calls.append(command)
        if refusal:
            raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    with disk.create(tmp_path / "a") as stream:
        if refusal == errno.EIO:
            with pytest.raises(OSError, match="Input/output error"):
                disk.sync(stream)
        else:
            disk.sync(stream)
    disk_calls, calls[:] = list(calls), []
    if refusal != errno.EIO:
        disk.sync_folder(tmp_path)
        assert calls == disk_calls
    assert disk_calls == ([51, "fsync"] if refusal == errno.ENOTSUP else [51])


HUGE_PAGES = """
import numpy as np
from simulate.running.process import keep_memory

def asks():
    \"\"\"Whether the mapping that holds a fresh array of a megabyte has the flag hg, "huge page advise".\"\"\"
    array = np.empty(2**17)
    for line in open("/proc/self/smaps"):
        name, *rest = line.split()
        if "-" in name and not name.endswith(":"):
            low, high = (int(end, 16) for end in name.split("-"))
            here = low <= array.ctypes.data + array.nbytes // 2 < high
        elif name == "VmFlags:" and here:
            return "hg" in rest

before = asks()
keep_memory()
print(before, asks())
"""


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="the system has no huge pages")
def test_arrays_of_a_block_are_in_memory_that_huge_pages_are_asked_for() -> None:
    """The kernel marks it so. Negative control: an array of the process before it computes."""
    done = subprocess.run([sys.executable, "-c", HUGE_PAGES], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
