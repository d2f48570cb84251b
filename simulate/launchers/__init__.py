"""Where sweeps are made: every launcher of the package, and those that plugins add."""

from simulate.launchers import local, slurm
from simulate.launchers.launcher import LAUNCHERS, Launch, Launcher

__all__ = ["LAUNCHERS", "Launch", "Launcher", "local", "slurm"]
