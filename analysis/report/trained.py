"""Figures of trained networks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.measures.solved import closed_form, solved
from analysis.points import Point
from analysis.report.style import HALF, End, axes_of, colours, cycle, drawable, ink, name_ends, points_of


def lacks_training(points: Sequence[Point]) -> str:
    """What a figure of trained outputs misses; empty where there is one."""
    there = all(point.trained and point.records("z") and solved(point) for point in points)
    return "" if there else "training that has a closed form and observables.record=[outputs] are needed"


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
        columns = [k for k, (i, _) in enumerate(p.columns("z")) if i == 0]
        z = p.read("z", p.depth, step)[:, columns]
        where = np.arange(len(x)) + 0.14 * (k - (len(points) - 1) / 2)
        ax.errorbar(where, z.mean(axis=0), z.std(axis=0), fmt="o", color=colour)
        ends.append((*at, f"$n={p.n:g}$", colour))
    ax.scatter(range(len(x)), y[:, 0], marker="x", color=cycle()[1], zorder=3)
    ends.append((end, y[-1, 0], "target $y$", cycle()[1]))
    ax.set_xticks(range(len(x)), [f"train {a}" if a < train else f"test {a}" for a in range(len(x))])
    ax.set(ylabel=rf"$z(t={step})$, mean and standard deviation")
    name_ends(ax, ends)
    return ax
