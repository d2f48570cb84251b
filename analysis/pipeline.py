"""The order of the analysis: data sets -> estimates -> theory -> fits -> verdicts -> figures and report."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import fits, verdicts
from analysis.estimates import table
from analysis.points import Point, variants
from analysis.report.draw import write_all
from analysis.report.page import render
from analysis.result import Claim, Options, Result, verdict_json
from analysis.series import series
from simulate.store.files import StoreError
from simulate.store.sets import DataSet, find


def gather(sets: Sequence[DataSet]) -> list[Claim]:
    """Data sets that lie side by side and carry the same claim are the points of its sweep."""
    claimed = [data for data in sets if data.settings.get("claim")]
    for data in claimed:
        _check(data)
    out = []
    for _, group in groupby(claimed, key=lambda data: (data.path.parent, data.settings["claim"]["name"])):
        points = [Point(data) for data in group]
        claim = points[0].settings["claim"]
        for point in points:
            if not point.data.complete:
                raise StoreError(
                    f"{point.data.path}: {point.data.networks:,} of {point.data.manifest['networks']:,} networks are "
                    "there; run the simulation again to finish it"
                )
        out.append(Claim(claim["name"], claim["statement"], claim["tests"], tuple(variants(points))))
    return out


def _check(data: DataSet) -> None:
    """StoreError where a data set's claim is not one that `simulate` would have taken."""
    claim = data.settings["claim"]
    whole = isinstance(claim, dict) and isinstance(claim.get("tests"), dict)
    if not whole or not all(isinstance(claim.get(key), str) for key in ("name", "statement")):
        raise StoreError(f"{data.path}: its claim is not a name, a statement and tests")
    for name, test in claim["tests"].items():
        good = isinstance(test, dict) and isinstance(test.get("precision"), int | float)
        if not good or not isinstance(test.get("layers"), list | None):
            raise StoreError(f"{data.path}: claim.tests.{name}={test!r}: a precision, and layers if there are any")


def analyse(sets: Sequence[DataSet], options: Options) -> Result:
    """Everything but files: estimates, fits and verdicts of all claims in `sets`, as one family of tests."""
    found = gather(sets)
    series_of = {
        claim.name: [s for test, given in claim.tests.items() for s in series(test, given, claim.variants)]
        for claim in found
    }
    if len(series_of) != len(found):
        raise ValueError("two sweeps of the same claim: analyse them one at a time")
    scans = {
        f"{name}: {s.name} ({s.test})": fits.scan(s, options.prior_width)
        for name, group in series_of.items()
        for s in group
    }
    judged = iter(verdicts.judge([scan[1.0] for scan in scans.values()], options.alpha, options.power))
    said = []
    for claim in found:
        networks = sum(len(p.finite) for p in claim.points)
        diverged = sum(int((~p.finite).sum()) for p in claim.points) / networks
        mine = [next(judged) for _ in series_of[claim.name]]
        said.append(verdicts.verdict(claim.name, claim.statement, mine, networks, diverged, options.diverged))
    rows = []
    for data in sets:
        point = Point(data)
        name = (data.settings.get("claim") or {}).get("name", "")
        rows += [{"claim": name, "data": data.path.name, **row} for row in table(point)]
    return Result(tuple(found), tuple(said), pd.DataFrame(rows), scans, options)


def write(result: Result, folder: Path) -> Path:
    """verdicts.json, estimates.parquet, figures and report.html into `folder`; returns the report's path."""

    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            raise ValueError(f"output={folder}: {path} is a link, and a report is not written through links")
    (folder / "verdicts.json").write_text(json.dumps(verdict_json(result), indent=1) + "\n")
    result.estimates.to_parquet(folder / "estimates.parquet", index=False)
    figures = write_all(result, folder / "figures") if result.options.figures else []
    path = folder / "report.html"
    path.write_text(render(result, figures))
    return path


def analyze(data: str | Path | DataSet | Sequence[DataSet], output: str | Path | None = None, **options: Any) -> Result:
    """Judge the data sets at `data` (a path, a data set, or several).

    Writes the report to `output` if given. Options as in configs/analysis.yaml: alpha, power, prior_width, diverged,
    figures. Raises simulate.StoreError where data are missing or damaged, ValueError where a claim cannot be tested.
    """
    checked = Options(**options)
    if isinstance(data, DataSet):
        sets = [data]
    elif isinstance(data, str | Path):
        sets = find(data)
    else:
        sets = list(data)
    result = analyse(sets, checked)
    if output is not None:
        write(result, Path(output))
    return result
