"""Settings of Hydra itself: this project honours those for folders, and refuses the others by name."""

from collections.abc import Iterator, Mapping
from typing import Any

from configs.folder import SEARCH_PATH, ConfigError

RUN, SWEEP = "hydra.run.dir", "hydra.sweep.dir"  # other spellings of output=, of a single run and of a sweep
LAUNCHER = "hydra/launcher"  # another spelling of cluster=
PRODUCT = "a sweep (-m) is the product of its lists, and sweep.zip={...} pairs some of them"
LOG = "there is no log: progress goes to the terminal, and python -m simulate.status DIR says how far a run is"
HELP = "see --help"
# What does the same here, by the beginning of a key.
INSTEAD = {
    LAUNCHER: "use cluster=",
    "hydra.launcher": "use cluster.shards= and the others of cluster",
    "hydra/sweeper": PRODUCT,
    "hydra.sweeper": PRODUCT,
    "hydra.sweep.subdir": "the folder of a point is named after its values",
    "hydra.sweep": "use output=",
    "hydra.run": "use output=",
    SEARCH_PATH: f"use {SEARCH_PATH}=[DIR] or --config-dir=DIR",
    "hydra.job.chdir": "the current folder is never changed; a relative output= begins there",
    "hydra.job.env": "export the variable before the command",
    "hydra.job": "use output= to name the folder",
    "hydra.mode": "use -m for a sweep",
    "hydra.output_subdir": "dataset.json in output= holds the settings",
    "hydra/job_logging": LOG,
    "hydra.job_logging": LOG,
    "hydra/hydra_logging": LOG,
    "hydra.hydra_logging": LOG,
    "hydra.verbose": LOG,
    "hydra/callbacks": "use plugins=[my.py]",
    "hydra.callbacks": "use plugins=[my.py]",
    "hydra": HELP,
}
# Entries that Hydra fills in itself, so that they differ from run to run.
FILLED = ("runtime", "overrides", "searchpath", "job.name", "job.override_dirname", "job.config_name", "job.id",
          "job.num")  # fmt: skip


def is_hydras(key: str) -> bool:
    return key == "hydra" or key.startswith(("hydra.", "hydra/"))


def refusal(typed: str, key: str) -> ConfigError:
    """The refusal of a setting of Hydra, with what does the same here."""
    instead = next(right for beginning, right in INSTEAD.items() if key.startswith(beginning))
    return ConfigError(f"{typed}: settings of Hydra itself have no effect here; {instead}")


def output_of(key: str, text: str) -> str:
    """hydra.run.dir=DIR as output=DIR. ConfigError for a deletion, or without a folder."""
    value = text.partition("=")[2]
    if text.startswith("~") or value in ("", "null"):
        raise ConfigError(f"{text}: the folder to write to, as {key}=DIR or output=DIR")
    return f"output={value}"


def refuse_changed(given: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """ConfigError where a file has changed a setting of Hydra, which would have no effect."""
    for key, value in _leaves(given):
        if key not in dict(_leaves(usual)) or dict(_leaves(usual))[key] != value:
            raise refusal(f"hydra.{key}={value} in a file", f"hydra.{key}")


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        key = f"{prefix}{name}"
        if key in FILLED:
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value
