"""The data format: schema, metadata, damage, and data sets that are refused."""

import errno
import fcntl
import json
import os
import pickle
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
import simulate
from simulate.__main__ import main
from simulate.store import disk, locks, parts
from simulate.store.files import REMOTE_SECONDS, StoreError, make_folder
from simulate.store.manifest import MANIFEST, digest
from simulate.store.sets import DataSet, find, open_data_set
from tests import forks


def test_schema_and_metadata(run: Callable[..., DataSet]) -> None:
    data = run("ensemble.networks=10", "observables=training", "dynamics=gradient_descent", "dynamics.steps=2")
    (part,) = data.path.glob("networks/part-*")
    schema = pq.read_schema(part)
    assert schema.metadata[b"nearly_gaussian_format"] == b"2"
    assert schema.field("g_0_1").metadata[b"unit"] == b"dimensionless"
    assert b"conditional kernel" in schema.field("g_0_1").metadata[b"meaning"]
    assert schema.names[:4] == ["network", "step", "layer", "status"]
    assert {"z_0_0", "loss", "H_0_0_0_1"} <= set(schema.names)
    frame = data.table()
    assert len(frame) == 10 * 2 * 4
    pd.testing.assert_frame_equal(pd.read_parquet(data.path / "networks"), frame)
    # H is a number at the output layer and null at the others.
    assert frame[frame["layer"] == 4]["H_0_0_0_0"].notna().all()
    assert pq.read_table(part).column("H_0_0_0_0").null_count == 10 * 2 * 3
    manifest = json.loads((data.path / "dataset.json").read_text())
    assert manifest["settings"]["initialization"] == {
        "C_b": 0.0,
        "C_W": 1.0,
        "weights": "gaussian",
        "first": "gaussian",
    }
    assert set(manifest["versions"]) == {"nearly-gaussian", "torch", "numpy", "numba"}
    x, y, train = data.samples()
    assert x.shape == (2, 64)
    assert y.shape == (2, 1)
    assert train == 2


def test_moments_of_a_layer(run: Callable[..., DataSet]) -> None:
    """At an output layer of width one m2 is the square of the output and m4 its fourth power."""
    frame = run("ensemble.networks=50", "ensemble.dtype=float64").table()
    last = frame[frame["layer"] == 4]
    np.testing.assert_allclose(last["m2_0_1"], last["z_0_0"] * last["z_0_1"], rtol=1e-12)
    np.testing.assert_allclose(last["m4_0_0_1_1"], (last["z_0_0"] * last["z_0_1"]) ** 2, rtol=1e-12)
    np.testing.assert_allclose(last["m3_0_0_1"], last["z_0_0"] ** 2 * last["z_0_1"], rtol=1e-12)
    np.testing.assert_allclose(last["m1_1"], last["z_0_1"], rtol=1e-12)


def test_a_damaged_part_is_found(run: Callable[..., DataSet]) -> None:
    data = run("ensemble.networks=2000", "ensemble.block=2000")
    (part,) = data.path.glob("networks/part-*")
    raw = bytearray(part.read_bytes())
    raw[len(raw) // 2] ^= 1
    part.write_bytes(raw)
    with pytest.raises(StoreError, match="damaged"):
        data.table()


def test_an_unfinished_sweep_is_not_judged(run: Callable[..., DataSet], tmp_path: Path) -> None:
    arguments = ["experiment=demo/preactivations", "network.width=8,16,32,64", "network.depth=8"]
    sets = simulate.sweep(*arguments, "ensemble.networks=100", f"output={tmp_path}/s", "workers=1")
    next(sets[1].path.glob("networks/part-*")).unlink()
    with pytest.raises(StoreError, match="run the simulation again"):
        analysis.analyze(tmp_path / "s")


def test_other_folders_are_not_data_sets(tmp_path: Path) -> None:
    for call in (open_data_set, find):
        with pytest.raises(StoreError):
            call(tmp_path / "nowhere")
    (tmp_path / "dataset.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="data format 99"):
        open_data_set(tmp_path)


def test_unwritable_outputs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(simulate.SettingsError, match="is a file"):
        simulate.run(f"output={tmp_path}/file/x", "ensemble.networks=4", "workers=1")


def test_run_refuses_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(simulate.SettingsError, match=r"simulate\.sweep"):
        simulate.run("network.width=3,4", f"output={tmp_path}/x")


def test_temporary_files_of_dead_processes_are_removed_and_of_live_ones_kept(
    run: Callable[..., DataSet], tmp_path: Path
) -> None:
    """A live writer holds a lock, whatever its number and its container; the youngest may not hold it yet."""
    folder = tmp_path / "a"
    folder.mkdir()
    now = time.time()
    ages = {"dead": 100.0, "held": 100.0, "young": 1.0, "ancient": 2 * REMOTE_SECONDS, "of-no-process": 100.0}
    paths = {name: folder / f".part-x.parquet.{name}.{k + 2**22}.tmp" for k, name in enumerate(ages)}
    paths["of-no-process"] = folder / ".x.tmp"
    for name, path in paths.items():
        path.touch()
        os.utime(path, (now - ages[name], now - ages[name]))
    with open(paths["held"]) as held:  # by another description of the file, as another process has it
        fcntl.flock(held, fcntl.LOCK_EX)
        run("ensemble.networks=10", f"output={folder}")
        kept = {name for name, path in paths.items() if path.exists()}
    assert kept == {"held", "young", "of-no-process"}
    run("ensemble.networks=20", f"output={folder}")
    assert not paths["held"].exists(), "its writer is dead by now"


def test_key_columns_and_status_are_held_against_what_they_must_be(run: Callable[..., DataSet]) -> None:
    """A part whose checksums are good and whose keys are not is damaged; the control is the same file written again."""
    data = run("network.width=8", "ensemble.networks=20", "observables=kernel")
    (name,) = data.path.glob("networks/part-*")
    whole, identity = pq.read_table(name), digest(data.manifest["identity"])

    def why(**changed: object) -> str | None:
        table = whole
        for column, values in changed.items():
            place = table.column_names.index(column)
            field = table.schema.field(column)
            table = table.set_column(place, field, pa.array(values, type=field.type))
        pq.write_table(table, name, write_page_checksum=True)
        return parts.damage(data.path, data.layout, identity, 0, 20)

    assert why() is None
    step, layer, status = (whole[column].to_numpy() for column in ("step", "layer", "status"))
    assert why(step=step + 1) == "holds other steps than were recorded"
    assert why(layer=layer[::-1]) == "holds other layers than were recorded"
    assert why(status=np.roll(np.arange(len(status)) == 0, 0)) == "has a status that its numbers do not have"
    g = whole["g_0_0"].to_numpy().copy()
    g[-1] = np.nan
    assert why(g_0_0=g) == "has a status that its numbers do not have"


def test_errors_of_the_disk_are_not_damage(
    run: Callable[..., DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error that passes is tried again; one that stays ends the run and leaves the part where it is."""
    settings = ["network.width=8", "ensemble.networks=20", f"output={tmp_path}/a", "workers=1", "ensemble.device=cpu"]
    assert main(settings) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "a").glob("networks/part-*")}
    whole, failures = pq.ParquetFile, [2]

    def failing(*arguments: object, **named: object) -> pq.ParquetFile:
        if failures[0] and "part-" in str(arguments[0]):
            failures[0] -= 1
            raise OSError(errno.EIO, "Input/output error")
        return whole(*arguments, **named)

    monkeypatch.setattr(parts.pq, "ParquetFile", failing)
    monkeypatch.setattr(disk, "sleep", lambda seconds: None)
    shutil.rmtree(tmp_path / "a" / "commits")  # parts without lines are read
    assert main(settings) == 0, "two failures pass"
    failures[0] = 1000
    shutil.rmtree(tmp_path / "a" / "commits")
    capsys.readouterr()
    assert main(settings) == 1
    assert "Input/output error" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "a").glob("networks/part-*")} == before
    assert not list((tmp_path / "a").glob("*damaged*"))


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"first": "x"}'])
def test_a_lock_that_cannot_be_read_is_held(text: str, tmp_path: Path) -> None:
    """Its file's name tells who holds which networks; without a holder it is nobody's."""
    name = tmp_path / ".writer-0-50-some-host-4711"
    name.write_text(text)
    with open(name) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        (writer,) = locks.writers(tmp_path, 10, 20)
        assert (writer["first"], writer["last"], writer["host"], writer["pid"]) == (0, 50, "some-host", 4711)
        assert locks.writers(tmp_path, 50, 60) == []
        with pytest.raises(locks.HeldError, match="process 4711 on some-host"), locks.writing(tmp_path, 40, 60):
            pass
    assert locks.writers(tmp_path, 10, 20) == [], "the control"


def test_a_writer_that_was_replaced_commits_nothing(tmp_path: Path) -> None:
    """Its entry was removed, or another one has its place: a lock that a file system lost lets others enter."""
    with locks.writing(tmp_path, 0, 10) as writer:
        passed_on = pickle.loads(pickle.dumps(writer))  # as worker processes get it
        passed_on.commit("first", lambda stream: stream.write(b"1"))
        writer.entry.rename(tmp_path / "moved")
        for replace in (lambda: None, writer.entry.touch):
            replace()
            for each in (writer, passed_on):
                with pytest.raises(StoreError, match=r"no longer the writer of networks 0 to 9: \.writer-0-10-"):
                    each.commit("second", lambda stream: stream.write(b"2"))
    left = {name.name for name in tmp_path.iterdir()}
    assert left == {"first", "moved", ".writers", writer.entry.name}, "the entry of another writer is not removed"


def test_folders_are_flushed_into_those_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that are here already: another process may have made them just now."""
    flushed: list[Path] = []
    monkeypatch.setattr(disk, "sync_folder", flushed.append)
    for _ in range(2):
        make_folder(tmp_path / "a" / "b" / "c")
        assert flushed[:3] == [tmp_path / "a" / "b", tmp_path / "a", tmp_path]
        flushed.clear()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "a")


@pytest.mark.parametrize("name", [MANIFEST, "part-000000000000-000000000020.parquet"])
def test_what_cannot_be_read_now_is_not_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the disk on looking for a file ends the run in one line, and changes nothing."""
    many = ["network.width=8", "ensemble.networks=20", f"output={tmp_path}/a"]
    assert main([*many, "workers=1", "ensemble.device=cpu"]) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}

    def stale(path: Path) -> object:
        if path.name == name:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return os.lstat(path)

    monkeypatch.setattr(disk, "sleep", lambda seconds: None)
    monkeypatch.setattr(disk, "status", stale)
    monkeypatch.setattr(disk, "size", lambda path: stale(path).st_size)  # type: ignore[attr-defined]
    assert main([*many, "workers=1", "ensemble.device=cpu"]) == 1
    assert "Stale file handle" in capsys.readouterr().err
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()} == before


LONG = ["network.width=256", "network.depth=6", "ensemble.sampler=dense", "ensemble.networks=100000",
        "ensemble.block=4", "ensemble.device=cpu", "workers=2"]  # fmt: skip


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_their_parent(stop: signal.Signals, tmp_path: Path) -> None:
    """Batch systems and `timeout` signal the parent alone."""
    parent = forks.start("-m", "simulate", *LONG, f"output={tmp_path}/a")

    def children() -> list[int]:
        return [child.pid for child in psutil.Process(parent.pid).children(recursive=True)]

    deadline = time.monotonic() + 60
    while (len(children()) < 2 or not parts.committed(tmp_path / "a")) and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = [psutil.Process(pid) for pid in children()]
    assert len(workers) >= 2
    os.kill(parent.pid, stop)
    _, stderr = parent.communicate(timeout=20)
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert [process.pid for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    if stop == signal.SIGTERM:
        assert parent.returncode == 130
        assert "interrupted: committed parts are kept" in stderr
