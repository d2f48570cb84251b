"""`table=V`: the estimates of one tensor beside theory, on the terminal, as csv and as parquet, and in Python."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
import simulate
from analysis import theory
from analysis.__main__ import main

SWEEP = [
    "network.depth=3", "inputs.count=2", "ensemble.networks=400", "observables.record=[kernel,outputs]",
    "ensemble.device=cpu", "workers=1", "sweep={network.width: [8,16], activation: [tanh,relu]}",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "d"
    simulate.sweep(*SWEEP, f"output={folder}")
    return folder


def test_it_has_the_numbers_of_the_analysis(data: Path) -> None:
    """A row for each row of the table of estimates, with the settings that were swept; theory is that of the flow."""
    frame, result = analysis.table(data, "V"), analysis.analyze(data)
    whole = result.estimates[result.estimates["tensor"] == "V"]
    key = ["data", "layer", "samples"]
    both = frame.merge(whole, on=key, suffixes=("", " of all"), validate="one_to_one")
    assert len(both) == len(frame) == len(whole) == 2 * 2 * 2 * 6
    for name in ("estimate", "error", "theory"):
        np.testing.assert_array_equal(both[name], both[f"{name} of all"])
    assert set(frame["activation.name"]) == {"tanh", "relu"}
    shown = frame[(frame["width"] == 16) & (frame["activation.name"] == "relu") & (frame["samples"] == "00,00")]
    x, C_W = simulate.find(data)[0].samples()[0], 2.0
    flow = theory.flow("relu", 3, 0.0, C_W, x)
    assert flow.V is not None
    np.testing.assert_allclose(shown["theory"], flow.V[1:, 0, 0, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(shown["unit"], 16 * flow.K[1:, 0, 0] ** 2, rtol=1e-12)
    np.testing.assert_allclose(shown["pull"], (shown["estimate"] - shown["theory"]) / shown["error"])
    assert frame["unit"].notna().equals(frame["samples"].isin(["00,00", "11,11"]))
    pd.testing.assert_frame_equal(analysis.table(result, "V"), frame)


def test_the_next_order_gives_the_pull_where_it_is_known(data: Path) -> None:
    frame = analysis.table(data, "G")
    known = frame["theory_next"].notna()
    assert known.any()
    pull = (frame["estimate"] - frame["theory_next"]) / frame["error"]
    np.testing.assert_allclose(frame["pull"][known], pull[known])
    assert not np.allclose(frame["theory_next"][known], frame["theory"][known]), "the control"


def test_layers_are_chosen(data: Path) -> None:
    frame = analysis.table(data, "V")
    for tensor in ("V", "cumulant"):
        whole, last = analysis.table(data, tensor), analysis.table(data, tensor, layers=[3])
        pd.testing.assert_frame_equal(last, whole[whole["layer"] == 3].reset_index(drop=True))
    assert set(frame["layer"]) == {2, 3}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_it_is_written_and_shown(ending: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / f"v.{ending}"
    assert main([f"data={data}", "table=V", "layers=[3]", f"output={path}"]) == 0
    shown = capsys.readouterr().out
    frame = analysis.table(data, "V", [3])
    read = pd.read_csv(path, dtype={"skipped": str}, keep_default_na=True) if ending == "csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(read.fillna({"skipped": ""}), frame)
    rows = [line for line in shown.splitlines() if line.startswith("│")]
    assert len(rows) == len(frame)
    for line, (_, row) in zip(rows, frame.iterrows(), strict=True):
        assert f"│ {row['samples']} " in line
        assert (f"{row['pull']:+.2f} │" in line) != row["tail_dominated"]
        assert ("tail-dominated" in line) == row["tail_dominated"]
    assert set(frame["tail_dominated"]) == {True, False}, "both kinds of rows are there"
    assert not (data / "analysis").exists(), "nothing else is written"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table=W"], "table=W: no such tensor; there are 1/xi_perp, "),
        (["table=cumulat"], "did you mean cumulant?"),
        (["table=A"], "table=A: these data do not have it: network.outputs=1: A needs 2 outputs; there are 1/xi_perp"),
        (["table=V", "layers=[7]"], "layers=[7]: V is not measured there; recorded are layers [1, 2, 3]"),
        (["table=V", "layers=3"], "layers=3: a list of layers"),
        (["layers=[3]"], "layers=[3]: goes with table="),
        (["table=V", "output=v.xlsx"], "output=v.xlsx: a table is written as .csv or .parquet"),
        (["verbose=yes"], "error: verbose='yes': true or false"),
    ],
)
def test_refusals(arguments: list[str], message: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"data={data}", *arguments]) == 2
    out, error = capsys.readouterr()
    assert message in error
    assert error.count("\n") == 1
    assert out == "", "nothing is printed before"


@pytest.mark.parametrize("layers", ["3", 3, ["3"], [3.0], [True]])
def test_layers_in_python(layers: Any, data: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(f"layers={layers!r}: a list of layers")):
        analysis.table(data, "V", layers)
    assert set(analysis.table(data, "V", np.array([3]))["layer"]) == {3}


@pytest.mark.parametrize("nothing", [[], (), [[]]])
def test_no_data_sets(nothing: Any) -> None:
    for ask in (analysis.analyze, partial(analysis.table, tensor="V")):
        with pytest.raises(ValueError, match=re.escape("a folder, a data set, or a list of them")):
            ask(nothing)


def test_slopes_of_classes_are_tensors_too(data: Path) -> None:
    frame = analysis.table(simulate.find(data), "V_slope", [3])
    assert set(frame["tensor"]) == {"V slope"}
    assert frame["theory"].gt(0).all()
