"""The launchers of the package, which make a sweep here or on a cluster; plugins add others."""

from simulate.launchers import local, slurm
from simulate.launchers.launcher import LAUNCHERS, Launch, Launcher

__all__ = ["LAUNCHERS", "Launch", "Launcher", "local", "slurm"]
