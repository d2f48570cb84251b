"""Tables of docs/tensors.md from verdicts: python docs/tables.py outputs/tensors_tanh/analysis/verdicts.json ..."""

import json
import sys
from pathlib import Path


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


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(f"### {argument}\n\n{table(Path(argument))}\n")
