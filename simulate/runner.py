"""From settings to data sets: what is to be done is checked first, then done in this process or in worker processes.

Processes share nothing but the disk: a worker takes a range of addresses, computes its blocks with one thread, and
commits one part.
"""

import atexit
import ctypes
import multiprocessing
import os
import shutil
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simulate import blocks, compute, dynamics, forecast, inputs, locks, schema, store
from simulate.jobs import Job
from simulate.progress import Progress
from simulate.settings import Settings, SettingsError
from simulate.streams import Arrays


def prepare(settings: Settings) -> Job:
    """Check what only the machine and the inputs can tell, and write nothing."""
    settings = replace(settings, ensemble=replace(settings.ensemble, device=_device(settings.ensemble.device)))
    samples = inputs.load(settings.inputs)
    D, n_0 = samples.x.shape
    if settings.dynamics.name != "none":
        if samples.y is None:
            raise SettingsError(
                "dynamics", settings.dynamics.name, f"inputs={settings.inputs.source} has no targets to train on"
            )
        if settings.dynamics.loss == "cross_entropy" and not _are_labels(samples.y):
            right = "targets of cross_entropy are +1 and -1 for one output, or >= 0 for several"
            raise SettingsError("dynamics.loss", "cross_entropy", right)
        if settings.dynamics.batch > samples.train:
            raise SettingsError("dynamics.batch", settings.dynamics.batch, f"there are {samples.train} train samples")
        if samples.y.shape[1] != settings.network.outputs:
            raise SettingsError(
                "network.outputs", settings.network.outputs, f"the targets have {samples.y.shape[1]} components"
            )
    layout = schema.layout(settings, D)
    columns = layout.column_count()
    if columns > schema.MOST_COLUMNS:
        right = f"{columns} columns for {D} samples; at most {schema.MOST_COLUMNS}: fewer samples or observables"
        raise SettingsError("observables.record", list(settings.observables.record), right)
    block = blocks.block_size(n_0, D, settings.ensemble.device, settings)
    job = Job(settings, samples, layout, block)
    forecast.fitting([job], 1)
    if settings.dynamics.name != "none" and not settings.dynamics.eta:
        with torch.inference_mode(), _one_thread():
            few = min(job.block, dynamics.AUTO)  # at a time
            drawn = (compute.training_of(job, compute.stream_of(job, k, few)) for k in range(0, dynamics.AUTO, few))
            eta = dynamics.stable_eta(drawn)
        job = replace(job, settings=replace(settings, dynamics=replace(settings.dynamics, eta=eta)))
    _check_output(job)
    store.check(job.path, job.manifest())
    return job


def _are_labels(y: NDArray[np.float64]) -> bool:
    return bool(np.all(np.abs(y) == 1) if y.shape[1] == 1 else np.all(y >= 0))


def _device(wanted: str) -> str:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingsError("ensemble.device", wanted, "torch finds no CUDA device here; use cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def _check_output(job: Job) -> None:
    path = job.path
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if path.is_symlink():
        raise SettingsError("output", str(path), "a link; give the folder that it points to")
    if not parent.is_dir():
        raise SettingsError("output", str(path), f"{parent} is a file")
    if not os.access(parent, os.W_OK):
        raise SettingsError("output", str(path), f"{parent} cannot be written to")
    missing = job.settings.ensemble.networks - sum(high - low for low, high in store.parts(path))
    need, free = missing * job.layout.row_bytes(), shutil.disk_usage(parent).free
    if need > free:
        right = f"{need / 2**30:,.1f} GiB of rows do not fit into the {free / 2**30:,.1f} GiB free at {path}"
        raise SettingsError("ensemble.networks", job.settings.ensemble.networks, right)


def workers(settings: Settings) -> int:
    """Processes: one a core, or one a CUDA device."""
    if settings.ensemble.device == "cuda":
        return min(settings.workers or torch.cuda.device_count(), torch.cuda.device_count())
    return settings.workers or len(os.sched_getaffinity(0))


START_UP = 2.0  # seconds
ALL = (0, 1)  # the one shard of all networks


def run(jobs: Sequence[Job], progress: Progress, shard: tuple[int, int] = ALL) -> list[store.DataSet]:
    """Make the data sets, or finish them. KeyboardInterrupt leaves what is committed, to be resumed.

    shard: (k, N), to make the k-th of N ranges of each data set's networks and leave the others to other runs.
    Raises locks.HeldError where another process is writing some of these networks. Parts that are there are read and
    held against their checksums; what is damaged is set aside and computed again.
    """
    count = _processes(jobs, progress)
    with ExitStack() as held:
        spans = []
        for job in jobs:
            spans.append(blocks.share(job.first, job.last, job.part(shard[1]), shard))
            job.path.mkdir(parents=True, exist_ok=True)
            held.enter_context(locks.writing(job.path, *spans[-1]))
        try:
            return _run(jobs, spans, progress, count, shard[1])
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise MemoryError(_out_of_memory(jobs, count)) from error
            raise


def _processes(jobs: Sequence[Job], progress: Progress) -> int:
    """How many there will be. SettingsError where those asked for do not fit into the memory."""
    wanted = workers(jobs[0].settings)
    fit = forecast.fitting(jobs, wanted)
    if fit < wanted:
        if jobs[0].settings.workers:
            raise SettingsError("workers", wanted, f"{fit} fit into the memory that there is")
        progress.say(f"workers=auto: {fit} of {wanted} processes fit into the memory that there is")
    return fit


def _out_of_memory(jobs: Sequence[Job], count: int) -> str:
    """What would take less; nothing is changed without being asked."""
    block = max(job.block for job in jobs)
    if count > 1:
        return f"out of memory in one of {count} processes: fewer take less, as workers={count // 2}"
    if block > 1:
        right = f"ensemble.block={block // 2} takes less, and makes another data set: it needs another output"
        return f"out of memory with a block of {block} networks; {right}"
    return "out of memory with one network at a time: choose a smaller network.width, or a machine with more"


def _run(
    jobs: Sequence[Job], spans: Sequence[tuple[int, int]], progress: Progress, count: int, shards: int
) -> list[store.DataSet]:
    tasks: list[tuple[Job, int, int]] = []
    to_make = []
    for job, (low, high) in zip(jobs, spans, strict=True):
        s = job.samples
        store.create(job.path, job.manifest(), s.x, s.y, s.train)
        for first, last in store.parts(job.path):
            if last <= low or first >= high:  # another shard's
                continue
            if why := store.damage(job.path, job.layout, job.digest(), first, last):
                aside = store.set_aside(job.path, first, last)
                progress.say(f"{aside}: this part {why}; set aside, its networks are computed again")
        done = [(max(a, low), min(b, high)) for a, b in store.parts(job.path) if a < high and b > low]
        ranges = blocks.plan(low, high, done, job.part(shards)) if low < high else []
        missing = sum(b - a for a, b in ranges)
        progress.start(str(job.path), high - low, missing, job.cost())
        tasks += [(job, a, b) for a, b in ranges]
        to_make.append(missing)
    count = min(count, len(tasks))
    if not jobs[0].settings.workers:  # a process that has hardly begun when the work is done only costs
        work = sum(forecast.counts(job).seconds() * m for job, m in zip(jobs, to_make, strict=True))
        count = min(count, 1 + int(work / START_UP))
    if tasks and not progress.quiet:
        with _one_thread():  # a shard's time was measured when it was made one
            seconds = forecast.worth_it(jobs, to_make, count, progress.say) if shards == 1 else None
        for line in forecast.lines(jobs, to_make, count, seconds):
            progress.say(line)
    with progress:
        for job, networks in _in_this_process(tasks, Left()) if count <= 1 else _in_workers(tasks, count):
            progress.advance(str(job.path), networks)
    return [store.open_data_set(job.path) for job in jobs]


class Left:
    """What the last block of a data set has left to the next; of another data set, nothing."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._arrays: Arrays = {}

    def by(self, job: Job) -> Arrays:
        if job.path != self._path:
            self._path, self._arrays = job.path, {}
        return self._arrays


def _in_this_process(tasks: list[tuple[Job, int, int]], left: Left) -> Iterator[tuple[Job, int]]:
    with _one_thread():
        for job, low, high in tasks:
            yield job, compute.compute_part(job, low, high, left.by(job))


def _in_workers(tasks: list[tuple[Job, int, int]], count: int) -> Iterator[tuple[Job, int]]:
    """This process is one of them: it works while the others start, and between its own parts hands out new ones."""
    others, context = multiprocessing.active_children(), multiprocessing.get_context("spawn")
    numbers = context.SimpleQueue()
    for number in range(1, count):
        numbers.put(number)
    queue: deque[tuple[Job, int, int]] = deque(tasks)
    left = Left()
    running: dict[Future[int], Job] = {}
    with ProcessPoolExecutor(count - 1, context, _start_worker, (os.getpid(), numbers)) as pool:
        try:
            while queue or running:
                while len(queue) > 1 and len(running) < 2 * (count - 1):  # one to work on and one to go on with
                    task = queue.popleft()
                    running[pool.submit(_compute_part, *task)] = task[0]
                if queue:
                    yield from _in_this_process([queue.popleft()], left)
                else:
                    wait(running, return_when=FIRST_COMPLETED)
                for future in [f for f in running if f.done()]:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise RuntimeError("a worker process died (out of memory?): fewer take less, as workers=1") from None
        except BaseException:
            # Parts appear whole or not at all, so a worker can be stopped at any moment.
            for child in multiprocessing.active_children():
                if child not in others:
                    child.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


# Of a worker process:
_parent: int | None = None
_left = Left()


def _compute_part(job: Job, first: int, last: int) -> int:
    # A parent that was killed holds its addresses no more: somebody else may be writing them by now.
    return compute.compute_part(job, first, last, _left.by(job), may_commit=lambda: os.getppid() == _parent)


def _start_worker(parent: int, numbers: Any) -> None:
    global _parent
    _parent = parent
    number = numbers.get()
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    atexit.register(os._exit, 0)  # at once: to take down what torch has set up costs more than half a second
    torch.set_num_threads(1)
    keep_memory()


LARGE = 8 * 2**20  # bytes of an array that has pages of its own


def keep_memory() -> None:
    """Tell glibc to keep what blocks free for the next block. Giving arrays of a megabyte back to the system and
    asking for them again costs a page fault every thousand numbers, half of the time of a dense block. Large ones go
    back all the same: kept, they leave holes that the next ones do not fit into, and the peak doubles."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another allocator, another system
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    mallopt(M_TRIM_THRESHOLD, 2**30)
    mallopt(M_MMAP_THRESHOLD, LARGE)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread a process: the bits of a batched product may depend on how many share it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_memory()
    try:
        yield
    finally:
        torch.set_num_threads(before)
