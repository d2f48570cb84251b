"""Rows of a block and parts of blocks: addresses -> ensemble -> training -> observables -> rows."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulate.networks import streams
from simulate.numerics.rows import Rows
from simulate.observables.measure import gather
from simulate.running import plan
from simulate.running.jobs import Job, Reduction
from simulate.running.provenance import made_on
from simulate.running.samplers import snapshots
from simulate.running.transfer import Copies
from simulate.store.cells import Summed
from simulate.store.layout import NOT_FINITE, OK
from simulate.store.locks import Writer
from simulate.store.parts import write_part, write_sums


def compute_block(
    job: Job, index: int, arrays: streams.Arrays | None = None, blocks: int = 1
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int8]]:
    """All rows of block `index`: family prefix -> (M, steps, layers, columns), and status (M, steps).

    arrays: an empty one for the first block, then what the block before has left. blocks: how many are computed at
    once, of which M counts the networks.
    """
    return _on_host(*measured_block(job, index, arrays, blocks))


def _on_host(rows: dict[str, Tensor], finite: Tensor) -> tuple[dict[str, NDArray[Any]], NDArray[np.int8]]:
    """Rows and their status as arrays; for rows a device is waited for here and nowhere else."""
    status = _status(finite.cpu().numpy())
    return {prefix: of_family.cpu().numpy() for prefix, of_family in rows.items()}, status


def _status(finite: NDArray[np.bool_]) -> NDArray[np.int8]:
    return np.where(finite, OK, NOT_FINITE).astype(np.int8)


def measured_block(
    job: Job, index: int, arrays: streams.Arrays | None = None, blocks: int = 1
) -> tuple[dict[str, Tensor], Tensor]:
    """The rows of `compute_block` where they were computed, and (M, steps) whether all numbers are finite."""
    layout, M, device = job.layout, blocks * job.block, torch.device(job.settings.ensemble.device)
    where: dict[str, Any] = {"dtype": getattr(torch, layout.dtype), "device": device}
    cells = (M, len(layout.steps), len(layout.layers))
    rows = {f.prefix: torch.full((*cells, len(layout.indices(f))), torch.nan, **where) for f in layout.families()}
    finite = torch.ones(cells[:2], dtype=torch.bool, device=device)
    torch.backends.cuda.matmul.allow_tf32 = job.settings.ensemble.tf32
    # What overflows, or does not fit the stored precision, has diverged: a row that says so.
    with torch.inference_mode(), np.errstate(all="ignore"):
        columns = [
            (family.prefix, layout.defined(family), gather(layout, family, device)) for family in layout.families()
        ]
        for snapshot in snapshots(job, index, arrays, blocks):
            s, l = layout.steps.index(snapshot.step), layout.layers.index(snapshot.layer)
            for prefix, defined, values_of in columns:
                if defined[l]:
                    written = rows[prefix][:, s, l].copy_(values_of(snapshot))
                    finite[:, s] &= written.isfinite().all(dim=1)
    return rows, finite


class Part(NamedTuple):
    """A part that is committed: its networks, and the seconds of one process that they took, where they are known."""

    networks: int
    seconds: float | None


Times = list[tuple[float, int]]  # the seconds of each pass, and its blocks
_compiled: set[Path] = set()  # data sets of which this process has computed a block


def _seconds(job: Job, times: Times) -> float | None:
    """The seconds of a part that took these times, as its line in the log has it. The first pass of a data set in this
    process also compiles, and its time is not told: others stand for it, and without others nothing is said."""
    steady = times if job.path in _compiled else times[1:]
    _compiled.add(job.path)
    (seconds, blocks), (_, all_blocks) = (np.sum(t, axis=0) if t else (0.0, 0) for t in (steady, times))
    return float(all_blocks * seconds / blocks) if steady else None


def compute_rows(
    job: Job, first: int, last: int, arrays: streams.Arrays
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int8], Times]:
    """The rows of networks [first, last) as `compute_block` has them, and the times of all passes. arrays: as of
    `compute_block`."""
    return _joined(_passes(job, first, last, arrays, compute_block), np.concatenate)


Pass = tuple[dict[str, Any], Any, tuple[float, int]]  # rows of blocks, what tells their status, and `Times` of them


def start_rows(job: Job, first: int, last: int, arrays: streams.Arrays, copies: Copies) -> Iterator[Callable[[], Pass]]:
    """The passes of `compute_rows` one by one, on their way to the host: calls that wait for them, to be made as those
    of `Copies.start`. The seconds of a pass are those until it is begun, and of waiting for it."""
    for rows, finite, times in _passes(job, first, last, arrays, measured_block):
        yield partial(_landed, list(rows), copies.start([*rows.values(), finite]), *times)


def _landed(prefixes: list[str], wait: Callable[[], list[NDArray[Any]]], seconds: float, blocks: int) -> Pass:
    began = time.perf_counter()
    *rows, finite = wait()
    seconds += time.perf_counter() - began
    return dict(zip(prefixes, rows, strict=True)), _status(finite), (seconds, blocks)


def passes_over(job: Job, first: int, last: int) -> list[tuple[int, int]]:
    """The first block of each pass over networks [first, last), and how many it has.

    The first pass has one, so that the others tell the time of a block where it has to compile.
    """
    begin, end, at_once = first // job.block, -(-last // job.block), plan.blocks_of_a_pass(job)
    return [(begin, 1), *((index, min(at_once, end - index)) for index in range(begin + 1, end, at_once))]


def _passes(job: Job, first: int, last: int, arrays: streams.Arrays, compute: Callable[..., Any]) -> Iterator[Pass]:
    """What `compute` has of each pass, for networks [first, last)."""
    for index, blocks in passes_over(job, first, last):
        start = index * job.block
        low, high = max(first - start, 0), min(last - start, blocks * job.block)
        # A block is always computed whole and then trimmed: the same networks whatever range is asked for.
        began = time.perf_counter()
        rows, status = compute(job, index, arrays, blocks)
        seconds = time.perf_counter() - began
        yield {prefix: array[low:high] for prefix, array in rows.items()}, status[low:high], (seconds, blocks)


def _joined(passes: Iterable[Pass], join: Callable[[Any], Any]) -> tuple[dict[str, Any], Any, Times]:
    pieces, statuses, times = map(list, zip(*passes, strict=True))
    # Whole blocks are freed family by family: at the peak the table that is written takes their place.
    values = {prefix: join([piece.pop(prefix) for piece in pieces]) for prefix in list(pieces[0])}
    return values, join(statuses), times


def compute_sums(job: Job, reduction: Reduction, first: int, last: int, arrays: streams.Arrays) -> tuple[Summed, Times]:
    """The sums of networks [first, last) in the place of rows, and the times of all passes. arrays: as of
    `compute_block`."""
    if not plan.reduces_on_device(job):
        values, status, times = compute_rows(job, first, last, arrays)
        return reduction(first, values, status), times
    began = time.perf_counter()
    rows, finite, _ = _joined(_passes(job, first, last, arrays, measured_block), torch.cat)
    summed = reduction.on_device(first, {prefix: Rows(of_family) for prefix, of_family in rows.items()}, Rows(finite))
    return summed, [(time.perf_counter() - began, 1)]


def compute_part(job: Job, writer: Writer, first: int, last: int, arrays: streams.Arrays) -> Part:
    """Compute and commit the rows of networks [first, last), or the sums in their place. arrays: as of `compute_block`.

    StoreError where another process is the writer by now, OSError where the disk fails.
    """
    metadata, reduction = {"identity": job.digest()}, job.reduction
    assert job.layout.keeps_rows == (reduction is None)
    if reduction is None:
        values, status, times = compute_rows(job, first, last, arrays)
        made, seconds = _made(job, times)
        write_part(writer, job.layout, metadata, first, values, status, made)
    else:
        summed, times = compute_sums(job, reduction, first, last, arrays)
        made, seconds = _made(job, times)
        write_sums(writer, metadata, first, last, summed, reduction.plan, made)
    return Part(last - first, seconds)


def commit_of(job: Job, writer: Writer, first: int, passes: list[Pass]) -> Callable[[], Part]:
    """What commits the rows of passes that are on the host, `first` being their first network. The call may be made by
    any thread, and raises as `compute_part` does."""
    made, seconds = _made(job, [times for *_, times in passes])

    def commit() -> Part:
        values, status, _ = _joined(passes, np.concatenate)
        write_part(writer, job.layout, {"identity": job.digest()}, first, values, status, made)
        return Part(len(status), seconds)

    return commit


def _made(job: Job, times: Times) -> tuple[dict[str, Any], float | None]:
    """What the line of a part says of how it was made, and its seconds."""
    seconds = _seconds(job, times)
    return made_on(job.settings.ensemble.device) | ({} if seconds is None else {"seconds": seconds}), seconds
