"""The report: one self-contained HTML file, verdicts first."""

import base64
import json
from collections.abc import Hashable, Sequence
from typing import Any

import jinja2

from analysis import tails
from analysis.fits import Fit
from analysis.report.picked import picked
from analysis.report.style import Drawn
from analysis.report.terminal import figures_of, share
from analysis.result import Result
from simulate.store.sets import DataSet

LEAST = 62  # pixels for an inch of a figure, at which its text is read; a narrower window scrolls it
ROWS = 400  # the page shows so many estimates; the parquet file holds all


def render(result: Result, figures: Sequence[Drawn]) -> str:
    """The report as HTML. Everything from data is escaped; nothing is loaded from elsewhere."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    sets = []
    for claim in result.claims:
        for point in claim.points:
            assert isinstance(point.data, DataSet)
            keep = {key: point.data.manifest[key] for key in ("settings", "identity", "versions", "device")}
            name = f"{claim.name}/{point.data.path.name}"
            sets.append({"name": name, "networks": point.data.networks, "text": json.dumps(keep, indent=1)})
    return environment.get_template("report.html.jinja").render(
        result=result,
        figures_of=figures_of,
        picked=picked(result),
        table=result.table.to_dict("records"),
        fits=_fit_rows(result),
        figures=[
            {
                "claim": f.claim,
                "caption": f.caption,
                "data": base64.b64encode(f.svg.read_bytes()).decode(),
                "least": round(f.inches * LEAST),
            }
            for f in figures
        ],
        estimates=[
            [_cell(name, cell) for name, cell in row.items()] for row in result.estimates.head(ROWS).to_dict("records")
        ],
        sets=sets,
    )


def _cell(name: Hashable, value: Any) -> Any:
    """A cell of the table of estimates."""
    if name == "tail_dominated":
        return tails.WORD if value else ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _pull(fit: Fit) -> str:
    return f"{fit.pull:+.2f}" if fit.series.predicted else ""


def _fit_rows(result: Result) -> dict[str, list[dict[str, Any]]]:
    scans = iter(result.scans.values())
    out: dict[str, list[dict[str, Any]]] = {}
    for verdict in result.verdicts:
        out[verdict.claim] = []
        for judged in verdict.judged:
            fit, scan = judged.fit, next(scans)
            out[verdict.claim].append(
                {
                    "test": fit.series.test,
                    "series": fit.series.name,
                    "coefficient": f"{fit.coefficient:.6g}",
                    "error": f"{fit.error:.2g}",
                    "prediction": f"{fit.series.prediction:.6g}" if fit.series.predicted else "measured",
                    "pull": _pull(fit),
                    "half": _pull(scan[0.5]),
                    "twice": _pull(scan[2.0]),
                    "chi2": f"{fit.chi2 / fit.dof:.2g} [{fit.dof}]",
                    "Q": f"{fit.Q:.2g}",
                    "visible": share(judged.visible),
                    "verdict": judged.verdict,
                    "without": fit.series.without,
                }
            )
    return out
