"""The analysis counts each network once, whatever lies where and whatever a run adds, and says what computed it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
import simulate
from analysis.__main__ import main
from analysis.result import Result, verdict_json
from simulate.running import plan
from simulate.store import DataSet, find
from simulate.store.manifest import MANIFEST
from simulate.store.parts import committed, part_path

SWEEP = ["experiment=demo/preactivations", "network.width=8,12,16,24", "ensemble.block=16",
         "ensemble.device=cpu", "workers=1"]  # fmt: skip
NETWORKS = 96


def keep(whole: Path, to: Path, first: int, last: int, seed: int = 0) -> None:
    """A copy of the sweep that has only networks [first, last), and a seed of this name."""
    shutil.copytree(whole, to)
    for name in to.glob(f"*/{MANIFEST}"):
        manifest = json.loads(name.read_text())
        manifest |= {"first": first, "networks": last - first}
        manifest["settings"]["ensemble"] |= {"first": first, "networks": last - first, "seed": seed}
        manifest["identity"]["ensemble"]["seed"] = seed
        name.write_text(json.dumps(manifest))
        for low, high in committed(name.parent):
            if not first <= low < high <= last:
                part_path(name.parent, low, high).unlink()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PART_WORK", 0)
        simulate.sweep(*SWEEP, f"ensemble.networks={NETWORKS}", f"output={folder}/s")
    return folder / "s"


@pytest.fixture(scope="module")
def judged(whole: Path) -> Result:
    return analysis.analyze(whole)


def same(result: Result, judged: Result) -> None:
    """The numbers of networks, the estimates, their error bars and the verdicts are the same to the last bit."""
    assert result.verdicts[0].networks == 4 * NETWORKS
    assert verdict_json(result)["claims"] == verdict_json(judged)["claims"]
    pd.testing.assert_frame_equal(result.estimates, judged.estimates, check_exact=True)


def test_copies_count_once(whole: Path, judged: Result, tmp_path: Path) -> None:
    """A copied sweep, and a copied point next to its own in one sweep."""
    shutil.copytree(whole, tmp_path / "a" / "s")
    shutil.copytree(whole, tmp_path / "a" / "t")
    result = analysis.analyze(tmp_path / "a")
    same(result, judged)
    assert len(result.notes) == 4
    assert f"one ensemble, {NETWORKS} networks of which lie in several of them and count once" in result.notes[0]
    shutil.rmtree(tmp_path / "a" / "t")
    shutil.copytree(tmp_path / "a" / "s" / "width-8", tmp_path / "a" / "s" / "width-8-copy")
    result = analysis.analyze(tmp_path / "a")
    same(result, judged)
    assert len(result.notes) == 1
    assert judged.notes == (), "the control"


@pytest.mark.parametrize("second", [48, 16], ids=["disjoint", "overlapping"])
def test_parts_of_an_ensemble_in_two_folders(second: int, whole: Path, judged: Result, tmp_path: Path) -> None:
    """Negative control: networks that are not copies all count."""
    keep(whole, tmp_path / "a" / "s", 0, 48)
    keep(whole, tmp_path / "a" / "t", second, NETWORKS)
    result = analysis.analyze(tmp_path / "a")
    same(result, judged)
    twice = "taken together" if second == 48 else "32 networks of which lie in several of them and count once"
    assert [note.rpartition("one ensemble, ")[2] for note in result.notes] == [twice] * 4


def test_other_networks_are_no_copies(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "a" / "s")
    keep(whole, tmp_path / "a" / "t", 0, NETWORKS, seed=7)
    with pytest.raises(ValueError, match="two sweeps of the same claim"):
        analysis.analyze(tmp_path / "a")


def test_a_run_that_adds_parts_meanwhile(
    whole: Path, judged: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time a family has been read, the data set has more networks; the analysis keeps to those it found."""
    shutil.copytree(whole, tmp_path / "s")
    read, last = DataSet.read, [NETWORKS]

    def growing(data: DataSet, prefix: str) -> Any:
        values = read(data, prefix)
        if data.path.name == "width-8":
            rows = pq.read_table(part_path(data.path, 0, 16), partitioning=None)
            network = pa.array(rows["network"].to_numpy() + last[0])
            name = part_path(data.path, last[0], last[0] + 16)
            pq.write_table(rows.set_column(0, rows.schema.field("network"), network), name, write_page_checksum=True)
            last[0] += 16
        return values

    monkeypatch.setattr(DataSet, "read", growing)
    same(analysis.analyze(tmp_path / "s"), judged)
    assert last[0] >= NETWORKS + 32
    grown = next(data for data in find(tmp_path / "s") if data.path.name == "width-8")
    assert len(grown.status()) == grown.networks == last[0], "the control"


def test_a_snapshot_keeps_its_parts(run: Callable[..., DataSet]) -> None:
    data = run("network.width=8", "ensemble.networks=16")
    kept = data.snapshot()
    run("network.width=8", "ensemble.networks=40", f"output={data.path}")
    assert len(kept.read("g")) == kept.networks == 16
    assert len(data.read("g")) == data.networks == 40
    assert kept.addresses == ((0, 16),)


def test_the_analysis_names_devices_and_code(
    whole: Path, judged: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (entry,) = judged.computed
    assert entry["networks"] == 4 * NETWORKS
    assert entry["device"]["kind"] == "cpu"
    assert len(judged.provenance) == 1
    shutil.copytree(whole, tmp_path / "s")
    (log,) = (tmp_path / "s" / "width-8" / "commits").iterdir()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0]["code"]["cpu"] = "skylake-avx512\x1b[2J[/x]"
    del lines[1]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main([f"data={tmp_path}/s", f"output={tmp_path}/r", "figures=false"]) == 0
    stdout = capsys.readouterr().out.replace("\n", " ")
    page = (tmp_path / "r" / "report.html").read_text()
    for text in (stdout, page):
        assert "computed on 3 kinds of devices or code" in text
        assert "16 networks: cpu" in text
        assert "cpu skylake-avx512" in text
        assert "\x1b" not in text
    assert "unknown device and code" in stdout
    written = json.loads((tmp_path / "r" / "verdicts.json").read_text())
    assert [entry["networks"] for entry in written["computed"]] == [4 * NETWORKS - 32, 16, 16]
    assert np.sum([entry["device"] is None for entry in written["computed"]]) == 1
