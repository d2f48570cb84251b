"""In this process and its worker processes, on this machine."""

from collections.abc import Sequence

from simulate.launchers.launcher import LAUNCHERS, Launch, Launcher
from simulate.store.sets import DataSet


def start(launch: Launch) -> Sequence[DataSet]:
    """Make the data sets, or finish them; raises as `simulate.running.runner.run`."""
    from simulate.running import runner  # torch, only here

    return runner.run(launch.jobs, launch.progress, launch.shard)


LAUNCHERS.add(Launcher("local", start, settings=("shards",), here=True))
