"""Sums of a claim's tests in the place of rows (`ensemble.keep=sums`): added up as networks are drawn, judged later.

A test is run on the rows of each part as on a range of a walk (`analysis.walks`), and what it adds up there is the
part. That takes tests which walk the networks once, with shifts from the first networks alone. What each sum is, the
plan tells: by the test, by its place among what the test asks, and by its value over the first networks, whose rows are
kept.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis import claims, on_device
from analysis.estimators import Array
from analysis.planned import Drawn, Planned
from analysis.points import Point
from analysis.sums import Key, NotStreamedError, Walk
from analysis.walks import SAME, Blocks, Found, Outcome, Run, Work, cell_of, in_stages, tried, walked
from simulate import plugins
from simulate.store.cells import Summed
from simulate.store.files import StoreError
from simulate.store.head import Head, head_of, plan_of, summed
from simulate.store.layout import NOT_FINITE, OK
from simulate.store.sets import KEEPING, DataSet

ROUNDING = 1e-12  # relative to the largest of sums that belong together


@dataclass(frozen=True)
class Plan:
    """The runs whose sums are kept, those of them that end with an error, and of each sum, by key, the shift (C,) of
    its rows and its value (1, k) over the first networks, without a shift."""

    runs: tuple[Run, ...]
    ended: frozenset[Run]
    shifts: Mapping[Key, Array]
    sums: Mapping[Key, Array]

    @classmethod
    def of(cls, text: str) -> "Plan":
        """The plan that a text tells."""
        plain = json.loads(text)
        runs = tuple(Run(name, None if layers is None else tuple(layers), None) for name, layers in plain["runs"])
        ended = frozenset(runs[k] for k in plain["ended"])
        shifts, sums = ({(s, k): np.array(x[part]) for s, k, *x in plain["sums"]} for part in (0, 1))
        return cls(runs, ended, shifts, sums)

    @property
    def widths(self) -> dict[Key, int]:
        """By key, the number of its sums."""
        return {key: sums.shape[1] for key, sums in self.sums.items()}

    @property
    def text(self) -> str:
        runs = [[run.name, run.layers] for run in self.runs]
        sums = [[*key, self.shifts[key].tolist(), of_head.tolist()] for key, of_head in self.sums.items()]
        return json.dumps({"runs": runs, "ended": [self.runs.index(run) for run in self.ended], "sums": sums})

    def work(self, point: Point, cell: int) -> Work:
        """The runs at a point."""
        return Work(point, {}, self.runs, cell, self.shifts)

    def strange(self, head: Point) -> set[Run]:
        """The runs that do not add up over the first networks what the plan has there."""
        walk, found = _unshifted(self.work(head, last_of(head)))
        other = {key for key in {*found.sums, *self.sums} if not _same(found.sums.get(key), self.sums.get(key))}
        turned = found.ended ^ self.ended
        return {run for run in self.runs if run in found.refused or run in turned or walk.among(repr(run), other)}


def _unshifted(work: Work) -> tuple[Walk, Found]:
    """A walk over the networks of a work whose sums tell what they are of: about their means many would vanish."""
    walk, found, _ = walked(replace(work, shifts={key: np.zeros_like(shift) for key, shift in work.shifts.items()}))
    return walk, found


def _same(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None or a.shape != b.shape:
        return False
    return bool(np.allclose(a, b, rtol=SAME, atol=ROUNDING * np.abs(b).max(initial=0.0), equal_nan=True))


def last_of(head: Point) -> int:
    """The address behind the last of the first networks, which makes one cell of them."""
    return head.addresses[1][-1][1]


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(dict.fromkeys(run.name for run in runs))


def planned(head: Point, tests: Mapping[str, Mapping[str, Any]]) -> Plan:
    """The plan of the tests of a claim, from the rows of the first networks. ValueError where a test needs the rows of
    all, or where a record is of no file that another process could load."""
    if unnamed := plugins.of_no_file():
        raise ValueError(f"{unnamed[0]} is of no file whose text the data set could tell; keep rows")
    work = Work(head, {}, runs_of(tests), last_of(head))
    walk, found, _ = walked(work, learns=True)
    if not len(found.cells):
        raise ValueError(f"none of the first {head.networks} networks is finite; keep rows")
    able = tried(work, *head.addresses[1][0], stages=1)
    if needy := [run for run in work.runs if run not in able or walk.among(repr(run), {*found.extremes})]:
        why = "rows are needed again when sums over all networks are known, or all at once"
        raise ValueError(f"{_names(needy)}: {why}; keep rows, or leave it out of the claim")
    return Plan(work.runs, found.ended, walk.shifts, _unshifted(replace(work, shifts=walk.shifts))[1].sums)


def runs_of(tests: Mapping[str, Mapping[str, Any]]) -> tuple[Run, ...]:
    """The runs of the tests of a claim. ValueError where one compares two data sets."""
    if paired := [name for name in tests if claims.tests()[name].paired]:
        raise ValueError(f"{paired[0]} compares networks of two data sets one by one; keep rows")
    layers = {name: options.get("layers") for name, options in tests.items()}
    return tuple(Run(name, None if chosen is None else tuple(chosen), None) for name, chosen in layers.items())


def continued(head: DataSet, tests: Mapping[str, Mapping[str, Any]]) -> Plan:
    """The plan of a data set that is there. StoreError where it has no sums of some tests, or where this version of the
    program adds up others."""
    plan = Plan.of(plan_of(head))
    if lacking := [run for run in runs_of(tests) if run not in plan.runs]:
        have = f"it holds sums of {_names(plan.runs)}, and none of {_names(lacking)} at the layers asked"
        raise StoreError(f"output={head.path}: {have}; choose another output")
    if other := plan.strange(Point(head)):
        raise StoreError(f"output={head.path}: {_changed([*other])}; choose another output")
    return plan


def _changed(runs: Sequence[Run]) -> str:
    return f"{_names(runs)}: the sums that are kept are not those that this version of the program adds up"


@dataclass(frozen=True)
class Reduction:
    """What makes the sums of a part of its rows. data: whose networks are drawn; plan: its text; size: networks of a
    cell. head: the first rows, where they are not kept yet."""

    data: Planned
    plan: str
    size: int
    head: Head | None = None

    def by(self, plan: str) -> "Reduction":
        """The same by the plan that is kept. StoreError where that is about other sums."""
        one, other = Plan.of(self.plan), Plan.of(plan)
        if (one.runs, one.ended, [*one.sums]) != (other.runs, other.ended, [*other.sums]):
            raise StoreError(f"output={self.data.path}: sums of other tests are kept there; choose another output")
        return replace(self, plan=plan, head=None)

    def __call__(self, first: int, values: Mapping[str, NDArray[Any]], status: NDArray[np.int8]) -> Summed:
        """The sums of networks first, ..., first + M - 1; arguments as those of `simulate.store.parts.write_part`.
        StoreError where a test treats some networks in another way than the first ones."""
        plan = Plan.of(self.plan)
        found = walked(plan.work(Point(drawn(self.data, first, values, status)), self.size))[1]
        return self._part(plan, found, first, len(status))

    def on_device(self, first: int, values: Mapping[str, Any], finite: Any) -> Summed:
        """The same of `simulate.numerics.rows.Rows`, with finite (M, steps). Sums that cannot be formed on their device
        are formed of a copy on the host."""
        plan = Plan.of(self.plan)
        point = on_device.OnDevice(drawn(self.data, first, values, finite))
        formed = on_device.formed(plan.work(point, self.size), finite.all(axis=1), plan.widths, plan.ended)
        found = formed.found()
        if formed.left:
            status = np.where(finite.numpy(), OK, NOT_FINITE).astype(np.int8)
            copied = drawn(self.data, first, {prefix: rows.numpy() for prefix, rows in values.items()}, status)
            rest = walked(replace(plan.work(Point(copied), self.size), runs=formed.left))[1]
            ended = found.ended - {*formed.left} | rest.ended
            found = replace(rest, sums=found.sums | rest.sums, ended=ended)
        return self._part(plan, found, first, len(finite))

    def _part(self, plan: Plan, found: Found, first: int, networks: int) -> Summed:
        alike = {key: sums.shape[1] for key, sums in found.sums.items()} == plan.widths and found.ended == plan.ended
        if len(found.cells) and (found.refused or found.extremes or not alike):
            why = "a test of the claim treats some of them in another way than the first networks"
            these = f"networks {first} to {first + networks - 1}"
            raise StoreError(f"output={self.data.path}: {these}: {why}; {KEEPING}")
        none = np.empty((0, sum(plan.widths.values())))
        sums = np.concatenate([found.sums[key] for key in plan.sums], axis=1) if len(found.cells) else none
        return Summed(self.size, found.cells, found.counts.astype(np.int64), sums)


def drawn(data: Planned, first: int, values: Mapping[str, NDArray[Any]], status: NDArray[np.int8]) -> Drawn:
    """The data set with the rows of some networks in memory."""
    return Drawn(data.path, data.settings, data.layout, data.given, first, values, status)


def outcomes(point: Point, runs: Sequence[Run]) -> tuple[dict[Run, Outcome], int]:
    """What runs yield by the sums of a data set, and how many of its networks are finite everywhere. ValueError, which
    says what is kept, is the error of a run whose sums are not. StoreError where files are missing or damaged."""
    assert isinstance(point.data, DataSet)
    data, of_head = point.data, head_of(point.data)
    head, text = Point(of_head), plan_of(of_head)
    plan, cell = Plan.of(text), cell_of(data.manifest["networks"])
    strange = plan.strange(head)
    work = plan.work(head, cell)
    work = replace(work, runs=tuple(run for run in plan.runs if run not in strange))
    blocks = Blocks(data.addresses, cell)
    known, finite = in_stages(work, head.addresses[1][0], blocks, lambda _: _founds(data, plan, text, cell), 1)
    return {run: _of_run(run, plan.runs, known, strange) for run in runs}, finite


def _of_run(run: Run, kept: Sequence[Run], known: Mapping[Run, Outcome], strange: set[Run]) -> Outcome:
    """What a run yields by the sums of a run of the same measure: what it asks of it, and then ValueError where it asks
    for more layers."""
    why = f"rows were not kept (ensemble.keep=sums), but sums of {_names(kept)} at the layers of the claim; {KEEPING}"
    other = next((other for other in kept if other.name == run.name), None)
    if other is None or run.reference is not None:
        return Outcome([], ValueError(why))
    if other in strange or isinstance(known[other].error, NotStreamedError):
        return Outcome([], ValueError(f"{_changed([other])}; {KEEPING}"))
    there = replace(known[other], measured=[m for m in known[other].measured if m.layer in (run.layers or [m.layer])])
    if other.layers is None or (run.layers is not None and set(run.layers) <= set(other.layers)):
        return there
    return replace(there, error=ValueError(why))


def _founds(data: DataSet, plan: Plan, text: str, cell: int) -> Iterator[Found]:
    """What the parts of a data set add."""
    ends = np.cumsum([sums.shape[1] for sums in plan.sums.values()])[:-1]
    for part in summed(data, text):
        sums = dict(zip(plan.sums, np.split(part.sums, ends, axis=1), strict=True))
        cells = part.cells * part.size // cell
        yield Found(cells, part.counts.astype(np.float64), sums, {}, plan.ended, {})
