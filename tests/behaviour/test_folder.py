"""The whole folder of a data set is held against one identity: manifest, samples, log of commits, and parts."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import simulate
from simulate import status
from simulate.__main__ import main
from simulate.running import plan
from simulate.store import DataSet, StoreError, commits, find, open_data_set
from simulate.store.manifest import MANIFEST, digest
from simulate.store.parts import committed, fault, part_name, part_path
from simulate.store.plain import sha256

SMALL = ["network.width=8", "ensemble.networks=60", "ensemble.block=20", "ensemble.device=cpu", "workers=1"]
FIRST = part_name(0, 20)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with three parts."""
    folder = tmp_path_factory.mktemp("made") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PART_WORK", 0)
        simulate.run(*SMALL, f"output={folder}")
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> DataSet:
    shutil.copytree(made, tmp_path / "a")
    return open_data_set(tmp_path / "a")


def again(data: DataSet, capsys: pytest.CaptureFixture[str]) -> str:
    """What the run that continues the data set says; it makes the rows that were there at first."""
    capsys.readouterr()
    assert main([*SMALL, f"output={data.path}"]) == 0
    stderr = capsys.readouterr().err
    assert status.status(open_data_set(data.path), verify=True)["damaged"] == {}
    assert "60 networks" in "".join(status.lines(open_data_set(data.path)))
    return stderr


def lines(data: DataSet) -> list[dict[str, Any]]:
    text = "\n".join(log.read_text() for log in sorted((data.path / "commits").iterdir()))
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def test_each_part_has_a_line(copy: DataSet) -> None:
    entries = {line["part"]: line for line in lines(copy)}
    assert list(entries) == [part_name(*part) for part in committed(copy.path)]
    for part in committed(copy.path):
        entry, name = entries[part_name(*part)], part_path(copy.path, *part)
        assert (entry["sha256"], entry["bytes"]) == sha256(name)
        assert (entry["rows"], entry["networks"]) == (pq.read_metadata(name).num_rows, 20)
        assert entry["identity"] == digest(copy.manifest["identity"])
        assert entry["writer"]["pid"] == os.getpid()
        assert entry["device"]["kind"] == "cpu"
        assert {"cpu", "features", "capability", "torch", "numba", "numpy"} <= set(entry["code"])


def test_the_manifest_names_its_commands(copy: DataSet, capsys: pytest.CaptureFixture[str]) -> None:
    (call,) = copy.manifest["commands"]
    assert call["command"].startswith("simulate.run('network.width=8', ")
    for _ in range(2):
        again(copy, capsys)
    assert main([*SMALL, f"output={copy.path}", "--shard=0/2"]) == 0, "a shard is the same command"
    commands = open_data_set(copy.path).manifest["commands"]
    assert [entry["command"].split()[0] for entry in commands] == ["simulate.run('network.width=8',", "python"]
    assert commands[1]["overrides"] == [*SMALL, f"output={copy.path}"]


def rewritten(name: Path) -> None:
    """Change one number of a part and keep its checksums, schema and metadata right."""
    table = pq.read_table(name, partitioning=None)
    column = table.column_names.index("g_0_0")
    changed = table["g_0_0"].to_numpy().copy()
    changed[0] *= 2
    pq.write_table(table.set_column(column, table.schema.field(column), [changed]), name, write_page_checksum=True)


def test_a_part_that_is_changed_differs_from_its_line(copy: DataSet, capsys: pytest.CaptureFixture[str]) -> None:
    rewritten(copy.path / "networks" / FIRST)
    assert list(status.status(copy, verify=True)["damaged"]) == [FIRST]
    assert "differs from its digest in the log" in again(copy, capsys)
    assert (copy.path / "damaged" / f"{FIRST}.damaged-1").exists()
    assert "set aside" not in again(copy, capsys), "the control"


def test_parts_without_lines_are_checked_and_entered(copy: DataSet, capsys: pytest.CaptureFixture[str]) -> None:
    """The log is lost, a line is torn, or it is that of another data set: each part is read, and entered again."""
    (log,) = (copy.path / "commits").iterdir()
    whole, identity = log.read_text(), digest(copy.manifest["identity"])
    for text in ("", whole[: whole.rindex('"part"') + 40], whole.replace(identity, "0" * 64), '{"part": 7}\n[1]\n\0'):
        log.write_text(text)
        known = len(commits.read(copy.path, identity))
        assert "set aside" not in again(copy, capsys)
        assert len(commits.read(copy.path, identity)) == 3
        assert sum(line.get("adopted", False) for line in _whole(copy)) == 3 - known
        for other in set((copy.path / "commits").iterdir()) - {log}:
            other.unlink()
    log.write_text("")
    (copy.path / "networks" / FIRST).write_bytes((copy.path / "networks" / FIRST).read_bytes()[:-9])
    assert "set aside, its networks are computed again" in again(copy, capsys), "a damaged part is not entered"


def test_zeros_of_a_crash_spoil_no_line(copy: DataSet) -> None:
    """A file system may keep the length of what was not flushed and lose its bytes, the end of line in front of it too.
    Negative control: other bytes there spoil the last line."""
    (log,) = (copy.path / "commits").iterdir()
    whole = log.read_bytes()
    for left, known in ((b"\0" * 9, 3), (b"\0" * 9 + b"\n", 3), (b"rubbish", 2)):
        log.write_bytes(whole + left)
        assert len(_whole(copy)) == known


def _whole(data: DataSet) -> list[dict[str, Any]]:
    return [line for found in commits.read(data.path, digest(data.manifest["identity"])).values() for line in found]


def test_a_line_without_a_part_is_missing_networks(copy: DataSet, capsys: pytest.CaptureFixture[str]) -> None:
    (copy.path / "networks" / FIRST).unlink()
    assert status.status(copy)["missing"] == [(0, 20)]
    assert "40 of 60 networks are there already" in again(copy, capsys)


def test_a_part_fits_any_of_its_lines(copy: DataSet) -> None:
    """A clock that is ahead on another machine does not make a part of a later run damaged."""
    part, identity = (0, 20), digest(copy.manifest["identity"])
    true = commits.read(copy.path, identity)[FIRST]
    ahead = [*true, {**true[0], "sha256": "0" * 64, "writer": {**true[0]["writer"], "time": 1e12}}]
    assert fault(copy.path, copy.layout, identity, *part, ahead) == (None, True)
    assert fault(copy.path, copy.layout, identity, *part, ahead[1:])[0] is not None, "the control"


def changed(name: Path) -> None:
    table = pq.read_table(name)
    x = table["x_0"].to_numpy().copy()
    x[0] += 1
    pq.write_table(table.set_column(table.column_names.index("x_0"), "x_0", [x]), name)


def marked(name: Path) -> None:
    """Mark another number of train samples."""
    table = pq.read_table(name)
    pq.write_table(table.set_column(table.column_names.index("train"), "train", [[True, False]]), name)


SAMPLES: dict[str, Callable[[Path], object]] = {
    "changed": changed,
    "marked": marked,
    "deleted": Path.unlink,
    "empty": lambda name: name.write_bytes(b""),
    "a pipe": lambda name: (name.unlink(), os.mkfifo(name)),
    "a device": lambda name: (name.unlink(), name.symlink_to("/dev/zero")),
}


@pytest.mark.parametrize(
    ("case", "recorded"), [*((case, True) for case in SAMPLES), ("changed", False)], ids=[*SAMPLES, "no digest"]
)
def test_samples_are_held_against_the_manifest(
    case: str, recorded: bool, copy: DataSet, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the manifest has no digest of the file, as in format 1: the identity has one of the numbers."""
    if not recorded:
        manifest = json.loads((copy.path / MANIFEST).read_text())
        del manifest["files"]
        (copy.path / MANIFEST).write_text(json.dumps(manifest))
        copy = open_data_set(copy.path)
    x = copy.samples()[0]
    before = (copy.path / "samples.parquet").read_bytes()
    SAMPLES[case](copy.path / "samples.parquet")
    with pytest.raises(StoreError, match=r"samples\.parquet: this file .*; repeat the simulation's command"):
        copy.samples()
    assert list(status.status(copy, verify=True)["damaged"]) == ["samples.parquet"]
    assert status.main([str(copy.path), "--verify"]) == 1
    assert "made again from the settings" in again(copy, capsys)
    assert (copy.path / "samples.parquet").read_bytes() == before
    assert (open_data_set(copy.path).samples()[0] == x).all()
    assert "made again" not in again(copy, capsys), "the control"


def test_a_manifest_that_is_lost(copy: DataSet, capsys: pytest.CaptureFixture[str]) -> None:
    """It is made again where the parts have the wanted identity; other settings are refused and change nothing."""
    for damage in (Path.unlink, lambda name: (name.unlink(), os.mkfifo(name)), lambda name: name.write_text("{")):
        damage(copy.path / MANIFEST)
        for folder in (copy.path, copy.path.parent):
            with pytest.raises(StoreError, match=r"dataset\.json.*; repeat the simulation's command"):
                find(folder)
        before = sorted(copy.path.rglob("*"))
        assert main([*SMALL, "ensemble.seed=5", f"output={copy.path}"]) == 2
        stderr = capsys.readouterr().err
        assert "parts were made with other settings; choose another output" in stderr
        assert sorted(copy.path.rglob("*")) == before
        again(copy, capsys)
    (copy.path / MANIFEST).write_text("{")
    shutil.rmtree(copy.path / "networks")
    assert main([*SMALL, f"output={copy.path}"]) == 2, "without parts, the file may be that of another program"
    assert "no part that tells its settings" in capsys.readouterr().err


def test_logs_that_block(copy: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "slurm").mkdir()
    os.mkfifo(tmp_path / "slurm" / "1.log")
    (tmp_path / "slurm" / "2.log").symlink_to("/dev/zero")
    (tmp_path / "slurm" / "3.log").write_text("error: out of memory\n")
    os.mkfifo(copy.path / "commits" / "0-60-host-1.jsonl")
    (copy.path / "networks" / FIRST).unlink()
    os.mkfifo(copy.path / "networks" / FIRST)
    assert status.main([str(tmp_path), "--verify"]) == 1
    stdout = capsys.readouterr().out
    assert "3.log: error: out of memory" in stdout
    assert f"damaged: {FIRST} is not a plain file" in stdout
    again(copy, capsys)


def leaves(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(leaf for key, item in items for leaf in leaves(item, (*way, key)))]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
FEW = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FEW
@given(data=st.data())
def test_random_manifests(data: st.DataObject, copy: DataSet) -> None:
    """A manifest with any entry replaced or removed is refused with StoreError, or reads as before."""
    manifest = json.loads(json.dumps({key: value for key, value in copy.manifest.items() if key != "columns"}))
    *way, last = data.draw(st.sampled_from([leaf for leaf in leaves(manifest) if leaf]))
    inner = manifest
    for key in way:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[last] = data.draw(ANYTHING)
    else:
        del inner[last]
    (copy.path / MANIFEST).write_text(json.dumps(manifest))
    with suppress(StoreError):
        read = open_data_set(copy.path)
        assert read.table().equals(copy.table())
        assert read.samples()[2] == copy.samples()[2]
        assert all(isinstance(line, str) for line in status.lines(read))


@FEW
@given(data=st.data())
def test_random_parts(data: st.DataObject, copy: DataSet) -> None:
    """A part with any byte changed, or cut anywhere, is damaged by its digest; without the log, it is either damaged or
    has the same rows."""
    name, identity = part_path(copy.path, 0, 20), digest(copy.manifest["identity"])
    line = commits.read(copy.path, identity)[FIRST]
    whole, rows = name.read_bytes(), copy.table()
    raw = bytearray(whole)
    place = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[place] ^= data.draw(st.integers(1, 255))
    else:
        del raw[place:]
    name.write_bytes(raw)
    try:
        assert fault(copy.path, copy.layout, identity, 0, 20, line)[0] is not None
        if fault(copy.path, copy.layout, identity, 0, 20, [])[0] is None:
            assert copy.table().equals(rows)
        else:
            with pytest.raises(StoreError, match="is damaged"):
                copy.table()
    finally:
        name.write_bytes(whole)
