"""The functions of notebooks and of the command line, which make data sets from overrides."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import configs
from configs.arguments import overrides_of
from simulate import plugins
from simulate.claims import check_claims, reducing
from simulate.launchers import LAUNCHERS, Launch, chosen
from simulate.settings import Settings, read
from simulate.settings.cluster import Cluster, workers_of
from simulate.settings.ensemble import SUMS
from simulate.settings.reader import SettingsError
from simulate.store.frames import DataSets
from simulate.store.parts import committed
from simulate.store.sets import DataSet

if TYPE_CHECKING:
    from simulate.inputs import Given
    from simulate.running.jobs import Job
    from simulate.running.progress import Progress

Folder = str | Path | None
THREADS = "NUMBA_NUM_THREADS"  # numba, which has no setting of ours, fails to load where it is below 1
LONGEST_NAME = 200  # bytes of the name of a sweep point's folder


def point_name(special: dict[str, str]) -> str:
    """The folder of a sweep point: network.width=64, network.depth=8 -> width-64_depth-8.

    It has no = and no comma, which would have to be quoted in output= and data=. A name that is too long for a folder
    ends in a digest of the values.
    """
    text = "_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in special.items())
    name = "".join(c if c.isalnum() or c in ".-_" else "-" for c in text)
    return name if len(name.encode()) <= LONGEST_NAME else f"{name[:60]}-{_digest(special)}"


def _digest(special: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(special).encode()).hexdigest()[:8]


def point_names(points: Sequence[dict[str, str]]) -> list[str]:
    """The folders of all points of a sweep. Where values differ in symbols alone, as z*tanh(z) and z+tanh(z) do, their
    points are told apart by a digest of the values."""
    names = [point_name(special) for special in points]
    shared = {name for name, count in Counter(names).items() if count > 1}
    return [
        f"{name}-{_digest(special)}" if name in shared else name for name, special in zip(names, points, strict=True)
    ]


def read_all(
    overrides: Sequence[str], sweeping: bool, config_dir: Folder = None, config_name: str = "simulate"
) -> tuple[list[Settings], Cluster]:
    """The settings of every point of a sweep, or of the one point, and where they run. All are checked, and the plugins
    that they name are loaded; nothing is written.

    A sweep of a file is made with or without `sweeping`, a comma list of the overrides only with it.
    """
    points = configs.points(config_name, overrides, config_dir, sweeping)
    loaded = plugins.load(points[0].config.get("plugins"), *configs.own_folders(overrides, config_dir))
    out = []
    with plugins.hidden_but(loaded):
        for name, point in zip(point_names([point.special for point in points]), points, strict=True):
            config = point.config
            if point.special:
                config["output"] = str(Path(str(config["output"])) / name)
            deciding = loaded if _sums(config) else plugins.deciding_rows(loaded)  # the tests decide sums, too
            out.append(read(config | {"plugins": deciding}))
        cluster = chosen(points[0].config["cluster"])
    if LAUNCHERS[cluster.launcher].here:
        out = [replace(s, workers=workers_of(cluster, s.workers)) for s in out]
    return out, cluster


def _sums(config: Mapping[str, Any]) -> bool:
    """Whether sums are to be kept; what else stands there is refused by whoever reads it."""
    ensemble = config.get("ensemble")
    return isinstance(ensemble, Mapping) and ensemble.get("keep") == SUMS


def read_one(overrides: Sequence[str], config_dir: Folder = None) -> Settings:
    return read_all(overrides, False, config_dir)[0][0]


def read_sweep(overrides: Sequence[str], config_dir: Folder = None) -> list[Settings]:
    """The settings of every point of a sweep, each in its own folder below `output`; all checked."""
    return read_all(overrides, True, config_dir)[0]


def prepared(
    settings: Sequence[Settings],
    progress: Progress | None = None,
    given: Given | None = None,
    command: Mapping[str, Any] | None = None,
) -> list[Job]:
    """Every point as a job, so that nothing is written if one is wrong. What is taken of the user's own rows is said.

    given: the arrays of inputs=arrays, as (inputs, test). command: as `Job` has it.
    """
    if re.fullmatch(r"\s*(-\d+|[+-]?0+)\s*", os.environ.get(THREADS, "")):
        raise SettingsError(THREADS, os.environ[THREADS], "numba takes a number >= 1; unset this variable")
    from simulate.running.prepare import prepare

    jobs = [replace(prepare(s, given), command=command) for s in settings]
    for words in dict.fromkeys(job.samples.words for job in jobs if job.samples.words):
        if progress:
            progress.say(words)
    return jobs


def command_line(arguments: Sequence[str]) -> dict[str, Any]:
    """The command `python -m simulate *arguments`, as a manifest holds it."""
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    return {"command": shlex.join(["python", "-m", "simulate", *arguments]), "overrides": overrides}


def _call(name: str, overrides: Sequence[str], config_dir: Folder, given: Given) -> dict[str, Any]:
    """The call simulate.NAME(...), as a manifest holds it; arrays stand as an ellipsis."""
    folder = [f"config_dir={str(config_dir)!r}"] if config_dir is not None else []
    arrays = [f"{key}=..." for key, array in zip(("inputs", "test"), given, strict=True) if array is not None]
    return {
        "command": f"simulate.{name}({', '.join([*map(repr, overrides), *arrays, *folder])})",
        "overrides": list(overrides),
    }


def make(
    settings: Sequence[Settings],
    progress: Progress,
    shard: tuple[int, int] = (0, 1),
    given: Given | None = None,
    command: Mapping[str, Any] | None = None,
) -> list[DataSet]:
    """Prepare every point, so that nothing is written if one is wrong; then run them in this process.

    given: as of `prepared`. Raises SettingsError where the claim of the sweep could not be judged. The claim of a shard
    was checked when the shards were submitted.
    """
    from simulate.running import runner

    jobs = prepared(settings, progress, given, command)
    if shard == runner.ONLY_SHARD:
        check_claims(jobs)
    return runner.run(reducing(jobs), progress, shard)


def launch(
    settings: Sequence[Settings], cluster: Cluster, arguments: Sequence[str], progress: Progress
) -> Sequence[DataSet]:
    """Prepare every point and check the claim; then hand the jobs to the launcher. Returns the data sets that are made
    by then. `python -m simulate *arguments` is the sweep as a command."""
    jobs = prepared(settings, progress, command=command_line(arguments))
    check_claims(jobs)
    return LAUNCHERS[cluster.launcher].start(Launch(reducing(jobs), cluster, arguments, progress))


def forecast(settings: Sequence[Settings]) -> list[str]:
    """The operations, memory and time of the sweep in words. It measures for some ten seconds and writes nothing."""
    from simulate.running.forecast import lines, network_seconds
    from simulate.running.memory import fitting
    from simulate.running.workers import workers

    jobs = prepared(settings)
    done = [sum(b - a for a, b in committed(job.path)) for job in jobs]
    missing = [job.settings.ensemble.networks - d for job, d in zip(jobs, done, strict=True)]
    processes = fitting(jobs, workers(jobs[0].settings))
    return list(lines(jobs, missing, processes, network_seconds(jobs)))


def read_shard(text: str) -> tuple[int, int]:
    """3/64 -> (3, 64): the fourth of 64 shards. SettingsError for anything else."""
    k, _, N = text.partition("/")
    if not (k.isdecimal() and N.isdecimal() and int(k) < int(N)):
        raise SettingsError("--shard", text, "K/N with 0 <= K < N, as 3/64 for the fourth of 64")
    return int(k), int(N)


def _progress(quiet: bool) -> Progress:
    from simulate.running.progress import Progress

    return Progress(quiet=quiet)


def run(
    *overrides: str | Mapping[str, Any],
    inputs: Any = None,
    test: Any = None,
    quiet: bool = True,
    config_dir: Folder = None,
) -> DataSet:
    """Make one data set, or finish it: run("network.width=64", "output=outputs/a"), or with the values of a mapping
    run({"network.width": 64, "output": "outputs/a"}). Texts are as on the command line. config_dir is a folder of
    one's own with further options (docs/own_folder.md).

    inputs: x (D, n_0) or the pair (x, y) with y (D, n_L) or (D,), as arrays, tensors, frames or lists, instead of an
    option of `inputs`; test: likewise, the test samples (docs/inputs.md).

    Raises configs.ConfigError or simulate.SettingsError for a wrong setting, before anything is written, and
    simulate.StoreError where the output holds another data set. With several workers, call it under
    `if __name__ == "__main__":` in a script.
    """
    settings, cluster, command = _read("run", overrides, inputs, test, config_dir)
    if len(settings) != 1:
        raise SettingsError("", None, f"these overrides are a sweep of {len(settings)} points: use simulate.sweep")
    return _make_here(settings, cluster, quiet, (inputs, test), command)[0]


def sweep(
    *overrides: str | Mapping[str, Any],
    inputs: Any = None,
    test: Any = None,
    quiet: bool = True,
    config_dir: Folder = None,
) -> DataSets:
    """Make the data sets of a sweep: sweep("experiment=preactivations", "ensemble.networks=1000"), or in a mapping
    sweep({"sweep": {"network.width": [64, 128]}}). Arguments and errors are those of `run`; all points share the
    arrays. The list that is returned has a method `table`, which is `simulate.table` of it."""
    settings, cluster, command = _read("sweep", overrides, inputs, test, config_dir)
    return DataSets(_make_here(settings, cluster, quiet, (inputs, test), command))


def _read(
    name: str, given: Sequence[str | Mapping[str, Any]], inputs: Any, test: Any, config_dir: Folder
) -> tuple[list[Settings], Cluster, dict[str, Any]]:
    """The settings and the cluster of a call simulate.NAME(...), and the call as a manifest holds it."""
    overrides = overrides_of(given, f"simulate.{name}")
    command = _call(name, overrides, config_dir, (inputs, test))
    return *read_all(with_arrays(overrides, inputs, test), True, config_dir), command


def with_arrays(overrides: Sequence[str], inputs: Any, test: Any) -> Sequence[str]:
    """The overrides with the option of arrays where some are given. SettingsError where another option is, too."""
    if inputs is None:
        if test is not None:
            raise SettingsError("test", "arrays", "test samples come with inputs=x or inputs=(x, y)")
        return overrides
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+~") == "inputs":
            raise SettingsError("inputs", value, "arrays are given as inputs, too; leave out one of the two")
    return ["inputs=arrays", *overrides]


def _make_here(
    settings: Sequence[Settings], cluster: Cluster, quiet: bool, given: Given, command: Mapping[str, Any]
) -> list[DataSet]:
    if not LAUNCHERS[cluster.launcher].here:
        right = "run and sweep return data sets that are made; python -m simulate submits"
        raise SettingsError("cluster", cluster.launcher, right)
    return make(settings, _progress(quiet), given=given, command=command)
