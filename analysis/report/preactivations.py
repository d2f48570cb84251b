"""Figures of preactivations: the vertex over the aspect ratio, densities, classes, kernels over depth."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.preactivations import kernel_mean, vertex
from analysis.measures.shown import BINS, has_density
from analysis.measures.shown import density as counted
from analysis.points import FOUR_POINT_SAMPLES, Point
from analysis.report.style import (
    THIN,
    axes_of,
    class_of,
    colours,
    drawable,
    explain,
    ink,
    looks,
    name_ends,
    points_of,
    with_bars,
)  # fmt: skip
from analysis.streams import shown

SEEN = 20  # networks in a bin whose share of the Gaussian is drawn, within FAR standard deviations,
FAR = 4.0  # further out, order 1/n^2 shows


def lacks_vertex(points: Sequence[Point]) -> str:
    """What the figure of the vertex misses; empty where there is one."""
    deep = all(point.plain and point.records("g") and len(point.layers("g")) > 2 for point in points)
    few = all(point.D <= FOUR_POINT_SAMPLES for point in points)
    return "" if deep and few else "kernels of three layers and at most four samples of plain networks are needed"


def lacks_classes(points: Sequence[Point]) -> str:
    """What the figure of classes misses; empty where there is one."""
    return lacks_vertex(points) or ("" if all(point.critical for point in points) else "initialization=critical")


def lacks_outputs(points: Sequence[Point]) -> str:
    """What the density of an output misses; empty where there is one."""
    needed = "outputs of networks that were not trained, at most four samples, are needed"
    return "" if has_density(points[0]) else needed


def lacks_depths(points: Sequence[Point]) -> str:
    """What kernels over depth miss; empty where there are some."""
    there = all(point.plain and point.records("g") and len(point.layers("g")) > 2 for point in points)
    return "" if there else "kernels of three layers of plain networks are needed"


def collapse(data: Any, ax: Axes | None = None, ratio: bool = False) -> Axes:
    """Draw V/(n K^2) of sample 0 against l/n at each width, on theory at order 1/n and dashed with the next one,
    docs/theory.md (1.10) and (17.3); or, with ratio, V over theory at order 1/n.

    data: as of `analysis.table`; data sets differ in width alone. ValueError where they lack kernels of several layers.
    """
    points, ax, starts = points_of(drawable(data, lacks_vertex)), axes_of(ax), []
    for point, colour in zip(points, colours(points), strict=True):
        layers, V, unit, measured = _vertex(point)
        if ratio:
            with_bars(ax, layers / point.n, measured.scaled(1 / V), colour)
            continue
        with_bars(ax, layers / point.n, measured.scaled(1 / unit), colour)
        starts.append((layers[0] / point.n, V[0] / unit[0], f"$n={point.n:g}$", colour))
        every = np.arange(2, point.depth + 1)
        flow = point.flow(True)
        assert flow.V is not None
        K = point.n * flow.K[every - 1, 0, 0]
        line = point.n * flow.V[every - 1, 0, 0, 0, 0] / K**2
        ax.plot(every / point.n, line, color=ink(), **THIN)
        second = line + point.flow(("V2",), 0)["V2"][every - 1, 0, 0, 0, 0] / K**2
        ax.plot(every / point.n, second, color=ink(), linestyle="--", **THIN)
        if point is points[0]:
            at = every[-1] / point.n
            ends = [(at, line[-1], "order 1/n", ink()), (at, second[-1], "order 1/n²", ink())]
    if ratio:
        ax.axhline(1, color=ink(), **THIN)
        ax.set(xlabel=r"$\ell/n$", ylabel="over theory", xscale="log")
        ax.xaxis.set_minor_formatter(NullFormatter())
        return ax
    ax.set(xlabel=r"$\ell/n$", ylabel=r"$V/(nK^2)$", xscale="log", yscale="log")
    name_ends(ax, ends)
    name_ends(ax, starts)  # where curves of several widths are farther apart
    explain(ax)
    return ax


def density(data: Any, ax: Axes | None = None, ratio: bool = False) -> Axes:
    """Draw the density of output 0 at sample 0 over networks of the first data set, with the Gaussian and the nearly
    Gaussian one (PDLT ch. 1); or, with ratio, both over the Gaussian.

    data: as of `analysis.table`. ValueError where it lacks outputs. Curves end where networks do.
    """
    points = points_of(drawable(data, lacks_outputs))
    ax, point = axes_of(ax), points[0]
    flow = point.flow(True)
    assert flow.V is not None
    assert flow.G1 is not None
    K, G1, V, n = flow.K[-1, 0, 0], flow.G1[-1, 0, 0], flow.V[-1, 0, 0, 0, 0], [point.n, *point.widths][-1]
    estimate, edges = shown(counted, point)[0].estimate, BINS
    networks = estimate.networks or 0
    count, per_bin = np.rint(networks * estimate.value), networks * np.diff(edges)
    middle = (edges[1:] + edges[:-1]) / 2
    seen = (count > min(SEEN, count.max() - 1)) & (np.abs(middle) < FAR) if ratio else count > 0
    fine = np.linspace(edges[:-1][seen].min(), edges[1:][seen].max(), 401)
    g, on_fine = (_gaussian(u) if ratio else np.ones(len(u)) for u in (middle[seen], fine))
    gauss, nearly = _gaussian(fine), nearly_gaussian(fine * np.sqrt(K), K, G1, V, n) * np.sqrt(K)
    p, error = count[seen] / per_bin[seen] / g, np.sqrt(count[seen]) / per_bin[seen] / g
    ax.errorbar(middle[seen], p, error, fmt="o", color=colours(points)[0], label=f"{networks:,} networks, $n={n}$")
    lines = {"Gaussian": (gauss / on_fine, "--"), "order 1/n": (nearly / on_fine, "-")}
    for name, (y, dashes) in lines.items():
        ax.plot(fine, y, dashes, color=ink(), label=name if ratio else None)
    if ratio:
        ax.set(xlabel=r"$z/\sqrt{K}$", ylabel=r"$p\,/\,p_{\mathrm{Gaussian}}$")
    else:
        lowest = min(p.min(), gauss.min(), nearly[nearly > 0].min())
        ax.set(xlabel=r"$z/\sqrt{K}$", ylabel=r"$\sqrt{K}\,p(z)$", yscale="log", ylim=(lowest / 3, 1))
        name_ends(ax, [(fine[-1], y[-1], name, ink()) for name, (y, _) in lines.items() if y[-1] > 0])
    ax.legend(loc="upper center" if ratio else "lower center")
    return ax


def classes(data: Any, ax: Axes | None = None, ratio: bool = False) -> Axes:
    """Draw V/(n K^2) of sample 0 against l/n for each activation, on theory at order 1/n, docs/theory.md (1.10); or,
    with ratio, V over theory. Colours are universality classes, and markers activations.

    data: as of `analysis.table`, at criticality. ValueError where they are not, or lack kernels of several layers.
    """
    parts, ax = drawable(data, lacks_classes), axes_of(ax)
    ends = []
    for variant, (colour, marker) in zip(parts, looks(parts), strict=True):
        for point in variant.points:
            layers, V, unit, measured = _vertex(point)
            shown = measured.scaled(1 / (V if ratio else unit))
            with_bars(ax, layers / point.n, shown, colour, marker, markersize=3.5)
            if not ratio:
                ax.plot(layers / point.n, V / unit, color=colour, linewidth=0.8)
                ends.append((layers[-1] / point.n, V[-1] / unit[-1], variant.label, colour))
    if ratio:
        ax.axhline(1, color=ink(), **THIN)
        ax.set(xlabel=r"$\ell/n$", ylabel=r"$V/V_{\mathrm{theory}}$", xscale="log")
        ax.xaxis.set_minor_formatter(NullFormatter())
        return ax
    for colour, name in {colour: class_of(v) for v, (colour, _) in zip(parts, looks(parts), strict=True)}.items():
        ax.plot([], [], color=colour, label=name)
    ax.set(xlabel=r"$\ell/n$", ylabel=r"$V/(nK^2)$", xscale="log", yscale="log")
    name_ends(ax, list({name: (x, y, name, colour) for x, y, name, colour in sorted(ends)}.values()))
    ax.legend()
    return ax


def depths(data: Any, ax: Axes | None = None) -> Axes:
    """Draw E g of each sample against depth at the largest width of each variant, on the kernel of infinite width,
    docs/theory.md (1.3).

    data: as of `analysis.table`. ValueError where they lack kernels of several layers.
    """
    parts, ax = drawable(data, lacks_depths), axes_of(ax)
    ends = []
    for variant, (colour, marker) in zip(parts, looks(parts), strict=True):
        point = variant.points[-1]
        means, K = shown(kernel_mean, point), point.flow(False).K
        layers = np.array([m.layer for m in means])
        for a in range(point.D):
            column = point.columns("g").index((a, a))
            with_bars(ax, layers, estimators.join([m.estimate.chosen([column]) for m in means]), colour, marker)
            ax.plot(np.arange(1, point.depth + 1), K[:, a, a], color=colour, linewidth=0.9)
        ends.append((point.depth, K[-1, 0, 0], f"{variant.label}, $n={point.n:g}$", colour))
    ax.set(xlabel=r"$\ell$", ylabel=r"$\mathrm{E}\,g_{aa}$", xscale="log", yscale="log")
    name_ends(ax, ends)
    return ax


def _vertex(point: Point) -> tuple[Array, Array, Array, Estimate]:
    """Layers from 2 on (k,), V of sample 0 in theory (k,), n K^2 (k,), and V as measured."""
    flow = point.flow(True)
    assert flow.V is not None
    layers = np.array([layer for layer in point.layers("g") if layer > 1])
    measured = estimators.join([found.estimate.chosen([0]) for found in shown(vertex, point)])
    return layers, flow.V[layers - 1, 0, 0, 0, 0], point.n * flow.K[layers - 1, 0, 0] ** 2, measured


def _gaussian(u: Array) -> Array:
    return np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)


def nearly_gaussian(z: Array, K: float, G1: float, V: float, n: float) -> Array:
    """Density of one output to order 1/n (PDLT ch. 1): variance K + G1/n, excess kurtosis 3 V / (n K^2)."""
    variance = K + G1 / n
    u = z / math.sqrt(variance)
    kurtosis = 3 * V / (n * K**2)
    return _gaussian(u) / math.sqrt(variance) * (1 + kurtosis / 24 * (u**4 - 6 * u**2 + 3))
