"""The analysis as an array job on a real Slurm of one node: its tasks keep sums, and the reduce reads them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import simulate
from analysis import kept, streams
from analysis.__main__ import main
from analysis.walks import Found, Walk, Work
from simulate import plugins
from simulate.store.folders import SUMS
from tests.cluster.test_slurm import slurm  # noqa: F401

LIMITS = {"SMALL": 2**18, "RANGE": 2**18}  # bytes: rows of more than 3,200 networks are read in ranges
# A task is another process, whose limits a plugin sets.
PLUGIN = "from analysis import streams\n" + "".join(f"streams.{name} = {size}\n" for name, size in LIMITS.items())
SWEEP = ["experiment=preactivations", "network.depth=4", "inputs.count=2", "workers=1", "ensemble.block=500"]
LARGE = ["observables.layers=[2,4]", "claim.tests.V.layers=[4]", "claim.tests.G1.layers=[4]", "ensemble.device=cpu"]
KEPT = ["ensemble.networks=6000", "ensemble.keep=sums", "claim.name=kept"]
WHERE = ["hydra/launcher=slurm", "cluster.minutes=5", "cluster.memory=1"]

Walks = Callable[..., tuple[Walk, Found, object]]


@dataclass
class Sweep:
    """A sweep of four data sets, two of them large, and another that keeps sums. walked: ranges that the last analysis
    has read in this process."""

    folder: Path
    plugin: Path
    walked: int = 0

    def verdicts(self, *overrides: str, status: int = 0) -> bytes:
        """What a new analysis decides, without the sums of an earlier one."""
        for sums in self.folder.glob(f"*/*/{SUMS}"):
            shutil.rmtree(sums)
        self.walked = 0
        own = [f"data={self.folder}", f"plugins=[{self.plugin}]", "figures=false", "workers=1"]
        assert main([*own, *overrides]) == status
        return (self.folder / "analysis" / "verdicts.json").read_bytes()


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    # Two data sets have grown, to two parts and so two ranges each, and are the large ones.
    for networks, widths in ((3000, "4,8,12,16"), (6000, "4,8")):
        given = f"network.width={widths}", f"ensemble.networks={networks}", f"output={tmp_path}/s"
        simulate.sweep(*SWEEP, *LARGE, *given)
    simulate.sweep(*SWEEP, *LARGE, "network.width=4,8,12,16", *KEPT, f"output={tmp_path}/kept")
    made = Sweep(tmp_path, tmp_path / "limits.py")
    made.plugin.write_text(PLUGIN)
    for name, size in LIMITS.items():
        monkeypatch.setattr(streams, name, size)
    monkeypatch.setattr(plugins, "_loaded", dict(plugins._loaded))
    monkeypatch.setattr(kept, "walked", counted(made, kept.walked))
    return made


def counted(sweep: Sweep, walked: Walks) -> Walks:
    def counting(work: Work) -> tuple[Walk, Found, object]:
        sweep.walked += 1
        return walked(work)

    return counting


@pytest.mark.cluster
@pytest.mark.long
def test_tasks_keep_what_the_reduce_reads(
    slurm: Path,  # noqa: F811
    sweep: Sweep,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The verdicts are those of one process, which reads no range itself; it reads those of a task that fails."""
    alone, ranges = sweep.verdicts(), sweep.walked
    assert ranges >= 2 * 2, "two ranges of each large data set"
    assert sweep.verdicts(*WHERE) == alone
    assert sweep.walked == 0
    assert "some tasks failed" not in capfd.readouterr().err

    fails = "cluster.setup=['test $SLURM_ARRAY_TASK_ID != 1 || exit 1']"
    assert sweep.verdicts(*WHERE, fails) == alone
    assert sweep.walked == ranges // 2, "one of two data sets of the same size"
    err = capfd.readouterr().err
    assert "some tasks failed; their logs are in" in err
    assert "what they have not kept is computed here" in err


WRONG = [
    ((*WHERE, "cluster.shards=3"), "cluster.shards=3: 2 data sets are read in ranges"),
    ((*WHERE, "cluster.gpus=1"), "cluster.gpus=1: the analysis uses none"),
    ((*WHERE, "cluster.minutes=0"), "cluster.minutes=0"),
    ((*WHERE, "alpha=2"), "alpha=2"),
    ((*WHERE, "table=V"), "cluster=slurm: goes with a report"),
    (("--shard=4/4",), "--shard='4/4': K/N with 0 <= K < N"),
    (("--shard=0/4", "--cite"), "--shard=0/4: goes with a report"),
    (("cluster.shards=2",), "cluster.shards=2: workers=1 says"),
]


def test_wrong_settings_of_shares(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All are refused before anything is submitted or written, and so are data that need no tasks."""
    own = [f"data={sweep.folder}", "figures=false", "workers=1"]
    for overrides, words in WRONG:
        assert main([*own, *overrides]) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setattr(streams, "SMALL", 2**30)
    assert main([*own, *WHERE]) == 2
    assert "cluster='slurm': no data set has more than 1024 MiB" in capsys.readouterr().err
    assert main([f"data={sweep.folder}/kept", *own[1:], *WHERE]) == 2
    assert "cluster='slurm': all data sets have sums in place of rows" in capsys.readouterr().err
    assert not [*sweep.folder.glob("**/analysis")]
