"""The launcher of this machine: this process and its workers make the sweep."""

from collections.abc import Sequence

from simulate.launchers.launcher import LAUNCHERS, Launch, Launcher
from simulate.store.sets import DataSet


def start(launch: Launch) -> Sequence[DataSet]:
    """Make the data sets, or finish them; raises the errors of `simulate.running.runner.run`."""
    from simulate.running import runner  # imports torch

    return runner.run(launch.jobs, launch.progress, launch.shard)


LAUNCHERS.add(Launcher("local", start, settings=("shards",), here=True))
