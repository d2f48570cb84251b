"""The figures of a report, from data or a result into the caller's axes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import simulate
from analysis import fits, plot, tails
from analysis.models import MODELS
from analysis.report.style import cycle, looks, name_ends, variants_of
from tests.exact.test_fits import made

FEW = ["network.depth=3", "inputs.count=1", "ensemble.networks=100", "ensemble.device=cpu", "workers=1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    widths = "network.width=8,16"
    everything = "observables.record=[kernel,outputs,ntk]"
    simulate.sweep(*FEW, widths, everything, "initialization=critical", f"output={folder}/widths")
    classes = [widths, "sweep={activation: [relu,linear,tanh]}", "initialization=critical", "observables=kernel"]
    simulate.sweep(*FEW, *classes, f"output={folder}/classes")
    training = ["dynamics=gradient_descent", "dynamics.eta=0.1", "dynamics.steps=5", "observables=training"]
    simulate.sweep(*FEW, widths, *training, "observables.steps=[0,5]", f"output={folder}/trained")
    simulate.sweep(*FEW, widths, "network.depth=2", "observables=kernel", f"output={folder}/shallow")
    return folder


def axes() -> Axes:
    return Figure().subplots()


def lines_of(ax: Axes) -> list[Line2D]:
    """Curves, without measured points and their bars."""
    return [line for line in ax.lines if line.get_marker() == "None"]


@pytest.mark.parametrize(
    ("folder", "draw", "bars", "lines"),
    [
        ("widths", plot.collapse, 2, 4),
        ("widths", partial(plot.collapse, ratio=True), 2, 1),
        ("widths", plot.density, 1, 2),
        ("widths", partial(plot.density, ratio=True), 1, 2),
        ("widths", plot.frozen_ntk, 2, 0),
        ("widths", plot.ntk_variance, 2, 1),
        ("classes", plot.depths, 3, 3),
        ("classes", plot.classes, 6, 8),
        ("classes", partial(plot.classes, ratio=True), 6, 1),
        ("trained", plot.trained, 2, 0),
    ],
)
def test_a_figure_takes_data_or_a_result_and_axes(
    folder: str, draw: Callable[..., Axes], bars: int, lines: int, data: Path
) -> None:
    """It returns the axes, with points of each data set on theory in the colour of the style. Control: data that lack
    what it needs are refused."""
    with matplotlib.rc_context({"text.color": "#123456"}):
        for given in (data / folder, SimpleNamespace(sets=tuple(simulate.find(data / folder)))):
            ax = axes()
            assert draw(given, ax=ax) is ax
            assert (len(ax.containers), len(lines_of(ax))) == (bars, lines)
        if folder != "classes" and lines:
            assert all(line.get_color() == "#123456" for line in lines_of(ax))
    with pytest.raises(ValueError, match="no figure of these data: "):
        draw(data / "shallow", ax=axes())


@pytest.mark.parametrize(
    ("folder", "draw", "limit"),
    [
        ("widths", plot.collapse, "order 1/n"),
        ("widths", plot.frozen_ntk, r"$\Theta$"),
        ("trained", plot.trained, r"closed form, $n=\infty$"),
    ],
)
def test_widths_and_theory_are_named_at_the_ends_of_lines(
    folder: str, draw: Callable[..., Axes], limit: str, data: Path
) -> None:
    """None of them is in a legend, which has nothing but what is tail-dominated."""
    ax = draw(data / folder, ax=axes())
    assert {"$n=8$", "$n=16$", limit} <= {text.get_text() for text in ax.texts}
    assert set(ax.get_legend_handles_labels()[1]) <= {tails.WORD}


def test_colours_are_classes_and_markers_activations(data: Path) -> None:
    parts = variants_of(data / "classes")
    found = dict(zip([variant.label for variant in parts], looks(parts), strict=True))
    assert found["relu"][0] == found["linear"][0] != found["tanh"][0], "ReLU and linear are both scale-invariant"
    assert len({marker for _, marker in found.values()}) == 3
    alone = looks([variant for variant in parts if variant.label != "tanh"])
    assert [colour for colour, _ in alone] == cycle()[:2], "of one class, variants have colours of their own"


def test_names_at_the_ends_of_lines_do_not_meet() -> None:
    """Also where two lines end alike. Names of lines that end apart stay where they end."""
    ax = axes()
    ax.set(xlim=(0, 1), ylim=(0, 1))
    name_ends(ax, [(1.0, 0.5, "a", "C0"), (1.0, 0.5, "b", "C1"), (1.0, 0.9, "c", "C2")])
    shifts = {text.get_text(): text.xyann[1] for text in ax.texts}  # type: ignore[attr-defined]
    assert shifts["b"] - shifts["a"] >= 8
    assert shifts["c"] == 0


@pytest.mark.parametrize("c", [0.5, 2.0])
@pytest.mark.parametrize("model", [m.name for m in MODELS.values() if m.build])
def test_a_fit_of_a_result(model: str, c: float) -> None:
    """The panel of one series has the fitted curve with its band, and no curve leaves the range of what is fitted,
    which for an expansion in 1/n ends at infinite width. Values are over a prediction that is as large as they."""
    series = made(model, c)
    result: Any = SimpleNamespace(scans={"claim: V [00] (V)": {1.0: fits.fit(series, 3.0)}})
    ax = plot.fit(result, "V [00]", ax=axes())
    x = np.concatenate([bars[0].get_xdata(orig=False) for bars in ax.containers])
    expands = model not in ("exponent", "network_exponent", "power_law", "exponential")
    divides = expands and series.prediction >= series.scale
    assert ax.get_ylabel() == ("over prediction" if divides else "")
    drawn = np.concatenate([bars[0].get_ydata(orig=False) for bars in ax.containers])
    unit = series.prediction if divides else 1.0
    assert all(np.isclose(drawn, value / unit, rtol=1e-12).any() for value in series.value)
    ends = (0.0 if expands else x.min(), x.max())
    for line in lines_of(ax):
        assert ends[0] - 1e-9 <= np.min(line.get_xdata()) <= np.max(line.get_xdata()) <= ends[1] * (1 + 1e-9)
    bands = len(ax.collections) - len(ax.containers)  # each container has its bars among the collections
    assert bands == (len(set(series.n)) if MODELS[model].joint else 1)
    assert "theory" in [text.get_text() for text in ax.texts]
    pulls = plot.pulls(result, "claim: V [00] (V)", ax=axes())
    assert [bar.get_height() for bar in pulls.patches] == pytest.approx(fits.fit(series, 3.0).residual_pulls.tolist())
    with pytest.raises(ValueError, match=r"series=W: 0 such fits; there are claim: V \[00\] \(V\)"):
        plot.fit(result, "W", ax=axes())
