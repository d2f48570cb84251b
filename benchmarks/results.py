"""Run the experiments at full size, judge each, and put what was measured into docs/results.md.

    python -m benchmarks.results [NAME ...] [--seed SEED] [--folder DIR] [--settings KEY=VALUE ...] [--write]
    python -m benchmarks.results NAME --settings ensemble.device=cuda --keep FILE    # on another machine
    python -m benchmarks.results --add FILE ...                                      # and into the record of this one

Without names every experiment runs that has a claim, which takes hours; a run that was interrupted goes on.
`make results` is this command with --write, and once more for a second seed of `V_collapse`: it appends each run to
docs/results.json, which keeps all runs that were made, and makes tables and docs/pulls.png from it. Each claim is an
analysis of its own.
"""

import argparse
import datetime
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm, probplot

import configs
import simulate
from benchmarks import race, tables

ROOT = Path(__file__).parents[1]
RECORD, PAGE, FIGURE = (ROOT / "docs" / name for name in ("results.json", "results.md", "pulls.png"))
COMMAND = "python -m benchmarks.results --write"
ASK = re.compile(r"\| `(?P<claim>\w+)` \| `(?P<test>\w+)` \| [\d.e-]+ % \| (?P<since>\S+) \|")


def experiments() -> list[str]:
    """The names of all experiments that have a claim, but for those at the size of the demo."""
    names = [name for name in configs.options("experiment") if not name.startswith("demo/")]
    return [name for name in names if configs.compose("simulate", [f"experiment={name}"])["claim"]]


def since() -> dict[tuple[str, str], str]:
    """When each ask was set, by claim and test, from docs/asks.md."""
    rows = ASK.finditer((ROOT / "docs" / "asks.md").read_text())
    return {(row["claim"], row["test"]): row["since"] for row in rows}


def _seconds(command: Sequence[str], good: Sequence[int] = (0,)) -> dict[str, float]:
    """Wall and CPU seconds of a command. Raises CalledProcessError where its status is not a good one."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT)
    if done.returncode not in good:
        done.check_returncode()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(time.perf_counter() - began, 1), "cpu": round(cpu, 1)}


def _code() -> str:
    """The commit of the code, with "-dirty" where files differ from it, or nothing outside a repository."""
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()


def _machine(output: Path) -> str:
    """The machine, and the device that computed the networks where it was no CPU."""
    devices = [made["device"] for data in simulate.find(output) for made in data.computed()]
    return ", ".join([*sorted({device["name"] for device in devices if device["kind"] != "cpu"}), race.machine()])


def run(name: str, seed: int | None, folder: Path, settings: Sequence[str], code: str) -> dict[str, Any]:
    """Simulate and judge one experiment, or its ensemble of another seed, and return what was measured."""
    output = folder / (name if seed is None else f"{name}-seed{seed}")
    seeds = [] if seed is None else [f"ensemble.seed={seed}"]
    command = [sys.executable, "-m", "simulate", f"experiment={name}", f"output={output}", *seeds, *settings]
    simulated = _seconds(command)
    judged = output.with_name(f"{output.name}-judged")
    (judged / "verdicts.json").unlink(missing_ok=True)  # what an earlier run has said is not taken for this one's
    # Status 1 says that a claim disagrees, which is a result.
    analyzed = _seconds([sys.executable, "-m", "analysis", f"data={output}", f"output={judged}"], good=(0, 1))
    (claim,) = json.loads((judged / "verdicts.json").read_text())["claims"]
    return {
        "experiment": name,
        "seed": seed,
        "settings": list(settings),
        "date": datetime.date.today().isoformat(),
        "code": code,
        "machine": _machine(output),
        "seconds": {"simulate": simulated, "analysis": analyzed},
        **{key: claim[key] for key in ("claim", "verdict", "networks", "tests", "not_tested")},
    }


def latest(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last run of each claim and seed, in the order of their names."""
    found = {(entry["claim"], entry["seed"] or 0): entry for entry in runs}
    return [found[key] for key in sorted(found)]


def rows(entry: dict[str, Any], asked_since: dict[tuple[str, str], str]) -> Iterator[str]:
    """The rows of the table for one run: for each test its weakest visibility, and the series of the largest pull."""
    first = f"`{entry['claim']}`" + (f", seed {entry['seed']}" if entry["seed"] is not None else "")
    verdict, networks = entry["verdict"], f"{entry['networks']:,}"
    for test in dict.fromkeys(series["test"] for series in entry["tests"]):
        judged = [series for series in entry["tests"] if series["test"] == test]
        worst = max(judged, key=lambda series: abs(series["pull"] or 0.0))
        visible = max(series["visible_deviation"] for series in judged)
        told = abs(worst["prediction"]) > worst["error"]  # a ratio to less, or to nothing, would say nothing
        ratio = f"{worst['coefficient'] / worst['prediction']:.4g}" if told else ""
        smallest = min(series["Q"] for series in judged if series["Q"] is not None)
        yield (
            f"| {first} | {verdict} | `{test}` | {len(judged)} | {_percent(worst['asked'])} | "
            f"{asked_since.get((entry['claim'], test), '')} | {_percent(visible)} | {worst['pull']:+.2f} | "
            f"{worst['coefficient']:.5g} ± {worst['error']:.2g} | {worst['prediction']:.5g} | {ratio} | "
            f"{smallest:.2g} | {networks} |"
        )
        first = verdict = networks = ""
    for missing in entry["not_tested"]:
        yield f"| {first} | {verdict} | `{missing['test']}` | 0 | not tested: {missing['reason']} | | | | | | | | |"


def _percent(value: float) -> str:
    return f"{value:.1e}" if value < 1e-5 else f"{100 * value:.3g} %"


def pulls(runs: Sequence[dict[str, Any]]) -> np.ndarray:
    """The pulls of all series of the last runs, (series,). Those that are exact by construction have no error bar."""
    of_all = [series["pull"] for entry in latest(runs) for series in entry["tests"]]
    return np.array([pull for pull in of_all if pull is not None], dtype=float)


def render(runs: Sequence[dict[str, Any]]) -> str:
    """The tables of docs/results.md."""
    asked_since, every = since(), pulls(runs)
    lines = [
        "| claim | verdict | test | series | asked | since | visible | largest pull | measured there | predicted | "
        "ratio | smallest Q | networks |",
        "| --- " * 13 + "|",
    ]
    for entry in latest(runs):
        lines += rows(entry, asked_since)
    lines += [
        "",
        f"Of {len(every)} pulls of all claims {np.mean(np.abs(every) > 1.96):.1%} are beyond 1.96 (nominal 5 %), and "
        f"{np.mean(np.abs(every) > norm.isf(0.0005)):.1%} beyond 3.29 (nominal 0.1 %). Series of one claim share "
        "networks, so that their pulls are not independent.",
        "",
        "![The pulls of all claims against quantiles of the normal law](pulls.png)",
        "",
        "Every run that was made, the last of each claim in the table above:",
        "",
        "| date | code | experiment | seed | settings | networks | verdict | CPU s, simulate and analysis | machine |",
        "| --- " * 9 + "|",
    ]
    for entry in runs:
        spent, seed = entry["seconds"], "" if entry["seed"] is None else entry["seed"]
        lines.append(
            f"| {entry['date']} | {entry['code']} | `{entry['experiment']}` | {seed} | {' '.join(entry['settings'])} | "
            f"{entry['networks']:,} | {entry['verdict']} | {spent['simulate']['cpu']:,.0f} + "
            f"{spent['analysis']['cpu']:,.0f} | {entry['machine']} |"
        )
    return "\n".join(lines)


def draw(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the pulls of all claims against normal quantiles, and save the figure as `path`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with plt.style.context(ROOT / "analysis" / "report" / "nearly_gaussian.mplstyle"):
        figure, panel = plt.subplots(figsize=(4, 4))
        (quantiles, ordered), _ = probplot(pulls(runs), dist="norm")
        panel.plot(quantiles, ordered, "o", markersize=3)
        reach = max(abs(quantiles).max(), abs(ordered).max()) * 1.05
        panel.plot([-reach, reach], [-reach, reach])
        panel.set(xlabel="normal quantile", ylabel="pull", title=f"{len(ordered)} series of all claims")
        figure.savefig(path, dpi=110)
        plt.close(figure)


def write(record: Path, page: Path, figure: Path) -> None:
    """Make tables and figure from the record."""
    runs = json.loads(record.read_text())
    tables.insert(page, render(runs), COMMAND)
    draw(runs, figure)


def append(entries: Sequence[dict[str, Any]]) -> None:
    """Put runs at the end of the record, and make the page anew."""
    runs = json.loads(RECORD.read_text()) if RECORD.exists() else []
    RECORD.write_text("[\n" + ",\n".join(map(json.dumps, [*runs, *entries])) + "\n]\n")  # a line for each run
    write(RECORD, PAGE, FIGURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments; all that have a claim by default")
    parser.add_argument("--seed", type=int, help="another seed than the experiment's")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "results")
    parser.add_argument("--settings", nargs="*", default=[], metavar="KEY=VALUE", help="settings of simulate")
    parser.add_argument(
        "--write", action="store_true", help="append to docs/results.json and make docs/results.md anew"
    )
    parser.add_argument("--keep", type=Path, help="a file that the runs are written to, for --add")
    parser.add_argument(
        "--add", nargs="+", type=Path, default=[], help="append the runs of these files, and run nothing"
    )
    parser.add_argument("--code", default=_code(), help="the commit, where the code lies in no repository")
    options = parser.parse_args()
    if unknown := set(options.names) - set(experiments()):
        parser.error(f"no experiment with a claim is called {', '.join(sorted(unknown))}: {', '.join(experiments())}")
    if options.add:
        append([entry for file in options.add for entry in json.loads(file.read_text())])
        return
    kept = []
    for name in options.names or experiments():
        entry = run(name, options.seed, options.folder.resolve(), options.settings, options.code)
        print(f"{name}: {entry['verdict']}, {entry['networks']:,} networks, {entry['seconds']}", flush=True)
        kept.append(entry)
        if options.keep:
            options.keep.write_text(json.dumps(kept, indent=1) + "\n")
        if options.write:
            append([entry])


if __name__ == "__main__":
    main()
