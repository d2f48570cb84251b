"""The launchers of the package, which make a sweep here or on a cluster; plugins add others."""

from simulate.launchers import local, slurm
from simulate.launchers.launcher import LAUNCHERS, Launch, Launcher, LaunchError, TasksError, chosen

__all__ = ["LAUNCHERS", "Launch", "LaunchError", "Launcher", "TasksError", "chosen", "local", "slurm"]
