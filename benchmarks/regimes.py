"""The three regimes of the aspect ratio r = L/n in one picture: docs/theory.md (12.1), (12.2), (12.4) to (12.6).

    python -m benchmarks.regimes             # prints the table
    python -m benchmarks.regimes --write     # draws docs/regimes.png, too

Networks of width 32 of the experiment aspect_ratio are drawn by the simulation and compared with the laws at fixed r.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch

from analysis import theory
from analysis.report.style import CATEGORIES, MARKERS, STYLE
from simulate.api import read_one
from simulate.running.prepare import prepare
from simulate.running.samplers import snapshots

FIGURE = Path(__file__).parents[1] / "docs" / "regimes.png"
ACTIVATIONS = ("linear", "relu", "tanh")
WIDTH, LAYERS = 32, (2, 3, 5, 9, 17, 33, 65, 129)
NETWORKS = 2000
MISSED = 0.5  # of docs/theory.md (12.4): beyond it the mean over networks is low in most samples
NU = {"linear": 2.0, "relu": 5.0}


@dataclass(frozen=True)
class Regimes:
    """Of one activation, at each of the layers: r = (l - 1)/n, Var log g, the mean of (g/K)^2 over networks, and the
    mean of log sin^2 between z and its response."""

    r: np.ndarray
    log_variance: np.ndarray
    second_moment: np.ndarray
    alignment: np.ndarray


def measured(activation: str, networks: int = NETWORKS, layers: tuple[int, ...] = LAYERS) -> Regimes:
    """What networks of width 32 have at these layers."""
    given = ["experiment=aspect_ratio", "sweep=null", f"activation={activation}", f"network.width={WIDTH}"]
    given += [f"network.depth={layers[-1] + 1}", f"observables.layers={list(layers)}", "output=unused"]
    job = prepare(read_one([*given, f"ensemble.networks={networks}", f"ensemble.block={networks}"]))
    K = theory.flow(activation, layers[-1], 0.0, job.settings.initialization.C_W, job.samples.x, tensors=("K",)).K
    rows = []
    with torch.inference_mode():
        for snapshot in snapshots(job, 0, None):
            g = snapshot.kernel()[:, 0, 0].numpy()
            z, v = (tensor[:, 0].double() for tensor in (snapshot.preactivations(), snapshot.response()))
            across = v - (v * z).sum(dim=1, keepdim=True) / z.square().sum(dim=1, keepdim=True) * z
            sine = (across.square().sum(dim=1) / v.square().sum(dim=1)).numpy()
            rows.append([np.log(g).var(ddof=1), ((g / K[snapshot.layer - 1, 0, 0]) ** 2).mean(), np.log(sine).mean()])
    return Regimes((np.array(layers) - 1) / WIDTH, *np.array(rows).T)


def draw(found: dict[str, Regimes], path: Path) -> None:
    """Var log g, E g^2/K^2 and the alignment against r, with the laws at fixed r, or at this width for the alignment,
    as lines."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    r = np.geomspace(1 / WIDTH, 4, 60)
    with pyplot.style.context(STYLE):
        figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
        for k, (name, one) in enumerate(found.items()):
            look = {"color": CATEGORIES[k], "marker": MARKERS[k], "linestyle": "none"}
            left.loglog(one.r, one.log_variance, label=name, **look)
            right.loglog(one.r, -one.alignment, label=name, **look)
            line = NU[name] * r if name in NU else np.array([theory.limit_law(x).log_variance for x in r])
            left.loglog(r, line, color=CATEGORIES[k], linewidth=1)
            if name in NU:
                middle.loglog(NU[name] * one.r, one.second_moment, label=f"{name}, mean over networks", **look)
                exact = [-theory.aspect_ratio.alignment(name, [WIDTH] * round(x * WIDTH), WIDTH) for x in one.r]
                right.loglog(one.r, exact, color=CATEGORIES[k], linewidth=1)
        x = np.geomspace(2 / WIDTH, 20, 60)
        middle.loglog(x, np.exp(x), color="black", linewidth=1, label=r"$e^{\nu r}$")
        middle.loglog(x, 1 + x, color="black", linewidth=1, linestyle="--", label=r"order $1/n$")
        middle.loglog(x, np.exp(-x), color="black", linewidth=1, linestyle=":", label="a typical network")
        for low in (0.1, 0.5):
            ends = theory.aspect_ratio.breakdown(low, "second_moment")
            middle.axvline(ends, color="0.4", linewidth=0.8)
            middle.text(ends, 1.02, f"{low:.0%}", transform=middle.get_xaxis_transform(), fontsize=9, ha="center")
        missed = x[[theory.aspect_ratio.reach(2, value, NETWORKS) > MISSED for value in x]]
        middle.axvspan(missed[0], x[-1], color="0.92", zorder=-2, label=f"{NETWORKS:,} networks are too few")
        middle.set(ylim=(1e-3, 1e5), xlabel=r"$\nu r$", ylabel=r"$g^2/K^2$")
        left.set(xlabel="$r = L/n$", ylabel=r"$\mathrm{Var}\,\log g$")
        right.set(xlabel="$r = L/n$", ylabel=r"$-\mathrm{E}\,\log\sin^2$ of response and output")
        for axes in (left, right):
            axes.axvspan(0.1, 1.0, color="0.95", zorder=-2)
            axes.axvspan(1.0, 6.0, color="0.89", zorder=-2)
            for place, name in ((0.03, "not really"), (0.17, "effectively"), (1.2, "overly deep")):
                axes.text(place, 1.02, name, transform=axes.get_xaxis_transform(), fontsize=9)
        for axes in (left, middle, right):
            axes.legend()
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="draw docs/regimes.png")
    write = parser.parse_args().write
    found = {name: measured(name) for name in ACTIVATIONS}
    print("activation        r   Var log g   E g^2/K^2   log sin^2")
    for name, one in found.items():
        for row in zip(one.r, one.log_variance, one.second_moment, one.alignment, strict=True):
            print(f"{name:10} {row[0]:8.4f}" + "".join(f"{value:12.4g}" for value in row[1:]))
    if write:
        draw(found, FIGURE)


if __name__ == "__main__":
    main()
