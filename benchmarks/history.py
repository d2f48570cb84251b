"""The race over the commits of the project: `make bench` adds one row a commit to benchmarks/history.jsonl, and draws
docs/history.png.

A row has ratios and no rates, because machines differ: by case, networks per second of ours over those of each peer
that took part, and over what a ceiling of the machine allows. A commit that is measured again has its last row.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HISTORY, FIGURE = ROOT / "benchmarks" / "history.jsonl", ROOT / "docs" / "history.png"
CEILINGS = ("of normals, torch", "of normals, ours", "of GEMM")
DRAWN = "torch.func"  # the peer that takes part in every race

Row = dict[str, Any]


def commit() -> tuple[str, str]:
    """The short name and the day of the commit that is checked out, with a + where files differ from it."""
    command = ["git", "show", "-s", "--format=%h %cs"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "simulate"], cwd=ROOT, check=False).returncode
    name, day = shown.split()
    return name + "+" * bool(changed), day


def row(result: Mapping[str, Any], name: str, day: str) -> Row:
    """The row of a result of `benchmarks.race`."""
    ratios: dict[str, dict[str, float]] = {}
    for race in result["races"]:
        rates = {entry["contender"]: entry["networks/s"] for entry in race["rows"]}
        for entry in race["rows"]:
            if entry["contender"].startswith("ours"):
                over = {peer: entry["networks/s"] / rate for peer, rate in rates.items() if not peer.startswith("ours")}
                over |= {ceiling: entry[ceiling] for ceiling in CEILINGS if ceiling in entry}
                key = f"{race['work']} {race['case']} {entry['contender']}"
                ratios[key] = {what: float(f"{ratio:.4g}") for what, ratio in over.items()}
    return {"commit": name, "date": day, "machine": result["machine"], "ratios": ratios}


def read(path: Path = HISTORY) -> list[Row]:
    """All rows, in the order in which commits were measured first."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add(new: Row, path: Path = HISTORY) -> list[Row]:
    """Enter a row, in the place of one of the same commit. Returns all rows."""
    rows = {old["commit"]: old for old in read(path)} | {new["commit"]: new}
    path.write_text("".join(json.dumps(entry) + "\n" for entry in rows.values()))
    return list(rows.values())


def plot(rows: Iterable[Row], path: Path = FIGURE) -> None:
    """Draw the ratio of each case to DRAWN over the commits, and save it as `path`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = list(rows)
    with plt.style.context(ROOT / "analysis" / "report" / "nearly_gaussian.mplstyle"):
        figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True)
        for panel, work in zip(axes, ("ntk", "train"), strict=True):
            for case in dict.fromkeys(case for entry in rows for case in entry["ratios"] if case.startswith(work)):
                over = [entry["ratios"].get(case, {}).get(DRAWN, float("nan")) for entry in rows]
                panel.semilogy(range(len(rows)), over, marker="o", label=case.removeprefix(work).strip())
            panel.set_xticks(range(len(rows)), [f"{entry['commit']}\n{entry['date']}" for entry in rows], rotation=30)
            panel.set_title("NTK at initialisation" if work == "ntk" else "training")
            panel.legend(fontsize="x-small", loc="lower center", bbox_to_anchor=(0.5, 1.1), ncols=2)
        axes[0].set_ylabel(f"networks per second over {DRAWN}")
        figure.savefig(path, dpi=110, bbox_inches="tight")
        plt.close(figure)


def enter(result: Mapping[str, Any], at: tuple[str, str]) -> None:
    """Enter a race of a commit, and draw all. at: what `commit` returned when it began."""
    plot(add(row(result, *at)))
