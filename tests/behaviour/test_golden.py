"""Data sets of format 1, written by commit e02c776, stay readable and can be continued (docs/data.md).

`golden-1` was trained by gradient descent, `golden-2` by momentum with a tolerance, with a leaky ReLU, hidden output
layers and chosen samples. Never write these files again: a later format has to come with a reader for them.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
import simulate
from simulate import settings, status
from simulate.running.prepare import prepare
from simulate.settings import Settings, with_defaults
from simulate.store import DataSet, StoreError, open_data_set
from simulate.store.manifest import MANIFEST, digest

DATA = Path(__file__).parents[1] / "data"
OVERRIDES = {
    "golden-1": ["network.width=16", "network.depth=3", "ensemble.networks=48", "ensemble.block=16", "inputs.count=3",
                 "inputs.test=1", "dynamics=gradient_descent", "dynamics.eta=0.1", "dynamics.steps=4",
                 "dynamics.lambda_b=0", "observables=training", "observables.steps=[0,4]"],
    "golden-2": ["activation=leaky_relu", "activation.slope=0.2", "dynamics=momentum", "dynamics.momentum=0.4",
                 "dynamics.eta=0.05", "dynamics.steps=3", "dynamics.tolerance=0.01", "dynamics.lambda_b=0.5",
                 "network.width=12", "network.depth=3", "inputs.count=2", "inputs.test=1",
                 "observables.record=[kernel,moments,outputs,ntk,loss,moved]", "observables.steps=[0,1,3]",
                 "observables.output_layers=[2,3]", "observables.tuples={ntk: [[0,0],[0,1],[2,2]]}",
                 "ensemble.networks=24", "ensemble.block=8", "ensemble.seed=5"],
}  # fmt: skip
golden = pytest.mark.parametrize("name", OVERRIDES)


def expected(name: str) -> pd.DataFrame:
    return pd.read_csv(DATA / name / "expected.csv").astype({"layer": "int32", "status": "int8"})


def rows(name: str, table: pd.DataFrame) -> pd.DataFrame:
    want = expected(name)
    return table.loc[table["network"].isin(want["network"]), want.columns].reset_index(drop=True)


@golden
def test_the_first_format_is_read(name: str) -> None:
    """The manifest, samples and rows are read number for number, and the checksums are right."""
    data = open_data_set(DATA / name)
    assert data.manifest["format"] == 1
    assert data.complete
    assert data.layout.depth == 3
    pd.testing.assert_frame_equal(rows(name, data.table()), expected(name), check_dtype=False, rtol=1e-7, atol=0)
    x, y, train = data.samples()
    assert (x.shape, train) == {"golden-1": ((4, 64), 3), "golden-2": ((3, 64), 2)}[name]
    np.testing.assert_allclose((x**2).mean(axis=1), 1)
    assert y is not None
    assert set(y[:, 0]) == {-1, 1}
    assert status.status(data, verify=True)["damaged"] == {}


@golden
def test_the_first_format_is_analyzed(name: str, tmp_path: Path) -> None:
    data = DATA / name
    if name == "golden-2":  # an error bar needs more networks than the files hold
        data = tmp_path / name
        shutil.copytree(DATA / name, data)
        simulate.run(*OVERRIDES[name], "ensemble.networks=40", f"output={data}", "workers=1", "ensemble.device=cpu")
    estimates = analysis.analyze(data).estimates
    assert len(estimates) > 0
    assert np.isfinite(estimates[["estimate", "error", "theory"]].dropna().to_numpy()).all()


@golden
def test_networks_of_the_first_format_stay_the_same(name: str, run: Callable[..., DataSet]) -> None:
    """The same settings give the same networks up to rounding, with any machine and library."""
    again, old = run(*OVERRIDES[name]), open_data_set(DATA / name)
    for group in ("network", "activation", "initialization", "dynamics", "observables"):
        assert again.settings[group] == old.settings[group]
    close = {"check_dtype": False, "rtol": 1e-3, "atol": 1e-4}
    pd.testing.assert_frame_equal(rows(name, again.table()), expected(name), **close)  # type: ignore[call-overload]
    other = rows(name, run(*OVERRIDES[name], "ensemble.seed=1").table())
    values = expected(name)["z_0_0"].dropna()
    assert not np.allclose(other["z_0_0"].dropna(), values, rtol=0.1), "the control"


@golden
def test_a_data_set_of_the_first_format_grows(name: str, run: Callable[..., DataSet], tmp_path: Path) -> None:
    """A copy that is given more networks keeps its parts and its identity, and all its parts verify."""
    folder = tmp_path / name
    shutil.copytree(DATA / name, folder)
    before = {part.name: part.read_bytes() for part in folder.glob("part-*.parquet")}
    old = json.loads((folder / MANIFEST).read_text())
    data = run(*OVERRIDES[name], "ensemble.networks=60", f"output={folder}")
    assert (data.networks, data.complete) == (60, True)
    assert data.manifest["format"] == 2
    assert not list(folder.glob("part-*")), "its parts are moved to those of the new format"
    assert {part: (folder / "networks" / part).read_bytes() for part in before} == before
    assert data.manifest["identity"] == old["identity"]
    assert status.status(data, verify=True)["damaged"] == {}
    pd.testing.assert_frame_equal(rows(name, data.table()), expected(name), check_dtype=False, rtol=1e-7, atol=0)
    with pytest.raises(StoreError, match=r"ensemble\.seed=\d, not 77"):
        run(*OVERRIDES[name], "ensemble.seed=77", f"output={folder}")


@dataclass(frozen=True)
class Residual(settings.Network):
    """A record of settings of a later version: one field more, which changes nothing at its default."""

    gamma: float = 0.0


def later(old: Settings, gamma: float) -> Settings:
    network = Residual(old.network.widths, old.network.depth, old.network.outputs, gamma=gamma)
    return replace(Later(**vars(old)), network=network)


@dataclass(frozen=True)
class Later(Settings):
    network: Residual
    tempering: float = field(default=1.0)


@golden
def test_a_later_setting_is_inert_at_its_default(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new setting does not change the identity of an old data set; any value but its default is refused by name."""
    folder = tmp_path / name
    shutil.copytree(DATA / name, folder)
    job = prepare(settings_of(name, folder))
    assert job.digest() == digest(open_data_set(folder).manifest["identity"])
    monkeypatch.setattr(settings, "Settings", Later)
    settings._defaults.cache_clear()
    try:
        assert with_defaults({})["network"] == {"meta": None, "skip": 0.0, "branch": 1.0, "gamma": 0.0}
        assert "gamma" not in json.dumps(later(job.settings, 0.0).identity())
        assert later(job.settings, 0.0).identity() == job.settings.identity()
        assert prepare(later(job.settings, 0.0)).digest() == job.digest()
        with pytest.raises(StoreError, match=r"made with network\.gamma=0\.0, not 0\.5\. Choose"):
            prepare(later(job.settings, 0.5))
        assert open_data_set(folder).settings["network"]["gamma"] == 0.0
    finally:
        settings._defaults.cache_clear()


def settings_of(name: str, folder: Path) -> Settings:
    from simulate.api import read_one

    return read_one([*OVERRIDES[name], f"output={folder}", "workers=1", "ensemble.device=cpu"])
