"""Runs of measures on one range of networks after another: what estimators add up there (`analysis.sums`) is merged.

Jackknife blocks are made of cells, aligned ranges of addresses, so that sums of cells do not depend on how many
networks there are.
"""

import itertools
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
STAGES = 8  # upper bound on how often all networks are walked
SAME = 1e-9  # relative error within which what is measured in two ways is the same
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
            found.extend(claims.measures()[run.name](point, *others, run.layers))
    except OUT_OF_RANGE as error:
        return Outcome(found, error.with_traceback(None))  # whose frames would hold the rows
    return Outcome(found)


@dataclass(frozen=True)
class Work:
    """The runs at a point, with the points of their references. cell: networks of a cell. shifts, known: as those of
    `analysis.sums.Walk`. stage: how often all networks were walked before. asked: by key, how many sums or extremes the
    first networks ask for at this stage."""

    point: Point
    references: Mapping[Path, Point]
    runs: tuple[Run, ...]
    cell: int
    shifts: Mapping[Key, Array] = field(default_factory=dict)
    known: Mapping[Key, Sums | Array] = field(default_factory=dict)
    stage: int = 0
    asked: Mapping[Key, int] = field(default_factory=dict)

    def within(self, first: int, last: int) -> "Work":
        """The same on networks [first, last) alone."""
        references = {path: other.within(first, last) for path, other in self.references.items()}
        return replace(self, point=self.point.within(first, last), references=references)


@dataclass(frozen=True)
class Found:
    """What a range of networks adds. cells: numbers of cells (c,), counts (c,) of their finite networks, and sums
    (c, k) by key; extremes (2, k) by key. ended: runs that ended with an error; refused: runs that cannot be run on
    ranges, and why. unkept: why this is not kept in a file, where it should be."""

    cells: NDArray[np.int64]
    counts: Array
    sums: dict[Key, Array]
    extremes: dict[Key, Array]
    ended: frozenset[Run]
    refused: dict[Run, NotStreamedError]
    unkept: str = ""


def walked(work: Work, learns: bool = False) -> tuple[Walk, Found, dict[Run, Outcome]]:
    """Run all on the networks of a work: what was added up, and what the runs yield where everything is known. Nothing
    is run where no network is finite."""
    point = work.point
    addresses = np.concatenate([np.arange(low, high) for low, high in point.addresses[1]])
    walk = Walk(addresses[point.finite] // work.cell, dict(work.shifts), work.known, learns)
    outcomes, refused = by_walk(walk, work)
    cells, counts = np.unique(walk.cells, return_counts=True)
    found = Found(cells, counts.astype(float), walk.sums, walk.extremes, ended_of(outcomes), refused)
    return walk, found, outcomes


def by_walk(
    walk: Walk, work: Work, unable: tuple[type[Exception], ...] = (NotStreamedError,)
) -> tuple[dict[Run, Outcome], dict[Run, NotStreamedError]]:
    """What the runs of a work yield by a walk, and why the others cannot be run on ranges. unable: errors that tell
    so."""
    refused: dict[Run, NotStreamedError] = {}
    outcomes: dict[Run, Outcome] = {}
    with walking(walk), np.errstate(invalid="ignore"):
        for run in work.runs if len(walk.cells) else ():
            try:
                outcomes[run] = outcome(run, work.point, work.references)
            except UnfinishedError:
                continue
            except unable as error:
                refused[run] = NotStreamedError(str(error))
    return outcomes, refused


def ended_of(outcomes: Mapping[Run, Outcome]) -> frozenset[Run]:
    """The runs that ended with an error."""
    return frozenset(run for run, found in outcomes.items() if found.error)


def gathered(work: Work) -> Found:
    """What the networks of a work add, for a worker process."""
    return walked(work)[1]


Gather = Callable[[Work, Sequence[tuple[int, int]]], Iterable[Found]]  # what each range adds, in their order


def gather_here(work: Work, ranges: Sequence[tuple[int, int]]) -> Iterator[Found]:
    """Gather in this process."""
    return (gathered(work.within(*each)) for each in ranges)


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
    """What ranges have added so far, by block. head: the walk of the first networks, and ended the runs that ended
    there with an error: what another range does not do in the same way is no sum."""

    blocks: Blocks
    runs: tuple[Run, ...]
    head: Walk
    ended: frozenset[Run]
    counts: Array = field(init=False)
    sums: dict[Key, Array] = field(default_factory=dict)
    extremes: dict[Key, Array] = field(default_factory=dict)
    refused: dict[Run, NotStreamedError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts = np.zeros(len(self.blocks))

    def add(self, found: Found) -> None:
        if not len(found.cells):
            return
        place = self.blocks.of(found.cells)
        np.add.at(self.counts, place, found.counts)
        for key, sums in found.sums.items():
            total = self.sums.setdefault(key, np.zeros((len(self.blocks), sums.shape[1])))
            np.add.at(total, place, sums)
        for key, (low, high) in found.extremes.items():
            before = self.extremes.get(key, np.array([low, high]))
            self.extremes[key] = np.array([np.minimum(before[0], low), np.maximum(before[1], high)])
        lacking = self.head.new - {*found.sums, *found.extremes}
        for run in self.runs:
            if self.head.among(repr(run), lacking) or (run in found.ended) != (run in self.ended):
                self.refused[run] = NotStreamedError(f"{run.name}: some networks are treated in another way")
        self.refused |= found.refused

    def known(self) -> dict[Key, Sums | Array]:
        """By key, what estimators are to return."""
        some = self.counts > 0
        counts, shifts = self.counts[some, None], self.head.shifts
        found: dict[Key, Sums | Array] = {k: Sums(x[some], counts, shifts[k]) for k, x in self.sums.items()}
        return found | self.extremes


def in_ranges(
    work: Work, ranges: Sequence[tuple[int, int]], gather: Gather = gather_here, stages: int | None = None
) -> tuple[dict[Run, Outcome], int]:
    """What runs yield over all networks of the ranges, and how many of these are finite everywhere. stages: as those of
    `in_stages`."""
    (low, high), (_, last) = ranges[0], ranges[-1]
    blocks = Blocks(work.point.within(low, last).addresses[1], work.cell)
    return in_stages(work, (low, min(high, low + TRIED)), blocks, lambda todo: gather(todo, ranges), stages)


def in_stages(
    work: Work,
    first: tuple[int, int],
    blocks: Blocks,
    gather: Callable[[Work], Iterable[Found]],
    stages: int | None = None,
) -> tuple[dict[Run, Outcome], int]:
    """What runs yield over all networks, and how many of these are finite everywhere. Of a run that cannot be run on
    ranges NotStreamedError is the error. gather: what all networks add to a work; stages: upper bound on how often they
    are walked.

    The first networks are run again and again: what they ask for and is not known is gathered from all."""
    head = work
    refused: dict[Run, NotStreamedError] = {}
    stages = STAGES if stages is None else stages
    while True:
        walk, at_head, outcomes = walked(head.within(*first), learns=True)  # points keep what they have computed
        refused |= at_head.refused
        asking = tuple(run for run in head.runs if run not in refused and walk.among(repr(run), walk.new))
        if head.stage == stages:
            refused |= {run: NotStreamedError(f"{run.name}: it asks for more and more") for run in asking}
        if head.stage and not set(asking) - set(refused):
            break
        widths = {key: ask.shape[1] for key, ask in {**walk.sums, **walk.extremes}.items()}
        todo = replace(head, runs=asking, shifts=walk.shifts, asked=widths)
        merged = Merged(blocks, asking, walk, at_head.ended)
        for each in gather(todo):
            merged.add(each)
        refused |= merged.refused
        runs = tuple(run for run in head.runs if run not in refused)
        known = {**head.known, **merged.known()}
        head = replace(head, runs=runs, shifts=walk.shifts, known=known, stage=head.stage + 1)
    finite = int(merged.counts.sum())
    none = NotStreamedError("none of the first networks is finite")
    found_of_run = {run: outcomes.get(run, Outcome([], none)) for run in work.runs}
    return found_of_run | {run: Outcome([], error) for run, error in refused.items()}, finite


def tried(work: Work, first: int, last: int, stages: int | None = None) -> list[Run]:
    """The runs that yield the same from networks [first, last) at once and on three ranges of these. stages: as those
    of `in_stages`."""
    head = replace(work.within(first, last), cell=1)
    with np.errstate(invalid="ignore"):  # as `walked` has it
        at_once = {run: outcome(run, head.point, head.references) for run in work.runs}
    cuts = np.linspace(first, last, 4).astype(int).tolist()
    trial, _ = in_ranges(head, list(itertools.pairwise(cuts)), stages=stages)
    return [run for run in work.runs if same(at_once[run], trial[run])]


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two runs yield the same but for rounding, and end with the same error or with none. A number may be NaN
    in both, as logarithms of noise are, but where all are nothing is shown."""
    if repr(one.error) != repr(other.error) or len(one.measured) != len(other.measured):
        return False
    shown = not one.measured or any(not np.isnan(m.estimate.replicates).all() for m in one.measured)
    return shown and all(_same(a, b) for a, b in zip(one.measured, other.measured, strict=True))


def _same(a: Measured, b: Measured) -> bool:
    x, y = (np.concatenate([m.estimate.value[None], m.estimate.replicates]) for m in (a, b))
    if x.shape != y.shape or (a.tensor, a.layer, a.step, a.samples) != (b.tensor, b.layer, b.step, b.samples):
        return False
    size = np.fmax.reduce(np.abs(x), axis=0, initial=0.0)
    apart = np.where((x == y) | np.isnan(x) & np.isnan(y), 0.0, np.abs(x - y))  # infinities may agree
    return bool((apart <= SAME * size).all() and np.array_equal(a.theory, b.theory, equal_nan=True))
