"""Malicious claims: text stays text in the report, and no link leads out of its folder."""

import json
import os
import shutil
from pathlib import Path

import pytest

from analysis.__main__ import main as analysis_main
from analysis.pipeline import analyze
from simulate.__main__ import main
from simulate.store.manifest import MANIFEST

CLAIM = ["-m", "experiment=demo/preactivations", "network.width=8,12,16,24", "ensemble.networks=300"]


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claimed")
    assert main([*CLAIM, f"output={folder}/c", "workers=1", "ensemble.device=cpu"]) == 0
    return folder / "c"


def test_html_in_names_stays_text(claimed: Path, tmp_path: Path) -> None:
    """Texts of a manifest that the report shows are escaped."""
    evil = "<script>alert('x')</script><img src=x onerror=alert(1)>"
    shutil.copytree(claimed, tmp_path / "c<b>")
    for path in (tmp_path / "c<b>").glob(f"*/{MANIFEST}"):
        manifest = json.loads(path.read_text())
        manifest["settings"]["claim"] |= {"name": f"../../{evil}", "statement": evil}
        manifest["device"] = manifest["versions"]["torch"] = evil
        path.write_text(json.dumps(manifest))
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    result = analyze(tmp_path / "c<b>", tmp_path / "report")
    html = (tmp_path / "report" / "report.html").read_text()
    assert result.verdicts[0].statement == evil
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert html.count("<script") == html.count("</script") == 2, "the report's own data and its own script"
    assert "<img src=x" not in html
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert written
    assert all(path.is_relative_to(tmp_path / "report") for path in written), "the name of a claim is no path"


def test_a_report_is_not_written_through_links(
    claimed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    out = tmp_path / "out" / "figures"
    out.mkdir(parents=True)
    for link in (tmp_path / "out" / "report.html", out / "x.svg"):
        link.symlink_to(victim)
        assert analysis_main([f"data={claimed}", f"output={tmp_path}/out"]) == 2
        assert "is a link" in capsys.readouterr().err
        link.unlink()
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("asked", ["table=G", "plot=G", "figures=false"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "below a file"])
def test_nothing_but_a_plain_file_is_replaced(
    asked: str, kind: str, claimed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table, a figure and a report are refused in one line, and nothing else is written."""
    place = tmp_path / "out" / {"table=G": "t.csv", "plot=G": "f.svg", "figures=false": "report.html"}[asked]
    output = place.parent if asked == "figures=false" else place
    if kind == "below a file":
        (tmp_path / "out").touch()
    else:
        (tmp_path / "out").mkdir()
        {"pipe": os.mkfifo, "folder": Path.mkdir, "link": lambda path: path.symlink_to("/dev/null")}[kind](place)
    before = sorted(tmp_path.rglob("*"))
    assert analysis_main([f"data={claimed}/width-8", asked, f"output={output}"]) == 2
    error = capsys.readouterr().err
    assert f"error: output={output}: " in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_claim_of_another_kind(claimed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A claim with unknown tests or with options of a wrong type gives one line and no report."""
    for claim in (
        {"name": "a", "statement": "b", "tests": {"__class__": {}}},
        {"name": "a", "statement": "b", "tests": {"V": {"precision": "all"}}},
        {"name": "a", "statement": "b", "tests": [1]},
        {"name": 7},
        [1],
    ):
        shutil.copytree(claimed, tmp_path / "c")
        for path in (tmp_path / "c").glob(f"*/{MANIFEST}"):
            manifest = json.loads(path.read_text())
            manifest["settings"]["claim"] = claim
            path.write_text(json.dumps(manifest))
        assert analysis_main([f"data={tmp_path}/c"]) == 2
        stderr = capsys.readouterr().err
        assert stderr.startswith("error: ")
        assert stderr.count("\n") == 1
        assert not (tmp_path / "c" / "analysis").exists()
        shutil.rmtree(tmp_path / "c")
