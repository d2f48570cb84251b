"""Draws networks where they buy most and judges in turn, until each test of a claim is decided or a limit is reached.

It lives in the analysis, which may call the simulation: the simulation imports no verdicts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis import fits, growth, looks, remedy, tails, verdicts
from analysis.claims import tests
from analysis.estimators import FEWEST
from analysis.fits import Fit
from analysis.looks import Look, Record, Start
from analysis.points import OUT_OF_RANGE, Point, variants
from analysis.result import Options
from analysis.series import Judgeable, Measuring, NotTested, judgeable, series
from analysis.verdicts import Judged, Verdict
from analysis.visits import tasks_of, visit_all
from simulate import api
from simulate.settings import Settings, SettingsError
from simulate.store import locks
from simulate.store.files import StoreError, make_folder
from simulate.store.manifest import MANIFEST
from simulate.store.sets import DataSet, open_data_set
from simulate.system import duration

FIRST = 16  # the first look has this part of ensemble.networks
START = 8 * FEWEST  # lower bound on the networks of a data set at the first look
PATIENCE = 3.0  # seconds to measure for, where the log does not tell what a network takes
LOCK = 10**12  # an address that no network has, which stands for the record in locks


@dataclass(frozen=True)
class Limits:
    """seconds of one core or device, and networks a data set."""

    seconds: float
    most: float = math.inf


@dataclass(frozen=True)
class Taken:
    """A look before it is entered: its fits judged at the levels of the look, the verdict, the tests that are still
    open, and whether a tail-dominated series needs more networks before it can be judged."""

    time: float
    entries: Mapping[str, Mapping[str, float]]
    verdict: Verdict
    open: tuple[Judged, ...]
    tails: bool


def fitted(tested: Sequence[Judgeable], measuring: Measuring, prior_width: float) -> tuple[list[Fit], list[NotTested]]:
    """The fits of all series of the tests of a claim, and what could not be fitted."""
    found: list[Fit] = []
    refused: list[NotTested] = []
    for test in tested:
        entries, not_tested = series(test, measuring)
        refused += not_tested
        for entry in entries:
            try:
                found.append(fits.fit(entry, prior_width))
            except OUT_OF_RANGE as error:
                refused.append(NotTested(test.name, entry.name, str(error)))
    return found, refused


def look_at(record: Record, found: Sequence[Fit], options: Options, verdict: Mapping[str, Any]) -> Taken:
    """Judge fits at the levels of the look that follows those of the record. verdict: further arguments of
    `analysis.verdicts.verdict`."""
    half = looks.judged_in_the_end(found, options, looks.each(record, found) if found else None)
    decidable = [
        j.visible <= j.fit.series.precision or remedy.of_series(j, options.prior_width).networks is not None
        for j in half
    ]
    before = record.looks[-1].time if record.looks else 0.0
    waiting = any(entry.reason.startswith(tails.WORD) for entry in verdict["not_tested"])
    time = max(before, looks.share(half, decidable, waiting)) if found else before
    entries = looks.series_of(record, found, time)
    judged = looks.judged_at(entries, found, options.power)
    still = tuple(
        h
        for j, h, by in zip(judged, half, decidable, strict=True)
        if by and j.verdict == verdicts.UNDERPOWERED and h.visible > h.fit.series.precision
    )
    of_claim = verdicts.verdict(judged=judged, tolerated=options.diverged, **verdict)
    settled = of_claim.verdict == verdicts.DISAGREES or of_claim.diverged > options.diverged
    return Taken(time, entries, of_claim, () if settled else still, waiting and not settled)


def planned(taken: Taken, points: Sequence[Point], costs: Mapping[str, float], left: float, most: float, paired: bool,
            prior_width: float) -> dict[str, int]:  # fmt: skip
    """The networks of each data set at the next look, those of now where nothing is open or nothing is left.

    costs: seconds of a network of each data set. paired: whether tests compare networks one by one across variants, so
    that all data sets of a width grow together.
    """
    now = {point.data.path.name: point.networks for point in points}
    if not (taken.open or taken.tails):
        return now
    sweep = variants(points)
    names: dict[tuple[str, float], list[str]] = {}
    for variant in sweep:
        for point in variant.points:
            names.setdefault(("" if paired else variant.label, float(point.n)), []).append(point.data.path.name)
    at = {group: k for k, group in enumerate(names)}
    networks = np.array([max(now[name] for name in group) for group in names.values()], dtype=float)
    price = np.array([sum(costs[name] for name in group) for group in names.values()])
    if taken.open:
        tests = [open_series(judged, at, paired, prior_width) for judged in taken.open]
        wanted = growth.grown(tests, networks, price, growth.next_share(taken.time), left, most)
    else:  # a series without an error bar does not say where networks would help
        part = min(1.0, left / float(networks @ price))
        wanted = np.maximum(networks, np.minimum((1 + part) * networks, most))
    return {name: max(now[name], int(wanted[at[g]])) for g, group in names.items() for name in group}


def open_series(judged: Judged, at: Mapping[tuple[str, float], int], paired: bool, prior_width: float) -> growth.Open:
    """An open series as `analysis.growth` has it. at: the ensemble of each variant and width, the variant empty where
    `paired`."""
    made = judged.fit.series
    group = np.array([at["" if paired else made.variant, float(n)] for n in made.n])
    return growth.Open(fits.error_at(made, prior_width), group, judged.visible / made.precision)


def decide(
    settings: Sequence[Settings], options: Options, limits: Limits, command: Mapping[str, Any], quiet: bool = False
) -> Path:
    """Draw and judge until the claim of a sweep is decided or a limit is reached; returns the folder of its record.

    Raises SettingsError where there is no claim, StoreError where looks are lost or were taken with other options,
    HeldError where another process decides the same claim, and what `simulate.api.make` raises.
    """
    claim, paths = settings[0].claim, [Path(s.output) for s in settings]
    if claim is None or any(s.claim != claim for s in settings):
        raise SettingsError("claim", claim and claim.get("name"), "one claim to decide, as that of experiment=ntk_mean")
    folder, progress = looks.folder_of(paths), api._progress(quiet)
    make_folder(folder)
    with locks.writing(folder, LOCK, LOCK + 1):
        record = _record(folder, settings, options)
        costs: dict[str, float] = {}
        while True:
            grown = [
                replace(s, ensemble=replace(s.ensemble, networks=record.plan[Path(s.output).name])) for s in settings
            ]
            sets = [data.snapshot() for data in api.make(grown, progress, command=command)]
            points = [Point(data) for data in sets]
            now = {point.data.path.name: point.networks for point in points}
            seen = bool(record.looks) and now == dict(record.looks[-1].networks)
            sweep = variants(points)
            tested = [judgeable(name, given, sweep) for name, given in claim["tests"].items()]
            visits = visit_all(tasks_of(sets, tested, tabled=False))
            found, refused = fitted(tested, visits.measuring, options.prior_width)
            total = sum(now.values())
            about = {
                "claim": claim["name"], "statement": claim["statement"], "networks": total, "not_tested": refused,
                "diverged": (total - sum(visit.finite for visit in visits.by_path.values())) / total,
            }  # fmt: skip
            history = replace(record, looks=record.looks[:-1]) if seen else record
            taken = look_at(history, found, options, about)
            costs = costs | _costs(sets, grown, costs)
            seconds = sum(_spent(data, costs[data.path.name]) for data in sets)
            paired = any(tests()[name].paired for name in claim["tests"])
            left = limits.seconds - seconds
            plan = planned(taken, points, costs, left, limits.most, paired, options.prior_width)
            look = Look(now, taken.time, taken.entries, taken.verdict.verdict, taken.verdict.reason, seconds, plan)
            if not seen or plan != now:  # the line of a look that was taken before only changes the plan
                record = looks.append(folder, record, look)
            progress.say(_in_words(record, look, total))
            if plan == now:
                return folder


def _record(folder: Path, settings: Sequence[Settings], options: Options) -> Record:
    """The record to go on with; its first line is written where there is none."""
    record = looks.read(folder)
    there = [open_data_set(Path(s.output)) for s in settings if (Path(s.output) / MANIFEST).exists()]
    looks.check(folder, record, there)
    claim = settings[0].claim
    assert claim is not None
    if record is None:
        now = {data.path.name: data.networks for data in there}
        first = {Path(s.output).name: max(START, s.ensemble.networks // FIRST) for s in settings}
        plan = {name: max(count, now.get(name, 0)) for name, count in first.items()}
        tested = {name: dict(given) for name, given in claim["tests"].items()}
        start = Start(claim["name"], tested, options.alpha, options.power, options.prior_width, plan)
        return looks.append(folder, None, start)
    if why := looks.differs(record, claim, options, [Path(s.output).name for s in settings]):
        raise StoreError(f"{folder / looks.RECORD}: {why}")
    return record


def _costs(sets: Sequence[DataSet], settings: Sequence[Settings], known: Mapping[str, float]) -> dict[str, float]:
    """Seconds of a network of each data set by the log of commits, or measured where it does not tell."""
    told = {data.path.name: remedy.seconds_each(data) for data in sets}
    if all(cost is not None or name in known for name, cost in told.items()):
        return {name: cost for name, cost in told.items() if cost is not None}
    from simulate.running.forecast import network_seconds

    measured = network_seconds(api.prepared(settings), PATIENCE)
    pairs = zip(sets, measured, strict=True)
    return {data.path.name: told[data.path.name] or seconds for data, seconds in pairs}


def _spent(data: DataSet, cost: float) -> float:
    timed = data.timed()
    return sum(seconds for _, seconds in timed) + cost * (data.networks - sum(networks for networks, _ in timed))


def _in_words(record: Record, look: Look, total: int) -> str:
    used = 2 * sum(entry["used"] for entry in look.series.values())
    return (
        f"look {len(record.looks)}: {total:,} networks, {duration(look.seconds)} of one core, {look.time:.0%} of the "
        f"information, {used:.2g} of alpha={record.start.alpha:g} used: {look.verdict}: {look.reason}"
    )
