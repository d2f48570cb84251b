"""Figures of trained networks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.measures.shown import has_trained, mean_and_spread
from analysis.measures.shown import trained as trained_outputs
from analysis.measures.solved import closed_form
from analysis.points import Point
from analysis.report.style import HALF, End, axes_of, colours, cycle, drawable, ink, name_ends, points_of
from analysis.streams import shown


def lacks_training(points: Sequence[Point]) -> str:
    """What a figure of trained outputs misses; empty where there is one."""
    needed = "training that has a closed form and observables.record=[outputs] are needed"
    return "" if all(map(has_trained, points)) else needed


def trained(data: Any, ax: Axes | None = None) -> Axes:
    """Draw output 0 at the last step for each sample, its mean and standard deviation over networks of each width, on
    the closed form with a band of one standard deviation, docs/theory.md (5.2).

    data: as of `analysis.table`; data sets differ in width alone. ValueError where they have no closed form.
    """
    points, ax = points_of(drawable(data, lacks_training)), axes_of(ax)
    point = points[0]
    x, y, train = point.samples
    step = point.data.layout.steps[-1]
    assert y is not None
    mean, covariance = closed_form(point, step)
    spread = np.sqrt(covariance.diagonal())
    for a in range(len(x)):
        start, end = a - HALF, a + HALF
        low, high = mean[a, 0] - spread[a], mean[a, 0] + spread[a]
        ax.fill_between([start, end], low, high, color=ink(), alpha=0.14, linewidth=0)
        ax.hlines(mean[a, 0], start, end, color=ink())
    at = (end, mean[-1, 0])  # where networks are named, too, in the order of widths
    ends: list[End] = [(*at, r"closed form, $n=\infty$", ink())]
    for k, (p, colour) in enumerate(zip(points, colours(points), strict=True)):
        (of_networks,) = map(mean_and_spread, shown(trained_outputs, p))
        where = np.arange(len(x)) + 0.14 * (k - (len(points) - 1) / 2)
        ax.errorbar(where, *of_networks, fmt="o", color=colour)
        ends.append((*at, f"$n={p.n:g}$", colour))
    ax.scatter(range(len(x)), y[:, 0], marker="x", color=cycle()[1], zorder=3)
    ends.append((end, y[-1, 0], "target $y$", cycle()[1]))
    ax.set_xticks(range(len(x)), [f"train {a}" if a < train else f"test {a}" for a in range(len(x))])
    ax.set(ylabel=rf"$z(t={step})$, mean and standard deviation")
    name_ends(ax, ends)
    return ax
