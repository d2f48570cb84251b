"""The record of looks at a claim whose ensembles grow until it is decided, and the levels at which a look tests.

    FOLDER/looks.jsonl   one line for the claim, then one for each look, each with the digest of the line before

FOLDER holds the data sets of the claim's sweep. A line is on the disk before anything is told or drawn because of it.
A line says how many networks each data set may have until the next look, so that a record that was cut short is found.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from analysis import sequential, verdicts
from analysis.fits import Fit
from analysis.models import Series
from analysis.remedy import UNTIL
from analysis.result import Options
from analysis.verdicts import Judged
from simulate.store import disk
from simulate.store.files import StoreError
from simulate.store.plain import read_plain
from simulate.store.schema import parsed
from simulate.store.sets import DataSet

RECORD = "looks.jsonl"
MOST_BYTES = 2**26  # upper bound on the size of a record; a larger file is refused unread
CURE = "all of alpha counts as spent: choose another output, and another ensemble.seed"


@dataclass(frozen=True)
class Start:
    """What all looks share: the claim with its tests, and the options of the analysis. plan: as of `Look`."""

    claim: str
    tests: Mapping[str, Mapping[str, Any]]
    alpha: float
    power: float
    prior_width: float
    plan: Mapping[str, int]


@dataclass(frozen=True)
class Look:
    """One look. networks: those of each data set, by the name of its folder. time: the share of the information at
    which the last of the tests that networks can decide is decided. series: of each, by test and name, its information,
    how much of alpha it has used so far in either of its two tests, and the levels of its pull and of its chi2.
    seconds: of one core or device that all networks took. plan: networks of each data set at the next look."""

    networks: Mapping[str, int]
    time: float
    series: Mapping[str, Mapping[str, float]]
    verdict: str
    reason: str
    seconds: float
    plan: Mapping[str, int]


@dataclass(frozen=True)
class Record:
    """start, and the looks in their order. last: the digest of the last line."""

    start: Start
    looks: tuple[Look, ...] = ()
    last: str = ""

    @property
    def plan(self) -> Mapping[str, int]:
        """How many networks each data set may have now."""
        return self.looks[-1].plan if self.looks else self.start.plan


def folder_of(paths: Sequence[Path]) -> Path:
    """Where the record of a claim's data sets lies: in the folder of the sweep, or in that of a single data set."""
    return paths[0] if len(paths) == 1 else paths[0].parent


def key(series: Series) -> str:
    """The name of a series in a record."""
    return f"{series.test}: {series.name}"


def read(folder: Path) -> Record | None:
    """The record in a folder, None where there is none.

    Lines that a killed process did not end are left out: nothing was told of them. StoreError where another line is
    missing or changed.
    """
    try:
        content = read_plain(folder / RECORD, MOST_BYTES)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(f"{folder / RECORD}: it is {error}; {CURE}") from None
    record, last = None, ""
    for text in content.split(b"\n"):
        try:
            line = parsed(text)
            before, entry = line["before"], line["entry"]
            made = Start(**entry) if record is None else Look(**entry)
        except (ValueError, TypeError, KeyError):
            continue
        if before != last:
            raise StoreError(f"{folder / RECORD}: a line before {text[:60]!r} is missing or was changed; {CURE}")
        last = hashlib.sha256(text).hexdigest()
        record = Record(made, (), last) if isinstance(made, Start) else added(record, made, last)
    if record is None:
        raise StoreError(f"{folder / RECORD}: it has no line of a claim; {CURE}")
    return record


def added(record: Record | None, look: Look, last: str) -> Record:
    """The record with one more look. A line about the networks of the look before changes its plan, and is no look."""
    assert record is not None
    past = record.looks
    if past and past[-1].networks == look.networks:
        return Record(record.start, (*past[:-1], replace(past[-1], plan=look.plan)), last)
    return Record(record.start, (*past, look), last)


def append(folder: Path, record: Record | None, entry: Start | Look) -> Record:
    """Add a line, and return when it is on the disk. OSError where the disk fails."""
    text = json.dumps({"before": record.last if record else "", "entry": asdict(entry)}, allow_nan=False).encode()
    disk.append(folder / RECORD, b"\n" * (record is not None) + text + b"\n")
    disk.sync_folder(folder)
    last = hashlib.sha256(text).hexdigest()
    return Record(entry, (), last) if isinstance(entry, Start) else added(record, entry, last)


def check(folder: Path, record: Record | None, sets: Sequence[DataSet]) -> None:
    """StoreError where looks at these data sets were taken that the record does not have.

    That is so where they were drawn until a claim was decided and there is no record, where they have more networks
    than the last look has planned, or where a report on them was written before the first look.
    """
    if record is None:
        if until := [data.path for data in sets if _until(data)]:
            raise StoreError(f"{folder / RECORD}: the record of the looks at {until[0]} is lost; {CURE}")
        if sets and disk.exists(folder / "analysis" / "verdicts.json"):
            raise StoreError(f"{folder / 'analysis'}: these networks were judged before, at the full rate; {CURE}")
        return
    for data in sets:
        planned = record.plan.get(data.path.name, 0)
        if data.networks > planned:
            raise StoreError(
                f"{data.path}: {data.networks:,} networks, and {planned:,} were planned by the last look that is "
                f"recorded in {folder / RECORD}: a look may be lost; {CURE}"
            )


def _until(data: DataSet) -> bool:
    """Whether the manifest says that the data set was drawn until its claim was decided."""
    return any(UNTIL in str(entry["command"]) for entry in data.manifest.get("commands", []))


WAITING = 0.75  # upper bound on the share while a tail-dominated series waits, so that alpha is left for it


def share(judged: Sequence[Judged], decidable: Sequence[bool], waiting: bool) -> float:
    """The share of the information at which the last test is decided, from series judged at half of alpha.

    A deviation that is visible at half of alpha is visible at the boundary of O'Brien-Fleming type whatever looks came
    before: at the share 1 every test that networks can decide agrees or disagrees.
    waiting: whether a series is tail-dominated and cannot be judged yet.
    """
    found = [(j.fit.series.precision / j.visible) ** 2 for j, by in zip(judged, decidable, strict=True) if by]
    return min(WAITING if waiting else 1.0, *found)


def series_of(record: Record, fits: Sequence[Fit], time: float) -> dict[str, dict[str, float]]:
    """The entries of a look's `series`: what each may use up to the share `time`, and its levels now.

    Pulls at the looks are a walk in the information (docs/until.md), and have the boundaries of `analysis.sequential`.
    Nothing is assumed of the chi2, whose level is what this look adds. Where new series appear each gets a smaller
    share. What all use together never exceeds alpha.
    """
    earlier: dict[str, list[Mapping[str, float]]] = {}
    for look in record.looks:
        for name, entry in look.series.items():
            earlier.setdefault(name, []).append(entry)
    before = {name: entries[-1]["used"] for name, entries in earlier.items()}
    level = each(record, fits)
    adds = {key(f.series): max(0.0, sequential.spent(time, level) - before.get(key(f.series), 0.0)) for f in fits}
    left = record.start.alpha / 2 - sum(before.values())
    part = min(1.0, max(left, 0.0) / sum(adds.values())) if sum(adds.values()) else 0.0
    out = {}
    for fit in fits:
        name = key(fit.series)
        past = earlier.get(name, [])
        used = before.get(name, 0.0) + part * adds[name]
        information = 1 / fit.error**2
        z = sequential.boundaries(
            [*(entry["information"] for entry in past), information], [*(entry["used"] for entry in past), used]
        )[-1]
        out[name] = {
            "information": information, "used": used, "pull": 2 * float(norm.sf(z)), "chi2": part * adds[name]
        }  # fmt: skip
    return out


def each(record: Record, fits: Sequence[Fit]) -> float:
    """The part of alpha of each of the two tests of a series, of all series that there were or are."""
    names = {name for look in record.looks for name in look.series} | {key(fit.series) for fit in fits}
    return record.start.alpha / (2 * len(names))


def judged_at(look_series: Mapping[str, Mapping[str, float]], fits: Sequence[Fit], power: float) -> list[Judged]:
    """The fits judged at the levels of a look."""
    levels = [(look_series[key(f.series)]["pull"], look_series[key(f.series)]["chi2"]) for f in fits]
    return verdicts.judge(fits, np.nan, power, levels)


def judged_in_the_end(fits: Sequence[Fit], options: Options, level: float | None = None) -> list[Judged]:
    """The fits judged at half of their part of alpha, which is `level` or follows from their number: what is visible
    there is visible at the last boundary, whatever looks come before."""
    part = options.alpha / (2 * max(len(fits), 1)) if level is None else level
    return verdicts.judge(fits, np.nan, options.power, [(part / 2, 0.0)] * len(fits))


def differs(record: Record, claim: Mapping[str, Any], options: Options, names: Sequence[str]) -> str:
    """Why a look at a claim with these options and data sets would be no look of the record; empty where it is one."""
    start = record.start
    given, taken = ((o.alpha, o.power, o.prior_width) for o in (options, start))
    if given != taken:
        made = f"alpha={start.alpha:g}, power={start.power:g}, prior_width={start.prior_width:g}"
        return f"looks were taken with {made}, and other options would be a further look"
    if claim["name"] != start.claim or json.loads(json.dumps(claim["tests"])) != start.tests:
        return "looks were taken with other tests or asks, and others would be a further look"
    if set(names) != set(start.plan):
        return f"looks were taken at the data sets {', '.join(start.plan)}, and others would be a further look"
    return ""


def of_analysis(sets: Sequence[DataSet], options: Options) -> tuple[Mapping[str, Mapping[str, float]] | None, str, str]:
    """The levels at which an analysis judges a claim whose looks are recorded, None where none are; a line about it;
    and why it cannot be judged, or nothing.

    sets: the data sets of the claim. The analysis repeats the last look, and is no further one: it is refused where
    networks or options are others.
    """
    folder = folder_of([data.path for data in sets])
    try:
        record = read(folder)
        if record is None and not any(map(_until, sets)):
            return None, "", ""
        check(folder, record, sets)
    except StoreError as error:
        return {}, "", str(error)
    assert record is not None
    if reason := differs(record, sets[0].settings["claim"], options, [data.path.name for data in sets]):
        return {}, "", reason
    if not record.looks or {data.path.name: data.networks for data in sets} != record.looks[-1].networks:
        return {}, "", f"the record has no look at these networks; python -m {UNTIL} takes it"
    look = record.looks[-1]
    words = (
        f"{record.start.claim}: drawn until decided, judged at the levels of look {len(record.looks)}; all looks use "
        f"{2 * sum(entry['used'] for entry in look.series.values()):.2g} of alpha={record.start.alpha:g} "
        f"({folder / RECORD})"
    )
    return look.series, words, ""
