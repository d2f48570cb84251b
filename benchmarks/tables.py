"""The results of the race and of the forecasts as markdown tables and a figure."""

import re
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results: made by {command} -->", "<!-- end of results -->"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _agrees(row: dict[str, Any]) -> str:
    if row["void"]:
        return "**void**"
    return "too few" if row["z"] != row["z"] else f"{row['z']:.1f}"


def _race(races: list[dict[str, Any]], unit: str) -> list[str]:
    names = ("case", "contender", unit, "to the best peer", "to JAX", "of torch's normals", "of our normals", "of GEMM")
    lines = [f"| {' | '.join((*names, 'spread', 'z'))} |", "|" + " --- |" * (len(names) + 2)]
    for race in races:
        steps = int(race["case"].split(",")[3].rstrip(")")) if race["work"] == "train" else 1
        for row in race["rows"]:
            cells = [
                race["case"],
                row["contender"],
                _number(row["networks/s"] * steps),
                f"{row['to best peer']:.2f}",
                "" if row["to JAX"] is None else f"{row['to JAX']:.2f}",
                _share(row.get("of normals, torch")),
                _share(row.get("of normals, ours")),
                _share(row.get("of GEMM")),
                f"{row['spread']:.0%}",
                _agrees(row),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def render(result: dict[str, Any]) -> str:
    """The tables of docs/performance.md from the results of `benchmarks.race`."""
    top = ", ".join(f"{name} {value:,.1f}" for name, value in result["ceilings"].items())
    races = result["races"]
    lines = [
        f"{result['machine']}; one core; medians of {result['rounds']} interleaved rounds, {result['seconds']} s each.",
        "",
        f"Ceilings in the same run: {top}.",
        "",
        "### Initialisation with the NTK at the output: (n, L, N_D), networks per second",
        "",
        *_race([r for r in races if r["work"] == "ntk"], "networks/s"),
        "",
        "### Training: (n, L, N_A, T), networks x steps per second",
        "",
        *_race([r for r in races if r["work"] == "train"], "networks x steps/s"),
        "",
        "*spread* is the range over rounds, relative to the median. *z* is the larger |z| of mean and mean square of "
        "the first number, against the first contender of the case. Beyond 4.06 (a false-alarm rate of 1e-4 for each "
        "row) the row is void.",
        "",
        "### Memory in addition to the idle process, MiB",
        "",
        "| case | sampler | 4 blocks | 16 blocks | networks in 16 blocks | rule's working set |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for m in result["memory"]:
        lines.append(
            f"| {m['case']} | {m['sampler']} | {m['few']['over']:.0f} | {m['many']['over']:.0f} | "
            f"{m['many']['networks']:,} | {m['many']['rule']:.1f} |"
        )
    p = result["processes"]
    lines += [
        "",
        f"`python -m simulate --help` takes {result['start-up']:.2f} s. One worker process takes {p['one']:.1f} s for "
        f"{p['networks']:,} networks of {races[1]['case']} and two take {p['two']:.1f} s, start-up included: "
        f"{p['ratio']:.2f} times as fast. Two runs at once that share nothing and make a half each are "
        f"{p['ideal']:.2f} times as fast, which is the most that this machine can give.",
        "",
        "### Cost of a network with its NTK around (256, 8, 4): exponents at the upper end",
        "",
        "| sampler | " + " | ".join(s["axis"] for s in result["scaling"][:3]) + " |",
        "| --- | --- | --- | --- |",
    ]
    for sampler in ("law", "dense"):
        exponents = [f"{s['exponent']:.2f}" for s in result["scaling"] if s["sampler"] == sampler]
        lines.append(f"| {sampler} | " + " | ".join(exponents) + " |")
    return "\n".join(lines)


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw the cost of a network against n, L and N_D, and save it as `path`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.style.context(Path(__file__).parents[1] / "analysis" / "report" / "nearly_gaussian.mplstyle"):
        figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharey=True)
        for panel, axis in zip(axes, dict.fromkeys(s["axis"] for s in result["scaling"]), strict=True):
            for curve, marker in zip([s for s in result["scaling"] if s["axis"] == axis], "os", strict=True):
                label = f"{curve['sampler']}: {axis}^{curve['exponent']:.2f}"
                panel.loglog(curve["points"], curve["seconds"], marker=marker, label=label)
            panel.set_xlabel(axis)
            panel.set_xticks(curve["points"], [str(point) for point in curve["points"]], minor=False)
            panel.minorticks_off()
            panel.legend()
        axes[0].set_ylabel("seconds per network")
        figure.savefig(path, dpi=110)
        plt.close(figure)


LIMITS = {"time": 1.5, "memory": 1.2}  # factors within which a good forecast is


def _ratios(row: dict[str, Any]) -> dict[str, float]:
    """Forecast over measured."""
    return {"time": row["forecast"] / row["took"], "memory": row["memory"] / row["peak"]}


def forecast_row(row: dict[str, Any]) -> str:
    """The line of the table for one data set or sweep."""
    short = re.sub(r"(network|observables|ensemble)\.", "", row["settings"])
    ratios = _ratios(row)
    return (
        f"| {short} | {row['networks']:,} | {row['forecast']:.1f} | {row['took']:.1f} | {ratios['time']:.2f} "
        f"| {row['memory'] / 2**20:.0f} | {row['peak'] / 2**20:.0f} | {ratios['memory']:.2f} |"
    )


def forecasts(result: dict[str, Any]) -> str:
    """The table of docs/cluster.md from the results of `benchmarks.forecast`."""
    lines = [
        f"{result['machine']}; one core; `--seconds {result['seconds']:g}`.",
        "",
        "| settings | networks | s, forecast | s, measured | ratio | MiB, forecast | MiB, measured | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *map(forecast_row, result["rows"]),
    ]
    for name, limit in LIMITS.items():
        ratios = [_ratios(row)[name] for row in result["rows"]]
        beyond = sum(not 1 / limit <= ratio <= limit for ratio in ratios)
        lines += [
            "",
            f"{name}: forecast over measured is {min(ratios):.2f} to {max(ratios):.2f}, with median "
            f"{statistics.median(ratios):.2f}; {beyond} of {len(ratios)} are beyond a factor {limit}",
        ]
    return "\n".join(lines)


def insert(path: Path, text: str, command: str) -> None:
    """Put the text that `command` made between the two markers of the page `path`."""
    page, begin = path.read_text(), BEGIN.format(command=command)
    assert begin in page
    path.write_text(re.sub(f"{begin}.*?{END}", lambda _: f"{begin}\n\n{text}\n\n{END}", page, flags=re.DOTALL))


def mutants(rows: Sequence[dict[str, Any]], short: Mapping[str, str]) -> str:
    """The table of docs/results.md from the rows of `benchmarks.mutants`: which mutants each claim rejects, which move
    its largest pull too little, and which leave it as it is. short: the names of the mutants there."""
    columns = ("claim", "networks a width", "without a mutant", "rejects", "moved too little", "no part in it")
    lines = ["| name | what is wrong |", "| --- | --- |"]
    lines += [f"| {name} | {escape(mutant, quote=False)} |" for mutant, name in short.items()]
    lines += ["", f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for claim in dict.fromkeys(row["claim"] for row in rows):
        right, *wrong = (row for row in rows if row["claim"] == claim)
        found = {row["mutant"]: row for row in wrong}
        told = [row for row in wrong if row["verdict"] == "disagrees"]
        little = [row["mutant"] for row in wrong if row not in told and _judged(row) != _judged(right)]
        rejects = ", ".join(f"{short[row['mutant']]} {row['pull']:+.1f} (`{row['test']}`)" for row in told)
        apart = [name for name in short if name not in little and found.get(name) not in told]
        cells = [rejects or "none", *(", ".join(short[name] for name in names) for names in (little, apart))]
        if not wrong:
            cells = [f"not tried: {right['seconds']:.0f} s of CPU for one judgement", "", ""]
        verdict = f"{right['verdict']}, {right['pull']:+.1f}"
        lines.append(f"| `{claim}` | {right['networks']:,} | {verdict} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _judged(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["verdict"], row["pull"], row["test"]
