"""The benchmarks run on tiny cases, and a contender that draws other networks than ours is void."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks import forecast, history, mutants, power, race, results, stages, tables
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


def test_the_history_of_the_race(tmp_path: Path) -> None:
    """A row a commit, with the ratios of the race in docs/performance.json; a commit that is measured again has one."""
    result, path = json.loads((ROOT / "docs" / "performance.json").read_text()), tmp_path / "history.jsonl"
    for name in ("a", "b", "a"):
        rows = history.add(history.row(result, name, "2026-01-01"), path)
    assert [row["commit"] for row in rows] == [row["commit"] for row in history.read(path)] == ["a", "b"]
    ours, *_, peer, _ = (row["networks/s"] for row in result["races"][0]["rows"])
    assert rows[0]["ratios"]["ntk (64, 4, 4) ours, law"]["torch.func"] == pytest.approx(ours / peer, rel=1e-3)
    history.plot(rows, tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 1000
    assert any(row["ratios"] == rows[0]["ratios"] for row in history.read()), "the race of the docs is in the history"


@pytest.mark.parametrize("sampler", ["law", "dense"])
def test_stages_of_a_network(sampler: str) -> None:
    """Every stage of a sampler has a time, and the rest of a network is positive: no stage holds another."""
    found = stages.stages(TINY[0], sampler, rounds=2)
    place = {"law": stages.one_pass, "dense": stages.dense}[sampler]
    own = {stage for where, _, stage, _ in stages.STAGES if where is place}
    assert {*found} == own | {"normals", "storing", stages.REST} | ({"activation"} if sampler == "dense" else set())
    assert all(took > 0 for took, _ in found.values())
    assert f"| {stages.REST} | " in stages.render({sampler: found})


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
    found = list(mutants.rows("general", names, 1000, overrides=kernels))
    assert [row.verdict == "disagrees" for row in found] == [False, True, False, False]
    survivors = mutants.survivors(found)
    assert survivors == names[1:]
    page = tmp_path / "page.md"
    page.write_text("\n".join([tables.BEGIN.format(command="this"), tables.END, ""]))
    tables.insert(page, tables.mutants([asdict(row) for row in found], mutants.SHORT), "this")
    right, wrong = found[:2]
    apart = "L, F, rho, rates, quartic, fan-out, step"
    assert (
        f"| `general` | 1,000 | {right.verdict}, {right.pull:+.1f} | C_b {wrong.pull:+.1f} (`K`) | uniform | {apart} |"
        in (page.read_text())
    )
    (slow,) = mutants.rows("general", names, 500, seconds=0.0, overrides=kernels)
    assert "not tried" in tables.mutants([asdict(slow)], mutants.SHORT)


def test_the_tables_of_the_docs_are_those_of_the_results() -> None:
    text = tables.render(json.loads((ROOT / "docs" / "performance.json").read_text()))
    assert text.strip() in (ROOT / "docs" / "performance.md").read_text()


def test_the_table_of_forecasts_is_that_of_its_figures() -> None:
    """docs/cluster.md shows the figures of docs/forecast.json, which has every setting of the grid."""
    result = json.loads((ROOT / "docs" / "forecast.json").read_text())
    assert tables.forecasts(result) in (ROOT / "docs" / "cluster.md").read_text()
    assert [row["settings"] for row in result["rows"]] == list(forecast.GRID)


def test_the_table_of_results_is_that_of_its_runs(tmp_path: Path) -> None:
    """docs/results.md shows the runs of docs/results.json, which are of experiments with claims, at registered asks."""
    record, page = ROOT / "docs" / "results.json", ROOT / "docs" / "results.md"
    runs, asks = json.loads(record.read_text()), results.since()
    assert results.render(runs) in page.read_text()
    assert {entry["experiment"] for entry in runs} <= set(results.experiments())
    assert {(entry["claim"], test["test"]) for entry in runs for test in entry["tests"]} <= set(asks)
    changed = [{**runs[0], "networks": runs[0]["networks"] + 1}, *runs[1:]]
    assert results.render(changed) not in page.read_text(), "the control"
    results.draw(runs, tmp_path / "pulls.png")
    assert (tmp_path / "pulls.png").stat().st_size > 1000


def test_the_cost_of_seeing() -> None:
    """Rows of power have the cost at which the error falls to the one that sees 1 %: four times for twice the error."""
    plain = {"test": "V", "seconds": 1e-4, "error": 2.0, "cost": 40.0, "torch": 80.0}
    controlled = {"test": "V_controlled", "seconds": 1e-4, "error": 1.0, "cost": 10.0, "torch": None}
    assert "| V | 10 | 40 | 80 | 4 | 8 |" in power.render([plain, controlled], "a machine", 100)
    assert {test.removesuffix("_controlled") for run in power.RUNS for test in run.tests if run.peer} >= {"V", "A", "B"}


def test_no_mutant_survives() -> None:
    """docs/results.md shows the figures of docs/mutants.json, which has every mutant, and none passes all claims."""
    rows = mutants.recorded(ROOT / "docs")
    assert tables.mutants([asdict(row) for row in rows], mutants.SHORT) in (ROOT / "docs" / "results.md").read_text()
    assert {row.mutant for row in rows} == {"none", *mutants.THEORIES, *mutants.SIMULATIONS}
    assert not mutants.survivors(rows)
    assert not any(row.verdict == "disagrees" for row in rows if row.mutant == "none")
    of_ntk = [row for row in rows if row.claim == "ntk"]  # the control: equal rates, widths and norms hide them
    assert set(mutants.survivors(of_ntk)) >= set(mutants.THEORIES)
