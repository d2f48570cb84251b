"""Array jobs, faults and refusals on a real Slurm of one node (tests/cluster/slurm.sh).

The tests start it where they run as root with Debian's slurm-wlm and munge. Elsewhere they skip themselves and say so.
`make cluster` runs only these tests.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import simulate
from simulate import api
from simulate.__main__ import main
from simulate.launchers import Launch
from simulate.launchers import slurm as slurm_launcher
from simulate.launchers.slurm import script, submit
from simulate.running.forecast import network_seconds
from simulate.running.progress import Progress
from simulate.settings.cluster import Cluster
from simulate.store.parts import committed
from simulate.store.sets import open_data_set

HERE = Path(__file__).parent
SWEEP = ["network.width=128,192", "network.depth=5", "ensemble.sampler=dense", "ensemble.networks=4000"]
NEEDS = "needs root and Debian's slurm-wlm and munge: apt-get install -y --no-install-recommends slurm-wlm munge"
CAN_START = os.geteuid() == 0 and shutil.which("slurmctld") is not None and shutil.which("munged") is not None


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not CAN_START:
        pytest.skip(NEEDS)
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(["bash", HERE / "slurm.sh", "start", folder], capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield folder
    subprocess.run(["bash", HERE / "slurm.sh", "stop", folder], check=True)
    del os.environ["SLURM_CONF"]


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, subprocess.run(["squeue", "-l"], capture_output=True, text=True).stdout
        time.sleep(0.2)


def states(job: str) -> list[str]:
    """The states of all tasks of a job, including ended ones. The list is empty while Slurm does not answer."""
    command = ["squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%T"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()


def ended(job: str, tasks: int, folder: Path) -> bool:
    """Whether all tasks have completed."""
    found = states(job)
    failed = {"FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL"} & set(found)
    assert not failed, [path.read_text() for path in folder.glob("slurm/*.log")]
    return found == ["COMPLETED"] * tasks


@pytest.mark.cluster
def test_six_tasks_a_requeue_and_a_drained_node(
    slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After one task is requeued and the node is drained, the data sets are those of one process."""
    launcher = ["cluster=slurm", "cluster.shards=6", "cluster.minutes=10", "cluster.memory=1"]
    assert main(["-m", *SWEEP, *launcher, "ensemble.device=cpu", f"output={tmp_path}/s"]) == 0
    job = capsys.readouterr().out.split()[2].rstrip(",")
    folders = [tmp_path / "s" / f"width-{width}" for width in (128, 192)]
    wait_for(lambda: any(committed(folder) for folder in folders))
    subprocess.run(["scontrol", "requeue", f"{job}_1"], capture_output=True)
    subprocess.run(["scontrol", "update", "nodename=localhost", "state=drain", "reason=test"], check=True)
    wait_for(lambda: "RUNNING" not in states(job))
    assert "PENDING" in states(job), "tasks must wait for the node"
    subprocess.run(["scontrol", "update", "nodename=localhost", "state=resume"], check=True)
    wait_for(lambda: ended(job, 6, tmp_path / "s"), 240)
    logs = {path.name: path.read_text() for path in (tmp_path / "s" / "slurm").glob("*.log")}
    assert len(logs) == 6
    errors = [line for text in logs.values() for line in text.splitlines() if line.startswith("error:")]
    assert errors == [], "the requeue is reported by Slurm, not by the tasks"
    alone = simulate.sweep(*SWEEP, "ensemble.device=cpu", f"output={tmp_path}/one", "workers=1")
    for folder, data in zip(folders, alone, strict=True):
        assert open_data_set(folder).complete
        assert open_data_set(folder).table().equals(data.table())


@pytest.mark.cluster
def test_a_task_whose_time_is_up_goes_on_in_another(slurm: Path, tmp_path: Path) -> None:
    """After the signal that Slurm sends before a task's end, committed parts are kept and the requeued task resumes."""
    overrides = ["network.width=256", "network.depth=6", "ensemble.sampler=dense", "ensemble.networks=4096"]
    overrides += ["ensemble.device=cpu", f"output={tmp_path}/t"]
    jobs = api.prepared(api.read_sweep(overrides))
    job, tasks = submit(Launch(jobs, Cluster("slurm", shards=1, minutes=5, memory=1), overrides, Progress()))
    assert tasks == 1
    wait_for(lambda: len(committed(tmp_path / "t")) >= 2)
    subprocess.run(["scancel", "--signal=USR1", "--batch", f"{job}_0"], check=True)
    wait_for(lambda: "PENDING" in states(job))
    assert not open_data_set(tmp_path / "t").complete
    before = {name: name.stat().st_mtime_ns for name in (tmp_path / "t").glob("networks/part-*.parquet")}

    wait_for(lambda: ended(job, 1, tmp_path / "t"), 240)
    logs = [path.read_text() for path in (tmp_path / "t" / "slurm").glob("*.log")]
    assert open_data_set(tmp_path / "t").complete, logs
    assert all(name.stat().st_mtime_ns == stamp for name, stamp in before.items())


@pytest.mark.cluster
def test_as_many_tasks_as_it_takes(
    slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """cluster.shards=auto forecasts times: with a margin of 4, a task of two minutes is given five seconds of work.

    Fifteen seconds take two tasks or more, unless the second forecast finds the machine three times as fast.
    """
    monkeypatch.setattr(slurm_launcher, "MARGIN", 4.0)
    work = ["network.width=512", "network.depth=6", "ensemble.sampler=dense", "observables=ntk", "ensemble.device=cpu"]
    work += [f"output={tmp_path}/s"]
    (seconds,) = network_seconds(api.prepared(api.read_sweep([*work, "ensemble.networks=1200"])))
    where = ["hydra/launcher=slurm", "cluster.minutes=2", "cluster.memory=1"]
    assert main([*work, f"ensemble.networks={round(15 / seconds)}", *where]) == 0
    words = capsys.readouterr().out.split()
    job, tasks = words[2].rstrip(","), int(words[3])
    assert 2 <= tasks <= 60, "a loaded machine needs more tasks, but fewer than there are parts"
    wait_for(lambda: ended(job, tasks, tmp_path / "s"), 400)  # a busy machine interrupts tasks, which start again
    assert open_data_set(tmp_path / "s").complete
    logs = [path.read_text() for path in (tmp_path / "s" / "slurm").glob("*.log")]
    times = [float(line.split()[-2]) for text in logs for line in text.splitlines() if "1 data set, " in line[-30:]]
    assert len(times) == tasks
    assert max(times) < 60
    assert main([*work, "ensemble.networks=5000", f"output={tmp_path}/t", "cluster.memory=1", "hydra/launcher=slurm",
                 "network.width=16384"]) == 2  # fmt: skip
    assert "cluster.memory gives 1.0" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


def test_what_a_site_asks_for(tmp_path: Path) -> None:
    """Account, quality of service, features, a limit of tasks, lines before the command, and any other option."""
    further = {"account": "phys-1", "qos": "long", "constraint": "a100|h100", "array_limit": 4}
    further |= {"setup": ["module load cuda", "export X=1"], "options": {"mail-type": "END", "exclusive": None}}
    text = script(["output=a"], Cluster("slurm", 64, further=further), tmp_path)
    for line in ("--account=phys-1", "--qos=long", "--constraint=a100|h100", "--array=0-63%4", "--mail-type=END"):
        assert f"#SBATCH {line}\n" in text
    assert "#SBATCH --exclusive\n" in text
    lines = text.splitlines()
    assert lines.index("export X=1") < lines.index("wait $!")
    assert lines.index("module load cuda") > max(k for k, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    plain = script(["output=a"], Cluster("slurm", 64), tmp_path)
    assert not any(word in plain for word in ("account", "qos", "constraint", "%4")), "the control"


@pytest.mark.parametrize(
    ("further", "named"),
    [
        ({"account": "two\nlines"}, "cluster.account='two"),
        ({"array_limit": 0}, "cluster.array_limit=0"),
        ({"options": {"array": "0-3"}}, "cluster.options={'array': '0-3'}"),
        ({"options": {"-x": "1"}}, "cluster.options={'-x': '1'}"),
        ({"options": ["exclusive"]}, "cluster.options=['exclusive']"),
        ({"setup": [1]}, "cluster.setup=[1]"),
    ],
)
def test_wrong_settings_of_a_site(further: dict[str, object], named: str, tmp_path: Path) -> None:
    with pytest.raises(simulate.SettingsError) as error:
        script(["output=a"], Cluster("slurm", 2, further=further), tmp_path)
    assert str(error.value).startswith(named)


def test_what_is_submitted_can_be_read(tmp_path: Path) -> None:
    text = script(["output=a b"], Cluster("slurm", 64, 30, "gpu", 8, 1), tmp_path)
    assert "#SBATCH --array=0-63\n" in text
    assert "#SBATCH --gpus=1\n" in text
    assert "'output=a b' workers=1 --shard=$SLURM_ARRAY_TASK_ID/64 &" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
