"""What each stage of drawing a network takes, and its floor, by CPU time on one core that others may share.

    python -m benchmarks.stages [--rounds 9]     # prints the table of docs/performance.md

Cases of the race run as they do there, with functions timed where they are called. The floor of normals is the time of
drawing as many into one array in the second-level cache. That of another stage is the longer of two: of copying as many
bytes, there, as it reads and writes, and of as many multiply-adds in a product of float64 matrices. Networks without
weights are made by one loop: its time is that of its normals, at their floor, and the rest of it, whose floor are its
multiply-adds. Runs and floors take turns, and medians are printed.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import ceilings, contenders
from benchmarks.ceilings import rate
from benchmarks.contenders import Case, Contender, ours
from benchmarks.exchange import exchanged
from simulate.networks import activations, dense, one_pass
from simulate.numerics import normals
from simulate.running import compute

CASES = ((Case("ntk", 64, 4, 4), "law"), (Case("ntk", 256, 8, 4), "law"), (Case("ntk", 64, 4, 4), "dense"))
PASS, REST = "layers", "calls from Python, and what is left"
Adds = Callable[..., float]
Spent = defaultdict[str, list[float]]  # stage -> seconds, bytes, multiply-adds


def _products(s: Tensor, V: Tensor, *_: Any) -> float:
    """Multiply-adds of a product with weights in float32, two of which take the time of one in float64."""
    return V.numel() * s.shape[1] / 2


def _weighed(H: Tensor, u: Tensor, s: Tensor, *_: Any) -> float:
    """Multiply-adds of the Gram matrices of u and s, but of inputs, which all networks share."""
    return sum(rows.numel() * (rows.shape[1] + 1) / 2 for rows in (u, s) if rows.stride(0))


def _networks(given: Any, *arguments: Any) -> float:
    """Multiply-adds of `simulate.numerics.loops.networks`: mixtures and Gram matrices of each layer, the products over
    neurons, the mixtures and the Gram matrices of the vectors that are pulled back through it."""
    g, _, H = arguments[-3:]
    n, M, D = given[1][1:-1].astype(float), g.shape[1], g.shape[2]
    K = len(H) * H.shape[2] * D
    return float(M * (n * (D * (D + 1) + 3 * K * D + K * (K + 1))).sum())


# Where functions are called, their names there, the stage, and their multiply-adds. Rows hold all others but storing.
STAGES: tuple[tuple[Any, str, str, Adds | None], ...] = (
    (normals, "normal", "normals", None), (one_pass, "networks", PASS, _networks),
    (dense, "weigh", "Gram matrices", _weighed), (dense, "affine", "forward products", _products),
    (dense, "pull_back", "backward", _products), (compute, "write_part", "storing", None),
    (compute, "compute_rows", "rows", None),
)  # fmt: skip


def _timed(stage: str, action: Callable[..., Any], adds: Adds | None, spent: Spent) -> Callable[..., Any]:
    """The action, which adds its seconds, bytes and multiply-adds to those of a stage."""

    def run(*args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        found = action(*args, **kwargs)
        seconds = time.process_time() - began
        arrays = {id(a): a.nbytes for a in (*args, found) if isinstance(a, Tensor) and a.ndim and a.stride(0)}
        cost = seconds, sum(arrays.values()), adds(*args, **kwargs) if adds else 0.0
        spent[stage] = [a + b for a, b in zip(spent[stage], cost, strict=True)]
        return found

    return run


def _tops() -> dict[str, float]:
    """Bytes of normals and of copies a second, in the second-level cache, and float64 multiply-adds a second."""
    a, b = torch.randn(512, 512, dtype=torch.float64), torch.empty(512, 512, dtype=torch.float64)
    source, target = torch.randn(64, 1024), torch.empty(64, 1024)

    def draw() -> float:
        normals.normal(normals.Address(64, 1024, 0, 0, (1, 2), 1.0, torch.float32, target.device), target)
        return target.nbytes

    def copy() -> float:
        return target.copy_(source).nbytes + source.nbytes

    def multiply() -> float:
        return torch.mm(a, b, out=b).numel() * len(a)

    return {"normals": rate(draw, 0.1), "bytes": rate(copy, 0.1), "adds": rate(multiply, 0.1)}


def _floor(stage: str, moved: float, adds: float, tops: dict[str, float]) -> float:
    """Seconds that a stage takes at least."""
    return moved / tops["normals"] if stage == "normals" else max(moved / tops["bytes"], adds / tops["adds"])


def _once(run: Contender, spent: Spent, drawn: int) -> dict[str, tuple[float, float]]:
    """ns a network of each stage in one run, and of its floor. drawn: bytes of the normals that a network needs."""
    tops = _tops()
    spent.clear()
    ns = 1e9 / len(run(0.0)[1])
    found = {
        stage: (seconds * ns, _floor(stage, moved, adds, tops) * ns) for stage, (seconds, moved, adds) in spent.items()
    }
    if PASS in found:
        (took, floor), of_normals = found.pop(PASS), 1e9 * drawn / tops["normals"]
        found = {"normals": (of_normals, of_normals), PASS: (took - of_normals, floor), **found}
    return found


def stages(case: Case, sampler: str, rounds: int) -> dict[str, tuple[float, float]]:
    """ns a network of each stage and of its floor, medians of rounds; a floor of 0 is not known."""
    spent, functions = Spent(lambda: [0.0, 0.0, 0.0]), activations.functions
    run, drawn = ours(case, f"ensemble.sampler={sampler}"), 4 * ceilings.normals(case, sampler)

    def timed_functions(setting: Any) -> tuple[Any, Any]:
        s, slope = functions(setting)
        return _timed("activation", s, None, spent), slope

    entries = [(where, name, _timed(stage, getattr(where, name), adds, spent)) for where, name, stage, adds in STAGES]
    with exchanged([(activations, "functions", timed_functions), *entries]):
        found = [_once(run, spent, drawn) for _ in range(rounds)]
    medians = {stage: tuple(statistics.median(x[stage][k] for x in found) for k in (0, 1)) for stage in found[0]}
    rows, _ = medians.pop("rows")
    storing, _ = medians["storing"]
    medians["storing"] = storing, 0.0
    rest = rows + storing - sum(took for took, _ in medians.values())
    return {stage: (took, floor) for stage, (took, floor) in medians.items()} | {REST: (rest, 0.0)}


def render(found: dict[str, dict[str, tuple[float, float]]]) -> str:
    """The table of cases by name, ns a network with shares of the whole and floors."""
    lines = ["| stage |" + "".join(f" {name} | floor |" for name in found), "| --- |" + " --- | --- |" * len(found)]
    for stage in dict.fromkeys(stage for medians in found.values() for stage in medians):
        cells = []
        for medians in found.values():
            took, floor = medians.get(stage, (0.0, 0.0))
            share = took / sum(took for took, _ in medians.values())
            cells += [f"{took:,.0f} ({share:.0%})" if took else "", f"{floor:,.0f}" if floor else ""]
        lines.append(f"| {' | '.join([stage, *cells])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds, contenders.by_cpu = parser.parse_args().rounds, True
    torch.set_num_threads(1)
    print(render({f"{sampler} {case.name}": stages(case, sampler, rounds) for case, sampler in CASES}))


if __name__ == "__main__":
    main()
