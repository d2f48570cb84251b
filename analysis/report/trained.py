"""Figures of trained networks."""

import numpy as np
from matplotlib.figure import Figure

from analysis.measures.solved import closed_form, solved
from analysis.report.style import colours
from analysis.result import Claim, Result


def trained(claim: Claim, result: Result) -> Figure | None:
    """Trained outputs: mean and spread over networks against the closed form with its band."""
    points = claim.points
    if any(not p.trained or not p.records("z") or not solved(p) for p in points):
        return None
    point = points[0]
    x, y, train = point.samples
    step = point.data.layout.steps[-1]
    assert y is not None
    mean, covariance = closed_form(point, step)
    figure = Figure(figsize=(6.4, 3.8))
    axes = figure.subplots()
    spread = np.sqrt(covariance.diagonal())
    for a in range(len(x)):
        axes.fill_between(
            [a - 0.4, a + 0.4],
            mean[a, 0] - spread[a],
            mean[a, 0] + spread[a],
            color="0.86",
            label=r"closed form, $n=\infty$" if a == 0 else None,
        )
        axes.hlines(mean[a, 0], a - 0.4, a + 0.4, color="black")
    for at, (p, colour) in enumerate(zip(points, colours(points), strict=True)):
        columns = [k for k, (i, _) in enumerate(p.columns("z")) if i == 0]
        z = p.read("z", p.depth, step)[:, columns]
        where = np.arange(len(x)) + 0.14 * (at - (len(points) - 1) / 2)
        axes.errorbar(where, z.mean(axis=0), z.std(axis=0), fmt="o", color=colour, label=f"$n={p.n}$")
    axes.scatter(range(len(x)), y[:, 0], marker="x", color="#d55e00", label="target $y$", zorder=3)
    axes.set_xticks(range(len(x)), [f"train {a}" if a < train else f"test {a}" for a in range(len(x))])
    axes.set(ylabel=rf"$z(t={step})$, mean and standard deviation")
    axes.legend(ncols=2)
    return figure
