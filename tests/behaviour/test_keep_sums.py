"""Data sets that keep sums in the place of rows: the verdicts of rows, and a line wherever rows are needed."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import analysis
import simulate
from analysis import estimators, streams
from analysis.__main__ import main as analyze
from analysis.measures.measured import MEASURES, Layers, Measured
from analysis.measures.shown import SHOWN
from analysis.pipeline import asked
from analysis.points import Point
from analysis.report import draw
from analysis.visits import visit_all
from simulate import status
from simulate.running import plan
from simulate.settings.reader import SettingsError
from simulate.store import cells
from simulate.store.copies import merged
from simulate.store.files import StoreError
from simulate.store.head import head_of
from simulate.store.sets import DataSet, find, open_data_set
from tests.behaviour.test_streamed_figures import without_fits

NETWORKS = 16384  # jackknife blocks of 64 networks, whether these are cut out of rows or made of cells of two networks
SHORT = ["network.depth=4", "observables.layers=[2,4]", "claim.tests.V.layers=[4]", "claim.tests.G1.layers=[4]"]
CLAIM = ["experiment=preactivations", *SHORT, "workers=1", "ensemble.device=cpu"]
WIDTHS = "network.width=8,12,16,24"
CONTROLLED = [
    "observables.layers=[1,2,3,4]",
    *(f"+claim.tests.{name}={{precision: 0.1}}" for name in ("V_controlled", "layer_law")),
]
ONE = ["sweep=null", "network.width=8", "ensemble.keep=sums"]
LOST = "rows were not kept"


def drawn(folder: Path, keep: str, *overrides: str) -> list[DataSet]:
    return simulate.sweep(*CLAIM, WIDTHS, f"ensemble.keep={keep}", f"output={folder}", *overrides)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same networks twice, with rows and with sums, in four parts each."""
    root = tmp_path_factory.mktemp("keep")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "PART_WORK", 1)
        for keep in ("rows", "sums"):
            drawn(root / keep, keep, f"ensemble.networks={NETWORKS}")
    return root


def measured(*folders: Path) -> dict[str, np.ndarray]:
    """The estimates of each test at each data set, with their replicates: (1 + B, k)."""
    sets, _ = merged([data for folder in folders for data in find(folder)])
    visits = visit_all(asked(sets)[2], 1)
    found = {}
    for path, visit in visits.by_path.items():
        for (test, _), of_test in visit.measured.items():
            assert isinstance(of_test, list), of_test
            parts = [np.concatenate([m.estimate.value[None], m.estimate.replicates]) for m in of_test]
            found[f"{path.name} {test}"] = np.concatenate(parts, axis=1)
    return found


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether estimates agree to 1e-12 of the largest of each test."""
    assert len(one) == 16
    assert list(one) == list(other)
    return all(np.abs(one[key] - other[key]).max() <= 1e-12 * np.abs(one[key]).max() for key in one)


def test_verdicts_are_those_of_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of all rows at once, and byte for byte those of ranges that are the parts. A network less would be
    seen."""
    results = [analysis.analyze(folder / keep, figures=False, workers=1) for keep in ("rows", "sums")]
    (one,), (other,) = (result.verdicts for result in results)
    assert (one.verdict, one.networks, one.diverged) == (other.verdict, other.networks, other.diverged)
    assert one.not_tested == other.not_tested
    assert [j.verdict for j in one.judged] == [j.verdict for j in other.judged]
    # A pull would say less: it divides what is left of a prediction by a small error.
    numbers = ([(j.fit.coefficient, j.fit.error, j.visible) for j in verdict.judged] for verdict in (one, other))
    np.testing.assert_allclose(*numbers, rtol=1e-12)

    at_once, by_sums = measured(folder / "rows"), measured(folder / "sums")
    assert same(at_once, by_sums)
    monkeypatch.setattr(streams, "is_small", lambda data: False)
    monkeypatch.setattr(streams, "ranges_of", lambda data: [(piece.low, piece.high) for piece in data.parts()])
    assert [len(data.parts()) for data in find(folder / "rows")] == [4] * 4
    in_ranges = measured(folder / "rows")
    assert {key: x.tobytes() for key, x in in_ranges.items()} == {key: x.tobytes() for key, x in by_sums.items()}
    monkeypatch.setattr(streams, "ranges_of", lambda data: [(0, NETWORKS - 1)])
    assert not same(measured(folder / "rows"), by_sums)


def test_rows_are_asked_for_in_vain(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever needs rows is told in one line. The tensors of the claim are there at its layers, others are skipped, and
    the first networks have rows."""
    data = open_data_set(folder / "sums" / "width-8")
    asks: list[Callable[[], object]] = [data.table, data.status, data.to_xarray, lambda: data.read("g")]
    for ask in [*asks, lambda: simulate.table(folder / "sums")]:
        with pytest.raises(StoreError, match=f"{LOST}.*ensemble.keep=rows"):
            ask()
    assert analyze([f"data={folder}/sums", "posterior.noise=0.1", f"output={folder}/report"]) == 2
    assert LOST in capsys.readouterr().err
    at = {layer: analysis.table(data, "V", [layer])["skipped"].tolist() for layer in (2, 4)}
    assert at[4] == [""] * 6
    assert LOST in at[2][0]
    assert LOST in analysis.table(data, "six-point")["skipped"][0]
    first, rows = Point(head_of(data)), Point(open_data_set(folder / "rows" / "width-8"))
    np.testing.assert_array_equal(first.read("z", 4), rows.read("z", 4)[:1024])


def test_figures_of_sums(folder: Path, tmp_path: Path) -> None:
    """A figure of what was added up is of all networks. One that is of the first has a line in the report."""
    result = analysis.analyze(folder / "sums", figures=False, workers=1)
    _, lines = draw.write_all(without_fits(result), tmp_path)
    of_first = ["preactivations: the figure density is of the first networks: rows were not kept"]
    assert [line.partition(",")[0] for line in lines] == of_first
    point = Point(open_data_set(folder / "sums" / "width-8"))
    (shown,) = streams.shown(SHOWN["density of an output"], point)
    assert shown.estimate.networks == 1024
    assert [m.estimate.networks for m in streams.shown(MEASURES["cumulant"], point)] == [NETWORKS]


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder / "sums", to)
    return to


def contents(folder: Path) -> dict[str, bytes]:
    """The sums and the heads below a folder."""
    names = sorted(folder.glob("*/networks/*")) + sorted(folder.glob("*/head/*"))
    return {str(name.relative_to(folder)): name.read_bytes() for name in names}


def test_the_data_set_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its README and `status` do, and --verify finds damaged sums and a damaged head, which a run makes again byte for
    byte, as it does parts that are missing."""
    path = copied(folder, tmp_path / "moved") / "width-8"
    assert "Rows of networks were not kept" in (path / "README.md").read_text()
    assert "Rows of networks" not in (folder / "rows" / "width-8" / "README.md").read_text()
    assert status.main([str(path), "--verify"]) == 0
    assert "of which sums were kept and no rows" in capsys.readouterr().out
    before = contents(path.parent)
    parts, heads = (sorted((path / name).iterdir()) for name in ("networks", "head"))
    for name in (parts[1], *heads):
        name.write_bytes(name.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"head/part-.* differs from its digest"):
        analysis.analyze(path.parent)
    assert status.main([str(path), "--verify"]) == 1
    assert capsys.readouterr().out.count("damaged: ") == 2
    parts[2].unlink()
    monkeypatch.setattr(plan, "PART_WORK", 1)
    drawn(path.parent, "sums", f"ensemble.networks={NETWORKS}")
    assert contents(path.parent) == before
    assert status.main([str(path), "--verify"]) == 0


def exchanged(name: Path) -> None:
    other = next(file for file in sorted(name.parents[1].glob("networks/*")) if file != name)
    one, two = name.read_bytes(), other.read_bytes()
    name.write_bytes(two)
    other.write_bytes(one)


def linked(name: Path) -> None:
    name.symlink_to(name.rename(name.parents[2] / name.name))


def a_folder(name: Path) -> None:
    name.unlink()
    (name / "mine").mkdir(parents=True)


def a_pipe(name: Path) -> None:
    name.unlink()
    os.mkfifo(name)


def empty(name: Path) -> None:
    name.write_bytes(b"")


SPOILT = [*product(("head", "networks"), (empty, exchanged, linked, a_folder, a_pipe)), ("head", Path.unlink)]


@pytest.mark.parametrize(("of", "spoil"), SPOILT, ids=lambda value: getattr(value, "__name__", value))
def test_spoilt_files(
    of: str, spoil: Callable[[Path], object], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """`status` and the analysis tell of them in a line, and a run makes the same files again."""
    path = copied(folder, tmp_path / "copy") / "width-8"
    before = contents(path.parent)
    spoil(min((path / of).iterdir()))
    assert status.main([str(path), "--verify"]) == 1
    assert "damaged: " in capsys.readouterr().out
    assert analyze([f"data={path.parent}", "figures=false", f"output={tmp_path}/report"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr(plan, "PART_WORK", 1)
    simulate.run(*CLAIM, *ONE, f"ensemble.networks={NETWORKS}", f"output={path}")
    assert contents(path.parent) == before
    assert status.main([str(path), "--verify"]) == 0


def test_sums_grow(folder: Path, tmp_path: Path) -> None:
    """An ensemble that has grown, in the end by two processes, has the estimates of one that was drawn at once. Another
    folder adds its networks, unless a part of it has some that are here and some that are not."""

    def drawn_in(name: str, *overrides: str) -> Path:
        """The data sets with others in the place of that of width 8."""
        if not (tmp_path / name).exists():
            shutil.rmtree(copied(folder, tmp_path / name) / "width-8")
        simulate.run(*CLAIM, *ONE, f"output={tmp_path}/{name}/width-8", *overrides)
        return tmp_path / name

    for networks in (3000, 7000, NETWORKS):
        grown = drawn_in("grown", f"ensemble.networks={networks}", f"workers={1 + (networks == NETWORKS)}")
    alone = measured(folder / "sums")
    assert same(measured(grown), alone)
    more = drawn_in("more", f"ensemble.first={NETWORKS}", "ensemble.networks=100")
    both = measured(folder / "sums", more)
    assert {key.split()[0] for key in alone if not np.array_equal(both[key][0], alone[key][0])} == {"width-8"}
    shared = drawn_in("shared", "ensemble.first=16300", "ensemble.networks=100")
    with pytest.raises(StoreError, match="shares networks with a part of another folder"):
        measured(folder / "sums", shared)


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        (["ensemble.keep=rows"], StoreError, "ensemble.keep='sums', not 'rows'"),
        (["claim=null"], SettingsError, "name a claim"),
        (["+claim.tests.six_point={precision: 0.1}"], StoreError, "holds sums of V, .* and none of six_point"),
        (["claim.tests.V.layers=[2]"], StoreError, "none of V at the layers asked"),
        ([*CONTROLLED, "output=OTHER"], SettingsError, "V_controlled, layer_law: rows are needed again"),
    ],
)
def test_rows_and_sums_do_not_mix(folder: Path, tmp_path: Path, overrides: list[str], error: type, words: str) -> None:
    """What a data set does not hold is refused by name, before anything is written."""
    before, other = contents(folder / "sums"), tmp_path / "other"
    with pytest.raises(error, match=words):
        drawn(folder / "sums", "sums", *(o.replace("OTHER", str(other)) for o in overrides))
    assert contents(folder / "sums") == before
    assert not other.exists()


def test_sums_of_another_program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measure that adds up something else now is refused by name, by the analysis and by a run; others are judged."""
    other = replace(MEASURES["V"], function=MEASURES["six_point"].function)
    monkeypatch.setitem(MEASURES, "V", other)
    visit = visit_all(asked(find(folder / "sums"))[2][:1], 1).by_path.popitem()[1]
    turned = {test: str(found) for (test, _), found in visit.measured.items() if isinstance(found, ValueError)}
    assert list(turned) == ["V"]
    assert turned["V"].startswith("V: the sums that are kept are not those that this version")
    with pytest.raises(StoreError, match="V: the sums that are kept are not those"):
        drawn(folder / "sums", "sums", f"ensemble.networks={NETWORKS}")


def test_networks_that_are_treated_otherwise(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that asks for another sum from network 8192 on ends the run there, and what was drawn stays."""
    plain = MEASURES["V"].function

    def odd(point: Point, layers: Layers) -> Iterator[Measured]:
        yield from plain(point, layers)
        if point.addresses[1][0][0] >= 8192:
            estimators.mean(point.read("g", 4))

    shutil.rmtree(path := copied(folder, tmp_path / "odd") / "width-8")
    monkeypatch.setitem(MEASURES, "V", replace(MEASURES["V"], function=odd))
    monkeypatch.setattr(plan, "PART_WORK", 1)
    with pytest.raises(StoreError, match="networks 8192 to 12287: a test of the claim treats some of them"):
        simulate.run(*CLAIM, *ONE, f"ensemble.networks={NETWORKS}", f"output={path}")
    assert open_data_set(path).addresses == ((0, 8192),)


def test_a_part_without_finite_networks() -> None:
    """It has no cells, and the number of its sums."""
    none = np.empty(0, np.int64)
    table = cells.table_of(cells.Summed(4, none, none, np.empty((0, 3))), "text", {})
    assert cells.is_table(table.schema)
    assert cells.fault(table, 0, 8) is None
    assert cells.summed_of(table).sums.shape == (0, 3)
    beyond = cells.Summed(4, np.array([2]), np.array([1]), np.ones((1, 3)))
    assert cells.fault(cells.table_of(beyond, "text", {}), 0, 8) == "holds other networks than its name says"
