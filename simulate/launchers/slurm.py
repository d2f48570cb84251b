"""A sweep on a Slurm cluster: one array job, each of whose tasks makes one shard of every data set of the sweep. The
analysis shares its data sets in the same way.

    python -m simulate experiment=ntk cluster=slurm cluster.shards=64 cluster.minutes=60 cluster.partition=gpu

The submitted script is the same command with --shard: nothing is unpickled, nodes need nothing but this project, and a
person can read it and submit it again. Parts that a task has committed stay. A task that is requeued, after a lost node
or shortly before its time is up, resumes after them.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulate.launchers.launcher import LAUNCHERS, Launch, Launcher, LaunchError, TasksError
from simulate.settings.cluster import SHARED, Cluster
from simulate.settings.reader import Reader, SettingsError, integer, is_list
from simulate.store.sets import DataSet

if TYPE_CHECKING:
    from simulate.running.jobs import Job

MARGIN = 1.5  # the time of a task is so many times its forecast
START = 10  # seconds that a task needs before it computes
BEFORE_THE_END = 60  # a task is requeued so many seconds before its time is up
LOGS = "slurm"
SITE = ("account", "qos", "constraint", "array_limit", "setup", "options")  # settings that only this launcher has
# Options of sbatch that the script sets itself, or that have a setting of their own.
OURS = (
    *("array", "time", "mem", "cpus-per-task", "output", "open-mode", "signal", "chdir", "partition", "gpus"),
    *("account", "qos", "constraint", "requeue", "no-requeue", "wait", "parsable", "wrap"),
)


@dataclass(frozen=True)
class Site:
    """The settings of `cluster` that depend on the cluster's rules.

    array_limit: tasks that run at the same time; None for no limit. setup: lines of the script before the command.
    options: further options of sbatch by their long names.
    """

    account: str = ""
    qos: str = ""
    constraint: str = ""
    array_limit: int | None = None
    setup: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


def _word(value: Any) -> str:
    """Text in one line; null is none."""
    text = "" if value is None else str(value)
    if isinstance(value, bool | list | dict) or not text.isprintable() or text != text.strip():
        raise ValueError
    return text


def _lines(value: Any) -> tuple[str, ...]:
    lines = tuple(value) if is_list(value) else tuple(str(value or "").splitlines())
    if not all(isinstance(line, str) and line.isprintable() for line in lines):
        raise ValueError
    return lines


def _options(value: Any) -> Mapping[str, str]:
    options = {str(name): _word(given) for name, given in value.items()}
    if any(not re.fullmatch("[a-z][a-z-]*", name) or name in OURS for name in options):
        raise ValueError
    return options


def read_site(given: Mapping[str, Any]) -> Site:
    """The settings of the cluster's rules; SettingsError for the first that is wrong."""
    r = Reader({name: given.get(name) for name in SITE}, "cluster")
    return Site(
        r.get("account", _word, "a name in one line"),
        r.get("qos", _word, "a name in one line"),
        r.get("constraint", _word, "features in one line"),
        r.get("array_limit", lambda v: None if v is None else integer(v, 1), "null, or a whole number >= 1"),
        r.get("setup", _lines, "a line of the script, or a list of lines"),
        r.get("options", lambda v: _options(v or {}), f"a mapping of sbatch's long options, without {', '.join(OURS)}"),
    )


def script(arguments: Sequence[str], cluster: Cluster, folder: Path, module: str = "simulate") -> str:
    """The script for sbatch, in which a task is `python -m MODULE` with the arguments of the command and --shard.
    `folder` keeps the logs of the tasks. Raises SettingsError for a wrong setting of the cluster's rules."""
    site = read_site(cluster.further)
    options = {
        "job-name": "nearly-gaussian",
        "array": f"0-{cluster.shards - 1}" + (f"%{site.array_limit}" if site.array_limit else ""),
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
    options |= {name: value for name in ("account", "qos", "constraint") if (value := getattr(site, name))}
    options |= site.options
    one_process = [] if "workers=1" in arguments else ["workers=1"]
    here = Path(__file__).parents[2] == Path.cwd()  # a checkout that need not be installed
    safe = [] if here else ["-P"]  # a task does not import what lies in the current folder, as ng-simulate does not
    command = [sys.executable, *safe, "-m", module, *arguments, *one_process]
    flags = [f"#SBATCH --{name}={value}" if value else f"#SBATCH --{name}" for name, value in options.items()]
    lines = ["#!/bin/bash", *flags, "#SBATCH --requeue", *site.setup]
    lines += [
        "# Shortly before the time is up the task stops and is requeued.",
        """trap 'kill $!; wait; scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"; sleep 60' USR1""",
        f"{shlex.join(command)} --shard=$SLURM_ARRAY_TASK_ID/{cluster.shards} &",
        "wait $!",
    ]
    return "\n".join(lines) + "\n"


def _tasks(jobs: Sequence[Job], cluster: Cluster) -> int:
    """The number of tasks. Each makes a shard of every data set, which may be a part of each longer than the mean."""
    if cluster.gpus and jobs[0].settings.ensemble.device != "cuda":
        raise SettingsError(
            "cluster.shards", "auto", "there is no GPU here whose time could be measured: give their number"
        )
    from simulate.running.forecast import network_seconds
    from simulate.running.plan import computed, part_size

    seconds = network_seconds(jobs)
    work = sum(s * computed(job, job.settings.ensemble.networks) for s, job in zip(seconds, jobs, strict=True))
    most = (60 * cluster.minutes - BEFORE_THE_END) / MARGIN - START
    left = most - sum(s * part_size(job) for s, job in zip(seconds, jobs, strict=True))
    if left <= 0:
        need = math.ceil(((most - left + START) * MARGIN + BEFORE_THE_END) / 60)
        raise SettingsError("cluster.minutes", cluster.minutes, f"the shortest task takes {need}, or more")
    return math.ceil(work / left)


def _check(cluster: Cluster) -> None:
    """SettingsError where there is no Slurm, or a setting of the cluster's rules is wrong."""
    read_site(cluster.further)
    if shutil.which("sbatch") is None:
        raise SettingsError("cluster", "slurm", "sbatch is not here; choose local, or log in to a cluster")


def _submitted(text: str, folder: Path, wait: bool) -> str:
    """Submit a script, which `folder` keeps; returns the job's number, with `wait` when all tasks have ended.
    LaunchError with Slurm's message where it refuses, TasksError where tasks have failed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "submitted.sh"
    path.write_text(text)
    done = subprocess.run(["sbatch", "--parsable", *["--wait"] * wait, str(path)], capture_output=True, text=True)
    if not done.stdout.strip():
        raise LaunchError(f"sbatch: {done.stderr.strip()}")
    if done.returncode:
        raise TasksError(f"job {done.stdout.strip()}: some tasks failed; their logs are in {folder}")
    return done.stdout.strip().partition(";")[0]


def submit(launch: Launch) -> tuple[str, int]:
    """Submit the checked sweep; returns the job's number and its number of tasks.

    Raises SettingsError where there is no Slurm, or where a task has too little time or memory, LaunchError with
    Slurm's message where it refuses, and TasksError where tasks that are waited for fail.
    """
    jobs, cluster = launch.jobs, launch.cluster
    _check(cluster)  # before anything is measured or written
    if (workers := jobs[0].settings.workers) not in (None, 1):
        raise SettingsError("workers", workers, "a task of Slurm is one process; cluster.shards says how many tasks")
    from simulate.running.memory import check_task  # imports torch

    check_task(jobs, cluster.memory * 2**30)
    cluster = replace(cluster, shards=cluster.shards or _tasks(jobs, cluster))
    folder = Path(os.path.commonpath([job.path.absolute() for job in jobs])) / LOGS
    return _submitted(script(launch.arguments, cluster, folder), folder, cluster.wait), cluster.shards


def run_tasks(module: str, arguments: Sequence[str], cluster: Cluster, folder: Path) -> None:
    """As `simulate.launchers.launcher.Launcher` has it."""
    _check(cluster)
    _submitted(script(arguments, cluster, folder, module), folder, wait=True)


def start(launch: Launch) -> Sequence[DataSet]:
    number, tasks = submit(launch)
    print(f"Slurm job {number}, {tasks} tasks; python -m simulate.status says how far they are")
    return []


LAUNCHERS.add(Launcher("slurm", start, settings=(*SHARED, *SITE), logs=LOGS, run_tasks=run_tasks))
