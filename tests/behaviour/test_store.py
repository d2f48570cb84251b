"""The data format: schema, metadata, damage, and data sets that are refused."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import analysis
import simulate
from simulate.store.files import REMOTE_SECONDS, StoreError, host
from simulate.store.sets import DataSet, find, open_data_set


def test_schema_and_metadata(run: Callable[..., DataSet]) -> None:
    data = run("ensemble.networks=10", "observables=training", "dynamics=gradient_descent", "dynamics.steps=2")
    (part,) = data.path.glob("part-*")
    schema = pq.read_schema(part)
    assert schema.metadata[b"nearly_gaussian_format"] == b"1"
    assert schema.field("g_0_1").metadata[b"unit"] == b"dimensionless"
    assert b"conditional kernel" in schema.field("g_0_1").metadata[b"meaning"]
    assert schema.names[:4] == ["network", "step", "layer", "status"]
    assert {"z_0_0", "loss", "H_0_0_0_1"} <= set(schema.names)
    frame = data.table()
    assert len(frame) == 10 * 2 * 4
    # H is a number at the output layer and null at the others.
    assert frame[frame["layer"] == 4]["H_0_0_0_0"].notna().all()
    assert pq.read_table(part).column("H_0_0_0_0").null_count == 10 * 2 * 3
    manifest = json.loads((data.path / "dataset.json").read_text())
    assert manifest["settings"]["initialization"] == {"C_b": 0.0, "C_W": 1.0}
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
    (part,) = data.path.glob("part-*")
    raw = bytearray(part.read_bytes())
    raw[len(raw) // 2] ^= 1
    part.write_bytes(raw)
    with pytest.raises(StoreError, match="damaged"):
        data.table()


def test_an_unfinished_sweep_is_not_judged(run: Callable[..., DataSet], tmp_path: Path) -> None:
    arguments = ["experiment=demo/preactivations", "network.width=8,16,32,64", "network.depth=8"]
    sets = simulate.sweep(*arguments, "ensemble.networks=100", f"output={tmp_path}/s", "workers=1")
    next(sets[1].path.glob("part-*")).unlink()
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
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "a").mkdir()
    old = time.time() - 2 * REMOTE_SECONDS
    names = [f"{host()}.{dead.pid}", f"{host()}.{os.getpid()}", f"elsewhere.{dead.pid}", f"elsewhere.{os.getpid()}"]
    left, kept, recent, ancient = (tmp_path / "a" / f".part-x.parquet.{name}.tmp" for name in names)
    for path in (left, kept, recent, ancient):
        path.touch()
    os.utime(ancient, (old, old))
    run("ensemble.networks=10", f"output={tmp_path}/a")
    assert not left.exists()
    assert recent.exists(), "liveness on other hosts is unknown"
    assert not ancient.exists()
    assert kept.exists()
