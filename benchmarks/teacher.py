"""Draw networks of three widths that learn a curve over one dimension, on the curves of infinite width and order 1/n.

    python -m benchmarks.teacher [--networks 1500] [--folder DIR] [--write]

Network, training and curve are those of `experiment=teacher_controlled`; the test samples are a grid. For each width
the command prints the largest deviation of the mean and of the variance from infinite width and from order 1/n, in
standard errors. Lower panels have n times the mean and the variance less infinite width, on the curves of order 1/n.
--write puts the figure into docs/teacher.png, which docs/training.md shows.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.interpolate import CubicSpline

import configs
import simulate
from analysis import estimators, theory
from analysis.estimators import Array
from analysis.measures.solved import closed_form, targets
from analysis.points import Point
from analysis.report.style import STYLE
from analysis.theory.composite import TENSORS
from analysis.theory.order_n import TrainedToOrderN, of_flow
from simulate.api import read_one
from simulate.inputs.samples import load

FIGURE = Path(__file__).parents[1] / "docs" / "teacher.png"
EXPERIMENT = "experiment=teacher_controlled"
WIDTHS = (16, 32, 64)
GRID = np.linspace(-2.8, 2.4, 13)
POINTS = 2**13  # more change the coefficients of 1/n by less than the lines are thick


def curve() -> tuple[Array, Array, Array, Array]:
    """The train samples x, y of the experiment, and the teacher's curve at many places x, y in order."""
    given = configs.compose("simulate", [EXPERIMENT])["inputs"]
    settings = [f"inputs.{key}={given[key]}" for key in ("dimension", "normalization", "seed", "count", "teacher")]
    ours, many = (
        load(read_one(["inputs=teacher", *settings, f"inputs.test={test}"]).inputs) for test in (given["test"], 2000)
    )
    assert ours.y is not None
    assert many.y is not None
    x, N, order = many.x[:, 0], many.train, np.argsort(many.x[:, 0])
    unit = ours.y[0, 0] / many.y[0, 0]  # a teacher has variance one over its own samples
    return x[:N], ours.y[:N, 0], x[order], unit * many.y[order, 0]


def simulated(folder: Path, networks: int, x: Array, y: Array, y_grid: Array) -> list[Point]:
    sets = simulate.sweep(
        EXPERIMENT,
        "claim=null",
        "observables.record=[outputs]",
        f"network.width={','.join(map(str, WIDTHS))}",
        f"ensemble.networks={networks}",
        f"output={folder}",
        inputs=(x[:, None], y[:, None]),
        test=(GRID[:, None], y_grid[:, None]),
    )
    return [Point(data) for data in sets]


def to_order_n(point: Point) -> TrainedToOrderN:
    """At the last step; kernels of hidden layers are not asked for."""
    rule, network = point.settings["dynamics"], point.network(point.samples[0])
    flow = theory.flow(*network, tensors=TENSORS, points=POINTS)
    return of_flow(flow, {}, targets(point), rule["eta"], rule["steps"])


def band(axis: plt.Axes, x: Array, mean: Array, variance: Array, colour: str, label: str) -> None:
    """A line and the standard deviation around it."""
    spread = np.sqrt(np.maximum(variance, 0.0))
    axis.plot(x, mean, color=colour, label=label)
    axis.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=1500)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--write", action="store_true", help=f"write {FIGURE.name}")
    given = parser.parse_args()
    x, y, places, truth = curve()
    fine = np.linspace(GRID[0], GRID[-1], 200)
    inside = (places >= GRID[0]) & (places <= GRID[-1])
    with tempfile.TemporaryDirectory() as temporary:
        points = simulated(given.folder or Path(temporary), given.networks, x, y, np.interp(GRID, places, truth))
        record, N = to_order_n(points[0]), len(x)
        plt.style.use(STYLE)
        figure, axes = plt.subplots(2, len(WIDTHS), figsize=(12, 7), sharex=True, sharey="row")
        for axis, below, point in zip(*axes, points, strict=True):
            step = point.settings["dynamics"]["steps"]
            mean, covariance = closed_form(point, step)
            wide = mean[N:, 0], covariance.diagonal()[N:]
            next_order = [
                coefficient[N:] / point.n for coefficient in (record.mean1[-1], record.covariance1[-1].diagonal())
            ]
            both = [value + change for value, change in zip(wide, next_order, strict=True)]
            z = point.read("z", point.depth, step)[:, N:]
            found = estimators.mean(z), estimators.covariance(z, [(a, a) for a in range(len(GRID))])
            labels, colours = ("mean", "variance"), ("#0072b2", "#d55e00")
            for name, colour, estimate, infinite, corrected in zip(labels, colours, found, wide, both, strict=True):
                scaled = [point.n * x for x in (estimate.value - infinite, estimate.error)]
                below.errorbar(GRID, *scaled, fmt="o", ms=3, color=colour, label=name)
                below.plot(fine, CubicSpline(GRID, point.n * (corrected - infinite))(fine), color=colour)
                far = [np.abs((estimate.value - value) / estimate.error).max() for value in (infinite, corrected)]
                print(f"n = {point.n}, {name}: {far[0]:.1f} standard errors from infinite width, {far[1]:.1f} from 1/n")
            axis.plot(places[inside], truth[inside], color="black", ls=":", label="teacher")
            for (centre, spread), colour, label in (
                (wide, "#999999", "infinite width"),
                (both, "#0072b2", "order $1/n$"),
            ):
                band(axis, fine, CubicSpline(GRID, centre)(fine), CubicSpline(GRID, spread)(fine), colour, label)
            deviation = np.sqrt(found[1].value)
            axis.errorbar(GRID, found[0].value, deviation, fmt="o", ms=3, color="#d55e00", label="networks")
            axis.plot(x, y, "k*", ms=10, label="train samples")
            axis.set_title(f"$n = {point.n}$")
            below.set_xlabel("$x$")
        for axis, label in zip(axes[:, 0], ("$z$", r"$n$ (networks $-$ infinite width)"), strict=True):
            axis.set_ylabel(label)
            axis.legend()
        if given.write:
            figure.savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    main()
