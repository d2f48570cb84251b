"""The band of trained functions over a grid of test samples: networks, and their limit of infinite width."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.estimators import Array
from analysis.measures.shown import mean_and_spread, outputs
from analysis.measures.solved import closed_form, solved, targets
from analysis.points import Point
from analysis.report.style import End, colours, explain, ink, name_ends
from analysis.streams import shown as shown_of

DEVIATIONS = 2.0  # half of the width of a band, in standard deviations


def draw_band(points: Sequence[Point], grid: Any, step: int | None, output: int, ax: Axes) -> Axes:
    """The bands of `analysis.plot.band`."""
    ends: list[End] = []
    for point, colour in zip(points, colours(points), strict=True):
        x, shown = _places(point, grid)
        at = point.data.layout.steps[-1] if step is None else step
        if at not in point.data.layout.steps:
            raise ValueError(f"step={step}: recorded are {', '.join(map(str, point.data.layout.steps))}")
        columns = point.columns("z")
        if (output, shown[0]) not in columns:
            raise ValueError(f"output={output}: the networks have outputs 0 to {max(i for i, _ in columns)}")
        chosen = [columns.index((output, a)) for a in shown]
        mean, spread = next(mean_and_spread(m) for m in shown_of(outputs, point) if m.step == at)
        fill(ax, x, mean[chosen], DEVIATIONS * spread[chosen], colour)
        ends.append((x[-1], mean[chosen[-1]], f"$n={point.n:g}$", colour))
    point = points[0]
    x, shown = _places(point, grid)
    if solved(point) and all(other.shape == point.shape for other in points):
        mean, covariance = closed_form(point, step if step is not None else point.data.layout.steps[-1])
        spread = DEVIATIONS * np.sqrt(np.maximum(covariance.diagonal()[shown], 0.0))
        ax.plot(x, mean[shown, output], color=ink())
        ax.plot(x, mean[shown, output] - spread, x, mean[shown, output] + spread, color=ink(), linestyle="--")
        ends.append((x[-1], mean[shown[-1], output], r"theory, $n=\infty$", ink()))
    if grid is None:
        y = targets(point)
        ax.plot(point.samples[0][: len(y), 0], y[:, output], "^", color=ink(), label="train samples")
    ax.set(xlabel="input", ylabel=rf"output, mean and {DEVIATIONS:g} $\sigma$")
    name_ends(ax, ends)
    explain(ax)
    return ax


def _places(point: Point, grid: Any) -> tuple[Array, list[int]]:
    """Where the test samples lie on the axis, in rising order, and which samples they are."""
    x, _, train = point.samples
    if not point.trained or not point.records("z", point.depth):
        raise ValueError(f"{point.data.path}: trained networks with outputs are needed, observables.record=[outputs]")
    if train == len(x):
        raise ValueError(f"{point.data.path}: inputs.test=0: the band is drawn at test samples")
    if grid is None and x.shape[1] != 1:
        raise ValueError(f"x=None: inputs have {x.shape[1]} features; give the place of each test sample on the axis")
    places = x[train:, 0] if grid is None else np.asarray(grid, dtype=float)
    if places.shape != (len(x) - train,):
        raise ValueError(f"x has the shape {places.shape}; there are {len(x) - train} test samples")
    order = np.argsort(places, kind="stable")
    return places[order], [train + int(k) for k in order]


def fill(ax: Axes, x: Array, mean: Array, spread: Array, colour: Any) -> None:
    """A line at mean in a band of this spread to both sides."""
    ax.plot(x, mean, color=colour)
    ax.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.25, linewidth=0)
