"""The runner plans, computes and commits the missing networks of data sets, under locks on their addresses."""

import contextlib
import errno
import os
import resource
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch

from simulate.numerics.normals import without_kernels
from simulate.running.cost import counts
from simulate.running.forecast import lines, worth_it
from simulate.running.jobs import Job, Reduction
from simulate.running.memory import fitting
from simulate.running.plan import computed, missing_ranges, part_size, share
from simulate.running.progress import Progress
from simulate.running.provenance import made_on
from simulate.running.workers import Buffers, Task, in_this_process, in_workers, why_alone, workers
from simulate.settings.reader import SettingsError
from simulate.store import commits, head, locks
from simulate.store.files import make_folder
from simulate.store.manifest import create
from simulate.store.parts import committed, part_name, settle
from simulate.store.sets import DataSet, open_data_set

WORKER_START = 2.0  # seconds until a worker process begins to compute
SPARE_FILES = 40  # files that a run opens in addition to its locks: parts, logs, pipes of workers
ONLY_SHARD = (0, 1)  # shard 0 of 1, which has all networks


def run(jobs: Sequence[Job], progress: Progress, shard: tuple[int, int] = ONLY_SHARD) -> list[DataSet]:
    """Make the data sets, or finish them. After KeyboardInterrupt the committed parts are kept and can be resumed.

    shard: (k, N), to make the k-th of N ranges of each data set's networks and leave the others to other runs. Parts
    that exist are held against the log of commits; damaged ones are set aside and computed again.

    Raises locks.HeldError where another process is writing some of these networks, StoreError where an output holds
    another data set, SettingsError where the processes asked for do not fit into the memory, MemoryError, which says
    which setting would need less, and OSError where the disk fails.
    """
    for why in dict.fromkeys(without_kernels(torch.device(job.settings.ensemble.device)) for job in jobs):
        if why is not None:
            progress.warn(why)
    count = _processes(jobs, progress)
    _check_open_files(len(jobs))
    with ExitStack() as held:
        spans, writers = [], []
        for job in jobs:
            spans.append(share(job.first, job.last, part_size(job, shard[1]), shard))
            make_folder(job.path)
            writers.append(held.enter_context(locks.writing(job.path, *spans[-1])))
        try:
            return _run(jobs, writers, spans, progress, count, shard[1])
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise MemoryError(_out_of_memory(jobs, count)) from error
            raise


def _check_open_files(points: int) -> None:
    """Raises SettingsError where this process may not hold the locks of all points at once, one open file each."""
    need, (soft, hard) = points + SPARE_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # up to what the system allows without being asked
        if 0 <= soft < 2 * need:
            resource.setrlimit(resource.RLIMIT_NOFILE, (2 * need if hard < 0 else min(2 * need, hard), hard))
    opened: list[int] = []
    try:
        while len(opened) < need:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        right = f"a run of {points} data sets needs {need} open files, and {len(opened)} more are allowed here"
        raise SettingsError(
            "", None, f"{right}: raise the limit, as ulimit -n {2 * need}, or split the sweep"
        ) from None
    finally:
        for number in opened:
            os.close(number)


def _processes(jobs: Sequence[Job], progress: Progress) -> int:
    """The number of processes. Raises SettingsError where those asked for do not fit into the memory, or cannot be."""
    wanted = workers(jobs[0].settings)
    if wanted > 1 and (why := why_alone()):
        if jobs[0].settings.workers:
            raise SettingsError("workers", wanted, f"{why}; workers=1 needs none")
        progress.say(f"workers=auto: one process, because {why}")
        wanted = 1
    fit = fitting(jobs, wanted)
    if fit < wanted:
        if jobs[0].settings.workers:
            raise SettingsError("workers", wanted, f"{fit} fit into the free memory")
        progress.say(f"workers=auto: {fit} of {wanted} processes fit into the free memory")
    return fit


def _out_of_memory(jobs: Sequence[Job], count: int) -> str:
    """The error text: which setting would need less memory. Nothing is changed automatically."""
    block = max(job.block for job in jobs)
    if count > 1:
        return f"out of memory in one of {count} processes: fewer take less, as workers={count // 2}"
    if block > 1:
        right = f"ensemble.block={block // 2} takes less, and makes another data set: it needs another output"
        return f"out of memory with a block of {block} networks; {right}"
    return "out of memory with one network at a time: choose a smaller network.width, or a machine with more"


def _run(
    jobs: Sequence[Job],
    writers: Sequence[locks.Writer],
    spans: Sequence[tuple[int, int]],
    progress: Progress,
    count: int,
    shards: int,
) -> list[DataSet]:
    tasks: list[Task] = []
    to_make = []
    for job, writer, (low, high) in zip(jobs, writers, spans, strict=True):
        s = job.samples
        for note in create(writer, job.manifest(), s.x, s.y, s.train):
            progress.say(note)
        if job.reduction is not None:
            job = _begun(job, job.reduction, writer, progress)
        there, log = committed(job.path), commits.read(job.path, job.digest())  # each part of this list has a line
        for first, last in there:
            if last <= low or first >= high:  # another shard checks this part
                continue
            note = settle(writer, job.layout, job.digest(), first, last, log.get(part_name(first, last), []))
            if job.reduction is not None and not note:
                note = head.settle(writer, first, last, job.reduction.plan)
            if note:
                progress.say(note)
        done = [(max(a, low), min(b, high)) for a, b in committed(job.path) if a < high and b > low]
        ranges = missing_ranges(low, high, done, part_size(job, shards)) if low < high else []
        missing = sum(b - a for a, b in ranges)
        progress.start(str(job.path), high - low, missing, _made(job, missing, counts(job).seconds()))
        tasks += [(job, writer, a, b) for a, b in ranges]
        to_make.append(missing)
    count = min(count, len(tasks))
    if not jobs[0].settings.workers:  # a process that would hardly have begun when the work is done does not pay
        work = sum(counts(job).seconds() * computed(job, m) for job, m in zip(jobs, to_make, strict=True))
        count = min(count, 1 + int(work / WORKER_START))
    if tasks and not progress.quiet:
        # The time of shards was measured when the work was divided.
        seconds = worth_it(jobs, to_make, count, progress.say) if shards == 1 else None
        for job, missing, each in zip(jobs, to_make, seconds or (), strict=seconds is not None):
            progress.weigh(str(job.path), _made(job, missing, each))
        for line in lines(jobs, to_make, count, seconds):
            progress.say(line)
    parts = in_this_process(tasks, Buffers()) if count <= 1 else in_workers(tasks, count)
    with progress, contextlib.closing(parts):  # threads of theirs have ended before locks do
        for job, part in parts:
            progress.advance(str(job.path), part.networks, part.seconds)
    return [open_data_set(job.path) for job in jobs]


def _begun(job: Job, reduction: Reduction, writer: locks.Writer, progress: Progress) -> Job:
    """The job by the text of the head that its data set has, or has from now on."""
    if reduction.head is not None:
        made = made_on(job.settings.ensemble.device)
        for note in head.keep(writer, job.layout, job.digest(), reduction.head, made):
            progress.say(note)
    plan = head.plan_of(head.head_of(open_data_set(job.path)))
    return replace(job, reduction=reduction.by(plan))


def _made(job: Job, missing: int, seconds: float) -> float:
    """Seconds for each of the missing networks, where one that is computed takes `seconds`."""
    return seconds * computed(job, missing) / max(missing, 1)
