"""The estimates that the report's chart lets a reader pick, as they stand in the page."""

from typing import Any

import numpy as np

from analysis import claims
from analysis.points import Point, variants
from analysis.result import Result

PICKED = 4000  # the page holds so many estimates for its chart; estimates.parquet holds all


def picked(result: Result) -> dict[str, Any]:
    """rows: the first estimates, each with claim, sweep (the settings other than the width), tensor, layer, step,
    width, samples, estimate, error, theory, next and tails; numbers that are not known are None. asked: the smallest
    relative deviation that a test of a claim asks to see, by the names of claim and tensor."""
    points = [variant for claim in result.claims for variant in claim.variants]
    points = points or list(variants([Point(data) for data in result.sets]))
    sweep = {point.data.path.name: variant.label for variant in points for point in variant.points}
    rows = []
    for row in result.estimates.head(PICKED).to_dict("records"):
        if row["skipped"]:
            continue
        kept = {str(key): row[key] for key in ("claim", "tensor", "layer", "step", "width", "samples")}
        numbers = {key: _number(row[key]) for key in ("estimate", "error", "theory")}
        more = {"next": _number(row["theory_next"]), "tails": bool(row["tail_dominated"])}
        rows.append({**kept, "sweep": sweep.get(row["data"], row["data"]), **numbers, **more})
    return {"rows": rows, "asked": _asked(result)}


def _number(value: Any) -> float | None:
    """A number with the digits of an estimate, or None where it is not known."""
    return float(f"{value:.8g}") if value is not None and np.isfinite(value) else None


def _asked(result: Result) -> dict[str, float]:
    found: dict[str, float] = {}
    known = claims.tests()
    for claim in result.claims:
        for test, options in claim.tests.items():
            for tensor in known[test].symbols if test in known else ():
                name, precision = f"{claim.name} {tensor}", float(options["precision"])
                found[name] = min(precision, found.get(name, precision))
    return found
