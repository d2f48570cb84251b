"""This process and worker processes compute parts. Processes share nothing but the disk: a worker takes a range of
addresses, computes its blocks with one thread, and commits one part. A process that alone has a device compute has
threads that commit (`simulate.running.transfer`).
"""

import atexit
import multiprocessing
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from simulate import plugins
from simulate.networks.streams import Arrays
from simulate.processes import follow_parent, worker_pool
from simulate.running import compute, plan
from simulate.running.jobs import Job
from simulate.running.process import keep_memory, one_thread
from simulate.running.transfer import Copies, in_threads, one_behind
from simulate.settings import Settings
from simulate.settings.reader import SettingsError
from simulate.store.locks import Writer
from simulate.system import cores

Task = tuple[Job, Writer, int, int]  # networks [first, last) of the job's data set, and the right to write them
Parts = Generator[tuple[Job, compute.Part], None, None]  # as they are committed


def workers(settings: Settings) -> int:
    """Processes: one a core, or one a CUDA device."""
    if settings.ensemble.device == "cuda":
        return min(settings.workers or torch.cuda.device_count(), torch.cuda.device_count())
    return settings.workers or cores()


def why_alone() -> str | None:
    """Why this process can have no others to help it, or None."""
    try:
        # A lock of the fork context has no name and is gone at once; that of spawn would start a process to watch it.
        multiprocessing.get_context("fork").Lock()
    except (OSError, ImportError) as error:
        return f"processes share semaphores, which cannot be made in /dev/shm ({error})"
    return None


class Buffers:
    """Weight buffers that a block passes to the next, dropped when the data set changes."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._arrays: Arrays = {}

    def by(self, job: Job) -> Arrays:
        if job.path != self._path:
            self._path, self._arrays = job.path, {}
        return self._arrays


def in_this_process(tasks: list[Task], left: Buffers) -> Parts:
    with one_thread():
        if len(tasks) > 1 and (threads := min(plan.writing_threads(job) for job, *_ in tasks)):
            yield from _written_behind(tasks, left, threads)
            return
        for job, writer, low, high in tasks:
            yield job, compute.compute_part(job, writer, low, high, left.by(job))


def _written_behind(tasks: list[Task], left: Buffers, threads: int) -> Parts:
    """Parts that threads commit while this one has the device compute others."""
    copies, turn = Copies(tasks[0][0].settings.ensemble.device), Lock()
    passes = one_behind(
        each for job, _, low, high in tasks for each in compute.start_rows(job, low, high, left.by(job), copies)
    )
    commits = (
        compute.commit_of(
            job, replace(writer, turn=turn), low, list(islice(passes, len(compute.passes_over(job, low, high))))
        )
        for job, writer, low, high in tasks
    )
    yield from zip((job for job, *_ in tasks), in_threads(commits, threads), strict=True)


def in_workers(tasks: list[Task], count: int) -> Parts:
    """This process is one of them: it works while the others start, and between its own parts hands out new ones."""
    numbers = multiprocessing.get_context("spawn").SimpleQueue()
    for number in range(1, count):
        numbers.put(number)
    queue: deque[Task] = deque(tasks)
    left = Buffers()
    running: dict[Future[compute.Part], Job] = {}
    to_load = plugins.sources(tasks[0][0].settings.plugins)  # a sweep has the same at all points
    # Parts appear whole or not at all, so a worker can be stopped at any moment.
    with worker_pool(count - 1, _start_worker, numbers, to_load) as pool:
        while queue or running:
            while len(queue) > 1 and len(running) < 2 * (count - 1):  # one to work on and one to go on with
                task = queue.popleft()
                running[pool.submit(_compute_part, *task)] = task[0]
            if queue:
                yield from in_this_process([queue.popleft()], left)
            else:
                wait(running, return_when=FIRST_COMPLETED)
            for future in [f for f in running if f.done()]:
                yield running.pop(future), future.result()


# Of a worker process:
_not_loaded = ""  # why it could not load a plugin
_buffers = Buffers()


def _compute_part(job: Job, writer: Writer, first: int, last: int) -> compute.Part:
    if _not_loaded:
        raise RuntimeError(_not_loaded)
    return compute.compute_part(job, writer, first, last, _buffers.by(job))


def _start_worker(numbers: Any, to_load: Sequence[tuple[str, str]]) -> None:
    global _not_loaded
    number = numbers.get()
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    follow_parent()
    atexit.register(os._exit, 0)  # without torch's own clean-up, which takes more than half a second
    torch.set_num_threads(1)
    keep_memory()
    try:
        plugins.load_in_worker(to_load)
    except SettingsError as error:
        _not_loaded = str(error)
