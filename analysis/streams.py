"""Measures of a data set that outgrows memory, on one range of its networks after another (`analysis.walks`). Memory is
that of one range a process, whatever the number of networks.

Whether a measure can be run so is tried on the first networks (`streamed`). What cannot reads all rows at once, and is
refused where they do not fit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from analysis import claims, reduced
from analysis.estimates import Measuring, measured_here
from analysis.estimators import FEWEST
from analysis.kept import gather_with
from analysis.measures.measured import Layers, Measure, Measured
from analysis.planned import Planned
from analysis.points import Point
from analysis.sums import NotStreamedError
from analysis.walks import TRIED, Gather, Outcome, Run, Work, cell_of, gather_here, in_ranges, outcome, tried
from simulate.processes import check_memory
from simulate.store.head import head_of
from simulate.store.sets import DataSet

SMALL = 64 * 2**20  # bytes of rows up to which a data set is read at once
RANGE = 16 * 2**20  # bytes of the rows of a range, which holds a part at least
COPIES = 8  # of rows in the memory of a process that measures


def ranges_of(data: DataSet | Planned) -> list[tuple[int, int]]:
    """Ranges of the networks of whole parts, which are read one after another. Each begins where it does whatever
    networks are added behind it."""
    assert isinstance(data, DataSet)
    most = max(2 * FEWEST, RANGE // data.layout.row_bytes())
    found: list[tuple[int, int]] = []
    for piece in data.parts():
        if found and piece.high - found[-1][0] <= most:
            found[-1] = found[-1][0], piece.high
        else:
            found.append((piece.low, piece.high))
    return found


def streamed(work: Work) -> list[Run]:
    """The runs that can be run on ranges: at the first networks they yield the same as from all rows at once."""
    (first, high), *_ = ranges_of(work.point.data)
    return tried(work, first, min(high, first + TRIED))


def walk(
    point: Point, references: Mapping[Path, Point], runs: Sequence[Run], gather: Gather = gather_here
) -> tuple[dict[Run, Outcome], int]:
    """What those runs yield that can be run on ranges, and how many networks are finite everywhere."""
    work = Work(point, references, tuple(runs), cell_of(point.networks))
    return in_ranges(replace(work, runs=tuple(streamed(work))), ranges_of(point.data), gather)


def outcomes(
    point: Point, references: Mapping[Path, Point], runs: Sequence[Run], gather: Gather = gather_here
) -> tuple[dict[Run, Outcome], int]:
    """What runs yield over all networks of a point, and how many of these are finite everywhere.

    Runs that cannot be run on ranges read all rows at once, where they fit; else ValueError is their error. Where sums
    were kept in the place of rows, it is what `analysis.reduced.outcomes` has."""
    if not point.data.layout.keeps_rows:
        return reduced.outcomes(point, runs)
    found, finite = walk(point, references, runs, gather)
    rest = [run for run in runs if run not in found or isinstance(found[run].error, NotStreamedError)]
    return found | {run: _at_once(run, point, references) for run in rest}, finite


def _at_once(run: Run, point: Point, references: Mapping[Path, Point]) -> Outcome:
    """A run that reads all rows at once."""
    columns = [len(point.columns(family)) for family in claims.measures()[run.name].families if point.records(family)]
    layout = point.data.layout
    cells = point.networks * len(layout.steps) * len(layout.layers)
    need = cells * sum(columns) * np.dtype(layout.dtype).itemsize * COPIES
    try:
        check_memory(need, f"{run.name} reads the rows of all networks at once")
    except ValueError as error:
        return Outcome([], error.with_traceback(None))
    return outcome(run, point, references)


def is_small(data: DataSet) -> bool:
    """Whether the rows of a data set are read at once."""
    return data.layout.keeps_rows and data.networks * data.layout.row_bytes() <= SMALL


def measuring_of(point: Point) -> Measuring:
    """Where the measurements of a point come from: all its rows, or ranges of them one after another."""
    assert isinstance(point.data, DataSet)
    if is_small(point.data):
        return measured_here

    def measuring(measure: Measure, point: Point, layers: Layers) -> Iterable[Measured]:
        return _found(point, Run(measure.name, None if layers is None else tuple(layers), None))

    return measuring


def _found(point: Point, run: Run) -> Outcome:
    """What a run yields, which a visit may have found."""
    found = point.found if run in point.found else outcomes(point, {}, [run], gather_with())[0]
    return cast(Outcome, found[run])


def shown(measure: Measure, point: Point) -> list[Measured]:
    """What a figure shows of a point at all layers: of all its networks, or of the first where these alone have rows
    (`of_first`)."""
    if not of_first(measure, point):
        return list(measuring_of(point)(measure, point, None))
    assert isinstance(point.data, DataSet)
    return list(measure(Point(head_of(point.data)), None))


def of_first(measure: Measure, point: Point) -> bool:
    """Whether a measure at all layers is that of a point's first networks, as there are neither rows nor sums of it."""
    return not point.data.layout.keeps_rows and _found(point, Run(measure.name, None, None)).error is not None
