"""The order of the lower half: data sets -> estimates -> theory -> fits -> verdicts -> figures and report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import claims, fits, verdicts
from analysis.fits import Fit
from analysis.points import Point, Variant, variants
from analysis.verdicts import Verdict
from simulate.store import DataSet, StoreError, find


@dataclass(frozen=True)
class Options:
    """As in configs/analysis.yaml."""

    alpha: float = 0.01
    power: float = 0.95
    prior_width: float = 3.0
    diverged: float = 0.01
    figures: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (("alpha", 0, 1), ("power", 0, 1), ("prior_width", 0.01, 100), ("diverged", -1e-9, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
                raise ValueError(f"{name}={value!r}: a number between {max(low, 0):g} and {high:g}")


@dataclass(frozen=True)
class Claim:
    """A claim with the points of its sweep, by what they differ in besides width."""

    name: str
    statement: str
    tests: Mapping[str, Mapping[str, Any]]
    variants: tuple[Variant, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(point for variant in self.variants for point in variant.points)


@dataclass(frozen=True)
class Result:
    """verdicts: one per claim; estimates: the long table; fits: every fit, also at other prior widths."""

    claims: tuple[Claim, ...]
    verdicts: tuple[Verdict, ...]
    estimates: pd.DataFrame
    scans: dict[str, dict[float, Fit]]  # by claim and series
    options: Options

    @property
    def table(self) -> pd.DataFrame:
        """The verdict table: one row per claim and test."""
        rows = []
        for verdict in self.verdicts:
            for test in dict.fromkeys(j.fit.series.test for j in verdict.judged):
                judged = [j for j in verdict.judged if j.fit.series.test == test]
                worst = max(judged, key=lambda j: abs(j.fit.pull))
                rows.append(
                    {
                        "claim": verdict.claim,
                        "verdict": verdict.verdict,
                        "test": test,
                        "series": len(judged),
                        "largest pull": worst.fit.pull,
                        "smallest Q": min(j.fit.Q for j in judged),
                        "visible deviation": verdict.visible(test),
                        "asked": worst.fit.series.precision,
                        "networks": verdict.networks,
                        "diverged": verdict.diverged,
                    }
                )
        return pd.DataFrame(rows)

    @property
    def disagrees(self) -> bool:
        return any(v.verdict == verdicts.DISAGREES for v in self.verdicts)


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
    series = {
        claim.name: [s for test, given in claim.tests.items() for s in claims.series(test, given, claim.variants)]
        for claim in found
    }
    if len(series) != len(found):
        raise ValueError("two sweeps of the same claim: analyse them one at a time")
    scans = {
        f"{name}: {s.name} ({s.test})": fits.scan(s, options.prior_width)
        for name, group in series.items()
        for s in group
    }
    judged = iter(verdicts.judge([scan[1.0] for scan in scans.values()], options.alpha, options.power))
    said = []
    for claim in found:
        networks = sum(len(p.finite) for p in claim.points)
        diverged = sum(int((~p.finite).sum()) for p in claim.points) / networks
        mine = [next(judged) for _ in series[claim.name]]
        said.append(verdicts.verdict(claim.name, claim.statement, mine, networks, diverged, options.diverged))
    rows = []
    for data in sets:
        point = Point(data)
        name = (data.settings.get("claim") or {}).get("name", "")
        rows += [{"claim": name, "data": data.path.name, **row} for row in claims.table(point)]
    return Result(tuple(found), tuple(said), pd.DataFrame(rows), scans, options)


def verdict_json(result: Result) -> dict[str, Any]:
    """What `verdicts.json` holds: every number that a verdict rests on."""

    def clean(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "alpha": result.options.alpha,
        "power": result.options.power,
        "prior_width": result.options.prior_width,
        "claims": [
            {
                "claim": v.claim,
                "statement": v.statement,
                "verdict": v.verdict,
                "reason": v.reason,
                "networks": v.networks,
                "diverged": v.diverged,
                "tests": [
                    {
                        "test": j.fit.series.test,
                        "series": j.fit.series.name,
                        "verdict": j.verdict,
                        "coefficient": clean(j.fit.coefficient),
                        "error": clean(j.fit.error),
                        "prediction": j.fit.series.prediction,
                        "scale": j.fit.series.scale,
                        "pull": clean(j.fit.pull),
                        "p": j.p_pull,
                        "chi2": clean(j.fit.chi2),
                        "dof": j.fit.dof,
                        "Q": j.p_fit,
                        "line": j.fit.line(),
                        "visible_deviation": clean(j.visible),
                        "asked": j.fit.series.precision,
                    }
                    for j in v.judged
                ],
            }
            for v in result.verdicts
        ],
    }


def write(result: Result, folder: Path) -> Path:
    """verdicts.json, estimates.parquet, figures and report.html into `folder`; returns the report's path."""
    from analysis import plots, report

    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            raise ValueError(f"output={folder}: {path} is a link, and a report is not written through links")
    (folder / "verdicts.json").write_text(json.dumps(verdict_json(result), indent=1) + "\n")
    result.estimates.to_parquet(folder / "estimates.parquet", index=False)
    figures = plots.write_all(result, folder / "figures") if result.options.figures else []
    path = folder / "report.html"
    path.write_text(report.render(result, figures))
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
