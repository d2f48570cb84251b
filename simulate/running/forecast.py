"""The forecast of a sweep before it starts: its time by measurement, its memory and counts in words.

Blocks of the sweep's data sets are computed for some ten seconds, with few training steps, and the rest is scaled by
the counts of its work; so every observable, activation and device is its own calibration. The results are thrown away.
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
from simulate.running.memory import peak_bytes, unused
from simulate.running.plan import PART_BYTES, blocks_of_a_pass, computed, part_size
from simulate.running.process import one_thread
from simulate.store import locks
from simulate.store.layout import layout_of
from simulate.store.parts import write_part
from simulate.system import counted, duration

PATIENCE = 10.0  # seconds to measure for
MEASURED_FROM = 60.0  # seconds of work above which time is measured before the work starts
MEASURED_STEPS = 4  # training steps of a measured block


def _timed(job: Job, index: int, arrays: Arrays) -> float:
    """Seconds of pass `index`."""
    began, blocks = time.perf_counter(), blocks_of_a_pass(job)
    compute.compute_block(job, index * blocks, arrays, blocks)
    return time.perf_counter() - began


def _recording(job: Job, *steps: int) -> Job:
    """The job with the same networks, recorded at these steps only and trained up to the last of them."""
    s = job.settings
    s = replace(s, observables=replace(s.observables, steps=steps), dynamics=replace(s.dynamics, steps=steps[-1]))
    return replace(job, settings=s, layout=layout_of(s, len(job.samples.x)))


def block_seconds(job: Job, patience: float) -> tuple[float, float]:
    """Seconds of one block with its share of a commit, and the seconds that were spent on timed blocks.

    Passes are timed for some `patience` seconds, or two of them are, each trained for MEASURED_STEPS steps. The first
    pass of each kind is not timed and uses up no patience: it compiles, which may take longer than all else.
    """
    arrays: Arrays = {}
    spent = 0.0

    def timed(timed_job: Job, index: int) -> float:
        nonlocal spent
        seconds = _timed(timed_job, index, arrays)
        spent += seconds
        return seconds

    untrained = _recording(job, 0)
    _timed(untrained, 0, arrays)
    tries = [timed(untrained, 1)]
    while spent + tries[0] < patience and len(tries) < 5:
        tries.append(timed(untrained, 1 + len(tries)))
    drawn = float(np.median(tries)) / blocks_of_a_pass(job)
    seconds = drawn + _commit(job)
    recorded, total = job.layout.steps, job.layout.steps[-1]
    if total:
        few = min(MEASURED_STEPS, total)
        _timed(_recording(job, few), 0, arrays)
        trained, both = (
            min(timed(_recording(job, *steps), k) for k in range(1 + (2 * drawn < patience)))
            for steps in ((few,), (0, few))
        )
        seconds += total * max(trained - drawn, 0) / few + (len(recorded) - 1) * max(both - trained, 0)
    return seconds, spent


def _commit(job: Job) -> float:
    """Seconds that one block adds to the commit of its part, of which some is written, no larger than other parts."""
    M = max(min(part_size(job), PART_BYTES // job.layout.row_bytes()), 1)
    shape = M, len(job.layout.steps), len(job.layout.layers)
    rng = np.random.default_rng(0)
    values = {
        family.prefix: rng.standard_normal((*shape, len(job.layout.names(family))), np.dtype(job.layout.dtype))
        for family in job.layout.families()
    }
    tries = []
    for _ in range(2):  # the first try also loads the parquet writer
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            with locks.writing(Path(folder), 0, M) as writer:
                write_part(writer, job.layout, {}, 0, values, np.zeros(shape[:2], np.int8))
            tries.append(time.perf_counter() - began)
    return min(tries) * job.block / M


def network_seconds(jobs: Sequence[Job], patience: float = PATIENCE) -> list[float]:
    """Seconds of one core, or device, for a network of each job.

    Cheap jobs are measured first. Those that do not get their turn within `patience` seconds of timed blocks are scaled
    by their counts from the costliest measured one.
    """
    order = sorted(range(len(jobs)), key=lambda k: counts(jobs[k]).seconds() * jobs[k].block)
    seconds, left, ratio = [0.0] * len(jobs), patience, 0.0
    with one_thread():  # as in a run; threads that wait for each other on a busy machine take fifty times as long
        for turn, k in enumerate(order):
            nominal = counts(jobs[k]).seconds()
            if not ratio or left > nominal * ratio * jobs[k].block * (1 + MEASURED_STEPS / max(gradients(jobs[k]), 1)):
                of_block, spent = block_seconds(jobs[k], left / (len(order) - turn))
                seconds[k], left = of_block / jobs[k].block, left - spent
                ratio = seconds[k] / nominal
            else:
                seconds[k] = nominal * ratio
    return seconds


def worth_it(
    jobs: Sequence[Job], missing: Sequence[int], processes: int, say: Callable[[str], None]
) -> list[float] | None:
    """`network_seconds` for work of more than MEASURED_FROM seconds, else None: shorter work is soon done.

    missing: networks of each job that are still to be made; say: prints a line.
    """
    nominal = sum(counts(job).seconds() * computed(job, networks) for job, networks in zip(jobs, missing, strict=True))
    if nominal / processes < MEASURED_FROM:
        return None
    say(f"measuring some blocks, {PATIENCE:.0f} s")
    return network_seconds(jobs)


def lines(
    jobs: Sequence[Job], missing: Sequence[int], processes: int, seconds: Sequence[float] | None
) -> Iterator[str]:
    """The forecast in sentences for the terminal.

    missing: networks of each job that are still to be made; seconds: time of a network of each job, if measured.
    """
    each = [counts(job) for job in jobs]
    made = [computed(job, networks) for job, networks in zip(jobs, missing, strict=True)]
    total = {name: sum(getattr(c, name) * m for c, m in zip(each, made, strict=True)) for name in NOMINAL}
    total["rows"] = sum(c.rows * networks for c, networks in zip(each, missing, strict=True))
    dropped = "" if jobs[0].layout.keeps_rows else ", of which sums are kept"
    peak = max(sum(peak_bytes(job)) for job in jobs) + unused()
    yield (
        f"{counted(len(jobs), 'data set')}, {counted(sum(missing), 'network')} to make: "
        f"{total['operations']:.1e} operations, "
        f"{total['normals']:.1e} normals, {_bytes(total['rows'])} of rows{dropped}; "
        f"at most {_bytes(peak)} of memory in each of {counted(processes, 'process', 'processes')}"
    )
    if seconds:
        work = sum(s * m for s, m in zip(seconds, made, strict=True))
        yield f"about {duration(work / processes)}, {duration(work)} of one core or device"


def _bytes(count: float) -> str:
    """Bytes in a unit for reading."""
    return next(
        f"{count / size:,.1f} {unit}"
        for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("kiB", 2**10))
        if count >= size or unit == "kiB"
    )
