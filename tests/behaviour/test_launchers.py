"""Launchers are options of the group `cluster` in configs. The tests with a real Slurm are in tests/cluster."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import configs
import simulate
from simulate import api, status
from simulate.__main__ import main
from simulate.launchers import LAUNCHERS, Launch, Launcher
from simulate.launchers.slurm import Site, read_site, script, submit
from simulate.running.progress import Progress
from simulate.settings.cluster import Cluster, read_cluster
from simulate.settings.reader import Reader, SettingsError
from simulate.store.sets import DataSet, open_data_set

SMALL = ["network.width=4", "ensemble.networks=8", "ensemble.device=cpu"]
SBATCH = """#!/bin/bash
# A stand-in for Slurm that runs the tasks of the array one after another.
for last in "$@"; do :; done
tasks=$(sed -n 's/^#SBATCH --array=0-//p' "$last")
for task in $(seq 0 "$tasks"); do SLURM_ARRAY_TASK_ID=$task bash "$last" >&2 || exit 1; done
echo 7
"""


def test_launchers_are_the_files_of_the_group() -> None:
    assert sorted(LAUNCHERS) == configs.options("cluster")
    for name, launcher in LAUNCHERS.items():
        cluster = configs.compose("simulate", [f"cluster={name}"])["cluster"]
        assert set(cluster) == {"name", *launcher.settings}
        defaults = Cluster(name)
        read = read_cluster(Reader(cluster, "cluster"), {name: launcher.settings})
        assert replace(read, further={}) == defaults, "yaml and record agree"
        assert read_site(read.further) == Site()


def test_a_plugin_cannot_take_a_name() -> None:
    with pytest.raises(ValueError, match="launcher 'slurm' is there already"):
        LAUNCHERS.add(Launcher("slurm", lambda launch: []))


@pytest.mark.parametrize("spelling", ["cluster=slurm", "hydra/launcher=slurm"])
def test_both_spellings(spelling: str) -> None:
    _, cluster = api.read_all([spelling, "cluster.minutes=30", "cluster.partition=gpu-2"], False)
    assert replace(cluster, further={}) == Cluster("slurm", minutes=30, partition="gpu-2")
    assert api.read_all([spelling, "cluster=slurm"], False)[1].launcher == "slurm"
    assert api.read_all([], False)[1] == Cluster("local")


WRONG = [
    (["hydra/launcher=pbs"], "cluster=pbs", "there are local, slurm"),
    (["cluster=slurm", "cluster.shards=0"], "cluster.shards=0", ">= 1, or auto"),
    (["cluster=slurm", "cluster.shards=1.5"], "cluster.shards=1.5", ">= 1, or auto"),
    (["cluster=slurm", "cluster.shard=3"], "cluster.shard=3", "did you mean cluster.shards?"),
    (["cluster=slurm", "cluster.minutes=0"], "cluster.minutes=0", ">= 1"),
    (["cluster=slurm", "cluster.memory=x"], "cluster.memory='x'", ">= 1"),
    (["cluster=slurm", "cluster.gpus=-1"], "cluster.gpus=-1", ">= 0"),
    (["cluster=slurm", "cluster.wait=maybe"], "cluster.wait='maybe'", "true or false"),
    (["cluster=slurm", "cluster.partition=a;rm"], "cluster.partition=a;rm", ""),
    (["cluster=slurm", "cluster.partition='a b'"], "cluster.partition='a b'", "the name of a partition"),
    (["cluster=slurm", "cluster.partition=[a]"], "cluster.partition=['a']", "the name of a partition"),
    (["cluster.minutes=3"], "cluster.minutes=3", "cluster=slurm has it"),
    (["cluster=slurm", "+cluster.queue=x"], "cluster.queue='x'", "no such setting"),
    (["cluster.name=pbs"], "cluster.name='pbs'", "local, slurm"),
    (["~cluster"], "cluster=None", "missing"),
    (["cluster=slurm", "cluster.shards=8,16"], "cluster.shards=8,16", "is not swept"),
    (["-m", "cluster=slurm", "cluster.shards=8,16"], "cluster.shards=8,16", "is not swept"),
    (["-m", "cluster=slurm,local"], "cluster=slurm,local", "is not swept"),
    (["hydra/launcher=slurm", "cluster=local"], "cluster=slurm, cluster=local", "given twice"),
    (["hydra/launcher=slurm", "network.width=0"], "network.width=0", ">= 1"),
    (["cluster.shards=2", "workers=3"], "cluster.shards=2", "workers=3"),
    (["hydra/sweeper=optuna"], "hydra/sweeper=optuna", "no effect here"),
    (["--shard=2/2"], "--shard='2/2'", "0 <= K < N"),
    (["--shard=0/2", "--shard=1/2"], "--shard", "given twice"),
]


@pytest.mark.parametrize("given", ["cluster.options={mail-type: END}", "cluster.options.mail-type=END"])
def test_any_option_of_a_site_can_be_given(given: str) -> None:
    (point,) = configs.points("simulate", [given, "cluster=slurm"])
    assert point.config["cluster"]["options"] == {"mail-type": "END"}


@pytest.mark.parametrize(("arguments", "named", "hint"), WRONG, ids=[" ".join(w[0]) for w in WRONG])
def test_wrong_settings(
    arguments: list[str], named: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, f"output={tmp_path}/x"]) == 2
    line = capsys.readouterr().err
    assert named in line
    assert hint in line
    assert line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = api.prepared(api.read_sweep([*SMALL, f"output={tmp_path}/x"]))
    with pytest.raises(SettingsError, match="sbatch is not here"):
        submit(Launch(jobs, Cluster("slurm"), [], Progress()))
    assert main([*SMALL, "cluster=slurm", f"output={tmp_path}/x"]) == 2
    assert "cluster='slurm': sbatch is not here" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    command = tmp_path / "bin" / "sbatch"
    command.parent.mkdir()
    command.write_text(SBATCH)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return command


def test_what_is_submitted_is_the_same_command(
    sbatch: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], run: Callable[..., DataSet]
) -> None:
    """Each task runs the given command, --config-dir included, with --shard, and therefore never submits again.

    The rows are those of one process.
    """
    folder = tmp_path / "own folder"
    (folder / "activation").mkdir(parents=True)
    (folder / "activation" / "steep.yaml").write_text("name: leaky_relu\nslope: 0.3\n")
    (folder / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /cluster: slurm\ncluster: {shards: 2}\n"
    (folder / "experiment" / "mine.yaml").write_text(text)
    options = ["experiment=mine", "activation=steep", "network.width=4", "ensemble.networks=8", "ensemble.device=cpu"]
    assert main(["--config-dir", "own folder", *options, "output=o"]) == 0
    captured = capfd.readouterr()
    assert captured.out == "Slurm job 7, 2 tasks; python -m simulate.status says how far they are\n"
    script = (tmp_path / "o" / "slurm" / "submitted.sh").read_text()
    assert "simulate -m '--config-dir=own folder' experiment=mine" in script
    assert "output=o workers=1 --shard=$SLURM_ARRAY_TASK_ID/2 &" in script
    alone = run("activation=leaky_relu", "activation.slope=0.3", *SMALL)
    data = open_data_set("o")
    assert data.table().equals(alone.table())
    assert "cluster" not in data.manifest["settings"]
    assert "cluster" not in data.manifest["identity"]


def test_no_argument_is_dropped(sbatch: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster=slurm", *SMALL, "workers=3", "output=o"]) == 2
    assert "workers=3: a task of Slurm is one process" in capfd.readouterr().err
    assert main(["cluster=slurm", *SMALL, "--forecast", "output=o"]) == 0
    assert "1 data set, 8 networks to make" in capfd.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"], "a forecast submits nothing"
    with pytest.raises(SettingsError, match="cluster='slurm': run and sweep return data sets that are made"):
        simulate.run("cluster=slurm", *SMALL, "output=o")


def test_a_claim_that_could_not_be_judged_is_not_submitted(sbatch: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["experiment=ntk_mean", "network.width=8,16", "cluster=slurm", "output=o"]) == 2
    assert "width" in capfd.readouterr().err
    assert not Path("o").exists()


def test_local_is_worker_processes(tmp_path: Path, run: Callable[..., DataSet]) -> None:
    settings, _ = api.read_all(["cluster.shards=2"], False)
    assert settings[0].workers == 2
    assert api.read_all(["cluster.shards=2", "workers=2"], False)[0][0].workers == 2
    data = run(*SMALL, "cluster=local", "cluster.shards=1", f"output={tmp_path}/l")
    assert data.complete
    assert "cluster" not in data.manifest["settings"]


def test_logs_are_read_where_the_launcher_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Callable[..., DataSet]
) -> None:
    run(*SMALL, f"output={tmp_path}/o")
    (tmp_path / "pbs").mkdir()
    (tmp_path / "pbs" / "7.log").write_text("error: out of memory\n")
    status.main([str(tmp_path)])
    assert "failed" not in capsys.readouterr().out, "the control: no launcher has logs there"
    monkeypatch.setitem(LAUNCHERS, "pbs", Launcher("pbs", lambda launch: [], logs="pbs"))
    status.main([str(tmp_path)])
    assert f"failed: {tmp_path}/pbs/7.log: error: out of memory" in capsys.readouterr().out


def test_a_task_has_one_process(tmp_path: Path) -> None:
    text = script(["output=o", "workers=1"], Cluster("slurm", shards=3), tmp_path)
    assert text.count("workers=1") == 1
    assert script(["output=o"], Cluster("slurm", shards=3), tmp_path) == text
