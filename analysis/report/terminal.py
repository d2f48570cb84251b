"""The verdict table on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

import gvar
import numpy as np
import pandas as pd

from analysis import tails
from analysis.result import Result
from analysis.tables import swept
from analysis.verdicts import Verdict
from simulate.settings import printable


def share(value: float) -> str:
    """A relative deviation in percent, or as a number where it is as small as rounding."""
    return f"{value:.2%}" if value >= 1e-4 else f"{value:.1e}"


def figures_of(row: Mapping[Any, Any]) -> tuple[str, str, str, str]:
    """Largest pull, smallest Q, visible and asked deviation of a row of the verdict table. A test that could not be
    judged has none, and says so where tails are why."""
    if not row["series"]:
        return row["tail-dominated"] or "-", "-", "-", "-"
    pull, Q = f"{row['largest pull']:+.2f}", f"{row['smallest Q']:.2g}"
    return pull, Q, share(row["visible deviation"]), share(row["asked"])


def fit_reports(verdict: Verdict) -> Iterator[str]:
    """The report of each fit of a claim: its line, then lsqfit's, with values, priors and error budget. A claim without
    fits says so."""
    if not verdict.judged:
        yield f"{verdict.claim}: no test has a fit"
    for judged in verdict.judged:
        fit = judged.fit
        heading = f"{verdict.claim}: {fit.series.test}: {fit.series.name}: {judged.verdict}"
        yield "\n".join(filter(None, [heading, fit.line(), fit.report()]))


def print_estimates(frame: pd.DataFrame) -> None:
    """A table of estimates (`analysis.tables.table`): measured and predicted numbers, and pulls."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    steps = frame["step"].nunique() > 1
    names = [*swept(frame), "width", "layer", *["step"] * steps, "samples"]
    shown = Table(title=f"{', '.join(frame['tensor'].unique())}, dimensionless", title_justify="left")
    for name in names:
        shown.add_column(escape(name.rpartition(".")[2]))
    following = bool(frame["theory_next"].notna().any())
    for name in ("measured", "theory", *["with next order"] * following, "pull"):
        shown.add_column(name, justify="right")
    for row in frame.to_dict("records"):
        cells = [f"{row[name]:g}" if isinstance(row[name], float) else str(row[name]) for name in names]
        known = [_number(row[name]) for name in ("theory", *["theory_next"] * following)]
        pull = "" if np.isnan(row["pull"]) else f"{row['pull']:+.2f}"
        shown.add_row(*map(escape, cells), _measured(row), *known, pull)
    console = Console(highlight=False, width=None if Console().is_terminal else 140)
    console.print(shown)
    console.print(
        "pull: (measured - theory)/error, with the next order where it is known. Higher orders in 1/n pull, too: only "
        "a fit over widths tells them from a wrong theory."
    )
    for reason in sorted(set(frame["skipped"]) - {""}):
        console.print(escape(printable(f"no estimate: {reason}")))


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.5g}"


def _measured(row: Mapping[Any, Any]) -> str:
    """A number with its error, as 0.0237(3); without one where it is tail-dominated or exact."""
    if row["tail_dominated"]:
        return f"{row['estimate']:.3g} {tails.WORD}"
    return str(gvar.gvar(row["estimate"], row["error"])) if row["error"] > 0 else _number(row["estimate"])


def print_table(result: Result) -> None:
    """The verdict of each test, then of each claim with what its tests have found, in sentences."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, width=None if Console().is_terminal else 140)
    styles = {"agrees": "green", "disagrees": "bold red", "underpowered": "yellow", "not tested": "yellow"}
    table = Table(title=f"family-wise false-alarm rate {result.options.alpha} (Holm)", title_justify="left")
    for name in ("claim", "verdict", "test", "series", "largest pull", "smallest Q", "visible deviation", "asked"):
        table.add_column(name, justify="left" if name in ("claim", "verdict", "test") else "right")
    for row in result.table.to_dict("records"):
        table.add_row(
            escape(row["claim"]),
            f"[{styles[row['verdict']]}]{row['verdict']}[/]",
            escape(row["test"]),
            str(row["series"]),
            *figures_of(row),
        )
    if result.verdicts:
        console.print(table)
    else:
        console.print("no claim in these data sets; estimates only")
    for verdict in result.verdicts:
        why = "" if result.explained(verdict) else f": {verdict.reason}"
        console.print(
            f"[{styles[verdict.verdict]}]{escape(verdict.claim)}: {verdict.verdict}[/]{escape(printable(why))}"
        )
        for test, sentence in result.sentences(verdict):
            console.print(escape(printable(f"  {test}: {sentence}")), soft_wrap=True)
        for row in result.table.to_dict("records"):
            if row["claim"] == verdict.claim and row["series"] and row["tail-dominated"]:
                console.print(escape(printable(f"  {row['test']}: {row['tail-dominated']}")))
    for line in (*result.notes, *result.provenance):
        console.print(escape(printable(line)))
