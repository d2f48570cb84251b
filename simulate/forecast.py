"""What a sweep will take, before it starts: operations, normals, bytes, memory, and time.

Counts and memory follow from the settings. Time is measured: blocks of the sweep's own data sets are computed for some
ten seconds, few of their training steps, and the rest is scaled by what they count; so every observable, activation
and device is its own calibration. Nothing is kept of it.
"""

import contextlib
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from simulate import blocks, compute, dynamics, schema, store
from simulate.jobs import Job
from simulate.settings import SettingsError
from simulate.streams import Arrays

PATIENCE = 10.0  # seconds of measuring
WORTH = 60.0  # seconds of work from which on time is measured before it starts
STEPS = 4  # of training that are measured
# Orders of magnitude of one core: they only weigh counts against each other, and say whether measuring pays.
NOMINAL = {"operations": 5e10, "normals": 1e9, "touched": 1e10, "rows": 3e7}


@dataclass(frozen=True)
class Counts:
    """Of one network, to leading order. rows: bytes of its rows before compression; touched: bytes of its arrays that
    are passed over."""

    operations: float
    normals: float
    touched: float
    rows: float

    def seconds(self) -> float:
        """On a nominal core."""
        return sum(getattr(self, name) / rate for name, rate in NOMINAL.items())


def counts(job: Job) -> Counts:
    s, (D, n_0) = job.settings, job.samples.x.shape
    sizes = [n_0, *s.network.widths, s.network.outputs]
    weights = float(sum(n * m for n, m in itertools.pairwise(sizes)))
    above = weights - n_0 * sizes[1]  # weights that something is pulled back through
    hidden, outputs, record = sum(sizes[1:-1]), s.network.outputs, s.observables.record
    rows = job.layout.row_bytes()
    if s.ensemble.sampler == "law":
        operations, normals = 4.0 * D * D * hidden, float(D * (hidden + outputs))
        if "ntk" in record:
            R = outputs * D * len(s.observables.output_layers)
            operations += hidden * (4.0 * R * R + 6.0 * R * D)
            normals += R * hidden
        return Counts(operations, normals, job.cost(), rows)
    directions = outputs * D
    pulled = 0  # vectors, or tangents, for each recorded step
    for name, each in (
        ("ntk", directions),
        ("dntk", 4 * directions**2),
        ("ddntk", 4 * directions**3),
        ("fourth", 8 * D),
    ):
        if name in record:
            pulled += each * len(s.observables.output_layers)
    operations = len(job.layout.steps) * 2 * (weights * D + above * pulled)
    if "taylor" in record:  # its differentials, once
        operations += 8 * above * directions**3
    N = s.dynamics.batch or job.samples.train
    operations += gradients(job) * 2 * N * (2 * weights + above)
    return Counts(operations, weights, job.cost(), rows)


def gradients(job: Job) -> int:
    """Of one network."""
    rule = job.settings.dynamics
    return rule.steps * (len(dynamics.STAGES) if rule.name == "gradient_flow" else 1)


# ------------------------------------------------------------------------------------------- time


def _timed(job: Job, index: int, arrays: Arrays) -> float:
    began = time.perf_counter()
    compute.compute_block(job, index, arrays)
    return time.perf_counter() - began


def _recording(job: Job, *steps: int) -> Job:
    """The same networks, trained and recorded at these steps only."""
    s = job.settings
    s = replace(s, observables=replace(s.observables, steps=steps), dynamics=replace(s.dynamics, steps=steps[-1]))
    return replace(job, settings=s, layout=schema.layout(s, len(job.samples.x)))


def block_seconds(job: Job, patience: float) -> float:
    """Of one block and its share of a commit, measured. It takes some `patience` seconds unless one block that is
    trained for STEPS steps takes more."""
    until = time.perf_counter() + patience
    first = _recording(job, 0)
    arrays: Arrays = {}
    drawn = _timed(first, 0, arrays)  # compiles, too
    tries: list[float] = []
    while time.perf_counter() < until - drawn and len(tries) < 5:
        tries.append(_timed(first, 1 + len(tries), arrays))
    drawn = float(np.median(tries)) if tries else drawn
    out = drawn + _commit(job)
    recorded, total = job.layout.steps, job.layout.steps[-1]
    if total:
        few = min(STEPS, total)
        _timed(_recording(job, few), 0, arrays)
        trained, both = (
            min(_timed(_recording(job, *steps), k, arrays) for k in range(1 + (2 * drawn < patience)))
            for steps in ((few,), (0, few))
        )
        out += total * max(trained - drawn, 0) / few + (len(recorded) - 1) * max(both - trained, 0)
    return out


def _commit(job: Job) -> float:
    """Seconds that a block adds to writing its part."""
    M = job.part()
    shape = M, len(job.layout.steps), len(job.layout.layers)
    rng = np.random.default_rng(0)
    values = {
        family.prefix: rng.standard_normal((*shape, len(job.layout.names(family)))).astype(job.layout.dtype)
        for family in job.layout.families()
    }
    tries = []
    for _ in range(2):  # the first loads what writes parquet
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            store.write_part(Path(folder), job.layout, {}, 0, values, np.zeros(shape[:2], np.int8))
            tries.append(time.perf_counter() - began)
    return min(tries) * job.block / M


def network_seconds(jobs: Sequence[Job], patience: float = PATIENCE) -> list[float]:
    """Seconds of one core, or device, for a network of each job. Jobs that do not get their turn within `patience`
    seconds, the costliest, are scaled by their counts from the costliest that did."""
    order = sorted(range(len(jobs)), key=lambda k: counts(jobs[k]).seconds() * jobs[k].block)
    out, until, ratio = [0.0] * len(jobs), time.perf_counter() + patience, 0.0
    for turn, k in enumerate(order):
        left, nominal = until - time.perf_counter(), counts(jobs[k]).seconds()
        if not ratio or left > nominal * ratio * jobs[k].block * (1 + STEPS / max(gradients(jobs[k]), 1)):
            out[k] = block_seconds(jobs[k], left / (len(order) - turn)) / jobs[k].block
            ratio = out[k] / nominal
        else:
            out[k] = nominal * ratio
    return out


def worth_it(
    jobs: Sequence[Job], missing: Sequence[int], processes: int, say: Callable[[str], None]
) -> list[float] | None:
    """`network_seconds`, for work that would take more than a minute; what is shorter is soon seen."""
    nominal = sum(counts(job).seconds() * networks for job, networks in zip(jobs, missing, strict=True))
    if nominal / processes < WORTH:
        return None
    say(f"measuring some blocks, {PATIENCE:.0f} s")
    return network_seconds(jobs)


# ------------------------------------------------------------------------------------------- memory

# Bytes that a process takes beside its arrays once it runs: compiled loops, what writes parquet (measured).
BESIDE = {"cpu": 110 * 2**20, "cuda": 630 * 2**20}
COPIES = 4  # of a part's rows: as they are measured, joined, as columns, encoded


def memory(job: Job) -> tuple[int, int]:
    """Peak bytes of a process over what it has when it starts: in the machine's memory, and in the device's."""
    device = job.settings.ensemble.device
    D, n_0 = job.samples.x.shape
    working = blocks.network_bytes(n_0, D, job.settings) * job.block
    rows = COPIES * job.layout.row_bytes() * job.part() + BESIDE[device]
    return (rows, working) if device == "cuda" else (rows + working, 0)


def resident() -> int:
    """Bytes of this process, in memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: at most
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def available() -> int:
    """Bytes that may still be taken: of the machine, of this process's control group, under its own limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name, text in _files({"meminfo": Path("/proc/meminfo")}).items():
        limits += [int(line.split()[1]) * 1024 for line in text.splitlines() if name and line.startswith("MemAvail")]
    groups = _files({"groups": Path("/proc/self/cgroup")}).get("groups", "")
    for line in groups.splitlines():
        _, kinds, where = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root = Path("/sys/fs/cgroup/memory" if kinds else "/sys/fs/cgroup")
        most, used = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        here = root / where.lstrip("/")
        for folder in (here, *here.parents):
            said = _files({"most": folder / most, "used": folder / used, "stat": folder / "memory.stat"})
            if said.get("most", "max").strip() not in ("", "max") and "used" in said:
                cached = [int(s.split()[1]) for s in said.get("stat", "").splitlines() if s.startswith("inactive_file")]
                limits.append(int(said["most"]) - int(said["used"]) + sum(cached[:1]))
            if folder == root:
                break
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limits.append(soft - mapped)
    return max(min(limits), 0)


def _files(paths: dict[str, Path]) -> dict[str, str]:
    """Those that can be read."""
    out = {}
    for name, path in paths.items():
        with contextlib.suppress(OSError):
            out[name] = path.read_text()
    return out


def fresh() -> int:
    """Bytes that a process has, in memory, once it has loaded what it needs: of one that is started for this."""
    code = "from simulate import forecast; print(forecast.resident())"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def fitting(jobs: Sequence[Job], wanted: int) -> int:
    """How many of `wanted` processes, this one among them, fit into the memory that there is.

    SettingsError that names the setting where not even one does.
    """
    job = max(jobs, key=lambda job: sum(memory(job)))
    (host, device), here = memory(job), resident()
    have = available() + here
    if job.settings.ensemble.device == "cuda" and device > (free := torch.cuda.mem_get_info()[0]):
        raise _too_large(job, device, free, "the device has")
    if here + host > have:
        raise _too_large(job, here + host, have, "there are")
    return min(wanted, int(have // (here + host)))


def check_task(jobs: Sequence[Job], have: int) -> None:
    """SettingsError where a process of its own with `have` bytes could not make one of the jobs."""
    job = max(jobs, key=lambda job: memory(job)[0])
    if (need := fresh() + memory(job)[0]) > have:
        raise _too_large(job, need, have, "cluster.memory gives")


def _too_large(job: Job, need: int, have: int, where: str) -> SettingsError:
    gib = f"needs {need / 2**30:,.1f} GiB of memory and {where} {have / 2**30:,.1f}"
    e = job.settings.ensemble
    if job.block > 1:
        return SettingsError(
            "ensemble.block", e.block or "auto", f"a block of {job.block} networks {gib}: choose a smaller block"
        )
    return SettingsError(
        "network.width",
        list(job.settings.network.widths),
        f"one network {gib}: narrower or fewer layers, fewer samples",
    )


# ------------------------------------------------------------------------------------------- in words


def lines(
    jobs: Sequence[Job], missing: Sequence[int], processes: int, seconds: Sequence[float] | None
) -> Iterator[str]:
    """For a person. missing: networks of each job that are still to be made; seconds: of a network, if measured."""
    each = [counts(job) for job in jobs]
    total = {name: sum(getattr(c, name) * m for c, m in zip(each, missing, strict=True)) for name in NOMINAL}
    sets = f"{len(jobs)} data set{'s'[: len(jobs) > 1]}"
    peak = max(sum(memory(job)) for job in jobs) + resident()
    yield (
        f"{sets}, {sum(missing):,} networks to make: {total['operations']:.1e} operations, "
        f"{total['normals']:.1e} normals, {_bytes(total['rows'])} of rows; "
        f"at most {_bytes(peak)} of memory in each of {processes} process{'es'[: 2 * (processes > 1)]}"
    )
    if seconds:
        work = sum(s * m for s, m in zip(seconds, missing, strict=True))
        yield f"about {duration(work / processes)}, {duration(work)} of one core or device"


def _bytes(count: float) -> str:
    return next(
        f"{count / size:,.1f} {unit}"
        for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("kiB", 2**10))
        if count >= size or unit == "kiB"
    )


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
