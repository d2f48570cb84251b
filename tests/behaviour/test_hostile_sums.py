"""Sums over ranges of networks where measures, networks and files are not as one would wish."""

import gc
import io
import pickle
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import simulate
from analysis import kept, streams, visits, walks
from analysis.measures.measured import MEASURES, measure
from analysis.points import Point
from analysis.walks import Run, Work
from simulate import plugins
from simulate.settings.plugin import Plugin
from simulate.store.sets import DataSet, Piece, open_data_set
from tests.behaviour.test_streams import QUICK, work_at

# Measures whose sums depend on values: streamed where the values are those of all networks, and else read at once.
ODD = """
import numpy as np
from analysis import estimators
from analysis.measures.measured import Measured, measure

def yielded(point, *estimates):
    g, one = point.read("g", 2)[:, :1], np.ones(1)
    for found in estimates:
        yield Measured("odd", 2, 0, ["00"], found, one, one)

@measure("asks_again", tensor="odd", symbol="$x$", families=("g",))
def asks_again(point, layers):
    g = point.read("g", 2)[:, :1]
    first = estimators.mean(g)
    if first.value[0] > 0:  # not yet known, and then true
        yield from yielded(point, estimators.mean(g ** 2))

@measure("asks_now_and_then", tensor="odd", symbol="$x$", families=("g",))
def asks_now_and_then(point, layers):
    g = point.read("g", 2)[:, :1]
    first = estimators.mean(g)
    if (g == SEEN).any():
        estimators.mean(g ** 3)
    yield from yielded(point, first, estimators.mean(g ** 2))

@measure("ends_now_and_then", tensor="odd", symbol="$x$", families=("g",))
def ends_now_and_then(point, layers):
    g = point.read("g", 2)[:, :1]
    yield from yielded(point, estimators.mean(g))
    if (g == SEEN).any():
        raise ValueError("a network is odd")

@measure("asks_without_end", tensor="odd", symbol="$x$", families=("g",))
def asks_without_end(point, layers):
    g = point.read("g", 2)[:, :1]
    total = estimators.mean(g)
    for k in range(2, 20):
        if total.value[0] > 0:
            total = total + estimators.mean(g ** k)
    yield from yielded(point, total)

@measure("always_fails", tensor="odd", symbol="$x$", families=("g",))
def always_fails(point, layers):
    yield from yielded(point, estimators.mean(point.read("g", 2)[:, :1]))
    raise ValueError("never known")
"""
NAMES = ("asks_again", "asks_now_and_then", "ends_now_and_then", "asks_without_end", "always_fails")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """600 networks, and odd measures, for which one of the last 200 is odd."""
    root = tmp_path_factory.mktemp("hostile_sums")
    simulate.run("network.width=8", "network.depth=2", *QUICK, f"output={root}/a")
    g = Point(open_data_set(root / "a")).read("g", 2)[:, 0]
    (root / "odd.py").write_text(ODD.replace("SEEN", repr(float(g[500]))))
    plugins.load([root / "odd.py"])
    yield root
    del plugins._loaded["odd.py"]
    for name in NAMES:
        del MEASURES[name]


@pytest.fixture(autouse=True)
def in_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """All data sets are taken for large, are read in ranges of 200 networks, and are tried on the first 200."""
    monkeypatch.setattr(streams, "is_small", lambda data: False)
    monkeypatch.setattr(streams, "ranges_of", lambda data: [(low, low + 200) for low in range(0, data.networks, 200)])
    monkeypatch.setattr(walks, "STAGES", 4)


@pytest.mark.parametrize("name", NAMES)
def test_sums_that_depend_on_values(folder: Path, name: str) -> None:
    """Whatever a measure does with what it sees, its estimates are those of all rows at once."""
    work = work_at(folder / "a", name)
    (run,) = work.runs
    found, finite = streams.outcomes(work.point, {}, work.runs, kept.gather_with())
    assert finite == 600
    assert walks.same(walks.outcome(run, work.point, {}), found[run])
    in_ranges, _ = walks.in_ranges(work, streams.ranges_of(work.point.data))
    streamed = not isinstance(in_ranges[run].error, walks.NotStreamedError)
    assert streamed == (name in ("asks_again", "always_fails"))


def test_ranges_without_finite_networks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second 200 networks have diverged, and then the first: estimates are those of the others, and errors those of
    blocks with fewer networks."""
    status = DataSet.status
    for low in (200, 0):

        def diverged(data: DataSet, low: int = low) -> np.ndarray:
            addresses = np.concatenate([np.arange(*each) for each in data.addresses])
            return np.where((addresses // 200 == low // 200)[:, None], 1, status(data)).astype(np.int8)

        monkeypatch.setattr(DataSet, "status", diverged)
        work = work_at(folder / "a", "V", "kurtosis_exact")
        found, finite = streams.outcomes(work.point, {}, work.runs)
        assert finite == 400
        for run in work.runs:
            for one, other in zip(walks.outcome(run, work.point, {}), found[run], strict=True):
                np.testing.assert_allclose(other.estimate.value, one.estimate.value, rtol=1e-9)
                np.testing.assert_allclose(other.estimate.error, one.estimate.error, rtol=0.1)


def test_a_range_is_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When rows of a range are read, the point of the range before is gone."""
    points: list[weakref.ref[Point]] = []
    walked = walks.walked

    def watched(work: Work) -> tuple[object, ...]:
        gc.collect()
        assert not any(ref() for ref in points)
        points.append(weakref.ref(work.point))
        return walked(work)

    monkeypatch.setattr(kept, "walked", watched)
    monkeypatch.setattr(kept, "_read", lambda *_: (_ for _ in ()).throw(ValueError))
    work = work_at(folder / "a", "V")
    streams.outcomes(work.point, {}, work.runs, kept.gather_with())
    assert len(points) == 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_analyses_tell_how_far_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar with the time left on a terminal, and nothing in a pipe."""
    task = visits.Task(open_data_set(folder / "a"), (("V", None, None),), tabled=False)
    for stream, told in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        visits.visit_all([task], 1)
        assert ("600 of 600 networks" in stream.getvalue()) == told
        assert ("s left" in stream.getvalue()) == told
        assert bool(stream.getvalue()) == told


def _layers(work: Work) -> Work:
    return replace(work, runs=(work.runs[0]._replace(layers=(2,)),))


def _inputs(work: Work) -> Work:
    data = work.point.data
    assert isinstance(data, DataSet)
    settings = data.manifest["settings"] | {"inputs": data.manifest["settings"]["inputs"] | {"seed": 7}}
    return replace(work, point=Point(replace(data, manifest=data.manifest | {"settings": settings})))


def _files(work: Work) -> Work:
    data = work.point.data
    assert isinstance(data, DataSet)
    return replace(work, point=Point(replace(data, manifest=data.manifest | {"files": {"mine.npy": "0" * 64}})))


def _shifts(work: Work) -> Work:
    return replace(work, shifts={("x", 0): np.ones(1)})


@pytest.mark.parametrize("changed", [_layers, _inputs, _files, _shifts])
def test_another_question_has_another_key(folder: Path, changed: Callable[[Work], Work]) -> None:
    """Other layers, inputs, files of samples, and shifts; the control is the same question."""
    work = work_at(folder / "a", "V")
    assert kept._given(work_at(folder / "a", "V")) == kept._given(work)
    assert kept._given(changed(work)) != kept._given(work)


def test_another_plugin_has_another_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = work_at(folder / "a", "V")
    before = kept._given(work)
    monkeypatch.setattr(plugins, "loaded", lambda: (Plugin("odd.py", "0" * 64),))
    assert kept._given(work) != before


def test_parts_that_were_made_again_have_another_key(folder: Path) -> None:
    """A part with another time of change is another part."""
    work = work_at(folder / "a", "V")
    ranges = streams.ranges_of(work.point.data)

    def keys() -> list[str | None]:
        return [entry and entry[1] for entry in kept.kept_of(work, ranges)]

    before, (part,) = keys(), (folder / "a" / "networks").iterdir()
    assert keys() == before, "the control"
    part.touch()
    assert not set(keys()) & set(before)


def test_measures_of_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a notebook defines has no text by which its sums could be told from those of another, and no other process
    has it: nothing is kept, and one process measures."""
    work = work_at(folder / "a", "V")
    ranges = streams.ranges_of(work.point.data)
    assert None not in kept.kept_of(work, ranges), "the control"
    measure("of_a_notebook", symbol="$x$", families=("g",))(MEASURES["V"].function)
    try:
        assert plugins.of_no_file() == ["measure of_a_notebook"]
        assert kept.kept_of(work, ranges) == [None] * 3
        task = visits.Task(open_data_set(folder / "a"), (("of_a_notebook", None, None),))
        monkeypatch.setattr(visits, "worker_pool", lambda *_: pytest.fail("another process"))
        measured = visits.visit_all([task], 2).by_path[task.data.path].measured
        assert isinstance(measured["of_a_notebook", None], list)
    finally:
        del MEASURES["of_a_notebook"]


def test_a_process_is_sent_its_own_range(folder: Path) -> None:
    """What it is sent does not grow with the number of parts, and finding it does not ask for each part."""
    data = open_data_set(folder / "a")
    many = tuple(Piece(100 * k, 100 * k + 100, data.path, 100 * k, 100 * k + 100, "") for k in range(10_000))
    sent: list[int] = []

    def few(gathered: object, pieces: Iterator[Work], *more: object) -> Iterator[walks.Found]:
        sent.extend(len(pickle.dumps(piece)) for piece in pieces)
        return iter(())

    for parts in (many[:10], many):
        work = Work(Point(replace(data, chosen=parts)), {}, (Run("V", None, None),), 1)
        list(kept.gather_with(few)(work, [(0, 200), (200, 400)]))
    assert max(sent) < 1.1 * min(sent)
