"""The three regimes of the aspect ratio r = L/n in one picture: docs/theory.md (12.1), (12.2), (12.4) to (12.6).

    python -m simulate experiment=aspect_ratio           # or with fewer networks
    python -m benchmarks.regimes outputs/aspect_ratio    # prints the table; --write draws docs/regimes.png, too

Networks of the experiment are compared with the laws at fixed r.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np

import simulate
from analysis import theory
from analysis.points import Point
from analysis.report.style import CATEGORIES, MARKERS, STYLE
from simulate.store.sets import DataSet

FIGURE = Path(__file__).parents[1] / "docs" / "regimes.png"
MISSED = 0.5  # of docs/theory.md (12.4): beyond it the mean over networks is low in most samples
ROUNDING = 1e-28  # sin^2 below which it is rounding
NU = {"linear": 2.0, "relu": 5.0}


@dataclass(frozen=True)
class Regimes:
    """Of networks of one activation and width, at each of the recorded layers: r = (l - 1)/n, Var log g, the mean of
    (g/K)^2 over networks, and the mean of log sin^2 between z and its response."""

    activation: str
    width: int
    networks: int
    r: np.ndarray
    log_variance: np.ndarray
    second_moment: np.ndarray
    alignment: np.ndarray


def measured(data: DataSet) -> Regimes:
    """What the networks of a data set have; those with a dead layer are left out of means of logarithms."""
    point, rows = Point(data), []
    layers, K = point.layers("response"), point.flow(("K", "Theta")).K
    for layer in layers:
        g, sine = point.read("g", layer)[:, 0], point.read("response", layer)[:, 0]
        second = ((g / K[layer - 1, 0, 0]) ** 2).mean()
        rows.append([np.log(g[g > 0]).var(ddof=1), second, np.log(sine[sine > ROUNDING]).mean()])
    n = int(point.n)
    return Regimes(point.activation, n, len(g), (np.array(layers) - 1) / n, *np.array(rows).T)


def draw(found: Sequence[Regimes], path: Path) -> None:
    """Var log g, E g^2/K^2 and the alignment against r, with the laws at fixed r, or at the largest width for the
    alignment, as lines."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    names, widths = sorted({one.activation for one in found}), sorted({one.width for one in found})
    networks, n = min(one.networks for one in found), widths[-1]
    r = np.geomspace(1 / n, 4, 60)
    with pyplot.style.context(STYLE):
        figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
        for one in found:
            color, marker = CATEGORIES[names.index(one.activation)], MARKERS[widths.index(one.width)]
            look = {"color": color, "marker": marker, "linestyle": "none", "markersize": 5}
            left.loglog(one.r, one.log_variance, **look)
            right.loglog(one.r, -one.alignment, **look)
            if one.activation in NU:
                middle.loglog(NU[one.activation] * one.r, one.second_moment, **look)
        for k, name in enumerate(names):
            nu, color = NU.get(name), CATEGORIES[k]
            line = nu * r if nu else np.array([theory.limit_law(x).log_variance for x in r])
            left.loglog(r, line, color=color, linewidth=1, label=name)
            if nu:
                below = np.unique(np.geomspace(1, 4 * n, 60).round()).astype(int)
                exact = [-theory.aspect_ratio.alignment(name, [n] * m, n) for m in below]
                right.loglog(below / n, exact, color=color, linewidth=1)
        for k, width in enumerate(widths):
            left.plot([], [], color="0.3", marker=MARKERS[k], linestyle="none", markersize=5, label=f"n = {width}")
        x = np.geomspace(2 / n, 20, 60)
        middle.loglog(x, np.exp(x), color="black", linewidth=1, label=r"$e^{\nu r}$")
        middle.loglog(x, 1 + x, color="black", linewidth=1, linestyle="--", label=r"order $1/n$")
        middle.loglog(x, np.exp(-x), color="black", linewidth=1, linestyle=":", label="a typical network")
        for low in (0.1, 0.5):
            ends = theory.aspect_ratio.breakdown(low, "second_moment")
            middle.axvline(ends, color="0.4", linewidth=0.8)
            middle.text(ends, 1.02, f"{low:.0%}", transform=middle.get_xaxis_transform(), fontsize=9, ha="center")
        missed = x[[theory.aspect_ratio.reach(2, value, networks) > MISSED for value in x]]
        middle.axvspan(missed[0], x[-1], color="0.92", zorder=-2, label=f"{networks:,} networks are too few")
        middle.set(ylim=(1e-3, 1e5), xlabel=r"$\nu r$", ylabel=r"$g^2/K^2$, mean over networks")
        left.set(xlabel="$r = L/n$", ylabel=r"$\mathrm{Var}\,\log g$")
        right.set(xlabel="$r = L/n$", ylabel=r"$-\mathrm{E}\,\log\sin^2$ of response and output")
        for axes in (left, right):
            axes.axvspan(0.1, 1.0, color="0.95", zorder=-2)
            axes.axvspan(1.0, 6.0, color="0.89", zorder=-2)
            for place, name in ((0.03, "not really"), (0.17, "effectively"), (1.2, "overly deep")):
                axes.text(place, 1.02, name, transform=axes.get_xaxis_transform(), fontsize=9)
        for axes in (left, middle):
            axes.legend()
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="the data sets of experiment=aspect_ratio")
    parser.add_argument("--write", action="store_true", help="draw docs/regimes.png")
    arguments = parser.parse_args()
    found = [measured(data) for data in simulate.find(arguments.folder)]
    print("activation  n          r   Var log g   E g^2/K^2   log sin^2")
    for one in found:
        for row in zip(one.r, one.log_variance, one.second_moment, one.alignment, strict=True):
            print(f"{one.activation:8} {one.width:4} {row[0]:10.4f}" + "".join(f"{value:12.4g}" for value in row[1:]))
    if arguments.write:
        draw(found, FIGURE)


if __name__ == "__main__":
    main()
