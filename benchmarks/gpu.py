"""Measure networks per second on a CUDA device, against torch.func on the same device, and the limits of the device.

    python -m benchmarks.gpu [--rounds 5] [--networks 10000]

Without a device the command says so and stops. Blocks are timed without writing rows. The device is synchronised at the
start and end of each measured time.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.ceilings import operations
from benchmarks.contenders import Case, torch_func
from simulate.api import read_one
from simulate.running import compute
from simulate.running.prepare import prepare

CASES = {
    "dense NTK": (Case("ntk", 1024, 8, 4), "dense"),
    "law NTK": (Case("ntk", 1024, 32, 2), "law"),
    "training": (Case("train", 256, 3, 8, 200), "dense"),
}
BATCH = {"dense NTK": 32, "law NTK": 16, "training": 512}  # the number of networks in a batch of torch.func


def seconds(action: Callable[[], float]) -> float:
    """Seconds for one unit of work by an action that returns how many units it did."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    units = action()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / units


def ours(case: Case, sampler: str, networks: int) -> Callable[[], float]:
    """An action that computes about `networks` networks and returns how many they were."""
    overrides = [o for o in case.overrides() if o != "ensemble.device=cpu"]
    job = prepare(read_one([*overrides, "ensemble.device=cuda", f"ensemble.sampler={sampler}"]))
    count, index = max(1, networks // job.block), itertools.count()

    def run() -> float:
        for _ in range(count):
            compute.compute_block(job, next(index))
        return count * job.block

    return run


def peer(name: str, case: Case) -> Callable[[], float]:
    """An action that runs torch.func for a second and returns how many networks it made."""
    with torch.device("cuda"):
        contender = torch_func(case, BATCH[name])

    def run() -> float:
        with torch.device("cuda"):
            _, values = contender(1.0)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", type=int, default=10_000)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device on this machine: nothing was measured")
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, float32, TF32 off; {ceilings()}")
    for name, (case, sampler) in CASES.items():
        runs = {"ours": ours(case, sampler, options.networks), "torch.func": peer(name, case)}
        for run in runs.values():
            run()
        times: dict[str, list[float]] = {contender: [] for contender in runs}
        for _ in range(options.rounds):
            for contender, run in runs.items():
                times[contender].append(seconds(run))
        rates = {contender: 1 / statistics.median(t) for contender, t in times.items()}
        line = ", ".join(f"{contender} {rate:,.1f} networks/s" for contender, rate in rates.items())
        if case.T:
            line += f"; {rates['ours'] * case.T * operations(case) / 1e12:.1f} TFLOP/s"
        print(f"{name} {case.name}: {line}; {rates['ours'] / rates['torch.func']:.1f} times as fast", flush=True)


if __name__ == "__main__":
    main()
