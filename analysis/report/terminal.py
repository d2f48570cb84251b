"""The verdict table on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from analysis.result import Result
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
    """The report of each fit of a claim: its line, then lsqfit's, with values, priors and error budget."""
    for judged in verdict.judged:
        fit = judged.fit
        heading = f"{verdict.claim}: {fit.series.test}: {fit.series.name}: {judged.verdict}"
        yield "\n".join(filter(None, [heading, fit.line(), fit.report()]))


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
