"""What a sweep will take, before it starts: time by measurement, and everything in words.

Time is measured: blocks of the sweep's own data sets are computed for some ten seconds, few of their training steps,
and the rest is scaled by what they count; so every observable, activation and device is its own calibration. Nothing
is kept of it.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from simulate.networks.streams import Arrays
from simulate.running import compute
from simulate.running.cost import NOMINAL, counts, gradients
from simulate.running.jobs import Job
from simulate.running.memory import peak_bytes, resident
from simulate.running.plan import part_size
from simulate.store.layout import layout_of
from simulate.store.parts import write_part

PATIENCE = 10.0  # seconds of measuring
WORTH = 60.0  # seconds of work from which on time is measured before it starts
STEPS = 4  # of training that are measured


def _timed(job: Job, index: int, arrays: Arrays) -> float:
    began = time.perf_counter()
    compute.compute_block(job, index, arrays)
    return time.perf_counter() - began


def _recording(job: Job, *steps: int) -> Job:
    """The same networks, trained and recorded at these steps only."""
    s = job.settings
    s = replace(s, observables=replace(s.observables, steps=steps), dynamics=replace(s.dynamics, steps=steps[-1]))
    return replace(job, settings=s, layout=layout_of(s, len(job.samples.x)))


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
    M = part_size(job)
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
            write_part(Path(folder), job.layout, {}, 0, values, np.zeros(shape[:2], np.int8))
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


def lines(
    jobs: Sequence[Job], missing: Sequence[int], processes: int, seconds: Sequence[float] | None
) -> Iterator[str]:
    """For a person. missing: networks of each job that are still to be made; seconds: of a network, if measured."""
    each = [counts(job) for job in jobs]
    total = {name: sum(getattr(c, name) * m for c, m in zip(each, missing, strict=True)) for name in NOMINAL}
    sets = f"{len(jobs)} data set{'s'[: len(jobs) > 1]}"
    peak = max(sum(peak_bytes(job)) for job in jobs) + resident()
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
