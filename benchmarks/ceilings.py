"""What the machine can do, and what a case needs of it."""

import itertools
from collections.abc import Callable

import torch

from benchmarks.contenders import Case, clock


def rate(action: Callable[[], float], seconds: float = 0.3) -> float:
    """Units per second of an action that returns how many units it did."""
    action()
    units, began = 0.0, clock()
    while (spent := clock() - began) < seconds:
        units += action()
    return units / spent


def ceilings() -> dict[str, Callable[[], float]]:
    """Actions that measure the machine by products, copies, torch's normals and ours."""
    from simulate.numerics.normals import Address, normal

    a, b, c = (torch.randn(1024, 1024) for _ in range(3))
    source, target = torch.randn(2**25), torch.empty(2**25)
    buffer = torch.empty(2**18)

    def gemm() -> float:
        torch.mm(a, b, out=c)
        return 2 * 1024**3 / 1e9

    def copy() -> float:
        target.copy_(source)
        return 2 * 4 * 2**25 / 1e9

    def normals() -> float:
        buffer.normal_()
        return 2**18 / 1e6

    def ours() -> float:
        normal(Address(256, 1024, 0, 0, (1, 2), 1.0, torch.float32, buffer.device))
        return 2**18 / 1e6

    return {"GEMM GFLOP/s": gemm, "copy GB/s": copy, "normals M/s, torch": normals, "normals M/s, ours": ours}


def normals(case: Case, sampler: str) -> int:
    """The number of normals that one network needs."""
    hidden = [case.n] * (case.L - 1)
    if sampler == "law":
        # Every sample goes forward and back, but the top layer has one vector for all samples.
        return case.N * sum(hidden) + case.N * sum(hidden[:-1]) + hidden[-1]
    sizes = [64, *hidden, 1]
    return sum(m * (k + 1) for k, m in itertools.pairwise(sizes))


def operations(case: Case) -> int:
    """Operations of a training step, two for each multiply-add: forward, update, and backward above the first layer."""
    sizes = [64, *[case.n] * (case.L - 1), 1]
    weights = [a * b for a, b in itertools.pairwise(sizes)]
    return 2 * case.N * (3 * sum(weights) - weights[0])


def binding(case: Case, name: str, networks: float, top: dict[str, float]) -> dict[str, float]:
    """Our rate as fractions of the ceilings that limit it."""
    if case.work == "train":
        return {"of GEMM": networks * case.T * operations(case) / 1e9 / top["GEMM GFLOP/s"]}
    count = normals(case, name.rpartition(" ")[2]) * networks / 1e6
    return {f"of normals, {source}": count / top[f"normals M/s, {source}"] for source in ("torch", "ours")}
