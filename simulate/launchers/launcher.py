"""What a launcher is: how a checked sweep is made, in this process or by tasks of a cluster. No torch here."""

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
    """A sweep to be made: its jobs are checked, and nothing is written yet.

    arguments: `python -m simulate *arguments` makes it, and with --shard=K/N one of N shards of it, never asking a
    launcher again. shard: (k, N), the one to make; (0, 1) is all.
    """

    jobs: Sequence[Job]
    cluster: Cluster
    arguments: Sequence[str]
    progress: Progress
    shard: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class Launcher:
    """One value of `cluster.name`; configs/cluster/NAME.yaml holds its settings.

    start: makes the sweep, or submits it and says so. It returns the data sets that are made by then.
    settings: those of `cluster` that it takes; what is not shared by all launchers it finds in `Cluster.further` and
    checks itself. here: whether the data sets are made, by `cluster.shards` processes, when `start` returns.
    logs: the folder, in that of the data sets, of the logs of its tasks, NAME.log each; or nothing.
    """

    name: str
    start: Callable[[Launch], Sequence[DataSet]]
    settings: tuple[str, ...] = tuple(SHARED)
    here: bool = False
    logs: str = ""


LAUNCHERS: Registry[Launcher] = Registry("launcher", rows=False)
