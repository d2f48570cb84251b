"""The record of a launcher, which makes a checked sweep in this process or by tasks of a cluster. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulate.registry import Registry
from simulate.settings.cluster import SHARED, Cluster, read_cluster
from simulate.settings.reader import Reader
from simulate.store.sets import DataSet

if TYPE_CHECKING:
    from simulate.running.jobs import Job
    from simulate.running.progress import Progress


class LaunchError(RuntimeError):
    """A launcher could not submit its tasks."""


class TasksError(RuntimeError):
    """Some of the tasks have failed."""


@dataclass(frozen=True)
class Launch:
    """A sweep to be made, whose jobs are checked and of which nothing is written yet.

    arguments: those of the command `python -m simulate *arguments` that makes the sweep. With --shard=K/N the command
    makes one of N shards by itself, without a launcher. shard: (k, N) of the shard to make; (0, 1) is the whole sweep.
    """

    jobs: Sequence[Job]
    cluster: Cluster
    arguments: Sequence[str]
    progress: Progress
    shard: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class Launcher:
    """One value of `cluster.name`; configs/cluster/NAME.yaml holds its settings.

    start: makes the sweep, or submits it and prints what it submitted. It returns the data sets that are made by then.
    settings: the settings of `cluster` that the launcher takes. Those that launchers do not share are in
    `Cluster.further`, and the launcher checks them itself. here: whether the data sets are made, by `cluster.shards`
    processes, when `start` returns. logs: name of the folder of its tasks' logs (NAME.log) in the folder of the data
    sets; empty where there are none. run_tasks: of a module, its arguments, the cluster and a folder for logs, runs
    `python -m MODULE *arguments --shard=K/N` for all K < N = cluster.shards and returns when all have ended; None where
    it makes sweeps alone. It raises SettingsError where a setting is wrong, LaunchError, or TasksError.
    """

    name: str
    start: Callable[[Launch], Sequence[DataSet]]
    settings: tuple[str, ...] = tuple(SHARED)
    here: bool = False
    logs: str = ""
    run_tasks: Callable[[str, Sequence[str], Cluster, Path], None] | None = None


LAUNCHERS: Registry[Launcher] = Registry("launcher", rows=False)


def chosen(given: Mapping[str, Any]) -> Cluster:
    """The settings of a config's `cluster`; SettingsError for the first that is wrong."""
    return read_cluster(Reader(given, "cluster"), {name: launcher.settings for name, launcher in LAUNCHERS.items()})
