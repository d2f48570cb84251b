"""Networks per second of the samplers, one core, against the machine's own rate of normal deviates.

    python -m benchmarks.throughput [--rounds 5]

Rounds are interleaved and medians are quoted; machines are shared and noisy, so trust the ratios. What counts is
a whole block: drawn, measured and on its way to the part file.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from simulate import runner
from simulate.api import read_one

SIZES = ((64, 4, 4), (256, 8, 4), (1024, 8, 4), (1024, 32, 2))
WORK = {
    "law, kernel at every layer": ["ensemble.sampler=law", "observables=kernel"],
    "dense, kernel at every layer": ["ensemble.sampler=dense", "observables=kernel"],
    "law, NTK at the output": ["ensemble.sampler=law", "observables=ntk", "observables.record=[ntk]"],
    "dense, NTK at the output": ["ensemble.sampler=dense", "observables=ntk", "observables.record=[ntk]"],
}


def job(n: int, L: int, D: int, overrides: list[str]) -> runner.Job:
    size = [f"network.width={n}", f"network.depth={L}", f"inputs.count={D}", "ensemble.device=cpu"]
    return runner.prepare(read_one([*size, "ensemble.networks=1", *overrides]))


def normals(work: str, n: int, L: int, D: int, n_0: int = 64) -> int:
    """Deviates that one network draws."""
    hidden = [n] * (L - 1)
    if work.startswith("law, NTK"):
        return 2 * D * sum(hidden) + D
    if work.startswith("law"):
        return D * sum(hidden)
    return sum(m * (k + 1) for k, m in zip([n_0, *hidden], [*hidden, 1], strict=True))


def rate(action: Callable[[], float], seconds: float = 0.4) -> float:
    """Units per second, where the action returns how many units it did."""
    done, began = 0.0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        done += action()
    return done / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    buffer, stream = torch.empty(2**20), torch.Generator()

    def draw() -> float:
        buffer.normal_(generator=stream)
        return buffer.numel()

    jobs = {(work, size): job(*size, overrides) for work, overrides in WORK.items() for size in SIZES}
    index = iter(range(10**9))

    def block(j: runner.Job) -> float:
        runner.compute_block(j, next(index))
        return j.block

    for j in jobs.values():
        block(j)
    measured: dict[object, list[float]] = {key: [] for key in jobs}
    ceiling = []
    for _ in range(rounds):
        ceiling.append(rate(draw))
        for key, j in jobs.items():
            measured[key].append(rate(lambda j=j: block(j)))  # type: ignore[misc]
    top = statistics.median(ceiling)
    print(f"one core, float32, torch {torch.__version__}; normals {top / 1e6:,.0f} M/s; medians of {rounds} rounds")
    print(f"{'work':<32}{'(n, L, D)':>16}{'networks/s':>14}{'of its normals':>16}")
    for (work, size), values in measured.items():
        value = statistics.median(values)
        print(f"{work:<32}{size!s:>16}{value:>14,.1f}{value * normals(work, *size) / top:>15.0%}")


if __name__ == "__main__":
    main()
