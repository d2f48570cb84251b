"""Predict networks per second on a CUDA device from a count of launches, bytes and operations, without a device.

    python -m benchmarks.roofline [--bandwidth 3.35] [--teraflops 67] [--launch 5] [--sums]

The first block of each case of the race is walked on torch's meta device, which has shapes and no numbers. Each
operation of torch is a launch that reads its arguments and writes its results; what a kernel in Triton does on a device
is one launch. A launch takes as long as the slowest of its bytes, its operations and the launch itself. The defaults
are an H100's: TB/s and TFLOP/s in float32 by its datasheet, and microseconds a launch. Numbers are predictions, not
measurements: they know nothing of caches, of launches that overlap, or of CUDA graphs. With --sums blocks are those of
two cases of `experiment=preactivations ensemble.keep=sums`, whose rows become sums on the device.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from analysis import on_device, reduced
from benchmarks.contenders import Case
from benchmarks.exchange import exchanged
from benchmarks.race import INIT, TRAIN
from simulate.api import read_one
from simulate.claims import reducing
from simulate.networks import law
from simulate.numerics import normals, plain
from simulate.numerics.gram import Form
from simulate.numerics.rows import Rows
from simulate.observables.measure import gather
from simulate.running.compute import measured_block
from simulate.running.jobs import Job
from simulate.running.plan import block_size
from simulate.running.prepare import prepare
from simulate.running.samplers import snapshots

FUSED = ("gram", "cross", "mix", "factor", "pull_back")  # forms in torch of what one kernel does on a device
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "baddbmm_")
# NORMAL: operations of a normal, of which an H200 with 51 TFLOP/s drew 407 G/s (docs/performance.md).
NORMAL = 125
# What is asked of networks whose rows become sums, and how large they are.
SUMMED = ("experiment=preactivations", "sweep=null", "ensemble.keep=sums", "ensemble.device=cpu")
SUMS = {
    "(256, 8), four layers": ("network.width=256", "network.depth=8", "observables.layers=[2,4,6,8]",
                              "claim.tests.V.layers=[4,8]", "claim.tests.G1.layers=[4,8]"),
    "(64, 4), two layers": ("network.width=64", "network.depth=4", "observables.layers=[2,4]",
                            "claim.tests.V.layers=[4]", "claim.tests.G1.layers=[4]"),
}  # fmt: skip
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
    tensors = {id(leaf): leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)}.values()
    return sum(t.untyped_storage().nbytes() if 0 in t.stride() else t.numel() * t.element_size() for t in tensors)


def has_form(*arguments: Any) -> bool:
    """Whether a layer's activation is one that kernels compute."""
    return any(isinstance(argument, Form) for argument in arguments)


class Counting(TorchDispatchMode):
    """Counts the operations of torch within that compute something."""

    def __init__(self, count: Count):
        super().__init__()
        self.count, self.depth, self.inner = count, 0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            left, right = [a for a in args if isinstance(a, Tensor)][-2:]
            self.inner += left.element_size() / 2 * left.numel() * right.shape[-1]  # in float64 at half the rate
        if not (func.is_view or name.startswith(("empty", "detach", "_unsafe_view"))):
            self.launch((args, kwargs), found)
        return found

    def launch(self, read: Any, written: Any) -> None:
        """Count a launch with all operations since the last one, where it is not part of another."""
        if not self.depth:
            self.count.add(size_of(read) + size_of(written), self.inner)
            self.inner = 0.0

    def one(
        self, function: Callable[..., Any], draws: bool = False, of: Callable[..., bool] = lambda *_: True
    ) -> Callable[..., Any]:
        """The function as a single launch. draws: whether it draws normals, and reads nothing. of: of which arguments
        it is one."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            if not of(*args):
                return function(*args, **kwargs)
            self.depth += 1
            try:
                found = function(*args, **kwargs)
            finally:
                self.depth -= 1
            self.inner += NORMAL * found.numel() if draws else 0.0
            self.launch(None if draws else (args, kwargs), found)
            return found

        return counted


@contextmanager
def counting(count: Count) -> Iterator[None]:
    """What runs within on meta is counted, with a kernel's work as one launch."""
    mode = Counting(count)
    fused = [(plain, name, mode.one(getattr(plain, name))) for name in FUSED]
    fused.append((normals, "_normals_torch", mode.one(normals._normals_torch, draws=True)))
    fused += [(law, name, mode.one(getattr(law, name), of=has_form)) for name in ("forward", "backward")]
    with exchanged(fused), torch.no_grad(), mode:  # in inference mode operations that consist of others come whole
        yield


def on_meta(job: Job) -> Job:
    """The job on meta, in blocks of a CUDA device."""
    block = block_size(job.samples.x.shape[1], len(job.samples.x), "cuda", job.settings)
    settings = replace(job.settings, ensemble=replace(job.settings.ensemble, device="meta"))
    return replace(job, settings=settings, block=block)


def counted(case: Case, sampler: str, device: Device) -> tuple[Count, int]:
    """The count of a block, and its networks."""
    asked = [*case.overrides(), f"ensemble.sampler={sampler}", f"ensemble.networks={MOST}"]
    job, count, meta = on_meta(prepare(read_one(asked))), Count(device), torch.device("meta")
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


def summed(device: Device, *overrides: str) -> Iterator[tuple[str, Count, int]]:
    """What is done with the first block of a data set whose rows are not kept, with its count and its networks: drawing
    and measuring, and forming the sums of the claim's tests where the rows are."""
    with TemporaryDirectory() as folder:
        asked = [*SUMMED, *overrides, f"ensemble.networks={10 * MOST}", f"output={folder}/none"]
        (job,) = reducing([prepare(read_one(asked))])
    job, reduction = on_meta(job), job.reduction
    assert isinstance(reduction, reduced.Reduction)
    drawing, forming, plan = Count(device), Count(device), reduced.Plan.of(reduction.plan)
    with counting(drawing):
        values, finite = measured_block(job, 0)
    yield "drawing and measuring", drawing, job.block
    with counting(forming):
        rows, whole = {prefix: Rows(of_family) for prefix, of_family in values.items()}, Rows(finite)
        point = on_device.OnDevice(reduced.drawn(reduction.data, 0, rows, whole))
        on_device.formed(plan.work(point, reduction.size), whole.all(axis=1), plan.widths, plan.ended)
    yield f"forming {sum(plan.widths.values())} sums", forming, job.block


def rows_of_sums(device: Device) -> Iterator[str]:
    """The table of `--sums`, line by line."""
    yield "| case | | networks a block | launches | kB a network | ms a block, predicted |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for case, overrides in SUMS.items():
        for what, count, networks in summed(device, *overrides):
            sizes = f"{networks:,} | {count.launches:,} | {count.bytes / networks / 1e3:,.1f}"
            yield f"| {case} | {what} | {sizes} | {count.seconds * 1e3:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bandwidth", type=float, default=3.35, help="TB/s")
    parser.add_argument("--teraflops", type=float, default=67.0, help="TFLOP/s in float32")
    parser.add_argument("--launch", type=float, default=5.0, help="microseconds a launch")
    parser.add_argument("--sums", action="store_true", help="the table of sums in the place of rows")
    given = parser.parse_args()
    table = rows_of_sums if given.sums else rows
    print("\n".join(table(Device(given.bandwidth * 1e12, given.teraflops * 1e12, given.launch * 1e-6))))


if __name__ == "__main__":
    main()
