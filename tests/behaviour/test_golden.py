"""A data set of format 1, as the first version wrote it: it stays readable for ever (docs/data.md).

Never write `tests/data/golden-1` again: a format that cannot read it needs a reader that can.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import analysis
from simulate import status
from simulate.store.sets import DataSet, open_data_set

GOLDEN = Path(__file__).parents[1] / "data" / "golden-1"


def expected() -> pd.DataFrame:
    return pd.read_csv(GOLDEN / "expected.csv").astype({"layer": "int32", "status": "int8"})


def rows(table: pd.DataFrame) -> pd.DataFrame:
    want = expected()
    return table.loc[table["network"].isin(want["network"]), want.columns].reset_index(drop=True)


def test_the_first_format_is_read() -> None:
    """Its manifest, samples and rows, number for number, and its checksums."""
    data = open_data_set(GOLDEN)
    assert data.manifest["format"] == 1
    assert (data.networks, data.complete, data.layout.depth) == (48, True, 3)
    assert data.settings["dynamics"]["name"] == "gradient_descent"
    pd.testing.assert_frame_equal(rows(data.table()), expected(), check_dtype=False, rtol=1e-7, atol=0)
    x, y, train = data.samples()
    assert (x.shape, train) == ((4, 64), 3)
    np.testing.assert_allclose((x**2).mean(axis=1), 1)
    assert y is not None
    assert sorted(y[:, 0]) == [-1, -1, 1, 1]
    assert status.status(data, verify=True)["damaged"] == {}


def test_the_first_format_is_analysed() -> None:
    estimates = analysis.analyze(GOLDEN).estimates
    assert len(estimates) > 0
    assert np.isfinite(estimates[["estimate", "error", "theory"]].dropna().to_numpy()).all()


def test_its_networks_are_still_the_same(run: Callable[..., DataSet]) -> None:
    """Drawn and trained again, by whatever machine and library: the same networks but for rounding."""
    said = open_data_set(GOLDEN).settings
    overrides = ["network.width=16", "network.depth=3", "ensemble.networks=48", "ensemble.block=16", "inputs.count=3",
                 "inputs.test=1", "dynamics=gradient_descent", "dynamics.eta=0.1", "dynamics.steps=4",
                 "observables=training", "observables.steps=[0,4]"]  # fmt: skip
    again = run(*overrides)
    for group in ("network", "activation", "initialization", "dynamics", "observables"):
        assert again.settings[group] == said[group]
    pd.testing.assert_frame_equal(rows(again.table()), expected(), check_dtype=False, rtol=1e-3, atol=1e-4)
    other = rows(run(*overrides, "ensemble.seed=1").table())
    assert not np.allclose(other["z_0_0"].dropna(), expected()["z_0_0"].dropna(), rtol=0.1), "the control"
