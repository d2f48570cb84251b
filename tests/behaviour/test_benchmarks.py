"""The benchmarks run on tiny cases, and a contender that draws other networks than ours is void."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import forecast, mutants, race, tables
from benchmarks.contenders import Case, ours

ROOT = Path(__file__).parents[2]
TINY = (Case("ntk", 8, 3, 2), Case("train", 8, 3, 2, 4))


@pytest.mark.parametrize("case", TINY, ids=lambda case: case.work)
def test_a_race(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every contender makes networks of the same statistics, with a false alarm of FALSE_ALARM a contender."""
    monkeypatch.setattr(race, "BATCH", {8: 16})
    outcome = race.race(case, None, rounds=2, seconds=0.05)
    rows = {row["contender"]: row for row in outcome["rows"]}
    assert set(rows) == set(race.contenders(case, None))
    assert all(row["networks/s"] > 0 for row in rows.values())
    assert not any(row["void"] for row in rows.values()), rows
    name = next(iter(rows))
    assert all(share > 0 for share in race.binding(case, name, 1.0, dict.fromkeys(race.ceilings(), 1.0)).values())


def test_other_networks_are_void() -> None:
    """The control: networks of another width have another mean square."""
    case, other = TINY[0], Case("ntk", 32, 3, 2)
    values = {str(c.n): ours(c, "ensemble.sampler=law")(0.05)[1] for c in (case, other)}
    assert race.disagreement(values)["32"] > 10
    same = {"first": values["8"][::2], "second": values["8"][1::2]}
    assert race.disagreement(same)["second"] < 5


def test_memory_and_start_up() -> None:
    measured = race.memory(TINY[0], "law")
    assert measured["many"]["networks"] == 4 * measured["few"]["networks"]
    assert np.isfinite(measured["few"]["over"])
    assert race.start_up(1) > 0


def test_mutants_are_judged(tmp_path: Path) -> None:
    """A wrong C_b is rejected and the right theory is not, at a false-alarm rate of 1 %; what so few networks cannot
    see, or no test tests, survives."""
    untested = (f"~claim.tests.{name}" for name in ("ntk_mean", "V", "Theta1", "A", "B", "D", "F"))
    names = ["C_b dropped above layer 1", "<s_b s''_d> transposed in F", "uniform weights"]
    kernels = ("activation=tanh", "observables.record=[kernel]", *untested)
    found = list(mutants.rows(1000, ["general"], names, kernels))
    assert [row.verdict == "disagrees" for row in found] == [False, True, False, False]
    survivors = mutants.survivors(found)
    assert survivors == names[1:]
    made = {"machine": "", "networks": 1000, "rows": [row.__dict__ for row in found], "survivors": survivors}
    page = tmp_path / "page.md"
    page.write_text("\n".join([tables.BEGIN.format(command="this"), tables.END, ""]))
    tables.insert(page, tables.mutants(made), "this")
    assert f"| {names[1]} (survives) | " in page.read_text()
    assert "| C_b dropped above layer 1 | **disagrees**, " in page.read_text()


def test_the_tables_of_the_docs_are_those_of_the_results() -> None:
    text = tables.render(json.loads((ROOT / "docs" / "performance.json").read_text()))
    assert text.strip() in (ROOT / "docs" / "performance.md").read_text()


def test_the_table_of_forecasts_is_that_of_its_figures() -> None:
    """docs/cluster.md shows the figures of docs/forecast.json, which has every setting of the grid."""
    result = json.loads((ROOT / "docs" / "forecast.json").read_text())
    assert tables.forecasts(result) in (ROOT / "docs" / "cluster.md").read_text()
    assert [row["settings"] for row in result["rows"]] == list(forecast.GRID)
