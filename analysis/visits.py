"""What claims measure, one data set after another, in this process or in several: of all rows only those of the data
sets that are being visited are in memory, and of a data set that outgrows it only those of one range a process."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis import claims, streams
from analysis.estimates import measures_of, table
from analysis.kept import gather_with
from analysis.measures.measured import Layers, Measure, Measured
from analysis.measures.shown import of_report
from analysis.planned import Planned
from analysis.points import OUT_OF_RANGE, Point
from analysis.series import Judgeable, measured_here
from analysis.streams import COPIES, SMALL
from analysis.walks import Found, Gather, Outcome, Run, Work
from simulate import plugins
from simulate.processes import available, follow_parent, worker_pool
from simulate.running.progress import Progress, in_notebook
from simulate.store.sets import DataSet
from simulate.system import cores

RANGE_BYTES = 400 * 2**20  # upper bound on the memory of a process that measures ranges of networks
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Key = tuple[str, Path | None]  # the test, and the data set of the reference


@dataclass(frozen=True)
class Visit:
    """What is measured at a data set. measured: by test and reference, or why it cannot be. rows: of the table of
    estimates. finite: how many networks are finite everywhere. found: what runs have yielded, for figures, where rows
    are not read at once."""

    measured: Mapping[Key, list[Measured] | Exception]
    rows: list[dict[str, Any]]
    finite: int
    networks: int
    found: Mapping[Run, Outcome] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A data set, and the tests with their layers and references that are measured there. tabled: whether its table of
    estimates is made, and what the figures of a report show is measured."""

    data: DataSet
    tests: tuple[tuple[str, Layers, DataSet | None], ...]
    tabled: bool = True


@dataclass(frozen=True)
class Visits:
    """The visits of all data sets, by path."""

    by_path: Mapping[Path, Visit]

    def measuring(self, measure: Measure, point: Point, reference: Point | None, layers: Layers) -> list[Measured]:
        """What was measured at a point, for `analysis.series.series`."""
        key = (measure.name, reference.data.path if reference else None)
        found = self.by_path[point.data.path].measured[key]
        if isinstance(found, Exception):
            raise found
        return found


def tasks_of(sets: Sequence[DataSet], tests: Sequence[Judgeable], tabled: bool = True) -> list[Task]:
    """A task for each data set, the largest first. tabled: as of `Task`."""
    asked: dict[Path, list[tuple[str, Layers, DataSet | None]]] = {data.path: [] for data in sets}
    for test in tests:
        for point, other in test.points():
            reference = other.data if other else None
            assert not isinstance(reference, Planned)
            asked[point.data.path].append((test.name, test.options.get("layers"), reference))
    by_size = sorted(sets, key=lambda data: -_bytes(data))
    return [Task(data, tuple(asked[data.path]), tabled) for data in by_size]


def visit(task: Task) -> Visit:
    """Measure at one data set, and forget its rows."""
    point, measured = Point(task.data), {}
    others = {data.path: Point(data) for _, _, data in task.tests if data}
    for name, layers, reference in task.tests:
        other = others[reference.path] if reference else None
        found: list[Measured] | Exception
        try:
            found = measured_here(claims.tests()[name], point, other, layers)
        except OUT_OF_RANGE as error:
            found = error.with_traceback(None)  # whose frames would hold the rows
        measured[name, reference.path if reference else None] = found
    rows = list(table(point)) if task.tabled else []
    return Visit(measured, rows, int(point.finite.sum()), len(point.finite))


def visit_in_ranges(task: Task, gather: Gather | None = None) -> Visit:
    """Measure at one data set, with a range of its networks in memory at a time."""
    point, references, runs = _asked(task)
    found, finite = streams.outcomes(point, references, runs, gather or gather_with())
    tested = [_run(*test) for test in task.tests]
    measured = {(run.name, run.reference): _result(found[run]) for run in tested}

    def measuring(measure: Measure, point: Point, layers: Layers) -> Outcome:
        return found[_run(measure.name, layers, None)]

    rows = list(table(point, measuring)) if task.tabled else []
    return Visit(measured, rows, finite, task.data.networks, found)


def keep(task: Task) -> None:
    """Keep the sums of all ranges of a data set, which `visit_in_ranges` then finds."""
    streams.walk(*_asked(task), gather_with())


def _asked(task: Task) -> tuple[Point, dict[Path, Point], list[Run]]:
    """The point of a data set, those of the references, and all runs of its tests and its table."""
    point = Point(task.data)
    of_table = [*measures_of(point), *of_report(point)] if task.tabled else []
    runs = [*(_run(*test) for test in task.tests), *(_run(measure.name, None, None) for measure in of_table)]
    return (
        point,
        {data.path: Point(data, role=data.path.name) for _, _, data in task.tests if data},
        list(dict.fromkeys(runs)),
    )


def _run(name: str, layers: Layers, reference: DataSet | None) -> Run:
    return Run(name, None if layers is None else tuple(layers), reference.path if reference else None)


def _result(outcome: Outcome) -> list[Measured] | Exception:
    return outcome.measured if outcome.error is None else outcome.error


def visit_all(tasks: Sequence[Task], workers: int | None = None) -> Visits:
    """Visit all data sets. workers: processes; None takes one for small data, and else one a core, as far as memory
    goes. It is one where a record is of no file that another process could load. What is measured does not depend on
    their number, but for rounding."""
    progress = Progress(quiet=not (sys.stderr.isatty() or in_notebook()))
    of_rows = [task for task in tasks if task.data.layout.keeps_rows]
    at_once = [task for task in of_rows if streams.is_small(task.data)]
    large = [task for task in of_rows if not streams.is_small(task.data)]
    summed = {task.data.path: visit_in_ranges(task) for task in tasks if not task.data.layout.keeps_rows}
    count = min(workers or _fitting(of_rows), max(len(at_once), sum(len(streams.ranges_of(t.data)) for t in large)))
    for task in large:
        progress.start(str(task.data.path), task.data.networks, task.data.networks, task.data.layout.row_bytes())
    if count <= 1 or plugins.of_no_file():
        with progress:
            found = {task.data.path: visit_in_ranges(task, _told(gather_with(), progress)) for task in large}
        return Visits(summed | found | {task.data.path: visit(task) for task in at_once})
    with _one_thread_in_children(), worker_pool(count, _start_worker, plugins.sources(plugins.loaded())) as pool:
        with progress:
            found = {task.data.path: visit_in_ranges(task, _told(gather_with(pool.map), progress)) for task in large}
        return Visits(summed | found | dict(zip((t.data.path for t in at_once), pool.map(visit, at_once), strict=True)))


def _told(gather: Gather, progress: Progress) -> Gather:
    """The same, and the progress counts networks when all that is asked of them first is added."""

    def gather_and_tell(work: Work, ranges: Sequence[tuple[int, int]]) -> Iterator[Found]:
        for each, found in zip(ranges, gather(work, ranges), strict=True):
            yield found
            if work.stage == 0:
                progress.advance(str(work.point.data.path), work.within(*each).point.networks)

    return gather_and_tell


def _start_worker(to_load: Sequence[tuple[str, str]]) -> None:
    """Load the plugins after all of our own records, as the parent did."""
    follow_parent()
    plugins.load_in_worker(to_load)


def _bytes(data: DataSet) -> int:
    return data.networks * data.layout.row_bytes()


def _fitting(tasks: Sequence[Task]) -> int:
    sizes = [_bytes(task.data) for task in tasks]
    if sum(sizes) < SMALL:  # starting a process takes longer than measuring
        return 1
    most = max([RANGE_BYTES, *(COPIES * size for size in sizes if size <= SMALL)])
    return max(1, min(cores(), available() // most))


@contextmanager
def _one_thread_in_children() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
