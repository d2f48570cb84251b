"""Figures of the neural tangent kernel."""

import numpy as np
from matplotlib.figure import Figure

from analysis import estimators
from analysis.report.style import colours, width_axis, with_bars
from analysis.result import Claim, Result


def frozen_ntk(claim: Claim, result: Result) -> Figure | None:
    """H against Theta: mean and spread over networks for each sample pair, by width."""
    points = claim.points
    if not all(p.records("H") for p in points):
        return None
    shown = [(k, c) for k, c in enumerate(points[0].columns("H")) if c[0] == c[1] == 0][:10]
    figure = Figure(figsize=(8.6, 3.8))
    (left, right) = figure.subplots(1, 2)
    for at, (point, colour) in enumerate(zip(points, colours(points), strict=True)):
        H = point.read("H", point.depth)[:, [k for k, _ in shown]]
        x = np.arange(len(shown)) + 0.12 * (at - (len(points) - 1) / 2)
        left.errorbar(x, H.mean(axis=0), H.std(axis=0), fmt="o", color=colour, label=f"$n={point.n}$")
        variance = estimators.covariance(H[:, :1], [(0, 0)])
        with_bars(right, np.array([point.n]), variance, colour)
    Theta = points[0].flow().Theta
    assert Theta is not None
    for k, (_, (_, _, a, b)) in enumerate(shown):
        left.hlines(Theta[-1, a, b], k - 0.4, k + 0.4, color="black", zorder=0, label=r"$\Theta$" if k == 0 else None)
    left.set_xticks(range(len(shown)), [f"{a}{b}" for _, (_, _, a, b) in shown])
    left.set(xlabel="samples $ab$", ylabel=r"$H_{ab}$, mean and standard deviation")
    left.legend()
    n = np.array([float(p.n) for p in points])
    last = estimators.covariance(points[-1].read("H", points[-1].depth)[:, :1], [(0, 0)]).value[0]
    right.plot(n, last * n[-1] / n, color="black", linewidth=0.9, zorder=0, label=r"$\propto 1/n$")
    width_axis(right, n.tolist())
    right.set(yscale="log", xlabel="$n$", ylabel=r"$\mathrm{Var}\,H_{00}$")
    right.legend()
    return figure
