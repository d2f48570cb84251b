"""Networks are drawn until a claim is decided: it can be interrupted, no look is lost, and limits hold."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis import decide, looks, sequential
from analysis.__main__ import main as analyze_main
from analysis.until import main
from simulate import api
from simulate.__main__ import main as simulate_main
from simulate.settings import Settings
from simulate.store.sets import DataSet, find

Capture = pytest.CaptureFixture[str]
CLAIM = [
    "experiment=demo/ntk_mean", "~claim.tests.ntk_variance", "network.width=32,64,128,256", "ensemble.networks=16000",
    "ensemble.block=500", "workers=1", "ensemble.device=cpu",
]  # fmt: skip


def command(folder: Path, precision: float = 0.02, *more: str) -> list[str]:
    return ["--no-figures", *drawn(folder, precision), *more]


def drawn(folder: Path, precision: float = 0.02, *more: str) -> list[str]:
    return [*CLAIM, f"claim.tests.ntk_mean.precision={precision}", f"output={folder}", *more]


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("until") / "d"
    assert main(command(folder)) == 0
    return folder


@pytest.fixture
def copy(decided: Path, tmp_path: Path) -> Path:
    """The same folder, for those who change it."""
    return Path(shutil.copytree(decided, tmp_path / "d"))


def record_of(folder: Path) -> looks.Record:
    record = looks.read(folder)
    assert record is not None
    return record


def networks(folder: Path) -> dict[str, int]:
    """Those of each data set; none where there is no data set yet."""
    return {data.path.name: data.networks for data in find(folder)} if any(folder.glob("*/dataset.json")) else {}


def test_it_agrees_and_the_analysis_repeats_the_last_look(decided: Path) -> None:
    """Ensembles grow unevenly, the last look has spent alpha and no more, and a later analysis judges at its levels."""
    record = record_of(decided)
    assert [look.verdict for look in record.looks[:-1]] == ["underpowered"] * (len(record.looks) - 1)
    assert record.looks[-1].verdict == "agrees"
    assert len(set(record.looks[-1].networks.values())) > 1
    used = [2 * sum(entry["used"] for entry in look.series.values()) for look in record.looks]
    assert used == sorted(used)
    assert used[-1] <= record.start.alpha * (1 + 1e-12)
    result = analysis.analyze(decided)
    assert result.verdicts[0].verdict == "agrees"
    assert any("drawn until decided" in note for note in result.notes)
    for judged in result.verdicts[0].judged:
        entry = record.looks[-1].series[looks.key(judged.fit.series)]
        assert entry["information"] == pytest.approx(1 / judged.fit.error**2, rel=1e-6)
    written = json.loads((decided / "analysis" / "verdicts.json").read_text())
    assert written["claims"][0]["verdict"] == "agrees"


def test_a_decided_claim_is_not_looked_at_again(copy: Path) -> None:
    before = (copy / looks.RECORD).read_bytes()
    assert main(command(copy)) == 0
    assert (copy / looks.RECORD).read_bytes() == before


def test_killed_and_called_again(tmp_path: Path, decided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is interrupted in the middle of each growth takes the same looks as one that is not, where the costs
    of networks are the same; what it has recorded before stays to the byte."""
    monkeypatch.setattr(decide, "_costs", lambda sets, *_: {data.path.name: 1e-4 for data in sets})
    assert main(command(tmp_path / "whole")) == 0
    make, folder = api.make, tmp_path / "parts"

    def make_some(settings: Sequence[Settings], *rest: Any, **more: Any) -> list[DataSet]:
        there = networks(folder)
        growing = [s for s in settings if there.get(Path(s.output).name, 0) < s.ensemble.networks]
        if not growing or interrupted[-1:] == [len(record_of(folder).looks)]:
            return make(settings, *rest, **more)
        interrupted.append(len(record_of(folder).looks))
        low = there.get(Path(growing[0].output).name, 0)
        some = (low + growing[0].ensemble.networks) // 2
        make([replace(growing[0], ensemble=replace(growing[0].ensemble, networks=some), claim=None)], *rest, **more)
        raise KeyboardInterrupt

    interrupted: list[int] = []
    monkeypatch.setattr(api, "make", make_some)
    line = b""
    while main(command(folder)) == 130:
        written = (folder / looks.RECORD).read_bytes()
        assert written.startswith(line)
        line = written
    assert interrupted == list(range(len(record_of(folder).looks)))
    whole, parts = record_of(tmp_path / "whole"), record_of(tmp_path / "parts")
    assert [look.networks for look in parts.looks] == [look.networks for look in whole.looks]
    assert [look.series for look in parts.looks] == [look.series for look in whole.looks]


def test_a_budget_ends_and_a_larger_one_goes_on(tmp_path: Path, capsys: Capture) -> None:
    """The verdict is underpowered and says what it would take. More budget spends the alpha that is left."""
    assert main(command(tmp_path / "d", 0.02, "--most=1100")) == 0
    shown = capsys.readouterr().out
    assert "underpowered" in shown
    assert "--budget=" in shown
    first = record_of(tmp_path / "d").looks
    assert max(first[-1].networks.values()) <= 1100
    assert main(command(tmp_path / "d", 0.02)) == 0
    record = record_of(tmp_path / "d")
    assert [look.series for look in record.looks[: len(first)]] == [look.series for look in first]
    assert record.looks[-1].verdict == "agrees"
    last = record.looks[-1].series
    for name, entry in last.items():
        past = [look.series[name] for look in record.looks]
        bounds = sequential.boundaries([p["information"] for p in past], [p["used"] for p in past])
        assert entry["pull"] == pytest.approx(2 * decide.looks.norm.sf(bounds[-1]))


REFUSED = {
    "lost": (lambda d: (d / looks.RECORD).unlink(), "the record of the looks at"),
    "cut short": (lambda d: _cut(d, -2), "a look may be lost"),
    "a line less": (lambda d: _cut(d, 1, 2), "is missing or was changed"),
    "changed": (lambda d: _change(d), "is missing or was changed"),
    "more networks": (lambda d: _more(d), "a look may be lost"),
}


def _cut(folder: Path, low: int = -1, high: int | None = None) -> None:
    lines = [line for line in (folder / looks.RECORD).read_text().splitlines() if line]
    del lines[low:high]
    (folder / looks.RECORD).write_text("\n".join(lines) + "\n")


def _change(folder: Path) -> None:
    text = (folder / looks.RECORD).read_text()
    (folder / looks.RECORD).write_text(text.replace('"verdict": "underpowered"', '"verdict": "not tested"', 1))


def _more(folder: Path) -> None:
    more = [override for override in drawn(folder) if not override.startswith("ensemble.networks")]
    assert simulate_main([*more, "ensemble.networks=20000"]) == 0


@pytest.mark.parametrize("case", REFUSED)
def test_lost_looks_are_refused(case: str, copy: Path, capsys: Capture) -> None:
    """By the driver, which draws nothing, and by the analysis, which does not judge."""
    spoil, message = REFUSED[case]
    spoil(copy)
    there = networks(copy)
    capsys.readouterr()
    assert main(command(copy)) == 2
    assert message in capsys.readouterr().err
    assert networks(copy) == there
    (verdict,) = analysis.analyze(copy).verdicts
    assert verdict.verdict == "not tested"
    assert message in verdict.reason


def test_a_line_that_was_not_written_to_its_end_is_no_look(copy: Path) -> None:
    """The crash came before anything was told, and the same look is taken again."""
    whole = record_of(copy)
    content = (copy / looks.RECORD).read_bytes().rstrip(b"\n")
    (copy / looks.RECORD).write_bytes(content[:-40])
    assert len(record_of(copy).looks) == len(whole.looks) - 1
    assert main(command(copy)) == 0
    again = record_of(copy)
    assert [look.series for look in again.looks] == [look.series for look in whole.looks]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--alpha=0.05"], "looks were taken with alpha=0.01"),
        (["claim.tests.ntk_mean.precision=0.03"], "looks were taken with other tests or asks"),
        (["network.width=32,64,128,256,512"], "looks were taken at the data sets"),
        (["claim=null"], "claim=None"),
        (["--budget=soon"], "--budget='soon': a time"),
        (["--most=many"], "--most='many': a number"),
        (["--most=0"], "--most='0': a number of networks, 1 or more"),
        (["--most=nan"], "--most='nan': a number of networks, 1 or more"),
        (["cluster=slurm"], "cluster='slurm'"),
    ],
)
def test_refusals(more: list[str], message: str, decided: Path, capsys: Capture) -> None:
    given = [o for o in command(decided) if o.split("=")[0] not in {m.split("=")[0] for m in more}]
    if "claim=null" in more:
        given = [o for o in given if not o.startswith(("claim.", "~claim."))]
    assert main([*given, *more]) == 2
    assert message in capsys.readouterr().err


def test_data_that_were_judged_before_are_refused(tmp_path: Path, capsys: Capture) -> None:
    """A report is a look at the full rate. Negative control: without the report the data are taken."""
    small = ["ensemble.networks=400" if o.startswith("ensemble.networks") else o for o in drawn(tmp_path / "d")]
    assert simulate_main(small) == 0
    assert analyze_main([f"data={tmp_path}/d", "figures=false"]) == 0
    assert main(command(tmp_path / "d", 0.5)) == 2
    assert "were judged before" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "d" / "analysis")
    assert main(command(tmp_path / "d", 0.0005, "--most=1000")) == 0
    shown = capsys.readouterr().out
    assert "underpowered" in shown
    assert "networks a width would see 0.05 %" in shown, "also where the first look may use no alpha yet"
    assert max(entry["pull"] for entry in record_of(tmp_path / "d").looks[-1].series.values()) == 0
