"""Measure networks per second on a CUDA device, against torch.func and JAX on the same device, and the device's limits.

    python -m benchmarks.gpu [--rounds 5] [--seconds 0.5] [--jax PYTHON] [--json FILE]

Without a device the command says so and stops. The cases are those of the race. Blocks are timed without writing rows.
The device is synchronised at the start and end of each measured time. PYTHON is an interpreter with JAX for the device,
which trains the same networks; neural-tangents does not import with a JAX of today.
"""

import argparse
import itertools
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.ceilings import operations
from benchmarks.contenders import Case, Contender, Jax, torch_func
from benchmarks.race import INIT, TRAIN
from simulate.api import read_one
from simulate.running import compute
from simulate.running.prepare import prepare

# The number of networks in a batch of a peer, by width: their Jacobians take some GiB.
BATCH = {64: 4096, 256: 512, 512: 64, 1024: 16}


def seconds(action: Callable[[], float]) -> float:
    """Seconds for one unit of work by an action that returns how many units it did."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    units = action()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / units


def ours(case: Case, sampler: str, least: float) -> Callable[[], float]:
    """An action that computes blocks for about `least` seconds and returns how many networks they had."""
    overrides = [o for o in case.overrides() if not o.startswith(("ensemble.device", "ensemble.networks"))]
    where = ["ensemble.device=cuda", "ensemble.networks=1000000"]  # so many that the block is a whole one
    job = prepare(read_one([*overrides, *where, f"ensemble.sampler={sampler}"]))
    index = itertools.count()

    def blocks(count: int) -> float:
        for _ in range(count):
            compute.compute_block(job, next(index))
        return count * job.block

    blocks(2)
    count = max(1, round(least / (seconds(lambda: blocks(1)) * job.block)))
    return lambda: blocks(count)


def peer(contender: Contender, least: float) -> Callable[[], float]:
    """An action that runs a contender for about `least` seconds and returns how many networks it made."""

    def run() -> float:
        with torch.device("cuda"):
            _, values = contender(least)
        return len(values)

    return run


def ceilings() -> dict[str, float]:
    """The measured rates of the device for products, copies and normals. Each is a median of five."""
    a, b = (torch.randn(8192, 8192, device="cuda") for _ in range(2))
    source, target = (torch.empty(2**28, device="cuda") for _ in range(2))

    def gemm() -> float:
        torch.mm(a, b)
        return 2 * 8192**3 / 1e12

    def copy() -> float:
        target.copy_(source)
        return 2 * 4 * 2**28 / 1e9

    def normals() -> float:
        source.normal_()
        return 2**28 / 1e9

    rates = {}
    for name, action in {"GEMM TFLOP/s": gemm, "copy GB/s": copy, "normals G/s": normals}.items():
        action()
        rates[name] = 1 / statistics.median(seconds(action) for _ in range(5))
    return rates


def measure(case: Case, sampler: str, jax: Jax | None, rounds: int, least: float) -> dict[str, float]:
    """Networks per second of each contender of a case: medians over interleaved rounds."""
    runs = {"ours": ours(case, sampler, least)}
    with torch.device("cuda"):
        runs["torch.func"] = peer(torch_func(case, BATCH[case.n]), least)
    if jax and case.work == "train":
        runs["JAX"] = peer(jax.contender(case, BATCH[case.n]), least)
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return {name: 1 / statistics.median(spent) for name, spent in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--jax", metavar="PYTHON", help="an interpreter with JAX for the device")
    parser.add_argument("--json", type=Path, help="a file that the rates are written to")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device on this machine: nothing was measured")
        return
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # JAX leaves memory to the others
    jax = Jax(options.jax) if options.jax else None
    about = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "ceilings": ceilings()}
    print(f"{about['device']}, torch {about['torch']}, float32, TF32 off; {about['ceilings']}", flush=True)
    cases = [(case, sampler) for case in INIT for sampler in ("law", "dense")] + [(case, "dense") for case in TRAIN]
    found = []
    for case, sampler in cases:
        rates = measure(case, sampler, jax, options.rounds, options.seconds)
        found.append({"case": f"{case.work} {case.name}", "sampler": sampler, "networks/s": rates})
        line = ", ".join(f"{name} {rate:,.1f}" for name, rate in rates.items())
        if case.T:
            line += f"; {rates['ours'] * case.T * operations(case) / 1e12:.1f} TFLOP/s"
        factor = rates["ours"] / max(rate for name, rate in rates.items() if name != "ours")
        print(f"{case.work} {case.name} {sampler}: {line} networks/s; {factor:.1f} times the best peer", flush=True)
    if options.json:
        options.json.write_text(json.dumps(about | {"cases": found}, indent=1))


if __name__ == "__main__":
    main()
