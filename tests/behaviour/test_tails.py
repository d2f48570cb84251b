"""Wherever an error bar is shown or judged, an estimate that a few networks carry is marked as tail-dominated."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import analysis
import simulate
from analysis import estimators
from analysis.report.style import open_circles, with_bars
from analysis.report.terminal import fit_reports, print_table
from analysis.result import Result

SWEEP = [
    "experiment=demo/preactivations", "network.depth=4", "inputs.count=1",
    "observables.record=[kernel]", "observables.layers=[2,3,4]", "ensemble.networks=20000", "~claim.tests.cumulant",
    "claim.tests.V.layers=[4]", "~claim.tests.G1", "workers=1", "ensemble.device=cpu",
]  # fmt: skip
# Kernels of ReLU networks of width 4 have a heavy tail, those of width 64 and more at this depth do not.
CASES = {
    "tanh": ["activation=tanh", "network.width=64,96,128,192"],
    "one narrow width": ["activation=relu", "network.width=4,64,96,128,192"],
    "three narrow widths": ["activation=relu", "network.width=4,5,6,96,192"],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Result, Path]]:
    out = {}
    for name, arguments in CASES.items():
        folder = tmp_path_factory.mktemp("tails")
        sets = simulate.sweep(*SWEEP, *arguments, f"output={folder}/data")
        drawn = name == "one narrow width"
        out[name] = (analysis.analyze(sets, output=folder / "report", figures=drawn), folder / "report")
    return out


def written(folder: Path) -> dict[str, Any]:
    (claim,) = json.loads((folder / "verdicts.json").read_text())["claims"]
    return claim


def test_the_table_withholds_errors(results: Mapping[str, tuple[Result, Path]]) -> None:
    for name, (_, folder) in results.items():
        table = pd.read_parquet(folder / "estimates.parquet")
        flagged = table["tail_dominated"]
        assert table["error"].isna().equals(flagged)
        assert np.isfinite(table["estimate"]).all()
        narrow = table[(table["width"] < 10) & (table["tensor"] == "V") & (table["layer"] == 4)]
        assert narrow["tail_dominated"].all(), name
        assert not flagged[table["width"] >= 64].any(), "the control"


def test_a_fit_leaves_a_width_out_and_says_so(
    results: Mapping[str, tuple[Result, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    result, folder = results["one narrow width"]
    tests = {test["test"]: test for test in written(folder)["tests"]}
    assert [(e["width"], e["layer"]) for e in tests["V"]["tail_dominated"]] == [(4, 4)]
    assert {e["width"] for e in tests["V_collapse"]["tail_dominated"]} == {4}
    (row,) = (row for row in result.table.to_dict("records") if row["test"] == "V")
    assert row["tail-dominated"] == "tail-dominated estimates are left out: n=4 (1 of 1 series)"
    assert "tail-dominated estimates are left out of" in written(folder)["reason"]
    print_table(result)
    assert "V: tail-dominated estimates are left out: n=4" in capsys.readouterr().out
    html = (folder / "report.html").read_text()
    assert "tail-dominated estimates are left out: n=4 (1 of 1 series)" in html
    assert "Open circles are tail-dominated estimates" in html
    assert '<td class="text">n=4</td>' in html
    assert "<td>tail-dominated</td>" in html, "the table of estimates"


def test_too_few_widths_are_not_judged(
    results: Mapping[str, tuple[Result, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    result, folder = results["three narrow widths"]
    claim = written(folder)
    assert claim["verdict"] in ("underpowered", "not tested")
    reasons = {entry["test"]: entry["reason"] for entry in claim["not_tested"]}
    assert reasons["V"].startswith("tail-dominated: a few of 20,000 networks carry the estimates at n=4, n=5, n=6")
    assert "V" not in {test["test"] for test in claim["tests"]}
    (row,) = (row for row in result.table.to_dict("records") if row["test"].startswith("V "))
    assert row["tail-dominated"] == "tail-dominated"
    print_table(result)
    assert "tail-dominated" in capsys.readouterr().out
    (verdict,) = result.verdicts
    none = replace(verdict, judged=())
    assert list(fit_reports(none)) == [f"{verdict.claim}: no test has a fit"]
    assert len(list(fit_reports(verdict))) == (len(verdict.judged) or 1)
    assert "not tested: tail-dominated" in (folder / "report.html").read_text()


def test_nothing_is_marked_where_tails_are_light(
    results: Mapping[str, tuple[Result, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The control: tanh networks in the settings of the other cases."""
    result, folder = results["tanh"]
    claim = written(folder)
    assert not claim["not_tested"]
    assert not any(test["tail_dominated"] for test in claim["tests"])
    assert "tail-dominated" not in claim["reason"]
    print_table(result)
    assert "tail-dominated" not in capsys.readouterr().out
    assert "Open circles" not in (folder / "report.html").read_text()


def test_figures_draw_no_bar_of_a_tail() -> None:
    x = np.random.default_rng(0).standard_normal((1000, 3))
    x[0, 1] = 1000.0
    estimate = estimators.mean(x)
    figure, axes = plt.subplots()
    with_bars(axes, np.arange(3.0), estimate, "black", label="all")
    (bars,) = axes.containers
    assert bars[0].get_xdata().tolist() == [0, 2]
    circles = [line for line in axes.lines if line.get_label() == "tail-dominated"]
    assert [line.get_xdata().tolist() for line in circles] == [[1]]
    open_circles(axes, np.zeros(1), np.zeros(1), "black")
    assert axes.get_legend_handles_labels()[1].count("tail-dominated") == 1, "the legend names them once"
    plt.close(figure)
    figure, axes = plt.subplots()
    with_bars(axes, np.arange(3.0), estimators.mean(x[1:]), "black")
    assert len(axes.lines) == len(axes.containers[0][0:1]) + len(axes.containers[0][1]), "the control: no open circle"
    plt.close(figure)
