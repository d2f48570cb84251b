"""Tables of docs/results.md and docs/tensors.md from verdicts.

python docs/tables.py outputs/tensors_tanh/analysis/verdicts.json ...             a table of tensors for each
python docs/tables.py --claims outputs/ntk/analysis/verdicts.json ...             one table of claims
"""

import json
import sys
from pathlib import Path
from typing import Any


def _share(value: float) -> str:
    return f"{value:.2%}" if value >= 1e-4 else f"{value:.1e}"


def table(path: Path) -> str:
    """For each tensor: the first component, one that mixes samples, and the extremes over all."""
    (claim,) = json.loads(path.read_text())["claims"]
    lines = [
        "| tensor | component | predicted | measured | pull | components | largest pull | largest error |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(t["test"] for t in claim["tests"]):
        series = [t for t in claim["tests"] if t["test"] == name]
        most = max(series, key=lambda t: abs(t["pull"]))["pull"]
        error = max(t["error"] / t["scale"] for t in series)
        for t in series[:1] + series[len(series) // 2 :][:1] * (len(series) > 1):
            component = t["series"].rpartition("[")[2].rstrip("]")
            row = f"| {name} | {component} | {t['prediction']:.5g} | {t['coefficient']:.5g} ± {t['error']:.2g} "
            lines.append(row + f"| {t['pull']:+.2f} | {len(series)} | {most:+.2f} | {error:.2%} |")
    return f"**{claim['verdict']}**, {claim['networks']:,} networks; {claim['reason']}.\n\n" + "\n".join(lines)


def claims(paths: list[Path]) -> str:
    """A row for each test of each claim."""
    lines = [
        "| claim | verdict | test | series | largest pull | smallest Q | visible | asked | networks |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for path in paths:
        for claim in json.loads(path.read_text())["claims"]:
            first = True
            for name in dict.fromkeys(t["test"] for t in claim["tests"]):
                series: list[dict[str, Any]] = [t for t in claim["tests"] if t["test"] == name]
                most = max(series, key=lambda t: abs(t["pull"]))["pull"]
                cells = [
                    f"`{claim['claim']}`" if first else "",
                    claim["verdict"] if first else "",
                    f"`{name}`",
                    str(len(series)),
                    f"{most:+.2f}",
                    f"{min(t['Q'] for t in series):.2g}",
                    _share(max(t["visible_deviation"] for t in series)),
                    _share(series[0]["asked"]),
                    f"{claim['networks']:,}" if first else "",
                ]
                lines.append("| " + " | ".join(cells) + " |")
                first = False
    return "\n".join(lines)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--claims"]:
        print(claims([Path(a) for a in arguments[1:]]))
    else:
        for argument in arguments:
            print(f"### {argument}\n\n{table(Path(argument))}\n")
