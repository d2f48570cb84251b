"""Sums in the place of rows by an array job on a real Slurm of one node: they are those of one process."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main as analyze
from simulate import plugins
from simulate.__main__ import main
from simulate.running import plan
from simulate.store.cells import Summed
from simulate.store.head import head_of, plan_of, summed
from simulate.store.sets import DataSet, find
from tests.behaviour.test_keep_sums import CLAIM, NETWORKS, WIDTHS, drawn
from tests.behaviour.test_sums_on_device import apart
from tests.cluster.test_slurm import ended, slurm, states, wait_for  # noqa: F401

# A task is another process, where small data sets have several parts, and the task KILLED dies after its first.
PLUGIN = """
import os, signal
from simulate.running import compute, plan
plan.PART_WORK = 1
made = compute.compute_part
def killed(*given):
    made(*given)
    os.kill(os.getpid(), signal.SIGKILL)
if os.environ.get("SLURM_ARRAY_TASK_ID") == os.environ.get("KILLED", ""):
    compute.compute_part = killed
"""


def of_cells(data: DataSet) -> Summed:
    """The sums of each cell of a data set, whichever parts it lies in."""
    parts = list(summed(data, plan_of(head_of(data))))
    cells, place = np.unique(np.concatenate([part.cells for part in parts]), return_inverse=True)
    counts, sums = np.zeros(len(cells), np.int64), np.zeros((len(cells), parts[0].sums.shape[1]))
    np.add.at(counts, place, np.concatenate([part.counts for part in parts]))
    np.add.at(sums, place, np.concatenate([part.sums for part in parts]))
    return Summed(parts[0].size, cells, counts, sums)


def estimates(folder: Path, *overrides: str) -> pd.DataFrame:
    """Those of `python -m analysis`, by data set, tensor, layer and samples."""
    assert analyze([f"data={folder}", "figures=false", "workers=1", *overrides]) == 0
    frame = pd.read_parquet(folder / "analysis" / "estimates.parquet")
    return frame[frame["skipped"] == ""].set_index(["data", "tensor", "layer", "samples"])


@pytest.mark.cluster
@pytest.mark.long
def test_tasks_keep_sums(
    slurm: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of three tasks is killed. Another makes what it lacks and nothing else; sums are then those of one process to
    1e-12, and estimates those of rows. Negative control: the sums before they have made it."""
    monkeypatch.setattr(plan, "PART_WORK", plan.PART_WORK)  # which the plugin sets
    monkeypatch.setattr(plugins, "_loaded", dict(plugins._loaded))
    (tmp_path / "killed.py").write_text(PLUGIN)
    folder, own = tmp_path / "tasks", f"plugins=[{tmp_path}/killed.py]"

    def submitted(shards: int, *overrides: str) -> str:
        claim = [*CLAIM, WIDTHS, f"ensemble.networks={NETWORKS}", "ensemble.keep=sums", f"output={folder}", own]
        where = ["hydra/launcher=slurm", "cluster.minutes=5", "cluster.memory=1", f"cluster.shards={shards}"]
        assert main(["-m", *claim, *where, *overrides]) == 0
        return capsys.readouterr().out.split()[2].rstrip(",")

    job = submitted(3, "cluster.setup=['export KILLED=1']")
    wait_for(lambda: sorted(states(job)) == ["COMPLETED", "COMPLETED", "FAILED"])
    first, *_ = find(folder)
    for keep in ("sums", "rows"):
        drawn(tmp_path / keep, keep, f"ensemble.networks={NETWORKS}")
    alone = [of_cells(data) for data in find(tmp_path / "sums")]
    assert of_cells(first).counts.sum() < alone[0].counts.sum()
    before = {name: name.stat().st_mtime_ns for name in folder.glob("*/networks/*")}

    job = submitted(1)
    wait_for(lambda: ended(job, 1, folder))
    assert all(name.stat().st_mtime_ns == stamp for name, stamp in before.items())
    assert all(apart(of_cells(data), one) < 1e-12 for data, one in zip(find(folder), alone, strict=True))

    by_sums, by_rows = estimates(folder, own), estimates(tmp_path / "rows")
    assert len(by_sums) == 4 * 11, "components of V, G1 and the cumulant at the last layer"
    pd.testing.assert_frame_equal(by_sums, by_rows.loc[by_sums.index], rtol=1e-12, atol=0)
