"""Runs on a disk that fails at any step that touches it, at a limit on file sizes, when full, or when read-only."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from simulate.__main__ import main
from simulate.running import plan
from simulate.store import disk, parts
from simulate.store.manifest import MANIFEST
from simulate.store.parts import committed
from simulate.store.sets import DataSet, open_data_set
from tests import forks

MANY = ["network.width=8", "ensemble.networks=80", "ensemble.block=20", "ensemble.device=cpu", "workers=1"]
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class Disk:
    """A disk that counts operations on files below `folder`, and fails from operation number `fails_at` on."""

    def __init__(self, folder: Path, fails_at: int = 0, code: int = errno.ENOSPC):
        self.folder, self.fails_at, self.code, self.done = folder, fails_at, code, 0

    def step(self) -> None:
        self.done += 1
        if 0 < self.fails_at <= self.done:
            raise OSError(self.code, os.strerror(self.code))

    @contextmanager
    def installed(self) -> Iterator[None]:
        patch = pytest.MonkeyPatch()
        patch.setattr(plan, "PART_WORK", 0)  # each block becomes a part
        patch.setattr(plan, "PARTS", 10**6)
        write_table = parts.pq.write_table

        def write(table: Any, stream: Any, **options: Any) -> None:
            if self.done + 1 == self.fails_at:
                stream.write(b"PAR1 half of a part")  # some bytes are written before the disk fails
            self.step()
            write_table(table, stream, **options)

        patch.setattr(parts.pq, "write_table", write)
        patch.setattr(disk, "sleep", lambda seconds: None)
        for name in ("create", "open_shared", "open_for_reading", "sync", "sync_folder", "append", "replace", "make"):
            patch.setattr(disk, name, self._counted(getattr(disk, name)))
        try:
            yield
        finally:
            patch.undo()

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(target: Any, *arguments: Any) -> Any:
            if not isinstance(target, Path) or self.folder in (target, *target.parents):
                self.step()
            return function(target, *arguments)

        return call


def test_each_step_that_touches_the_disk(
    run: Callable[..., DataSet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk that is full, over quota, read-only or broken at any step gives exit code 1 and one line with the reason.

    Committed parts are whole, and the same command resumes. The four errors take turns over all steps.
    """
    all_rows = run(*MANY).table()
    counting = Disk(tmp_path / "c")
    with counting.installed():
        assert main([*MANY, f"output={tmp_path}/c"]) == 0
    assert counting.done > 40
    capsys.readouterr()
    stopped = set()
    for k in range(1, counting.done):  # the last step is that of a writer who leaves, which may fail
        code, out = ERRORS[k % len(ERRORS)], tmp_path / f"k{k}"
        with Disk(out, k, code).installed():
            assert main([*MANY, f"output={out}"]) == 1, k
        stderr = capsys.readouterr().err
        assert stderr.count("error:") == 1
        assert os.strerror(code) in stderr
        assert not list(out.glob(".*tmp"))
        if (out / MANIFEST).exists() and committed(out):
            data = open_data_set(out)
            expected = all_rows[all_rows["network"].isin(data.table()["network"])].reset_index(drop=True)
            assert data.table().equals(expected)
            stopped.add(data.networks)
        assert main([*MANY, f"output={out}"]) == 0
        assert open_data_set(out).table().equals(all_rows)
        capsys.readouterr()
    assert len(stopped) >= 4, "faults must fall between parts, too"


def test_a_limit_on_the_size_of_files(tmp_path: Path, run: Callable[..., DataSet]) -> None:
    """A run whose parts exceed the limit on the size of files stops with one line, and can be resumed."""

    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, 2**14))\n"
    limited += "from simulate.__main__ import command; sys.exit(command())"
    many = [*MANY[:1], "ensemble.networks=8000", *MANY[3:]]
    refused = forks.run("-c", limited, *many, f"output={tmp_path}/a")
    assert refused.returncode == 1, refused.stderr
    assert os.strerror(errno.EFBIG) in refused.stderr
    assert refused.stderr.count("error:") == 1
    assert not list((tmp_path / "a").glob(".*tmp"))
    forks.run("-m", "simulate", *many, f"output={tmp_path}/a", check=True)
    assert open_data_set(tmp_path / "a").table().equals(run(*many).table())


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A new file system of eight megabytes. Where none can be mounted, the test skips itself and says so."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(mounted: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(mounted)], check=True)


def test_a_full_disk(mounted: Path, run: Callable[..., DataSet]) -> None:
    """A full disk gives exit code 1 and one line; committed parts stay readable, and the run resumes with more room."""
    remount(mounted, "size=250k")
    code = (
        "import sys; from simulate.running import plan, runner; plan.PART_WORK, plan.PARTS = 0, 10**6\n"
        "import shutil; usage = shutil.disk_usage; shutil.disk_usage = lambda p: usage(p)._replace(free=2**40)\n"
        "from simulate.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    many = ["network.width=8", "ensemble.networks=6000", "ensemble.block=200", f"output={mounted}/a"]
    command = ["-c", code, *many, "workers=1", "ensemble.device=cpu"]
    full = forks.run(*command)
    assert full.returncode == 1
    assert "No space left" in full.stderr
    assert full.stderr.count("error:") == 1
    data = open_data_set(mounted / "a")
    assert 0 < data.networks < 6000
    assert len(data.table()) == data.networks * 4
    assert not list((mounted / "a").glob(".*tmp"))
    remount(mounted, "size=64m")
    forks.run(*command, check=True)
    assert open_data_set(mounted / "a").table().equals(run(*many[:-1]).table())


def test_a_read_only_disk(mounted: Path, run: Callable[..., DataSet]) -> None:
    """A run onto a read-only disk is refused with exit code 2; a data set there can be read and judged complete."""
    data = run(*MANY, f"output={mounted}/a")
    remount(mounted, "ro")
    for out in (mounted / "a", mounted / "b"):
        done = forks.run("-m", "simulate", *MANY[:1], "ensemble.networks=200", *MANY[2:], f"output={out}")
        assert done.returncode == 2
        assert "cannot be written to" in done.stderr
    assert data.table().equals(run(*MANY).table())
    forks.run("-m", "simulate.status", mounted, check=True)
