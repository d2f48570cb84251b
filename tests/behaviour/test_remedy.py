"""An underpowered verdict says what it would take, on the terminal, in the report and in its JSON file."""

import json
import shlex
from pathlib import Path

import pytest

import analysis
import simulate
from analysis.__main__ import main
from simulate.__main__ import main as simulate_main

FEW = [
    "experiment=demo/ntk_mean", "ensemble.networks=4000", "ensemble.block=500", "network.width=32,64,128,256",
    "~claim.tests.ntk_variance", "workers=1",
]  # fmt: skip


def test_what_it_would_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The number, the time and the command, which goes on with the data sets."""
    assert (
        simulate_main([*FEW, "claim.tests.ntk_mean.precision=0.01", f"output={tmp_path}/d", "ensemble.device=cpu"]) == 0
    )
    capsys.readouterr()
    assert main([f"data={tmp_path}/d", "figures=false"]) == 0
    shown = capsys.readouterr().out
    report = (tmp_path / "d" / "analysis" / "report.html").read_text()
    (claim,) = json.loads((tmp_path / "d" / "analysis" / "verdicts.json").read_text())["claims"]
    assert claim["verdict"] == "underpowered"
    needs = {entry["test"]: entry for entry in claim["needs"]}
    need = needs["ntk_mean"]
    assert need["text"] in report.replace("&#39;", "'")
    (line,) = (line for line in shown.splitlines() if line.startswith("  ntk_mean: "))
    assert line.endswith(need["text"]), "the sentence of a test ends in what it takes"
    assert claim["answers"]["ntk_mean"] in shown
    assert shown.count(need["text"]) == 1
    assert need["networks"] > 4000
    assert 0 < need["seconds"] < 600
    words = shlex.split(need["command"])
    assert words[-1] == f"ensemble.networks={need['networks']}"
    assert sum(word.startswith("ensemble.networks=") for word in words) == 1
    assert simulate_main([*words[3:-1], "ensemble.networks=4500"]) == 0, "it goes on with these data sets"


def test_enough_networks_need_nothing(tmp_path: Path) -> None:
    """Negative control: a claim that agrees names no remedy."""
    assert (
        simulate_main([*FEW, "claim.tests.ntk_mean.precision=0.5", f"output={tmp_path}/d", "ensemble.device=cpu"]) == 0
    )
    result = analysis.analyze(tmp_path / "d")
    assert result.verdicts[0].verdict == "agrees"
    assert result.remedies == {"ntk_mean": {}}
    assert set(result.table["needs"]) == {""}


def test_the_log_tells_seconds(tmp_path: Path) -> None:
    """Each part has a line with its seconds, unless it is the first block of a data set, which also compiles."""
    data = simulate.run("ensemble.networks=300", "ensemble.block=100", f"output={tmp_path}/a", "workers=1")
    assert sum(networks for networks, _ in data.timed()) == 300
    assert all(0 < seconds < 60 for _, seconds in data.timed())
    assert (
        simulate.run("ensemble.networks=100", "ensemble.block=100", f"output={tmp_path}/b", "workers=1").timed() == []
    )
