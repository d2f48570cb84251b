"""Claims are measured one data set after another, in one process or in several."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
import simulate
from analysis.measures.measured import MEASURES
from simulate import plugins
from simulate.store.sets import DataSet

OWN = """
import numpy as np
from analysis import estimators
from analysis.measures.measured import Measured, measure

@measure("mean_square", tensor="E z^2", symbol="$z^2$", families=("g",), table="start")
def mean_square(point, layers):
    for layer in point.layers("g"):
        g = point.read("g", layer)[:, :1]
        yield Measured("E z^2", layer, 0, ["00"], estimators.mean(g), np.ones(1), np.ones(1))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("visits")
    settings = ["ensemble.networks=400", "network.width=8,16,32,64", "workers=1", "ensemble.device=cpu"]
    simulate.sweep("experiment=demo/preactivations", *settings, f"output={root}/preactivations")
    paired = ["inputs.count=2", "dynamics.steps=4", "observables.steps=[0,2,4]", "network.width=8,12,16,24"]
    simulate.sweep("experiment=algorithms_over_steps", *settings, *paired, f"output={root}/algorithms_over_steps")
    (root / "own.py").write_text(OWN)
    yield root
    if plugins._loaded.pop("own.py", None):
        del MEASURES["mean_square"]


def test_processes_change_nothing(folder: Path) -> None:
    """Two processes measure what one does, paired tests and a user's own measure included."""
    alone, shared = (
        analysis.analyze(folder, plugins=[folder / "own.py"], workers=count, figures=False) for count in (1, 2)
    )
    assert "E z^2" in set(alone.estimates["tensor"]), "the measure of the plugin"
    pd.testing.assert_frame_equal(alone.estimates, shared.estimates, rtol=1e-12)
    for one, other in zip(alone.verdicts, shared.verdicts, strict=True):
        assert (one.claim, one.verdict, one.networks, one.diverged) == (
            other.claim, other.verdict, other.networks, other.diverged,
        )  # fmt: skip
        assert [j.fit.series.name for j in one.judged] == [j.fit.series.name for j in other.judged]
        pulls = [[j.fit.pull for j in verdict.judged] for verdict in (one, other)]
        np.testing.assert_allclose(*pulls, rtol=1e-9, atol=1e-9)
    assert any(verdict.judged for verdict in alone.verdicts if verdict.claim == "algorithms_over_steps")


def test_rows_of_one_data_set_are_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When rows of a data set are read, none of another are alive, but for those of a reference. The control holds a
    point."""
    alive: dict[Path, list[weakref.ref[np.ndarray]]] = {}
    most, read = [0], DataSet.read

    def watched(data: DataSet, prefix: str) -> np.ndarray:
        rows = read(data, prefix)
        gc.collect()
        alive.setdefault(data.path, []).append(weakref.ref(rows))
        most[0] = max(most[0], sum(any(ref() is not None for ref in refs) for refs in alive.values()))
        return rows

    monkeypatch.setattr(DataSet, "read", watched)
    analysis.analyze(folder / "preactivations", workers=1, figures=False)
    assert most == [1]
    held = [watched(data, "g") for data in simulate.find(folder / "preactivations")]
    assert most == [len(held)]


@pytest.mark.parametrize("wrong", [0, 1.5, "two", True])
def test_wrong_numbers_of_processes(folder: Path, wrong: object) -> None:
    with pytest.raises(ValueError, match=r"workers=.*: a number of processes from 1 on, or null"):
        analysis.analyze(folder, workers=wrong)
