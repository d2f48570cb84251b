"""Where a sweep runs: in processes of this machine, or on a cluster. Not part of what a data set is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulate.settings.reader import Reader, SettingsError, boolean, integer


@dataclass(frozen=True)
class Cluster:
    launcher: str  # local: worker processes on this machine; slurm; or what a plugin has registered
    shards: int = 0  # 0, auto: as many as it takes that no task needs longer than `minutes`
    minutes: int = 60  # a task; one that needs longer is requeued and goes on
    partition: str = ""
    memory: int = 4  # GiB a task
    gpus: int = 0  # a task; with one, ensemble.device=auto takes it
    wait: bool = False  # until all tasks have ended
    further: Mapping[str, Any] = field(default_factory=dict)  # settings that only this launcher has, unchecked


def _partition(value: Any) -> str:
    text = "" if value is None else str(value)
    if isinstance(value, bool | list | dict) or (text and not text.replace("-", "").replace("_", "").isalnum()):
        raise ValueError
    return text


# The settings that launchers share: what they must be, and in words.
SHARED: Mapping[str, Any] = {
    "shards": (lambda value: 0 if value == "auto" else integer(value, 1), "a whole number >= 1, or auto"),
    "minutes": (lambda value: integer(value, 1), "a whole number >= 1"),
    "partition": (_partition, "the name of a partition"),
    "memory": (lambda value: integer(value, 1), "a whole number >= 1"),
    "gpus": (lambda value: integer(value, 0), "a whole number >= 0"),
    "wait": (boolean, "true or false"),
}


def read_cluster(r: Reader, launchers: Mapping[str, tuple[str, ...]]) -> Cluster:
    """launchers: by name, the settings that each takes. SettingsError for the first thing that is wrong."""
    name = r.choice("name", tuple(launchers))
    values = {key: r.get(key, *SHARED[key]) for key in launchers[name] if key in SHARED}
    further = {key: r.raw(key) for key in launchers[name] if key not in SHARED}
    r.close()
    return Cluster(name, **values, further=further)


def workers_of(cluster: Cluster, workers: int | None) -> int | None:
    """Processes on this machine: `workers`, or one a shard. SettingsError where both are given and differ."""
    if cluster.shards and workers not in (None, cluster.shards):
        raise SettingsError("cluster.shards", cluster.shards, f"workers={workers} says how many processes there are")
    return cluster.shards or workers
