"""Rows of a block and parts of blocks: addresses -> ensemble -> training -> observables -> rows."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from simulate.networks import streams
from simulate.observables.measure import gather
from simulate.running.jobs import Job
from simulate.running.provenance import made_on
from simulate.running.samplers import snapshots
from simulate.store.layout import NOT_FINITE, OK
from simulate.store.locks import Writer
from simulate.store.parts import write_part, write_sums


def compute_block(
    job: Job, index: int, arrays: streams.Arrays | None = None
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int8]]:
    """All rows of block `index`: family prefix -> (M, steps, layers, columns), and status (M, steps).

    arrays: an empty one for the first block, then what the block before has left.
    """
    layout, M, device = job.layout, job.block, torch.device(job.settings.ensemble.device)
    rows = {
        family.prefix: np.full(
            (M, len(layout.steps), len(layout.layers), len(layout.indices(family))), np.nan, dtype=layout.dtype
        )
        for family in layout.families()
    }
    finite = np.ones((M, len(layout.steps)), dtype=bool)
    measured: list[tuple[int, NDArray[Any], torch.Tensor]] = []

    def copy_measured() -> None:
        """Copy what was measured into the rows; a device is waited for here and nowhere else."""
        for s, cells, values in measured:
            cells[...] = values.cpu().numpy()
            finite[:, s] &= np.isfinite(cells).all(axis=1)
        measured.clear()

    torch.backends.cuda.matmul.allow_tf32 = job.settings.ensemble.tf32
    # What overflows, or does not fit the stored precision, has diverged: a row that says so.
    with torch.inference_mode(), np.errstate(all="ignore"):
        columns = [
            (family.prefix, layout.defined(family), gather(layout, family, device)) for family in layout.families()
        ]
        for snapshot in snapshots(job, index, arrays):
            s, l = layout.steps.index(snapshot.step), layout.layers.index(snapshot.layer)
            for prefix, defined, values_of in columns:
                if defined[l]:
                    measured.append((s, rows[prefix][:, s, l], values_of(snapshot)))
            if device.type == "cpu":  # kept to the end, small arrays leave holes among those of the next layers
                copy_measured()
        copy_measured()
    status = np.where(finite, OK, NOT_FINITE).astype(np.int8)
    return rows, status


class Part(NamedTuple):
    """A part that is committed: its networks, and the seconds of one process that they took, where they are known."""

    networks: int
    seconds: float | None


_compiled: set[Path] = set()  # data sets of which this process has computed a block


def _seconds(job: Job, times: list[float]) -> float | None:
    """The seconds of a part whose blocks took these times, as its line in the log has it. The first block of a data set
    in this process also compiles, and its time is not told: others stand for it, and without others nothing is said."""
    steady = times if job.path in _compiled else times[1:]
    _compiled.add(job.path)
    return len(times) * sum(steady) / len(steady) if steady else None


def compute_rows(
    job: Job, first: int, last: int, arrays: streams.Arrays
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int8], list[float]]:
    """The rows of networks [first, last) as `compute_block` has them, and the seconds of each block. arrays: as of
    `compute_block`."""
    pieces, statuses = [], []
    times = []
    for index in range(first // job.block, -(-last // job.block)):
        start = index * job.block
        low, high = max(first - start, 0), min(last - start, job.block)
        # A block is always computed whole and then trimmed: the same networks whatever range is asked for.
        began = time.perf_counter()
        rows, status = compute_block(job, index, arrays)
        times.append(time.perf_counter() - began)
        pieces.append({prefix: array[low:high] for prefix, array in rows.items()})
        statuses.append(status[low:high])
    # Whole blocks are freed family by family: at the peak the table that is written takes their place.
    values = {prefix: np.concatenate([piece.pop(prefix) for piece in pieces]) for prefix in list(pieces[0])}
    return values, np.concatenate(statuses), times


def compute_part(job: Job, writer: Writer, first: int, last: int, arrays: streams.Arrays) -> Part:
    """Compute and commit the rows of networks [first, last), or the sums in their place. arrays: as of `compute_block`.

    StoreError where another process is the writer by now, OSError where the disk fails.
    """
    values, status, times = compute_rows(job, first, last, arrays)
    seconds = _seconds(job, times)
    made = made_on(job.settings.ensemble.device) | ({} if seconds is None else {"seconds": seconds})
    metadata, reduction = {"identity": job.digest()}, job.reduction
    assert job.layout.keeps_rows == (reduction is None)
    if reduction is None:
        write_part(writer, job.layout, metadata, first, values, status, made)
    else:
        write_sums(writer, metadata, first, last, reduction(first, values, status), reduction.plan, made)
    return Part(last - first, seconds)
