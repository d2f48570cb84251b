"""Measure the core-seconds after which a deviation of 1 % of a coefficient is seen, for each tensor and estimator.

    python -m benchmarks.power [--networks 100000] [--write]

Networks have one width n = 64 and depth L = 4 (tanh, critical, handwritten digits, float32, one core). The error of an
estimate at the last layer, relative to the coefficient, falls as one over the square root of the number of networks. A
deviation counts as seen where it is rejected at 1 % with a probability of 95 %. Seconds are the CPU time of a run that
draws, measures and commits. The peer is a plain ensemble of torch: its networks are as noisy as ours with the plain
estimator. --write puts the table into docs/results.md.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import norm

import simulate
from analysis.claims import tests as measures
from analysis.points import Point
from benchmarks import race, tables
from benchmarks.contenders import Case, torch_func
from simulate.store.sets import DataSet

ROOT = Path(__file__).parents[1]
COMMAND = "python -m benchmarks.power --write"
N, L = 64, 4
SEEN = norm.isf(0.01 / 2) + norm.isf(0.05)  # standard errors of a deviation that is rejected at 1 % with power 95 %


@dataclass(frozen=True)
class Run:
    """A data set and the tests that are estimated from it. peer: which networks of torch give the same tensors."""

    settings: tuple[str, ...]
    tests: tuple[str, ...]
    peer: str = ""


RUNS = (
    Run(("observables=kernel", "observables.layers=[4]", "inputs.count=2"), ("V", "G1"), "kernel"),
    Run(("observables=kernel", "observables.layers=all", "inputs.count=2"), ("V_controlled", "G1_controlled")),
    Run(("observables=kernel", "observables.layers=[4]", "inputs.count=1"), ("six_point",), "kernel"),
    Run(("observables=kernel", "observables.layers=all", "inputs.count=1"), ("six_point_controlled",)),
    Run(
        ("observables.record=[kernel,ntk,outputs]", "observables.layers=[4]", "inputs.count=1", "network.outputs=2"),
        ("ntk_mean", "Theta1", "A", "B", "D", "F"),
        "ntk",
    ),
    Run(
        ("observables=ntk_sums", "inputs.count=1"),
        ("Theta1_controlled", "A_controlled", "B_controlled", "D_controlled", "F_controlled", "ntk_mean_controlled"),
    ),
)


def drawn(run: Run, networks: int, folder: Path) -> tuple[float, DataSet]:
    """CPU seconds a network, and the data set."""
    size = [f"network.width={N}", f"network.depth={L}", f"ensemble.networks={networks}"]
    where = [f"output={folder}", "workers=1", "ensemble.device=cpu"]
    began = time.process_time()
    data = simulate.run(*size, *where, *run.settings)
    return (time.process_time() - began) / networks, data


def errors(data: DataSet, tests: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """For each test the largest relative error of a component at the last layer."""
    point = Point(data)
    for test in tests:
        of_last = [m for m in measures()[test](point, None) if m.layer == L]
        yield test, max(float((m.estimate.error / np.abs(m.scale)).max()) for m in of_last)


def kernels_of_torch(networks: int) -> float:
    """CPU seconds a network of a plain ensemble of torch, whose kernels of two inputs at layer 4 are computed."""
    x, _ = Case("ntk", N, L, 2).samples()
    began, M = time.process_time(), 256
    for _ in range(-(-networks // M)):
        s = x.expand(M, -1, -1)
        for _ in range(L - 1):
            s = torch.tanh(s @ torch.randn(M, s.shape[-1], N) / s.shape[-1] ** 0.5)
        torch.bmm(s.double(), s.double().mT)
    return (time.process_time() - began) / networks


def of_torch(peer: str, networks: int) -> float:
    """CPU seconds a network of torch for the tensors of a run."""
    if peer == "kernel":
        return kernels_of_torch(networks)
    contender = torch_func(Case("ntk", N, L, 1), 64)
    contender(0.0)
    began = time.process_time()
    _, values = contender(1.0)
    return (time.process_time() - began) / len(values)


def rows(networks: int) -> Iterator[dict[str, object]]:
    """What each test costs: seconds a network, relative error, core-seconds to 1 %, and those of torch."""
    with tempfile.TemporaryDirectory() as folder:
        for k, run in enumerate(RUNS):
            drawn(run, 64, Path(folder) / f"{k}-first")  # compiles loops
            each, data = drawn(run, networks, Path(folder) / str(k))
            torch_each = of_torch(run.peer, 1024) if run.peer else None
            for test, error in errors(data, run.tests):
                needed = networks * (SEEN * error / 0.01) ** 2
                yield {
                    "test": test,
                    "seconds": each,
                    "error": error * networks**0.5,
                    "cost": needed * each,
                    "torch": None if torch_each is None else needed * torch_each,
                }


def render(found: list[dict[str, object]], machine: str, networks: int) -> str:
    """The table: a plain test beside the controlled one of the same name."""
    by_name = {str(row["test"]): row for row in found}
    lines = [
        f"{machine}; one core; {networks:,} networks of width {N} and depth {L} for each row.",
        "",
        "| tensor | controlled, core-seconds to 1 % | plain | plain ensemble of torch | plain over controlled "
        "| torch over the best of ours |",
        "| --- " * 6 + "|",
    ]
    for name, plain in by_name.items():
        if name.endswith("_controlled"):
            continue
        controlled = by_name.get(f"{name}_controlled")
        costs = [float(str(row["cost"])) for row in (controlled, plain) if row]
        torch_cost = float(str(plain["torch"]))
        lines.append(
            f"| {name} | {_seconds(costs[0]) if controlled else ''} | {_seconds(costs[-1])} | {_seconds(torch_cost)} | "
            f"{f'{costs[-1] / costs[0]:,.3g}' if controlled else ''} | {torch_cost / min(costs):,.3g} |"
        )
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=100000)
    parser.add_argument("--write", action="store_true", help="put the table into docs/results.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for row in rows(options.networks):
        print(json.dumps(row), flush=True)
        found.append(row)
    text = render(found, race.machine(), options.networks)
    print(text)
    if options.write:
        tables.insert(ROOT / "docs" / "results.md", text, COMMAND)


if __name__ == "__main__":
    main()
