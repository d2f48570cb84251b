"""The record of a launcher, which makes a checked sweep in this process or by tasks of a cluster. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulate.registry import Registry
from simulate.settings.cluster import SHARED, Cluster
from simulate.store.sets import DataSet

if TYPE_CHECKING:
    from simulate.running.jobs import Job
    from simulate.running.progress import Progress


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
    sets; empty where there are none.
    """

    name: str
    start: Callable[[Launch], Sequence[DataSet]]
    settings: tuple[str, ...] = tuple(SHARED)
    here: bool = False
    logs: str = ""


LAUNCHERS: Registry[Launcher] = Registry("launcher", rows=False)
