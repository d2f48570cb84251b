"""Where a sweep runs: in worker processes, or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from simulate.settings.reader import SettingsError

LAUNCHERS = ("slurm", "local")
PREFIX, LAUNCHER = "cluster.", "hydra/launcher="


@dataclass(frozen=True)
class Cluster:
    launcher: str  # slurm, or local: worker processes on this machine
    shards: int = 0  # 0, auto: as many as it takes that no task needs longer than `minutes`
    minutes: int = 60  # a task; one that needs longer is requeued and goes on
    partition: str = ""
    memory: int = 4  # GiB a task
    gpus: int = 0  # a task; with one, ensemble.device=auto takes it
    wait: bool = False  # until all tasks have ended


def split(overrides: Sequence[str]) -> tuple[Cluster | None, list[str]]:
    """What says where to run, and the overrides that are left. SettingsError for what is wrong or alone."""
    launchers = [o.removeprefix(LAUNCHER) for o in overrides if o.startswith(LAUNCHER)]
    given = dict(o.removeprefix(PREFIX).partition("=")[::2] for o in overrides if o.startswith(PREFIX))
    rest = [o for o in overrides if not o.startswith((PREFIX, LAUNCHER))]
    if not launchers:
        for name, text in given.items():
            raise SettingsError(PREFIX + name, text, "needs hydra/launcher=slurm or local")
        return None, rest
    if launchers[-1] not in LAUNCHERS:
        raise SettingsError("hydra/launcher", launchers[-1], f"one of {', '.join(LAUNCHERS)}")
    known = {f.name: f for f in fields(Cluster)[1:]}
    values: dict[str, object] = {}
    for name, text in given.items():
        if name not in known:
            raise SettingsError(PREFIX + name, text, f"no such setting; known here: {', '.join(known)}")
        values[name] = _value(name, text, known[name].type)
    return Cluster(launchers[-1], **values), rest  # type: ignore[arg-type]


def _value(name: str, text: str, kind: object) -> object:
    least = 0 if name == "gpus" else 1
    if kind in (int, "int"):
        if name == "shards" and text == "auto":
            return 0
        if not text.isdecimal() or int(text) < least:
            raise SettingsError(PREFIX + name, text, f"a whole number >= {least}" + ", or auto" * (name == "shards"))
        return int(text)
    if kind in (bool, "bool"):
        if text not in ("true", "false"):
            raise SettingsError(PREFIX + name, text, "true or false")
        return text == "true"
    if not text.replace("-", "").replace("_", "").isalnum():
        raise SettingsError(PREFIX + name, text, "the name of a partition")
    return text
