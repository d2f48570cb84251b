"""Theory that cannot be computed at a point costs one test, one estimate or one figure, and never the analysis.

At large kernels Mehler's series of tanh needs more terms than there are, and averages over three inputs are not known.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import analysis
import simulate
from analysis import claims, estimates
from analysis.__main__ import main
from analysis.measures.measured import MEASURES
from analysis.points import OUT_OF_RANGE, Point
from simulate.store.sets import DataSet, find

FEW = ["ensemble.networks=64", "ensemble.device=cpu", "workers=1", "network.depth=3", "activation=tanh"]
SWEEP = ["network.width=8,12,16,24", "observables=kernel", "+claim={name: large, statement: Kernels are large.}"]
MEHLER = "tanh: Mehler's series at K="


def with_tests(*names: str) -> str:
    return f"+claim.tests={{{', '.join(f'{name}: {{precision: 0.5}}' for name in names)}}}"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two digits at kernels of about 31, with controls that cannot be computed there and a vertex that can be."""
    folder = tmp_path_factory.mktemp("large") / "s"
    biases = ["initialization=gaussian", "initialization.C_b=30.0", "initialization.C_W=1.0"]
    tests = with_tests("K", "V", "V_controlled", "layer_law")
    simulate.sweep(*FEW, *SWEEP, tests, *biases, f"output={folder}")
    return folder


def test_a_test_and_its_estimates(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tests that need the series are not tested and say why, and the others are judged; in the table of estimates a
    row for each layer says why."""
    assert main([f"data={large}", f"output={large}/report", "figures=false"]) == 0
    widths = ", ".join(f"width-{n}" for n in (12, 16, 24, 8))
    line = f"no estimate of G1 controlled, V controlled in {widths}: {MEHLER}"
    assert line in " ".join(capsys.readouterr().out.split())
    result = analysis.analyze(large)
    verdicts = result.table.set_index("test")
    assert (verdicts.loc[["K", "V"], "series"] > 0).all()
    for name in ("V_controlled", "layer_law"):
        assert verdicts.loc[name, "series"] == 0
        assert MEHLER in verdicts.loc[name, "reason"]
    table = pd.read_parquet(large / "report" / "estimates.parquet")
    pd.testing.assert_frame_equal(table, result.estimates)
    skipped = table[table["skipped"] != ""]
    assert set(skipped["tensor"]) == {"V controlled", "G1 controlled"}
    assert set(skipped["layer"]) == {3}, "the lowest layer that has controls"
    assert len(skipped) == 4 * 2
    assert skipped["skipped"].str.startswith(MEHLER).all()
    assert skipped[["estimate", "error", "theory"]].isna().all(axis=None)
    made = table[table["skipped"] == ""]
    assert set(made["tensor"]) == {"G", "V", "G1"}
    assert made[["estimate", "theory"]].notna().all(axis=None)
    assert MEHLER.replace("'", "&#39;") in (large / "report" / "report.html").read_text()


def test_nothing_is_skipped_within_the_range(tmp_path: Path) -> None:
    """Control: at kernels of order one the same table has no such row, and no note says so."""
    data = simulate.run(*FEW, "network.width=8", "observables=kernel", f"output={tmp_path}/s")
    result = analysis.analyze(data)
    assert set(result.estimates["tensor"]) == {"G", "V", "G1", "V controlled", "G1 controlled"}
    assert (result.estimates["skipped"] == "").all()
    assert result.notes == ()


def test_a_figure(tmp_path: Path) -> None:
    """A figure that needs the vertex of three inputs at K = 1e5 is left out, and the report says why."""
    biases = ["initialization=gaussian", "initialization.C_b=1e5", "initialization.C_W=1.0", "inputs.count=3"]
    simulate.sweep(*FEW, *SWEEP, with_tests("K"), *biases, f"output={tmp_path}/s")
    assert main([f"data={tmp_path}/s", f"output={tmp_path}/r"]) == 0
    report = (tmp_path / "r" / "report.html").read_text()
    assert "large: the figure collapse is left out: Gaussian averages over 3 inputs at K=" in report
    assert not list((tmp_path / "r" / "figures").iterdir())
    assert plt.get_fignums() == []


IN_TABLE = [measure.name for measure in MEASURES.values() if measure.table != "never"]
EVERYTHING = "observables.record=[kernel,moments,outputs,ntk,dntk,ddntk]"


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, DataSet]:
    """An untrained and a trained data set that record what the measures of the table read."""
    folder = tmp_path_factory.mktemp("points")
    small = [*FEW, "network.width=4", EVERYTHING, "observables.output_layers=all"]
    trained = ["dynamics=gradient_descent", "dynamics.steps=1", "dynamics.eta=0.01"]
    return {
        False: simulate.run(*small, "network.outputs=2", f"output={folder}/u"),
        True: simulate.run(*small, *trained, f"output={folder}/t"),
    }


@pytest.mark.parametrize("error", OUT_OF_RANGE)
def test_a_need(
    error: type[Exception], points: dict[bool, DataSet], large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim with a test whose need raises, or whose range does, is refused by a reason before anything is drawn."""

    def out_of_range(*points: Point) -> Iterator[str]:
        raise error("K=1e300: out of range")

    record, point = MEASURES["V"], Point(points[False])
    assert list(replace(record, needs=out_of_range).missing(point)) == ["V: K=1e300: out of range"]
    claim = {"tests": {"V": {"precision": 0.5}}}
    sweep = [Point(data) for data in find(large)]
    assert list(claims.check(claim, sweep)) == [], "control"
    monkeypatch.setattr(claims, "tests", lambda: {"V": replace(record, undefined=out_of_range)})
    assert list(claims.check(claim, sweep)) == ["claim.tests.V: K=1e300: out of range"]


@pytest.mark.parametrize("name", IN_TABLE)
@pytest.mark.parametrize("where", ["function", "needs"])
def test_every_measure(name: str, where: str, points: dict[bool, DataSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever measure of the table raises, in itself or in what it needs, its rows say why and the table ends."""

    def out_of_range(point: Point, *others: object) -> Iterator[str]:
        raise ValueError("K=1e300: out of range")
        yield ""

    measure = MEASURES[name]
    point = Point(points[measure.table == "trained"])
    assert list(measure.lacks(point)) == [], "the control: the point has what it needs"
    monkeypatch.setattr(estimates, "MEASURES", {name: replace(measure, **{where: out_of_range})})
    rows = list(estimates.table(point))
    assert {row["tensor"] for row in rows} == set(measure.symbols)
    assert {row["skipped"] for row in rows} == {"K=1e300: out of range"}
    assert {row["layer"] for row in rows} == set(measure.layers(point))
