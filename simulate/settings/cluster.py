"""Settings of where a sweep runs: in processes of this machine, or on a cluster. They do not decide any rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulate.settings.reader import Reader, SettingsError, boolean, integer


@dataclass(frozen=True)
class Cluster:
    """The launcher and its settings.

    launcher: local (worker processes on this machine), slurm, or one that a plugin registers. shards: number of tasks;
    0, for auto, makes as many tasks as keep each below `minutes`. minutes: time limit of a task, after which it is
    requeued and resumes. memory: GiB a task. gpus: number a task; with one, ensemble.device=auto takes it. wait:
    whether the command returns only when all tasks have ended. further: settings of this launcher alone, unchecked.
    """

    launcher: str
    shards: int = 0
    minutes: int = 60
    partition: str = ""
    memory: int = 4
    gpus: int = 0
    wait: bool = False
    further: Mapping[str, Any] = field(default_factory=dict)


def _partition(value: Any) -> str:
    text = "" if value is None else str(value)
    if isinstance(value, bool | list | dict) or (text and not text.replace("-", "").replace("_", "").isalnum()):
        raise ValueError
    return text


# The settings that launchers share: the check of each, and what would be right in words.
SHARED: Mapping[str, Any] = {
    "shards": (lambda value: 0 if value == "auto" else integer(value, 1), "a whole number >= 1, or auto"),
    "minutes": (lambda value: integer(value, 1), "a whole number >= 1"),
    "partition": (_partition, "the name of a partition"),
    "memory": (lambda value: integer(value, 1), "a whole number >= 1"),
    "gpus": (lambda value: integer(value, 0), "a whole number >= 0"),
    "wait": (boolean, "true or false"),
}


def read_cluster(r: Reader, launchers: Mapping[str, tuple[str, ...]]) -> Cluster:
    """Settings of the chosen launcher. launchers: the names of the settings that each one takes. SettingsError for the
    first wrong setting."""
    name = r.choice("name", tuple(launchers))
    values = {key: r.get(key, *SHARED[key]) for key in launchers[name] if key in SHARED}
    further = {key: r.raw(key) for key in launchers[name] if key not in SHARED}
    r.close()
    return Cluster(name, **values, further=further)


def workers_of(cluster: Cluster, workers: int | None) -> int | None:
    """The number of processes on this machine: `workers`, or one a shard. SettingsError where the two differ."""
    if cluster.shards and workers not in (None, cluster.shards):
        raise SettingsError("cluster.shards", cluster.shards, f"workers={workers} says how many processes there are")
    return cluster.shards or workers
