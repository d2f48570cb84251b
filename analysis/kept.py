"""Sums of ranges of networks, kept beside the parts, so that an ensemble that has grown is read where it is new.

    DIR/sums/FIRST-STAGE-RUNS.sums   a digest, a header in one line of JSON, and the numbers

A file holds what one range added at one stage of a walk to what some runs ask. Its key tells all that this depends on:
the parts, as the log of commits has them, and their times, the settings, the runs, what was known before, and the
source of the program. A file that has another key, or is damaged, is made again. Where none can be written, which a
line tells once, or a record is of no file whose text could be told from another, none is kept.
"""

import contextlib
import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np

from analysis.estimators import Array
from analysis.walks import Blocks, Found, Work, walked
from simulate import plugins
from simulate.settings import printable
from simulate.store import commits, disk
from simulate.store.files import StoreError, commit
from simulate.store.folders import SUMS, own_folder
from simulate.store.parts import part_name, part_path
from simulate.store.plain import read_plain
from simulate.store.sets import DataSet

MOST_BYTES = 2**28  # upper bound on the size of a file
VERSIONS = "numpy", "scipy", "pyarrow"
SOURCES = [Path(__file__).parents[1] / package for package in ("analysis", "simulate")]

Kept = tuple[Path, str]  # the file of a range, and its key


def gathered(work: Work, kept: Kept | None) -> Found:
    """What the networks of a work add: as it is kept, or made now and kept."""
    if kept is None:
        return walked(work)[1]
    with contextlib.suppress(Exception):  # what somebody wrote there may end in errors of any kind
        return _read(work, *kept)
    found = walked(work)[1]
    if not found.refused:  # why a run ended is found anew
        try:
            _write(work, found, *kept)
        except (OSError, StoreError) as error:
            return replace(found, unkept=str(error))
    return found


def kept_of(work: Work, ranges: Sequence[tuple[int, int]]) -> list[Kept | None]:
    """The file of each range and its key; None where the log of commits does not know one of its parts."""
    if plugins.of_no_file():
        return [None] * len(ranges)
    parts, given, runs = _Parts(), _given(work), _digest(list(map(repr, work.runs)))[:8]
    found: list[Kept | None] = []
    for first, last in ranges:
        piece = work.within(first, last)
        sets = [point.data for point in (piece.point, *piece.references.values())]
        tokens = [parts.token(each) for each in sets if isinstance(each, DataSet)]
        key = _digest([given, first, last, tokens])
        known = all(token is not None for token in tokens)
        path = sets[0].path / SUMS / f"{first:012d}-{work.stage}-{runs}.sums"
        found.append((path, key) if known else None)
    return found


class _Parts:
    """What tells the parts of data sets from others of the same name."""

    def __init__(self) -> None:
        self.logs: dict[tuple[Path, str], commits.Log] = {}

    def token(self, data: DataSet) -> list[Any] | None:
        """Of its pieces, in order; None where the log does not know one."""
        found = []
        for piece in data.parts():
            place = piece.path, piece.identity
            if place not in self.logs:
                self.logs[place] = commits.read(*place)
            lines = self.logs[place].get(part_name(piece.first, piece.last))
            status = disk.status(part_path(piece.path, piece.first, piece.last))
            if not lines or status is None:
                return None
            found.append([piece.low, piece.high, lines[-1]["sha256"], status.st_size, status.st_mtime_ns])
        return found


def _given(work: Work) -> str:
    """A digest of all that sums of a range depend on but its parts."""
    settings = []
    for point in (work.point, *work.references.values()):
        assert isinstance(point.data, DataSet)
        ensemble = {key: value for key, value in point.settings["ensemble"].items() if key != "networks"}
        settings.append([point.settings | {"ensemble": ensemble}, point.data.manifest.get("files")])
    arrays = {str(key): x.tobytes().hex() for key, x in work.shifts.items()}
    known = {str(key): [x.tobytes().hex() for x in _arrays(value)] for key, value in work.known.items()}
    return _digest(
        [_source(), [p.digest for p in plugins.loaded()], settings, list(map(repr, work.runs)), arrays, known]
    )


def _arrays(known: Any) -> list[Any]:
    return [known] if isinstance(known, np.ndarray) else [known.sums, known.counts, known.shift]


@cache
def _source() -> str:
    """A digest of the source of the program and of the versions of what it reads and computes with."""
    texts = hashlib.sha256(" ".join([sys.version, *map(version, VERSIONS)]).encode())
    for path in sorted(path for source in SOURCES for path in source.rglob("*.py")):
        texts.update(path.read_bytes())
    return texts.hexdigest()


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write(work: Work, found: Found, path: Path, key: str) -> None:
    """The cells, counts and sums as one array (c, 2 + k) of doubles. Raises as `simulate.store.files.commit` does."""
    header = {
        "key": key,
        "cell": work.cell,
        "cells": len(found.cells),
        "sums": [[*name, sums.shape[1]] for name, sums in found.sums.items()],
        "extremes": [[*name, _hex(ends)] for name, ends in found.extremes.items()],
        "ended": [place for place, run in enumerate(work.runs) if run in found.ended],
    }
    columns = [found.cells[:, None].astype(np.float64), found.counts[:, None], *found.sums.values()]
    content = json.dumps(header).encode() + b"\n" + np.concatenate(columns, axis=1).tobytes()
    own_folder(path.parent.parent, SUMS)

    def write(stream: IO[bytes]) -> None:
        stream.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)

    commit(path, write)


def _hex(ends: Array) -> list[list[str]]:
    return [[x.hex() for x in row] for row in ends.tolist()]


def _read(work: Work, path: Path, key: str) -> Found:
    """What is kept. ValueError where it has another key, is damaged, or has larger cells; OSError where there is
    none."""
    digest, _, content = read_plain(path, MOST_BYTES).partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError(f"{path}: damaged")
    line, _, numbers = content.partition(b"\n")
    header = json.loads(line)
    if header["key"] != key or work.cell % header["cell"]:
        raise ValueError(f"{path}: of other networks or another analysis")
    ends = list(itertools.accumulate((width for *_, width in header["sums"]), initial=2))
    table = np.frombuffer(numbers).reshape(header["cells"], ends[-1])
    sums = {(s, k): table[:, end : end + width] for (s, k, width), end in zip(header["sums"], ends, strict=False)}
    extremes = {
        (s, k): np.array([[float.fromhex(x) for x in row] for row in rows]) for s, k, rows in header["extremes"]
    }
    cells = table[:, 0].astype(np.int64) * header["cell"] // work.cell
    ended = frozenset(work.runs[place] for place in header["ended"])
    found = Found(cells, table[:, 1], sums, extremes, ended, {})
    if not _fits(work, found):
        raise ValueError(f"{path}: sums that were not asked for, or of other networks")
    return found


def _fits(work: Work, found: Found) -> bool:
    """Whether this can be what the networks of a work add, whoever wrote it."""
    shapes = [(x.shape, (len(found.cells), work.asked.get(key))) for key, x in found.sums.items()]
    shapes += [(x.shape, (2, work.asked.get(key))) for key, x in found.extremes.items()]
    cells, counts = Blocks(work.point.addresses[1], work.cell).cells, found.counts
    return (
        all(shape == wanted for shape, wanted in shapes)
        and bool(np.isin(found.cells, cells).all() and (counts >= 1).all())
        and counts.sum() <= work.point.networks
    )


def gather_with(map_ranges: Callable[..., Iterable[Found]] = map) -> Callable[..., Iterable[Found]]:
    """A `analysis.walks.Gather` that keeps what it makes, and says on stderr, once, where it cannot. map_ranges: as
    `map`, of the functions above."""
    told = False

    def gather(work: Work, ranges: Sequence[tuple[int, int]]) -> Iterator[Found]:
        nonlocal told
        # A process is sent no more than its own range, and here one is made after the other: a point keeps its rows.
        for found in map_ranges(gathered, (work.within(*each) for each in ranges), kept_of(work, ranges)):
            if found.unkept and not told:
                told, path = True, work.point.data.path
                why = f"{path}: sums of its networks are not kept, and each analysis reads all: {found.unkept}"
                print(printable(why), file=sys.stderr)
            yield found

    return gather
