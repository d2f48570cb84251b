"""Runs of measures on one range of networks after another: what estimators add up there (`analysis.sums`) is merged.

Jackknife blocks are made of cells, aligned ranges of addresses, so that sums of cells do not depend on how many
networks there are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis import claims
from analysis.estimators import BLOCKS, Array
from analysis.measures.measured import Measured
from analysis.points import OUT_OF_RANGE, Point
from analysis.sums import Key, NotStreamedError, Sums, UnfinishedError, Walk, scope, walking

CELLS = 32  # lower bound on the cells of a jackknife block, whose ends they round
TRIED = 1024  # networks on which it is tried whether a measure can be run on ranges, and which tell the shifts


class Run(NamedTuple):
    """A measure, the layers that are asked of it, and the data set of its reference."""

    name: str
    layers: tuple[int, ...] | None
    reference: Path | None


@dataclass(frozen=True)
class Outcome:
    """What a run yields, and what it then raises."""

    measured: list[Measured]
    error: Exception | None = None

    def __iter__(self) -> Iterator[Measured]:
        yield from self.measured
        if self.error is not None:
            raise self.error


def outcome(run: Run, point: Point, references: Mapping[Path, Point]) -> Outcome:
    """What a run yields at a point: all networks, or those of a walk."""
    found: list[Measured] = []
    others = () if run.reference is None else (references[run.reference],)
    try:
        with scope(repr(run)):
            found.extend(claims.tests()[run.name](point, *others, run.layers))
    except OUT_OF_RANGE as error:
        return Outcome(found, error.with_traceback(None))  # whose frames would hold the rows
    return Outcome(found)


@dataclass(frozen=True)
class Work:
    """The runs at a point, with the points of their references. cell: networks of a cell. shifts, known: as those of
    `analysis.sums.Walk`. stage: how often all networks were walked before."""

    point: Point
    references: Mapping[Path, Point]
    runs: tuple[Run, ...]
    cell: int
    shifts: Mapping[Key, Array] = field(default_factory=dict)
    known: Mapping[Key, Sums | Array] = field(default_factory=dict)
    stage: int = 0


@dataclass(frozen=True)
class Found:
    """What a range of networks adds. cells: numbers of cells (c,), counts (c,) of their finite networks, and sums
    (c, k) by key; extremes (2, k) by key. unfinished: runs that need what is known only after this walk; refused: runs
    that ended, and why."""

    cells: NDArray[np.int64]
    counts: Array
    sums: dict[Key, Array]
    extremes: dict[Key, Array]
    unfinished: frozenset[Run]
    refused: dict[Run, Exception]


def walked(work: Work, first: int, last: int, learns: bool = False) -> tuple[Walk, Found, dict[Run, Outcome]]:
    """Run all on networks [first, last): what was added up, and what the runs yield where everything is known."""
    point = work.point.within(first, last)
    references = {path: other.within(first, last) for path, other in work.references.items()}
    addresses = np.concatenate([np.arange(low, high) for low, high in point.addresses[1]])
    walk = Walk(addresses[point.finite] // work.cell, dict(work.shifts), work.known, learns)
    unfinished: set[Run] = set()
    refused: dict[Run, Exception] = {}
    outcomes: dict[Run, Outcome] = {}
    with walking(walk), np.errstate(invalid="ignore"):
        for run in work.runs:
            try:
                outcomes[run] = outcome(run, point, references)
            except UnfinishedError:
                unfinished.add(run)
            except NotStreamedError as error:
                refused[run] = error.with_traceback(None)
            else:
                if (error_of_run := outcomes[run].error) is not None:
                    refused[run] = error_of_run
    cells, counts = np.unique(walk.cells, return_counts=True)
    found = Found(cells, counts.astype(float), walk.sums, walk.extremes, frozenset(unfinished), refused)
    return walk, found, outcomes


def gathered(work: Work, first: int, last: int) -> Found:
    """What networks [first, last) add, for a worker process."""
    return walked(work, first, last)[1]


Gather = Callable[[Work, Sequence[tuple[int, int]]], Iterable[Found]]  # what each range adds, in their order


def gather_here(work: Work, ranges: Sequence[tuple[int, int]]) -> Iterator[Found]:
    """Gather in this process."""
    return (gathered(work, *each) for each in ranges)


class Blocks:
    """The jackknife blocks of networks with these addresses: as many cells each as can be."""

    def __init__(self, addresses: Sequence[tuple[int, int]], cell: int):
        ids = [np.arange(low // cell, -(-high // cell)) for low, high in addresses]
        self.cells = np.unique(np.concatenate(ids))
        self.edges = np.linspace(0, len(self.cells), min(BLOCKS, len(self.cells)) + 1).astype(int)

    def __len__(self) -> int:
        return len(self.edges) - 1

    def of(self, cells: NDArray[np.int64]) -> NDArray[np.intp]:
        """The block of each of these cells."""
        return np.searchsorted(self.edges, np.searchsorted(self.cells, cells), side="right") - 1


def cell_of(networks: int) -> int:
    """The networks of a cell: a power of two, so that larger cells are made of smaller ones."""
    return 1 << max(networks // (BLOCKS * CELLS), 1).bit_length() - 1


@dataclass
class Merged:
    """What ranges have added so far, by block."""

    blocks: Blocks
    counts: Array
    sums: dict[Key, Array] = field(default_factory=dict)
    extremes: dict[Key, Array] = field(default_factory=dict)
    unfinished: set[Run] = field(default_factory=set)
    refused: dict[Run, Exception] = field(default_factory=dict)

    @classmethod
    def of(cls, blocks: Blocks, ranges: Iterable[Found]) -> "Merged":
        merged = cls(blocks, np.zeros(len(blocks)))
        for found in ranges:
            merged.add(found)
        return merged

    def add(self, found: Found) -> None:
        place = self.blocks.of(found.cells)
        np.add.at(self.counts, place, found.counts)
        for key, sums in found.sums.items():
            total = self.sums.setdefault(key, np.zeros((len(self.blocks), sums.shape[1])))
            np.add.at(total, place, sums)
        for key, (low, high) in found.extremes.items():
            before = self.extremes.get(key, np.array([low, high]))
            self.extremes[key] = np.array([np.minimum(before[0], low), np.maximum(before[1], high)])
        self.unfinished |= found.unfinished
        self.refused = found.refused | self.refused

    def known(self, shifts: Mapping[Key, Array]) -> dict[Key, Sums | Array]:
        """By key, what estimators are to return."""
        some = self.counts > 0
        counts = self.counts[some, None]
        found: dict[Key, Sums | Array] = {k: Sums(x[some], counts, shifts[k]) for k, x in self.sums.items()}
        return found | self.extremes


def in_ranges(
    work: Work, ranges: Sequence[tuple[int, int]], gather: Gather = gather_here
) -> tuple[dict[Run, Outcome], int]:
    """What runs yield over all networks of the ranges, and how many of these are finite everywhere. Of a run that
    cannot be run on ranges NotStreamedError is the error."""
    low, high = ranges[0]
    head = low, min(high, low + TRIED)
    blocks = Blocks([each for r in ranges for each in work.point.within(*r).addresses[1]], work.cell)
    refused: dict[Run, Exception] = {}
    todo, first = work, True
    while todo.runs or first:
        walk, learnt, _ = walked(todo, *head, learns=True)
        refused |= learnt.refused
        todo = replace(todo, shifts=walk.shifts, runs=tuple(run for run in todo.runs if run not in refused))
        merged = Merged.of(blocks, gather(todo, ranges))
        first, refused = False, refused | merged.refused
        pending = tuple(run for run in todo.runs if run in merged.unfinished and run not in refused)
        known = {**todo.known, **merged.known(walk.shifts)}
        if pending and len(known) == len(todo.known):
            raise AssertionError(f"{pending}: nothing new was found")
        todo = replace(todo, known=known, runs=pending, stage=todo.stage + 1)
    done = replace(todo, runs=tuple(run for run in work.runs if run not in refused))
    walk, found, outcomes = walked(done, *head)
    assert not walk.sums
    assert not found.unfinished
    found_of_run = {run: outcomes[run] if run in outcomes else Outcome([], refused[run]) for run in work.runs}
    return found_of_run, int(merged.counts.sum())
