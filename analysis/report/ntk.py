"""Figures of the neural tangent kernel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.measures.shown import has_ntk, mean_and_spread, ntk, ntk_columns
from analysis.points import Point
from analysis.report.style import (
    HALF,
    End,
    axes_of,
    colours,
    drawable,
    explain,
    ink,
    name_ends,
    points_of,
    width_axis,
    with_bars,
)
from analysis.streams import shown


def lacks_ntk(points: Sequence[Point]) -> str:
    """What a figure of the NTK misses; empty where there is one."""
    return "" if all(map(has_ntk, points)) else "observables.record=[ntk] is needed"


def frozen_ntk(data: Any, ax: Axes | None = None) -> Axes:
    """Draw the NTK of output 0 for pairs of samples, its mean and standard deviation over networks of each width, on
    Theta, docs/theory.md (2.3).

    data: as of `analysis.table`; data sets differ in width alone. ValueError where they lack the NTK.
    """
    points, ax = points_of(drawable(data, lacks_ntk)), axes_of(ax)
    pairs = [points[0].columns("H")[k][2:] for k in ntk_columns(points[0])]
    Theta = points[0].flow().Theta
    assert Theta is not None
    for k, (a, b) in enumerate(pairs):
        ax.hlines(Theta[-1, a, b], k - HALF, k + HALF, color=ink(), zorder=0)
    end = (len(pairs) - 1 + HALF, Theta[-1, a, b])  # where all are named, in the order of widths
    ends: list[End] = [(*end, r"$\Theta$", ink())]
    for at, (point, colour) in enumerate(zip(points, colours(points), strict=True)):
        (of_networks,) = map(mean_and_spread, shown(ntk, point))
        x = np.arange(len(pairs)) + 0.12 * (at - (len(points) - 1) / 2)
        ax.errorbar(x, *of_networks, fmt="o", color=colour)
        ends.append((*end, f"$n={point.n:g}$", colour))
    ax.set_xticks(range(len(pairs)), [f"{a}{b}" for a, b in pairs])
    ax.set(xlabel="samples $ab$", ylabel=r"$H_{ab}$, mean and standard deviation")
    name_ends(ax, ends)
    return ax


def ntk_variance(data: Any, ax: Axes | None = None) -> Axes:
    """Draw the variance over networks of the NTK of output 0 and sample 0 against the width, on a line that falls as
    1/n through the largest width, docs/theory.md (2.5).

    data: as of `analysis.table`; data sets differ in width alone. ValueError where they lack the NTK.
    """
    points, ax = points_of(drawable(data, lacks_ntk)), axes_of(ax)
    variances = [m.estimate.chosen([len(m.samples) // 2]) for point in points for m in shown(ntk, point)]
    for point, variance, colour in zip(points, variances, colours(points), strict=True):
        with_bars(ax, np.array([point.n]), variance, colour)
    n = np.array([float(point.n) for point in points])
    line = variances[-1].value[0] * n[-1] / n
    ax.plot(n, line, color=ink(), linewidth=0.9, zorder=0)
    width_axis(ax, n.tolist())
    ax.set(yscale="log", xlabel="$n$", ylabel=r"$\mathrm{Var}\,H_{00}$")
    name_ends(ax, [(n[-1], line[-1], r"$\propto 1/n$", ink())])
    explain(ax)
    return ax
