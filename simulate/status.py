"""The state of data sets: networks done, missing and being written, damaged parts, rate and time left.

    python -m simulate.status DIR [--verify] [--json] [plugins=[my.py]] [--config-dir=DIR]

--verify holds every part against its checksums and its data set. --json prints one JSON document: `data_sets`, each
with its path and what `status` returns; `total`; and `failed`, a line for each cluster task that gave up.

Repeat the simulation's command to compute the missing networks and nothing else.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import configs
from configs.arguments import Program, exit_status, run_command, versions
from simulate import plugins
from simulate.launchers import LAUNCHERS
from simulate.settings.ensemble import ROWS
from simulate.settings.reader import SettingsError, printable
from simulate.store import commits, head, locks
from simulate.store.files import StoreError
from simulate.store.folders import aside
from simulate.store.manifest import digest
from simulate.store.parts import committed, fault, gaps, part_name, part_path
from simulate.store.plain import read_plain
from simulate.store.samples import SAMPLES, samples_damage
from simulate.store.sets import DataSet, find
from simulate.store.summary import to_json
from simulate.system import counted

PROGRAM = Program("simulate.status", "ng-status", (("--verify",), ("--json",)), configured=False)
USAGE = "usage: python -m simulate.status DIR [--verify] [--json] [plugins=[my.py]] [--config-dir=DIR]"
MOST_LOG_BYTES = 2**26  # upper bound on the log of a cluster task that is read
RATE_SECONDS = 600.0  # parts older than this do not count for the rate


def status(data: DataSet, verify: bool = False) -> dict[str, Any]:
    """The state of a data set.

    networks, wanted: numbers of networks that are committed and that there should be; missing: ranges of networks;
    writers: as of `locks.writers`; set_aside: names of files; damaged: name of a part -> why, found with `verify`;
    rate: networks a second over the last ten minutes of commits, or None; seconds_left: 0 if nothing is missing, or
    None if there is no rate; keep: rows, or sums in their place.
    """
    done, manifest = committed(data.path), data.manifest
    wanted = manifest["networks"]
    missing = list(gaps(done, manifest["first"], manifest["first"] + wanted))
    times = sorted((part_path(data.path, *part).stat().st_mtime, part[1] - part[0]) for part in done)
    recent = [(when, count) for when, count in times if when > times[-1][0] - RATE_SECONDS] if times else []
    span = recent[-1][0] - recent[0][0] if len(recent) > 1 else 0.0
    rate = sum(count for _, count in recent[1:]) / span if span > 0 else None
    left = sum(high - low for low, high in missing)
    damaged = {}
    if verify:
        identity = digest(manifest["identity"])
        log = commits.read(data.path, identity)
        given = {part: (data.path, data.layout, identity, *part, log.get(part_name(*part), [])) for part in done}
        reasons = {part_name(*part): fault(*arguments)[0] for part, arguments in given.items()}
        reasons[SAMPLES] = samples_damage(data.path, manifest)
        damaged = {name: why for name, why in reasons.items() if why} | head.damage(data.path, data.layout, identity)
    return {
        "networks": sum(high - low for low, high in done),
        "wanted": wanted,
        "missing": missing,
        "writers": locks.writers(data.path),
        "set_aside": aside(data.path),
        "damaged": damaged,
        "rate": rate,
        "seconds_left": left / rate if rate and left else (0.0 if not left else None),
        "keep": data.layout.keep,
    }


def total(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums over the states of several data sets.

    data_sets, complete: numbers of data sets; networks, wanted, missing: numbers of networks; damaged, set_aside:
    numbers of files; seconds_left: until the last is complete, or None where one is not being written or has no rate.
    """
    unfinished = [s for s in states if s["missing"]]
    known = all(s["writers"] and s["seconds_left"] is not None for s in unfinished)
    return {
        "data_sets": len(states),
        "complete": len(states) - len(unfinished),
        "networks": sum(s["networks"] for s in states),
        "wanted": sum(s["wanted"] for s in states),
        "missing": sum(high - low for s in states for low, high in s["missing"]),
        "damaged": sum(len(s["damaged"]) for s in states),
        "set_aside": sum(len(s["set_aside"]) for s in states),
        "seconds_left": max((s["seconds_left"] for s in unfinished), default=0.0) if known else None,
    }


def lines(data: DataSet, state: dict[str, Any] | None = None) -> Iterator[str]:
    """The state in sentences for the terminal: one line for the data set, and one for each writer and fault.

    state: what `status` returned, if it is known.
    """
    s = status(data) if state is None else state
    text = f"{data.path}: {s['networks']:,} of {s['wanted']:,} networks"
    text += "" if s["keep"] == ROWS else ", of which sums were kept and no rows"
    if s["missing"]:
        text += f", {counted(len(s['missing']), 'gap')}"
        text += f", {s['rate']:,.0f}/s, {s['seconds_left']:,.0f} s left" if s["rate"] and s["writers"] else ""
        text += "" if s["writers"] else ", nobody is writing"
    yield text
    for w in s["writers"]:
        yield f"  networks {w['first']} to {w['last'] - 1}: process {w['pid']} on {w['host']} since {_date(w['since'])}"
    for name in s["set_aside"]:
        yield f"  set aside: {name}"
    for name, why in s["damaged"].items():
        yield f"  damaged: {name} {why}; the simulation, called again, sets it aside and computes it again"


def _date(seconds: float) -> str:
    """The time in words; an entry in a data set that is not ours may hold any number."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def total_line(sums: dict[str, Any]) -> str:
    """The sums over several data sets in a sentence."""
    text = f"total: {sums['networks']:,} of {sums['wanted']:,} networks, {sums['complete']:,} of "
    text += f"{sums['data_sets']:,} data sets complete"
    text += f", {sums['damaged']:,} damaged" if sums["damaged"] else ""
    return text + (f", {sums['seconds_left']:,.0f} s left" if sums["seconds_left"] else "")


def failed(root: Path) -> Iterator[str]:
    """The log of each cluster task that gave up, with the error in its last line."""
    folders = [root / launcher.logs for launcher in LAUNCHERS.values() if launcher.logs]
    for name in sorted(path for folder in folders for path in folder.glob("*.log")):
        try:
            written = read_plain(name, MOST_LOG_BYTES).decode(errors="replace").split("\n")
        except ValueError:  # a pipe, a device, or too much to read
            continue
        last = next((line for line in reversed(written) if line.strip()), "")
        if last.startswith("error:"):
            yield f"{name}: {printable(last)}"


def main(arguments: list[str]) -> int:
    """The exit code: 0 if all is complete, 1 if networks are missing or damaged, 2 if there is no data set to read."""
    return exit_status(lambda: _main(arguments), (SettingsError, StoreError, OSError))


def _main(arguments: list[str]) -> int:
    flags = PROGRAM.parse(arguments)
    named = [argument for argument in flags.rest if argument.startswith(("plugins=", "hydra.searchpath="))]
    folders = [argument for argument in flags.rest if argument not in named]
    if flags.version:
        print(versions())
        return 0
    if flags.help or len(folders) != 1 or not folders[0]:
        print(USAGE, file=sys.stderr)
        return 0 if flags.help else 2
    if named:
        config = configs.compose("analysis", ["data=.", *named], flags.config_dir)
        plugins.load(config["plugins"], *configs.own_folders(named, flags.config_dir))
    states: dict[Path, dict[str, Any]] = {}
    for data in find(Path(folders[0])):
        states[data.path] = status(data, flags.verify)
        for line in () if flags.json else lines(data, states[data.path]):
            print(printable(line))
    sums, logs = total([*states.values()]), [*failed(Path(folders[0]))]
    if flags.json:
        sets = [{"path": str(path), **state} for path, state in states.items()]
        print(to_json({"data_sets": sets, "total": sums, "failed": logs}, indent=1))
    else:
        for line in [*[total_line(sums)] * (len(states) > 1), *(f"failed: {log}" for log in logs)]:
            print(line)
    return 1 if sums["missing"] or sums["damaged"] else 0


def command() -> int:
    """The console command, which does not look for packages in the current folder as `python -m` does."""
    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
