"""Predict networks per second on a CUDA device from a count of launches, bytes and operations, without a device.

    python -m benchmarks.roofline [--bandwidth 3.35] [--teraflops 67] [--launch 5]

The first block of each case of the race is walked on torch's meta device, which has shapes and no numbers. Each
operation of torch is a launch that reads its arguments and writes its results; what a kernel in Triton does on a device
is one launch. A launch takes as long as the slowest of its bytes, its operations and the launch itself. The defaults
are an H100's: TB/s and TFLOP/s in float32 by its datasheet, and microseconds a launch. Numbers are predictions, not
measurements: they know nothing of caches, of launches that overlap, or of CUDA graphs.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.contenders import Case
from benchmarks.exchange import exchanged
from benchmarks.race import INIT, TRAIN
from simulate.api import read_one
from simulate.numerics import normals, plain
from simulate.observables.measure import gather
from simulate.running.jobs import Job
from simulate.running.plan import block_size
from simulate.running.prepare import prepare
from simulate.running.samplers import snapshots

FUSED = ("gram", "cross", "mix", "factor", "pull_back")  # forms in torch of what one kernel does on a device
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "baddbmm_")
MOST = 10**6  # networks, so that the block is a whole one


@dataclass(frozen=True)
class Device:
    """Bytes a second, operations a second, and seconds a launch."""

    bandwidth: float
    operations: float
    launch: float


@dataclass
class Count:
    """Launches, bytes and operations of a block, and the seconds that they take on a device: all of them, and those of
    launches that take less than a launch."""

    device: Device
    launches: int = 0
    bytes: float = 0.0
    operations: float = 0.0
    seconds: float = 0.0
    waiting: float = 0.0

    def add(self, size: float, operations: float) -> None:
        needs = max(size / self.device.bandwidth, operations / self.device.operations)
        self.launches += 1
        self.bytes += size
        self.operations += operations
        self.seconds += max(needs, self.device.launch)
        self.waiting += self.device.launch if needs < self.device.launch else 0.0


def size_of(values: Any) -> int:
    """The bytes of all tensors in nested values; those of one network where all networks share them."""
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    return sum(t.untyped_storage().nbytes() if 0 in t.stride() else t.numel() * t.element_size() for t in tensors)


class Counting(TorchDispatchMode):
    """Counts the operations of torch within that compute something."""

    def __init__(self, count: Count):
        super().__init__()
        self.count, self.depth = count, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        moves = not func.is_view and not name.startswith(("empty", "detach", "_unsafe_view"))
        if moves and not self.depth:
            operations = 0.0
            if name in PRODUCTS:
                left, right = [a for a in args if isinstance(a, Tensor)][-2:]
                operations = 2.0 * left.numel() * right.shape[-1]
            self.count.add(size_of((args, kwargs)) + size_of(found), operations)
        return found

    def one(self, function: Callable[..., Any], reads: bool = True) -> Callable[..., Any]:
        """The function as a single launch. reads: whether it reads the tensors that it is given."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.depth += 1
            try:
                found = function(*args, **kwargs)
            finally:
                self.depth -= 1
            if not self.depth:
                self.count.add(size_of((args, kwargs)) * reads + size_of(found), 0.0)
            return found

        return counted


@contextmanager
def counting(count: Count) -> Iterator[None]:
    """What runs within on meta is counted, with a kernel's work as one launch."""
    mode = Counting(count)
    fused = [(plain, name, mode.one(getattr(plain, name))) for name in FUSED]
    fused.append((normals, "_normals_torch", mode.one(normals._normals_torch, reads=False)))
    with exchanged(fused), torch.no_grad(), mode:  # in inference mode operations that consist of others come whole
        yield


def job_of(case: Case, sampler: str) -> Job:
    """The case with a block of a CUDA device, on meta."""
    job = prepare(read_one([*case.overrides(), f"ensemble.sampler={sampler}", f"ensemble.networks={MOST}"]))
    block = block_size(job.samples.x.shape[1], len(job.samples.x), "cuda", job.settings)
    on_meta = replace(job.settings, ensemble=replace(job.settings.ensemble, device="meta"))
    return replace(job, settings=on_meta, block=block)


def counted(case: Case, sampler: str, device: Device) -> tuple[Count, int]:
    """The count of a block, and its networks."""
    job, count, meta = job_of(case, sampler), Count(device), torch.device("meta")
    with counting(count):
        columns = [(job.layout.defined(f), gather(job.layout, f, meta)) for f in job.layout.families()]
        for snapshot in snapshots(job, 0, None):
            place = job.layout.layers.index(snapshot.layer)
            for defined, values_of in columns:
                if defined[place]:
                    values_of(snapshot)
    return count, job.block


def rows(device: Device) -> Iterator[str]:
    """The table, line by line."""
    yield "| case | sampler | networks a block | launches | kB a network | share of waiting | networks/s, predicted |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for case in (*INIT, *TRAIN):
        for sampler in ("law", "dense") if case.work == "ntk" else ("dense",):
            count, networks = counted(case, sampler, device)
            name = f"{'NTK' if case.work == 'ntk' else 'training'} {case.name}"
            each, waiting = count.bytes / networks / 1e3, count.waiting / count.seconds
            cells = [name, sampler, f"{networks:,}", f"{count.launches:,}", f"{each:,.0f}", f"{waiting:.0%}"]
            yield f"| {' | '.join([*cells, f'{networks / count.seconds:,.0f}'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bandwidth", type=float, default=3.35, help="TB/s")
    parser.add_argument("--teraflops", type=float, default=67.0, help="TFLOP/s in float32")
    parser.add_argument("--launch", type=float, default=5.0, help="microseconds a launch")
    given = parser.parse_args()
    print("\n".join(rows(Device(given.bandwidth * 1e12, given.teraflops * 1e12, given.launch * 1e-6))))


if __name__ == "__main__":
    main()
