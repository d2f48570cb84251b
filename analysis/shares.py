"""The pass over data sets that outgrow memory as tasks of a cluster, each of which keeps the sums of its data sets."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis import outputs, streams
from analysis.pipeline import asked
from analysis.visits import Task, keep
from simulate.launchers import LAUNCHERS, TasksError
from simulate.settings import SettingsError
from simulate.settings.cluster import Cluster
from simulate.store.copies import merged
from simulate.store.sets import DataSet


def large(sets: Sequence[DataSet]) -> list[Task]:
    """What is measured at the data sets that are read in ranges, the largest first: neither at small ones, nor at those
    that have sums in place of rows. Raises the errors of `analysis.pipeline.asked`."""
    _, _, tasks = asked(merged(sets)[0])
    return [task for task in tasks if task.data.layout.keeps_rows and not streams.is_small(task.data)]


def keep_share(sets: Sequence[DataSet], shard: tuple[int, int]) -> None:
    """Keep the sums of the k-th of N shares of the data sets that are read in ranges. shard: (k, N)."""
    k, N = shard
    for task in large(sets)[k::N]:
        keep(task)
        print(f"{task.data.path}: {task.data.networks:,} networks are read", flush=True)


def check(sets: Sequence[DataSet], cluster: Cluster) -> Cluster:
    """The cluster with its number of tasks. SettingsError where one could do nothing."""
    if LAUNCHERS[cluster.launcher].run_tasks is None:
        able = ", ".join(name for name, launcher in LAUNCHERS.items() if launcher.run_tasks)
        raise SettingsError("cluster", cluster.launcher, f"it makes sweeps alone; the analysis takes local, {able}")
    if cluster.gpus:
        raise SettingsError("cluster.gpus", cluster.gpus, "the analysis uses none")
    most = len(large(sets))
    if not most:
        why = f"no data set has more than {streams.SMALL >> 20} MiB of rows"
        if not any(data.layout.keeps_rows for data in sets):
            why = "all data sets have sums in place of rows (ensemble.keep=sums), so that there is nothing to share out"
        raise SettingsError("cluster", cluster.launcher, f"{why}; leave the launcher out, or choose local")
    if cluster.shards > most:
        why = f"{most} data set{'s are' if most > 1 else ' is'} read in ranges, one or more by each task"
        raise SettingsError("cluster.shards", cluster.shards, why)
    return replace(cluster, shards=cluster.shards or most)


def run_shares(sets: Sequence[DataSet], cluster: Cluster, arguments: Sequence[str], output: Path) -> None:
    """Have tasks keep the sums of all data sets that are read in ranges, and wait for them. arguments: those of
    `python -m analysis`. output: the folder of the report, in which `slurm/`, or as the launcher is called, has the
    logs.

    What a task that fails has not kept is left to whoever asks next. Raises SettingsError for a wrong setting, before
    anything is written, ValueError where a link lies in the folder, and LaunchError where nothing was submitted.
    """
    launcher, checked = LAUNCHERS[cluster.launcher], check(sets, cluster)
    assert launcher.run_tasks is not None
    outputs.check_all(output)
    try:
        launcher.run_tasks("analysis", arguments, checked, output.absolute() / launcher.name)
    except TasksError as error:
        print(f"{error}; what they have not kept is computed here", file=sys.stderr)
