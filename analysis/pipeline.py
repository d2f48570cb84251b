"""The order of the analysis: data sets -> estimates -> theory -> fits -> verdicts -> figures and report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import fits, looks, outputs, verdicts
from analysis.estimates import skipped
from analysis.fits import Fit
from analysis.inference import Inferred
from analysis.points import OUT_OF_RANGE, Point, variants
from analysis.remedy import remedies
from analysis.result import Claim, Options, Result, computations, verdict_json
from analysis.series import Judgeable, NotTested, judgeable, series
from analysis.tables import sets_of
from analysis.visits import Task, tasks_of, visit_all
from simulate import plugins as plugin_files
from simulate.store.copies import merged
from simulate.store.files import StoreError
from simulate.store.sets import DataSet


def gather(sets: Sequence[DataSet]) -> list[Claim]:
    """The claims of data sets. Those in one folder that carry the same claim are the points of its sweep."""
    claimed = [data for data in sets if data.settings.get("claim")]
    out = []
    for _, group in groupby(claimed, key=lambda data: (data.path.parent, data.settings["claim"]["name"])):
        points = [_complete(data) for data in group]
        claim = points[0].settings["claim"]
        out.append(Claim(claim["name"], claim["statement"], claim["tests"], tuple(variants(points))))
    return out


def _complete(data: DataSet) -> Point:
    if not data.complete:
        raise StoreError(
            f"{data.path}: {data.networks:,} of {data.manifest['networks']:,} networks are there; run the simulation "
            "again to finish it"
        )
    return Point(data)


def asked(sets: Sequence[DataSet]) -> tuple[list[Claim], dict[str, list[Judgeable]], list[Task]]:
    """The claims of data sets, the tests of each by its name, and what is measured at each data set. ValueError where
    two sweeps have the same claim; StoreError where one is not finished."""
    found = gather(sets)
    if len({claim.name for claim in found}) != len(found):
        raise ValueError("two sweeps of the same claim: analyze them one at a time")
    tests = {c.name: [judgeable(test, given, c.variants) for test, given in c.tests.items()] for c in found}
    return found, tests, tasks_of(sets, [test for of_claim in tests.values() for test in of_claim])


def judge_sets(sets: Sequence[DataSet], options: Options) -> Result:
    """Estimates, fits and verdicts of all claims in `sets`, as one family of tests; nothing is written. A claim that
    was drawn until it was decided is a family of its own, judged at the levels of its last look (`analysis.looks`).

    Each network counts once, wherever its copies lie, and those that a run adds meanwhile do not count. A test that its
    settings, the range of the theory or its fit do not allow is not tested, and an estimate whose theory cannot be
    computed is skipped and noted; all others are.
    """
    sets, shared_networks = merged(sets)
    notes = list(shared_networks)
    found, tests, tasks = asked(sets)
    scans: dict[str, dict[float, Fit]] = {}
    names: dict[str, list[str]] = {}
    refused: dict[str, list[NotTested]] = {}
    levels: dict[str, Mapping[str, Mapping[str, float]]] = {}
    visits = visit_all(tasks, options.workers)
    for claim in found:
        names[claim.name], refused[claim.name] = [], []
        sets_of_claim = [point.data for point in claim.points if isinstance(point.data, DataSet)]
        shared, words, reason = looks.of_analysis(sets_of_claim, options)
        if reason:
            refused[claim.name] = [NotTested(test, "", reason) for test in claim.tests]
            continue
        if shared is not None:
            levels[claim.name] = shared
            notes.append(words)
        for test in tests[claim.name]:
            found_series, not_tested = series(test, visits.measuring)
            refused[claim.name] += not_tested
            for entry in found_series:
                name = f"{claim.name}: {entry.name} ({entry.test})"
                try:
                    if name in scans:
                        raise ValueError("the measure yields two series of this name; its labels have to differ")
                    if looks.key(entry) not in levels.get(claim.name, {looks.key(entry): {}}):
                        raise ValueError("the last look that is recorded did not judge it")
                    scans[name] = fits.scan(entry, options.prior_width)
                except OUT_OF_RANGE as error:
                    refused[claim.name].append(NotTested(test.name, entry.name, str(error)))
                else:
                    names[claim.name].append(name)
    judged: dict[str, verdicts.Judged] = {}
    for claim_name, shared in levels.items():
        fitted = [scans[name][1.0] for name in names[claim_name]]
        judged |= dict(zip(names[claim_name], looks.judged_at(shared, fitted, options.power), strict=True))
    family = [name for name in scans if name not in judged]
    judged |= dict(
        zip(family, verdicts.judge([scans[name][1.0] for name in family], options.alpha, options.power), strict=True)
    )
    wider = dict(
        zip(family, verdicts.judge([scans[n][2.0] for n in family], options.alpha, options.power), strict=True)
    )
    results = []
    for claim in found:
        seen = [visits.by_path[point.data.path] for point in claim.points]
        networks = sum(visit.networks for visit in seen)
        diverged = 1 - sum(visit.finite for visit in seen) / networks
        of_claim, tolerated = [judged[name] for name in names[claim.name]], options.diverged
        of_wider = [wider[name] for name in names[claim.name]] if claim.name not in levels else []
        results.append(
            verdicts.verdict(
                claim.name, claim.statement, of_claim, networks, diverged, tolerated, refused[claim.name], of_wider
            )
        )
    rows = []
    for data in sets:
        name = (data.settings.get("claim") or {}).get("name", "")
        given = {"claim": name, "data": data.path.name}
        rows += [given | row for row in visits.by_path[data.path].rows]
    notes += skipped(rows)
    needs = {}
    for claim, verdict in zip(found, results, strict=True):
        if claim.name in levels:  # what is seen when all of alpha is used, because an early look may use nothing
            in_the_end = looks.judged_in_the_end([j.fit for j in verdict.judged], options)
            verdict = replace(verdict, judged=tuple(in_the_end))
        needs[claim.name] = remedies(verdict, claim.points, options.prior_width)
    computed = tuple(computations(sets))
    by_path = {path: visit.found for path, visit in visits.by_path.items()}
    whole = tuple(sets), by_path
    return Result(
        tuple(found), tuple(results), pd.DataFrame(rows), scans, options, tuple(notes), computed, needs, *whole
    )


def write(result: Result, folder: Path, posteriors: Mapping[str, Inferred] | None = None) -> Path:
    """verdicts.json, estimates.parquet, figures and report.html into `folder`; returns the report's path. posteriors:
    of data sets by name, which the report draws."""
    from analysis.report.draw import write_all  # late: matplotlib takes a second
    from analysis.report.page import render

    outputs.folder_for(folder, folder)
    outputs.check_all(folder)
    for name in ("verdicts.json", "estimates.parquet", "report.html"):
        outputs.check(folder / name, folder)
    (folder / "verdicts.json").write_text(json.dumps(verdict_json(result), indent=1, allow_nan=False) + "\n")
    result.estimates.to_parquet(folder / "estimates.parquet", index=False)
    drawn = result.options.figures
    figures, left_out = write_all(result, folder / "figures", posteriors) if drawn else ([], [])
    path = folder / "report.html"
    path.write_text(render(replace(result, notes=(*result.notes, *left_out)), figures))
    return path


def analyze(
    data: str | Path | DataSet | Sequence[str | Path | DataSet],
    output: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
    config_dir: str | Path | None = None,
    **options: Any,
) -> Result:
    """Judge the data sets at `data` (a path, a data set, or several).

    Writes the report to `output` if given. plugins: Python files to load, also looked for in config_dir
    (docs/own_folder.md). Options as in configs/analysis.yaml: alpha, power, prior_width, diverged, figures, workers.
    Raises simulate.StoreError where data are missing or damaged, or made with a plugin that is not loaded, ValueError
    where an option is wrong or a plugin fails.
    """
    plugin_files.load(plugins, config_dir)
    checked = Options(**options, plugins=plugin_files.loaded())
    result = judge_sets(sets_of(data), checked)
    if output is not None:
        write(result, Path(output))
    return result
