"""The analysis of data sets: tables, files of the report, and exit codes."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import analysis
import simulate
from analysis.__main__ import main
from simulate.__main__ import main as simulate_main
from simulate.store.manifest import digest

SMALL = {
    "preactivations": [
        "experiment=demo/preactivations", "network.depth=4", "observables.layers=[2,3,4]", "ensemble.networks=3000",
        "claim.tests.V.layers=[4]", "claim.tests.G1.layers=[4]", "network.width=8,16,32,64",
    ],
    "ntk_mean": ["experiment=demo/ntk_mean", "ensemble.networks=400", "network.width=8,16,32,64"],
    "infinite_width_training": [
        "experiment=demo/infinite_width_training", "ensemble.networks=300", "network.width=8,16,32,64",
        "dynamics.steps=10", "observables.steps=[0,10]",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("claims")
    for name, arguments in SMALL.items():
        simulate.sweep(*arguments, f"output={root}/{name}", "workers=1", "ensemble.device=cpu")
    return root


@pytest.fixture(scope="module")
def report(data: Path) -> Path:
    assert main([f"data={data}"]) == 0
    return data / "analysis"


def test_verdicts_json(report: Path) -> None:
    written = json.loads((report / "verdicts.json").read_text())
    assert [c["claim"] for c in written["claims"]] == sorted(SMALL)
    for claim in written["claims"]:
        assert claim["verdict"] in ("agrees", "disagrees", "underpowered")
        assert claim["verdict"] != "disagrees", claim["reason"]
        for test in claim["tests"]:
            pull = (test["coefficient"] - test["prediction"]) / test["error"]
            assert test["pull"] == pytest.approx(pull)
            assert test["visible_deviation"] > 3 * test["error"] / test["scale"]


def test_each_test_has_its_own_verdict_and_a_sentence(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test that sees what it asks agrees, whatever the others of its claim do; `verbose` reports each fit."""
    assert main([f"data={data}/preactivations", "figures=false", f"output={data}/verbose", "verbose=true"]) == 0
    shown = capsys.readouterr().out
    (claim,) = json.loads((data / "verbose" / "verdicts.json").read_text())["claims"]
    for test, sentence in claim["answers"].items():
        assert f"  {test}: {sentence}" in shown
        words = {entry["verdict"] for entry in claim["tests"] if entry["test"] == test}
        (row,) = (line for line in shown.splitlines() if re.search(rf"│ {test} +│", line))
        assert ("agrees" in row) == (words == {"agrees"}), row
        assert sentence in (data / "verbose" / "report.html").read_text().replace("&#39;", "'")
    assert shown.count("Partial Errors:") == shown.count("Least Squares Fit:") == len(claim["tests"])
    assert main([f"data={data}/preactivations", "figures=false", f"output={data}/verbose"]) == 0
    assert "Partial Errors:" not in capsys.readouterr().out, "the control"


def test_estimates_parquet(report: Path) -> None:
    table = pd.read_parquet(report / "estimates.parquet")
    assert {"tensor", "layer", "width", "samples", "estimate", "error", "theory", "theory_next"} <= set(table.columns)
    assert {"V", "G1", "G", "H", "z", "Cov z", "cumulant"} <= set(table["tensor"])
    metric = table[(table["tensor"] == "G") & (table["claim"] == "preactivations") & (table["width"] == 64)]
    pulls = (metric["estimate"] - metric["theory_next"]) / metric["error"]
    assert len(metric) == 9
    assert np.abs(pulls).max() < 5, "K + G1/n is what is measured at n = 64"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_report_is_self_contained(report: Path) -> None:
    text = (report / "report.html").read_text()
    tags = Tags()
    tags.feed(text)
    images = [a["src"] for tag, a in tags.found if tag == "img"]
    assert len(images) >= 9
    assert all(src and src.startswith("data:image/svg+xml;base64,") for src in images)
    assert not [tag for tag, _ in tags.found if tag in ("link", "iframe")]
    scripts = [attributes for tag, attributes in tags.found if tag == "script"]
    assert [set(attributes) for attributes in scripts] == [{"type", "id"}, {"type"}], "data and a script, both inside"
    assert not re.search(r"""(src|href)=["']https?:""", text)
    assert text.index("Verdicts") < text.index("<figure>")
    for needed in ("How to reproduce", "family", "All fits", "&#34;C_W&#34;"):
        assert needed.lower() in text.lower()


def test_figures_are_drawn(report: Path) -> None:
    names = {p.stem for p in (report / "figures").glob("*.svg")}
    assert {
        "preactivations-collapse", "preactivations-density", "preactivations-fit-V", "ntk_mean-frozen_ntk",
        "infinite_width_training-trained",
    } <= names  # fmt: skip
    for name in names:
        image = matplotlib.image.imread(report / "figures" / f"{name}.png")
        assert image[..., :3].std() > 0.01, f"{name} is blank"


def test_names_from_data_are_escaped(data: Path, tmp_path: Path) -> None:
    simulate.sweep(*SMALL["ntk_mean"], "claim.name='<script>alert(1)</script>'", f"output={tmp_path}/x", "workers=1")
    assert main([f"data={tmp_path}/x"]) == 0
    text = (tmp_path / "x" / "analysis" / "report.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_strict_exit_code(tmp_path: Path) -> None:
    """A claim fails on data of sin that are labelled tanh; only with strict=true does that change the exit code."""
    arguments = [*SMALL["preactivations"], "activation=sin", f"output={tmp_path}/s", "workers=1"]
    assert simulate_main(arguments) == 0
    for manifest in tmp_path.glob("s/*/dataset.json"):
        content = json.loads(manifest.read_text())
        content["settings"]["activation"]["name"] = "tanh"
        manifest.write_text(json.dumps(content))
    assert main([f"data={tmp_path}/s", "figures=false"]) == 2, "the identity says sin"
    for manifest in tmp_path.glob("s/*/dataset.json"):
        content = json.loads(manifest.read_text())
        content["identity"]["activation"]["name"] = "tanh"
        manifest.write_text(json.dumps(content))
    assert main([f"data={tmp_path}/s", "figures=false"]) == 2, "the parts say sin"
    for part in tmp_path.glob("s/*/networks/*.parquet"):
        identity = json.loads((part.parents[1] / "dataset.json").read_text())["identity"]
        table = pq.read_table(part, partitioning=None)
        pq.write_table(table.replace_schema_metadata({"identity": digest(identity)}), part)
    assert main([f"data={tmp_path}/s", "figures=false"]) == 0
    assert main([f"data={tmp_path}/s", "figures=false", "strict=true"]) == 3


def test_plain_data_give_estimates_and_no_verdict(tmp_path: Path) -> None:
    simulate.run("ensemble.networks=200", f"output={tmp_path}/p", "workers=1", "network.width=[8,16,8]")
    result = analysis.analyze(tmp_path / "p", output=tmp_path / "r")
    assert not result.verdicts
    controlled = {"V controlled", "G1 controlled"}
    assert set(result.estimates["tensor"]) == {"G", "G1", "V", "V of neurons", "cumulant", *controlled}
    assert (tmp_path / "r" / "report.html").exists()


def test_figures_may_be_left_out(data: Path, tmp_path: Path) -> None:
    assert main([f"data={data}/ntk_mean", f"output={tmp_path}/r", "figures=false"]) == 0
    assert not (tmp_path / "r" / "figures").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=nowhere"], "no data set there"),
        ([], "data"),
        (["data=nowhere", "alpha=2"], "alpha=2"),
        (["data=nowhere", "strict=maybe"], "strict='maybe'"),
        (["data=nowhere", "alhpa=0.1"], "did you mean alpha"),
        (["data=nowhere", "x=n"], "x=n: goes with plot="),
        (["data=nowhere", "table=V", "samples='\"00,00\"'"], 'samples="00,00": goes with plot='),
        (["data=nowhere", "table=V", "posterior.noise=0.1"], "posterior.noise=0.1: goes with a report"),
        (["data=nowhere", "plot=V", "alpha=2"], "alpha=2: goes with a report"),
        (["data=nowhere", "--cite", "strict=true"], "strict=true: goes with a report"),
        (["data=nowhere", "table=V", "output=5"], "output=5: the name of a folder or file"),
        (["data=nowhere", "plugins={a: 1}"], "plugins={a: 1}: the files have a value of another kind there"),
    ],
)
def test_wrong_settings(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert message in stderr
