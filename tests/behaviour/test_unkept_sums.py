"""Sums that cannot be kept, or that somebody else wrote: the analysis reads the networks again, and says so in one line
where it would do so each time."""

import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

import simulate
from analysis import kept, streams, walks
from analysis.__main__ import main
from tests.behaviour.test_disk import mounted, remount
from tests.behaviour.test_streams import QUICK, in_ranges, work_at

__all__ = ["in_ranges", "mounted"]  # fixtures
NETWORK = ["network.width=8", "network.depth=2", *QUICK]


def outcomes(folder: Path) -> dict[walks.Run, walks.Outcome]:
    """What is found in ranges, which is what is found at once."""
    work = work_at(folder, "V", "G1")
    found, _ = streams.outcomes(work.point, {}, work.runs, kept.gather_with())
    assert all(walks.same(walks.outcome(run, work.point, {}), found[run]) for run in work.runs)
    return found


def contents(folder: Path) -> dict[Path, bytes]:
    """All files but the sums."""
    return {f: f.read_bytes() for f in folder.rglob("*") if f.is_file() and "sums" not in f.parts}


@pytest.fixture
def data(tmp_path: Path, in_ranges: None) -> Path:
    """A data set with sums."""
    simulate.run(*NETWORK, f"output={tmp_path}/a")
    outcomes(tmp_path / "a")
    return tmp_path / "a"


def _emptied(sums: Path) -> None:
    for file in sums.iterdir():
        file.unlink()
    sums.rmdir()


def a_file_for_the_folder(sums: Path, mine: Path) -> None:
    _emptied(sums)
    sums.write_text("mine")


def a_pipe_for_the_folder(sums: Path, mine: Path) -> None:
    _emptied(sums)
    os.mkfifo(sums)


def a_link_for_the_folder(sums: Path, mine: Path) -> None:
    _emptied(sums)
    sums.symlink_to(mine.parent)


def folders_for_files(sums: Path, mine: Path) -> None:
    for file in sums.iterdir():
        file.unlink()
        (file / "mine").mkdir(parents=True)


def pipes_for_files(sums: Path, mine: Path) -> None:
    for file in sums.iterdir():
        file.unlink()
        os.mkfifo(file)


def links_for_files(sums: Path, mine: Path) -> None:
    for file in sums.iterdir():
        file.unlink()
        file.symlink_to(mine)


def empty_files(sums: Path, mine: Path) -> None:
    for file in sums.iterdir():
        file.write_bytes(b"")


def files_of_other_ranges(sums: Path, mine: Path) -> None:
    """Each has the content of the next."""
    files = sorted(sums.iterdir())
    for file, content in zip(files, [f.read_bytes() for f in [*files[1:], files[0]]], strict=True):
        file.write_bytes(content)


@pytest.mark.parametrize(
    ("put", "lines"),
    [
        (a_file_for_the_folder, 1),
        (a_pipe_for_the_folder, 1),
        (a_link_for_the_folder, 1),
        (folders_for_files, 1),
        (pipes_for_files, 0),
        (links_for_files, 0),
        (empty_files, 0),
        (files_of_other_ranges, 0),
    ],
)
def test_what_stands_in_the_place_of_sums(
    data: Path, put: Callable[[Path, Path], None], lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line where nothing can be kept, none where the files are made again, and nothing else is changed."""
    mine = data.parent / "mine" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    put(data / "sums", mine)
    before = contents(data.parent)
    for remains in (lines, lines):
        outcomes(data)
        err = capsys.readouterr().err
        assert err.count("\n") == err.count("sums of its networks are not kept, and each analysis reads all") == remains
    assert contents(data.parent) == before
    assert list(mine.parent.iterdir()) == [mine]
    assert all(f.is_file() != bool(lines) for f in (data / "sums").glob("*.sums"))


def _header(**entries: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.update(entries)


@pytest.mark.parametrize(
    "forge",
    [
        _header(sums=[]),
        _header(sums=[["another", 0, 1]]),
        _header(extremes=[["another", 0, [["0x1p0"], ["0x1p0"]]]]),
        lambda header: header["sums"][0].__setitem__(2, 0),
        _header(ended=[0]),
        _header(cells=0),
        _header(cell=0),
        _header(cell=-1),
        _header(cells="1"),
    ],
)
def test_forged_headers(
    data: Path, forge: Callable[[dict[str, Any]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the right key, and with the right digest: what no analysis could have written is made again, or the networks
    are read at once."""
    file = min((data / "sums").iterdir())
    _, header, numbers = file.read_bytes().split(b"\n", 2)
    forge(changed := json.loads(header))
    _write(file, json.dumps(changed).encode() + b"\n" + numbers)
    outcomes(data)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("value", [1e9, -1.0, float("nan")])
@pytest.mark.parametrize("place", [0, 1], ids=["cell", "count"])
def test_forged_networks(data: Path, place: int, value: float) -> None:
    """A cell of other networks, and a number of networks that there cannot be."""
    file = min((data / "sums").iterdir())
    _, header, numbers = file.read_bytes().split(b"\n", 2)
    changed = bytearray(numbers)
    memoryview(changed).cast("d")[place] = value
    _write(file, header + b"\n" + bytes(changed))
    outcomes(data)


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


@contextmanager
def _small_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", ["ro", "full", "files"])
def test_an_analysis_where_no_sums_can_be_kept(
    mounted: Path, in_ranges: None, limit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a read-only disk, on a full one, and where files may not be as large: the numbers are those of the control,
    with one line, and no file of the data set is changed or left behind."""
    simulate.run(*NETWORK, f"output={mounted}/a")
    before = contents(mounted)
    asked = [f"data={mounted}/a", "table=V"]
    if limit == "ro":
        remount(mounted, "ro")
    elif limit == "full":
        fill(mounted)
        before = contents(mounted)
    capsys.readouterr()
    with _small_files() if limit == "files" else nullcontext():
        assert main(asked) == 0
    told = capsys.readouterr()
    assert told.err.count("\n") == told.err.count("sums of its networks are not kept") == 1
    assert contents(mounted) == before
    assert not list((mounted / "a").rglob("*.sums")) + list((mounted / "a").rglob("*.tmp"))
    (mounted / "filler").unlink(missing_ok=True) if limit != "ro" else remount(mounted, "rw")
    assert main(asked) == 0
    assert capsys.readouterr() == (told.out, ""), "the control"
    assert list((mounted / "a").rglob("*.sums"))


def fill(folder: Path) -> None:
    """Leave no room on a disk."""
    with (folder / "filler").open("wb", buffering=0) as stream:
        while shutil.disk_usage(folder).free:
            stream.write(bytes(4096))
