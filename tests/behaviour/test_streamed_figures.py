"""Figures of data sets that outgrow memory are those of all rows, and a report draws them from the pass that judges."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import analysis
import simulate
from analysis import estimators, pipeline, plot, streams
from analysis.result import Result
from simulate.store.sets import DataSet
from tests.behaviour.test_streams import QUICK

RANGE = 200
UNTRAINED = {
    "density": plot.density,
    "density over the Gaussian": partial(plot.density, ratio=True),
    "collapse": plot.collapse,
    "classes": plot.classes,
    "depths": plot.depths,
    "frozen_ntk": plot.frozen_ntk,
    "ntk_variance": plot.ntk_variance,
}
TRAINED = {"trained": plot.trained, "band": partial(plot.band, x=[0.0, 1.0])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("figures")
    plain = ["network.depth=3", "observables.layers=all", "network.width=8,12,16,24"]
    plain += ["observables.record=[kernel,outputs,ntk]", *(f"claim.tests.{name}.layers=[3]" for name in ("V", "G1"))]
    simulate.sweep("experiment=preactivations", *QUICK, *plain, f"output={root}/untrained")
    trained = ["dynamics=gradient_descent", "dynamics.eta=0.3", "dynamics.steps=4", "observables.record=[outputs]"]
    digits = ["inputs=digits", "inputs.count=2", "inputs.test=2", "network.width=16"]
    simulate.run(*QUICK, *trained, *digits, "network.depth=3", f"output={root}/trained/a")
    return root


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of networks whose rows are read at once, as they are read."""
    found: list[int] = []
    table = DataSet._table
    monkeypatch.setattr(DataSet, "_table", lambda data, names: (found.append(data.networks), table(data, names))[1])
    return found


def in_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "is_small", lambda data: False)
    monkeypatch.setattr(streams, "ranges_of", lambda data: [(k, k + RANGE) for k in range(0, data.networks, RANGE)])


def drawn(draw: Callable[..., Axes], data: Path) -> list[NDArray[np.float64]]:
    """The coordinates of all that is drawn."""
    ax = draw(data, ax=Figure().subplots())
    bars = [path.vertices for collection in ax.collections for path in collection.get_paths()]
    return [np.asarray(line.get_xydata()) for line in ax.lines] + [np.asarray(bar) for bar in bars]


def without_fits(result: Result) -> Result:
    """The result, in whose report no fits are drawn."""
    return replace(result, claims=tuple(replace(claim, tests={}) for claim in result.claims))


@pytest.mark.parametrize("name", [*UNTRAINED, *TRAINED])
def test_figures_in_ranges(name: str, folder: Path, held: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same to rounding. Control: figures of small data sets read all rows at once."""
    draw, data = (UNTRAINED | TRAINED)[name], folder / ("untrained" if name in UNTRAINED else "trained")
    at_once = drawn(draw, data)
    assert set(held) == {600}
    held.clear()
    in_ranges(monkeypatch)
    streamed = drawn(draw, data)
    assert max(held) == RANGE
    assert len(at_once) == len(streamed)
    for one, other in zip(at_once, streamed, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9)


def test_figures_of_a_report_read_no_rows(
    folder: Path, tmp_path: Path, held: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a claim, and for data without one. Control: what the pass has found is taken away."""
    in_ranges(monkeypatch)
    for data in ("untrained", "trained"):
        result = analysis.analyze(folder / data, workers=1)
        held.clear()
        pipeline.write(without_fits(result), tmp_path / data)
        assert not held
    figures = {path.stem for path in (tmp_path / "untrained/figures").glob("*.svg")}
    assert figures == {f"preactivations-{name}" for name in ("collapse", "density", "frozen_ntk")}
    assert list((tmp_path / "trained/figures").glob("*.svg"))
    pipeline.write(replace(result, found={path: {} for path in result.found}), tmp_path / "again")
    assert held


def test_counts_in_bins() -> None:
    """Those of numpy, without what lies beyond the bins; the jackknife has the error bar of a binomial."""
    x, edges = np.random.default_rng(1).normal(size=4000), np.linspace(-2.0, 2.0, 9)
    shares = estimators.shares(x, edges)
    np.testing.assert_allclose(shares.value * 4000, np.histogram(x, edges)[0], rtol=1e-12)
    np.testing.assert_allclose(shares.error, np.sqrt(shares.value * (1 - shares.value) / 4000), rtol=0.2)
