"""How far each order in 1/n and each resummation reaches in L/n: docs/theory.md (17.4), (17.5) and (17.19).

    python -m benchmarks.reach             # prints the table
    python -m benchmarks.reach --data outputs/reach --write     # draws docs/reach.png with simulated networks, too

The excess kurtosis of one output of critical networks of depth 8 is held against the exact law at each width. The
table has the L/n up to which a line is off by no more than 1 and 10 %. The networks are those of `experiment=reach`.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib
import numpy as np

from analysis import theory
from analysis.measures.exact import spread
from analysis.points import Point
from analysis.report.style import CATEGORIES, STYLE
from analysis.tables import sets_of
from analysis.theory.activations import Array
from analysis.theory.finite_width import kernel_moments

FIGURE = Path(__file__).parents[1] / "docs" / "reach.png"
ACTIVATIONS = ("linear", "relu", "gelu", "tanh")
DEPTH = 8
WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)
NARROWEST = {"gelu": 16}  # narrower laws take minutes, and may not converge
ORDERS = (1, 2, 3)
SHARES = (0.01, 0.1)


@dataclass(frozen=True)
class Reach:
    """Of one activation: L/n (k,) from narrow to wide, the exact Var g/(E g)^2 (k,), lines over it by name (k,), and
    networks: L/n, Var g/(E g)^2 over it and its standard error, and whether a few networks carry it (points, 4)."""

    r: Array
    exact: Array
    lines: dict[str, Array]
    networks: Array = field(default_factory=lambda: np.empty((0, 4)))

    def reach(self, line: str, share: float) -> float:
        """The largest L/n up to which a line stays within a share of the exact law, between widths by interpolation;
        nan where the widest networks are beyond it."""
        off = np.abs(self.lines[line] - 1)[::-1]
        r = self.r[::-1]
        if off[0] > share:
            return math.nan
        if not (beyond := np.flatnonzero(off > share)).size:
            return float(r[-1])
        k = int(beyond[0])
        return float(np.exp(np.interp(share, off[k - 1 : k + 1], np.log(r[k - 1 : k + 1]))))


def measured(activation: str, depth: int = DEPTH, widths: Sequence[int] = WIDTHS) -> Reach:
    """The lines of one activation at each width at which its exact law is known to six digits."""
    point = theory.critical(activation)
    K1 = point.K_star if point.K_star > 0 else 1.0
    series = theory.chain(activation, depth, point.C_b, point.C_W, K1, max(ORDERS))
    kept, exact = [], []
    for n in widths:
        try:
            exact.append(_exact(activation, depth, point, K1, n))
        except ValueError:  # narrow networks, whose law is heavy-tailed
            continue
        kept.append(n)
    n, at = np.array(kept, dtype=np.float64), np.array(exact)
    coefficients = series.spread[-1]
    lines = {
        f"order {k}": np.array([coefficients[1 : k + 1] @ w ** -np.arange(1, k + 1) for w in n]) / at for k in ORDERS
    }
    resummed = [theory.resummed(activation, series, w) for w in n]
    lines[resummed[0].method] = np.array([line.relative_variance[-1] for line in resummed]) / at
    return Reach(depth / n, at, lines)


def simulated(folder: Path | str) -> dict[str, Array]:
    """By activation, the points of `Reach.networks` in the data sets of a folder, from narrow to wide."""
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for point in sorted(map(Point, sets_of(folder)), key=lambda point: point.n):
        (measured,) = spread(point, [point.depth])
        estimate = measured.estimate
        row = float(estimate.value[0]), float(estimate.error[0]), float(estimate.tail_dominated[0])
        found.setdefault(point.activation, []).append((point.depth / point.n, *row))
    return {activation: np.array(rows) for activation, rows in found.items()}


def widths_of(activation: str) -> list[int]:
    """The widths at which an activation is looked at."""
    return [n for n in WIDTHS if n >= NARROWEST.get(activation, 0)]


def _exact(activation: str, depth: int, point: theory.Critical, K1: float, n: int) -> float:
    """Var g/(E g)^2 of the last layer."""
    if theory.activation(activation).slopes is not None:
        first, second, _ = kernel_moments(activation, [n] * (depth - 1), point.C_W, K1)
        return second / first**2 - 1
    law = theory.exact_law(activation, depth, point.C_b, point.C_W, K1, n)
    return float(law.excess_kurtosis[-1]) / 3


def draw(found: dict[str, Reach], path: Path) -> None:
    """Each line over the exact law against L/n, one panel for each activation; points are networks, open ones are
    carried by a few of them."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    with pyplot.style.context(STYLE):
        figure, panels = pyplot.subplots(
            1, len(found), figsize=(3.1 * len(found), 3.4), layout="constrained", sharey=True
        )
        for axes, (activation, of) in zip(np.atleast_1d(panels), found.items(), strict=True):
            axes.axhspan(0.9, 1.1, color="0.9")
            axes.axhline(1.0, color="black", linewidth=0.8)
            for carried, fill in ((0, "black"), (1, "white")):
                r, ratio, error, _ = of.networks[of.networks[:, 3] == carried].T
                shown = error if not carried else np.zeros_like(error)
                label = ("networks", "networks, tail-dominated")[carried] if len(r) else None
                looks = {"markersize": 4, "color": "black", "markerfacecolor": fill, "zorder": 3}
                axes.errorbar(r, ratio, shown, fmt="D", label=label, **looks)
            for k, (name, line) in enumerate(of.lines.items()):
                axes.semilogx(of.r, line, "osD^"[k] + "-", markersize=3, color=CATEGORIES[k], label=name)
            axes.set(title=activation, xlabel="$L/n$", ylim=(0.4, 1.3))
            axes.legend(loc="lower left")
        np.atleast_1d(panels)[0].set_ylabel("excess kurtosis over the exact law")
        figure.savefig(path, dpi=100)
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="draw docs/reach.png")
    parser.add_argument("--data", help="the folder of the data sets of experiment=reach")
    arguments = parser.parse_args()
    found = {activation: measured(activation, widths=widths_of(activation)) for activation in ACTIVATIONS}
    for activation, networks in (simulated(arguments.data) if arguments.data else {}).items():
        found[activation] = replace(found[activation], networks=networks)
    print(f"{'':10} {'line':12}", *(f"{100 * share:6.0f} %" for share in SHARES))
    for activation, of in found.items():
        for line in of.lines:
            print(f"{activation:10} {line:12}", *(f"{of.reach(line, share):8.3f}" for share in SHARES))
        print(f"{activation:10} {'up to':12} {of.r.max():8.3f}")
        for r, ratio, error, carried in of.networks:
            note = " carried by a few" if carried else ""
            print(f"{activation:10} networks at {r:.3f}: {ratio:.4f} +- {error:.4f}{note}")
    if arguments.write:
        draw(found, FIGURE)


if __name__ == "__main__":
    main()
