"""Data sets that outgrow memory are measured on one range of their networks after another, with the same estimates."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
import simulate
from analysis import decide, estimators, kept, looks, streams, visits, walks
from analysis.inference import posterior
from analysis.measures.measured import MEASURES, Measured
from analysis.points import Point
from analysis.until import main as until
from analysis.walks import Run, Work
from simulate import plugins, processes
from simulate.store.sets import open_data_set

# A measure that subtracts the mean of the rows that it is given, which is not that of all networks.
OWN = """
import numpy as np
from analysis import estimators
from analysis.measures.measured import Measured, measure

@measure("of_all_rows", symbol="$x$", families=("g",), table="start")
def of_all_rows(point, layers):
    for layer in point.layers("g"):
        g = point.read("g", layer)[:, :1]
        square, one = (g - g.mean(axis=0)) ** 2, np.ones(1)
        yield Measured("of_all_rows", layer, 0, ["00"], estimators.mean(square), one, one)
"""
QUICK = ["ensemble.networks=600", "workers=1", "ensemble.device=cpu", "ensemble.block=100"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("streams")
    simulate.run("network.width=16", "network.depth=4", "inputs.count=2", *QUICK, f"output={root}/plain")
    paired = ["inputs.count=2", "dynamics.steps=4", "observables.steps=[0,2,4]", "network.width=8,12,16,24"]
    simulate.sweep("experiment=algorithms_over_steps", *QUICK, *paired, f"output={root}/algorithms_over_steps")
    (root / "of_all_rows.py").write_text(OWN)
    yield root
    if plugins._loaded.pop("of_all_rows.py", None):
        del MEASURES["of_all_rows"]


@pytest.fixture
def in_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """All data sets are taken for large, and are read in ranges of 200 networks."""
    monkeypatch.setattr(streams, "is_small", lambda data: False)
    monkeypatch.setattr(streams, "ranges_of", lambda data: [(low, low + 200) for low in range(0, data.networks, 200)])


def test_streamed_and_at_once_agree(folder: Path, request: pytest.FixtureRequest) -> None:
    """Verdicts and estimates of pairs of algorithms."""
    given = {"data": folder / "algorithms_over_steps", "figures": False, "workers": 1}
    at_once = analysis.analyze(**given)
    request.getfixturevalue("in_ranges")
    streamed = analysis.analyze(**given)
    pd.testing.assert_frame_equal(at_once.estimates, streamed.estimates, rtol=1e-9, atol=1e-12)
    (one,), (other,) = at_once.verdicts, streamed.verdicts
    assert (one.verdict, one.networks, one.diverged) == (other.verdict, other.networks, other.diverged)
    pulls = [[j.fit.pull for j in verdict.judged] for verdict in (one, other)]
    assert pulls[0]
    np.testing.assert_allclose(*pulls, rtol=1e-6, atol=1e-6)


def test_ranges_are_shared_by_processes(folder: Path, request: pytest.FixtureRequest) -> None:
    """Two processes measure what is measured at once, controls and what falls back to memory included."""
    plugins.load([folder / "of_all_rows.py"])
    data = open_data_set(folder / "plain")
    task = visits.Task(data, (("V", (2, 3), None), ("V_slope", None, None)))
    at_once = visits.visit(task)
    request.getfixturevalue("in_ranges")
    streamed = visits.visit_all([task], 2).by_path[data.path]
    frames = [pd.DataFrame(visit.rows) for visit in (at_once, streamed)]
    assert {"of_all_rows", "V controlled", "cumulant"} <= set(frames[0]["tensor"])
    pd.testing.assert_frame_equal(*frames, rtol=1e-9, atol=1e-12)
    assert (streamed.finite, streamed.networks) == (at_once.finite, at_once.networks) == (600, 600)
    assert list(streamed.measured) == list(at_once.measured)


def test_large_data_alone_have_as_many_processes_as_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no data set is small, the memory of a range decides, and where one is, its rows."""
    tasks = [visits.Task(open_data_set(folder / "plain"), ())]
    monkeypatch.setattr(visits, "cores", lambda: 8)
    for small, room in ((0, visits.RANGE_BYTES), (visits._bytes(tasks[0].data), 2 * visits.RANGE_BYTES)):
        monkeypatch.setattr(visits, "SMALL", small)
        monkeypatch.setattr(visits, "available", lambda room=room: 3 * room)
        assert visits._fitting(tasks) == 3 * room // visits.RANGE_BYTES


@pytest.mark.long
def test_a_claim_is_decided_in_ranges(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks at data sets that outgrow memory are those at rows that are read at once."""
    monkeypatch.setattr(decide, "_costs", lambda sets, *_: {data.path.name: 1e-4 for data in sets})
    claim = ["experiment=demo/ntk_mean", "~claim.tests.ntk_variance", "network.width=32,64,128,256", *QUICK[1:]]
    claim += ["claim.tests.ntk_mean.precision=0.02", "ensemble.networks=4800"]

    def looks_in(name: str) -> list[dict[str, float]]:
        folder = tmp_path / name
        assert until(["--no-figures", "--most=600", *claim, f"output={folder}"]) == 0
        record = looks.read(folder)
        assert record is not None
        return [{key: entry["information"] for key, entry in look.series.items()} for look in record.looks]

    at_once = looks_in("at_once")
    request.getfixturevalue("in_ranges")
    assert looks_in("in_ranges") == [pytest.approx(look, rel=1e-6) for look in at_once]


def test_a_posterior_takes_no_more_memory_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = simulate.run("network.width=16", "network.depth=2", "inputs.count=2", *QUICK, f"output={tmp_path}/a")
    assert posterior(data, [0.1, 0.2], 1.0).effective > 100
    monkeypatch.setattr(processes, "available", lambda: 1000)
    with pytest.raises(ValueError, match=r"a: the weights of 600 networks: .* GiB of memory, and .* GiB are free"):
        posterior(data, [0.1, 0.2], 1.0)


def work_at(folder: Path, *names: str) -> Work:
    point = Point(open_data_set(folder))
    return Work(point, {}, tuple(Run(name, None, None) for name in names), 1)


def test_what_reads_all_rows_is_found(folder: Path) -> None:
    """Only what is the same in both ways is run on ranges; the rest is found by trying it."""
    plugins.load([folder / "of_all_rows.py"])
    work = work_at(folder / "plain", "V", "V_controlled", "kurtosis_exact", "of_all_rows")
    assert [run.name for run in streams.streamed(work)] == ["V", "V_controlled", "kurtosis_exact"]


def test_rows_that_a_measure_leaves_out_are_seen(
    folder: Path, in_ranges: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a measure leaves out networks of a range only, those of all ranges are read at once."""
    work = work_at(folder / "plain", "V")
    whole = streams.outcomes(work.point, {}, work.runs)[0]

    def some_left_out(x: np.ndarray, *more: object) -> estimators.Estimate:
        return covariance(x[x[:, 0] < np.inf], *more) if len(x) != 200 else covariance(x[1:], *more)

    covariance = estimators.covariance
    monkeypatch.setattr(estimators, "covariance", some_left_out)
    found = streams.outcomes(work.point, {}, work.runs)[0]
    assert walks.same(whole[work.runs[0]], found[work.runs[0]])


def test_logarithms_of_noise_are_the_same_in_both_ways() -> None:
    """NaN in both agree. Controls: NaN in one alone, and nothing but NaN."""

    def yielded(*values: float) -> walks.Outcome:
        estimate, one = estimators.Estimate(np.array(values), np.array([values, values])), np.ones(len(values))
        return walks.Outcome([Measured("V", 2, 0, ["00"] * len(values), estimate, one, one)])

    assert walks.same(yielded(1.0, np.nan), yielded(1.0, np.nan))
    assert not walks.same(yielded(1.0, np.nan), yielded(1.0, 2.0))
    assert not walks.same(yielded(np.nan), yielded(np.nan))


def test_what_does_not_fit_is_not_tested(folder: Path, in_ranges: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "available", lambda: 1000)
    plugins.load([folder / "of_all_rows.py"])
    work = work_at(folder / "plain", "of_all_rows", "V")
    found = streams.outcomes(work.point, {}, work.runs)[0]
    assert found[work.runs[1]].error is None
    with pytest.raises(ValueError, match=r"of_all_rows reads the rows of all networks at once: .* GiB are free"):
        list(found[work.runs[0]])


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first networks of the ranges whose rows are read to add them up."""
    seen: list[int] = []

    def watched(work: Work) -> tuple[object, ...]:
        seen.append(work.point.addresses[1][0][0])
        return walks.walked(work)

    monkeypatch.setattr(kept, "walked", watched)
    return seen


def test_sums_are_kept(tmp_path: Path, in_ranges: None, walked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A second analysis reads no range again; one that has grown reads what is new, and one that finds a damaged file,
    or was made by another source, what that file held. All find what is found at once."""
    settings = ["network.width=8", "network.depth=2", *QUICK, f"output={tmp_path}/a"]

    def found() -> list[int]:
        work = work_at(tmp_path / "a", "V", "G1", "kurtosis_exact")
        outcomes, finite = streams.outcomes(work.point, {}, work.runs, kept.gather_with())
        assert finite == work.point.networks
        assert all(walks.same(walks.outcome(run, work.point, {}), outcomes[run]) for run in work.runs)
        read = walked.copy()
        walked.clear()
        return read

    simulate.run(*settings)
    assert found() == [0, 200, 400]
    assert found() == []
    simulate.run(*settings, "ensemble.networks=1000")
    assert found() == [600, 800]
    (file,) = (tmp_path / "a" / "sums").glob(f"{400:012d}*")
    _, header, numbers = (whole := file.read_bytes()).split(b"\n", 2)
    lines = header.replace(b'"cell": 1,', b'"cell": 0,'), b"[" * 100_000, b"[1]"
    forged = [f"{hashlib.sha256(c).hexdigest()}\n".encode() + c for c in (b"\n".join([x, numbers]) for x in lines)]
    for content in (whole[:-1] + bytes([whole[-1] ^ 1]), b"", *forged):
        file.write_bytes(content)
        assert found() == [400]
        assert file.read_bytes() == whole
    work = replace(work_at(tmp_path / "a", "V", "G1", "kurtosis_exact"), cell=4)
    larger, anew = (walks.in_ranges(work, streams.ranges_of(work.point.data), *g) for g in ([kept.gather_with()], []))
    assert walked == [], "larger cells are made of smaller ones"
    assert all(walks.same(larger[0][run], anew[0][run]) for run in work.runs)
    monkeypatch.setattr(kept, "_source", lambda: "another")
    assert found() == [0, 200, 400, 600, 800]


def test_sums_need_not_be_kept(tmp_path: Path, in_ranges: None, walked: list[int]) -> None:
    """Where a file stands in the place of the folder, or nothing can be written, all is read each time."""
    simulate.run("network.width=8", "network.depth=2", *QUICK, f"output={tmp_path}/a")
    (tmp_path / "a" / "sums").write_text("mine")
    work = work_at(tmp_path / "a", "V")
    for _ in range(2):
        streams.outcomes(work.point, {}, work.runs, kept.gather_with())
    assert walked == [0, 200, 400] * 2
    assert (tmp_path / "a" / "sums").read_text() == "mine"


def test_blocks_are_made_of_cells() -> None:
    """Blocks are those of the rows where a cell is a network, and larger cells round their ends."""
    blocks = walks.Blocks([(0, 1000)], 1)
    want = np.linspace(0, 1000, estimators.BLOCKS + 1).astype(int)
    assert blocks.of(want[:-1]).tolist() == list(range(estimators.BLOCKS))
    assert walks.cell_of(10**7) == 1024
    assert walks.cell_of(100) == 1
    gap = walks.Blocks([(0, 100), (500, 600)], 4)
    assert len(gap) == 50
    assert gap.of(np.array([0, 24, 125, 149])).tolist() == [0, 24, 25, 49]


def test_a_large_mean_costs_no_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows whose mean is a million standard deviations: cumulants are those of rows without the mean. The control
    adds up rows without a shift."""
    x = np.random.default_rng(0).exponential(size=(3000, 2)).round(9)
    near, far = (
        [f(x + mean) for f in (estimators.third_cumulant, estimators.fourth_cumulant)] for mean in (0.0, 2.0**20)
    )
    for a, b in zip(near, far, strict=True):
        np.testing.assert_allclose(b.value, a.value, rtol=1e-8)
        np.testing.assert_allclose(b.error, a.error, rtol=1e-8)
    monkeypatch.setattr(estimators, "shift_of", lambda x, _: np.zeros(x.shape[1]))
    assert abs(estimators.third_cumulant(x + 2.0**20).value[0] / near[0].value[0] - 1) > 1e-3


MEMORY_CHILD = """
import json, sys
from pathlib import Path
from analysis import streams, visits
from simulate.store.sets import open_data_set

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

visits.visit(visits.Task(open_data_set(sys.argv[1]), ()))  # loads all modules, and makes the theory
Path("/proc/self/clear_refs").write_text("5")  # resets the peak
before, data = status("VmRSS"), open_data_set(sys.argv[2])
visits.visit_in_ranges(visits.Task(data, ()))
print(json.dumps([status("VmHWM") - before, data.networks * data.layout.row_bytes() / 2**20]))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_networks(tmp_path: Path) -> None:
    """The table of estimates takes at most 500 MiB above start, and no more for four times the networks."""
    network = ["network.width=16", "network.depth=8", "workers=1", "ensemble.device=cpu"]
    peaks = []
    for name, networks in (("few", 600), ("some", 200_000), ("many", 800_000)):
        simulate.run(*network, f"ensemble.networks={networks}", f"output={tmp_path}/{name}")
    for name in ("some", "many"):
        command = [sys.executable, "-c", MEMORY_CHILD, str(tmp_path / "few"), str(tmp_path / name)]
        peaks.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    (some, _), (many, rows) = peaks
    assert many < 500
    assert many < rows
    assert many < 1.3 * some + 20
