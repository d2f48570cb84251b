"""A sweep on a Slurm cluster: one array job, each of whose tasks makes one shard of every data set of the sweep.

    python -m simulate experiment=ntk cluster=slurm cluster.shards=64 cluster.minutes=60 cluster.partition=gpu

The script that is submitted is the same command with --shard, so that there is nothing to unpickle, nothing to install
on nodes but this project, and a person can read and submit it again. What a task has committed stays; one that is
requeued, after a lost node or shortly before its time is up, goes on from there.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from simulate.launchers.launcher import LAUNCHERS, Launch, Launcher
from simulate.settings.cluster import Cluster
from simulate.settings.reader import SettingsError
from simulate.store.sets import DataSet

if TYPE_CHECKING:
    from simulate.running.jobs import Job

MARGIN, START = 1.5, 10  # of the forecast, and seconds in which a task starts
BEFORE_THE_END = 60  # seconds before a task's time is up at which it is requeued
LOGS = "slurm"


def script(arguments: Sequence[str], cluster: Cluster, folder: Path) -> str:
    """What sbatch gets: a task is `python -m simulate` with the sweep's own arguments and --shard. `folder` keeps the
    logs of the tasks."""
    options = {
        "job-name": "nearly-gaussian",
        "array": f"0-{cluster.shards - 1}",
        "time": str(cluster.minutes),
        "mem": f"{cluster.memory}G",
        "cpus-per-task": "1",
        "output": str(folder / "%A_%a.log"),
        "open-mode": "append",
        "signal": f"B:USR1@{BEFORE_THE_END}",
        "chdir": str(Path.cwd()),
    }
    options |= {"partition": cluster.partition} if cluster.partition else {}
    options |= {"gpus": str(cluster.gpus)} if cluster.gpus else {}
    one_process = [] if "workers=1" in arguments else ["workers=1"]
    command = [sys.executable, "-m", "simulate", *arguments, *one_process]
    lines = ["#!/bin/bash", *(f"#SBATCH --{name}={value}" for name, value in options.items()), "#SBATCH --requeue"]
    lines += [
        "# Shortly before the time is up: stop, and go on in another allotment.",
        """trap 'kill $!; wait; scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"; sleep 60' USR1""",
        f"{shlex.join(command)} --shard=$SLURM_ARRAY_TASK_ID/{cluster.shards} &",
        "wait $!",
    ]
    return "\n".join(lines) + "\n"


def _tasks(jobs: Sequence[Job], cluster: Cluster) -> int:
    """How many, each of them a shard of every data set and up to a part of each longer than the mean."""
    if cluster.gpus and jobs[0].settings.ensemble.device != "cuda":
        raise SettingsError(
            "cluster.shards", "auto", "there is no GPU here whose time could be measured: give their number"
        )
    from simulate.running.forecast import network_seconds
    from simulate.running.plan import part_size

    seconds = network_seconds(jobs)
    work = sum(s * job.settings.ensemble.networks for s, job in zip(seconds, jobs, strict=True))
    most = (60 * cluster.minutes - BEFORE_THE_END) / MARGIN - START
    left = most - sum(s * part_size(job) for s, job in zip(seconds, jobs, strict=True))
    if left <= 0:
        need = math.ceil(((most - left + START) * MARGIN + BEFORE_THE_END) / 60)
        raise SettingsError("cluster.minutes", cluster.minutes, f"the shortest task takes {need}, or more")
    return math.ceil(work / left)


def submit(launch: Launch) -> tuple[str, int]:
    """Submit the checked sweep; returns the job's number and how many tasks it has. Raises SettingsError where there is
    no Slurm, or where a task has too little time or memory, RuntimeError with Slurm's own words where it refuses."""
    jobs, cluster = launch.jobs, launch.cluster
    if shutil.which("sbatch") is None:
        raise SettingsError("cluster", "slurm", "sbatch is not here; choose local, or log in to a cluster")
    if (workers := jobs[0].settings.workers) not in (None, 1):
        raise SettingsError("workers", workers, "a task of Slurm is one process; cluster.shards says how many tasks")
    from simulate.running.memory import check_task  # torch, only here

    check_task(jobs, cluster.memory * 2**30)
    cluster = replace(cluster, shards=cluster.shards or _tasks(jobs, cluster))
    folder = Path(os.path.commonpath([job.path.absolute() for job in jobs])) / LOGS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "submitted.sh"
    path.write_text(script(launch.arguments, cluster, folder))
    wait = ["--wait"] if cluster.wait else []
    done = subprocess.run(["sbatch", "--parsable", *wait, str(path)], capture_output=True, text=True)
    if not done.stdout.strip():
        raise RuntimeError(f"sbatch: {done.stderr.strip()}")
    if done.returncode:
        raise RuntimeError(f"job {done.stdout.strip()}: some tasks failed; their logs are in {folder}")
    return done.stdout.strip().partition(";")[0], cluster.shards


def start(launch: Launch) -> Sequence[DataSet]:
    number, tasks = submit(launch)
    print(f"Slurm job {number}, {tasks} tasks; python -m simulate.status says how far they are")
    return []


LAUNCHERS.add(Launcher("slurm", start, logs=LOGS))
