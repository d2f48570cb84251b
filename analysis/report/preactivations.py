"""Figures of preactivations: the vertex over the aspect ratio, densities, classes, kernels over depth."""

import math

import numpy as np
from matplotlib.figure import Figure

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.preactivations import vertex
from analysis.points import FOUR_POINT_SAMPLES
from analysis.report.style import colours, looks, with_bars
from analysis.result import Claim, Result


def collapse(claim: Claim, result: Result) -> Figure | None:
    """V/(n K^2) against L/n, the diagonal component of the first sample."""
    points = claim.points
    if not all(p.plain and p.records("g") and len(p.layers("g")) > 2 and p.D <= FOUR_POINT_SAMPLES for p in points):
        return None
    figure = Figure(figsize=(5.4, 5.2))
    (top, bottom) = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    for point, colour in zip(points, colours(points), strict=True):
        flow = point.flow(True)
        assert flow.V is not None
        layers = np.array([layer for layer in point.layers("g") if layer > 1])
        K, V = flow.K[layers - 1, 0, 0], flow.V[layers - 1, 0, 0, 0, 0]
        unit = point.n * K**2
        measured = estimators.join([m.estimate.chosen([0]) for m in vertex(point, None)])
        with_bars(top, layers / point.n, measured.scaled(1 / unit), colour, label=f"$n={point.n}$")
        every = np.arange(2, point.depth + 1)
        line = flow.V[every - 1, 0, 0, 0, 0] / (point.n * flow.K[every - 1, 0, 0] ** 2)
        top.plot(every / point.n, line, color="black", linewidth=0.9, zorder=0)
        V2 = point.flow(("V2",), 0)["V2"][every - 1, 0, 0, 0, 0]
        second = line + V2 / (point.n * flow.K[every - 1, 0, 0]) ** 2
        top.plot(every / point.n, second, color="black", linewidth=0.9, linestyle="--", zorder=0)
        with_bars(bottom, layers / point.n, measured.scaled(1 / V), colour)
    top.plot([], [], color="black", linewidth=0.9, label="theory, order $1/n$")
    top.plot([], [], color="black", linewidth=0.9, linestyle="--", label="theory, order $1/n^2$")
    top.set(ylabel=r"$V/(nK^2)$", xscale="log", yscale="log")
    top.legend(ncols=2)
    bottom.axhline(1, color="black", linewidth=0.9, zorder=0)
    bottom.set(xlabel=r"$\ell/n$", ylabel="measured / theory")
    return figure


def density(claim: Claim, result: Result) -> Figure | None:
    """The output's density over networks against the Gaussian and the nearly Gaussian one."""
    point = claim.points[0]
    if not point.records("z", point.depth) or point.D > FOUR_POINT_SAMPLES or point.trained:
        return None
    flow, L = point.flow(True), point.depth
    assert flow.V is not None
    assert flow.G1 is not None
    K, G1, V, n = flow.K[-1, 0, 0], flow.G1[-1, 0, 0], flow.V[-1, 0, 0, 0, 0], [point.n, *point.widths][-1]
    z = point.read("z", L)[:, 0]
    unit = np.sqrt(K)
    edges = np.linspace(-5, 5, 51)
    count, _ = np.histogram(z / unit, edges)
    middle = (edges[1:] + edges[:-1]) / 2
    p = count / len(z) / np.diff(edges)
    error = np.sqrt(np.maximum(count, 1)) / len(z) / np.diff(edges)
    fine = np.linspace(-5, 5, 401)

    def gaussian(u: np.ndarray) -> np.ndarray:
        return np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)

    def nearly(u: np.ndarray) -> np.ndarray:
        return nearly_gaussian(u * unit, K, G1, V, n) * unit

    figure = Figure(figsize=(5.4, 5.2))
    (top, bottom) = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1.4]})
    colour = colours(claim.points)[0]
    top.errorbar(middle, p, error, fmt="o", color=colour, label=f"{len(z):,} networks, $n={n}$, $L={L}$")
    top.plot(fine, gaussian(fine), color="0.55", linestyle="--", label=r"Gaussian, $n=\infty$")
    top.plot(fine, nearly(fine), color="black", label="nearly Gaussian, order $1/n$")
    top.set(ylabel=r"$\sqrt{K}\,p(z)$", yscale="log", ylim=(max(p[p > 0].min() / 3, 1e-7), 1))
    top.legend(loc="lower center")
    seen = (count > 20) & (np.abs(middle) < 4)  # further out, order 1/n^2 shows in the ratio
    g = gaussian(middle)
    bottom.errorbar(middle[seen], p[seen] / g[seen], error[seen] / g[seen], fmt="o", color=colour)
    bottom.axhline(1, color="0.55", linestyle="--")
    bottom.plot(fine, nearly(fine) / gaussian(fine), color="black")
    bottom.set(
        xlabel=r"$z/\sqrt{K}$", ylabel=r"$p\,/\,p_{\mathrm{Gaussian}}$", ylim=(0.7, max(1.8, (p / g)[seen].max()))
    )
    return figure


def classes(claim: Claim, result: Result) -> Figure | None:
    """V/(nK^2) of each variant against l/n with its prediction: one curve a universality class."""
    if not all(p.plain and p.critical and p.records("g") and p.D <= FOUR_POINT_SAMPLES for p in claim.points):
        return None
    figure = Figure(figsize=(6.0, 6.4))
    (top, bottom) = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for variant, (colour, marker) in zip(claim.variants, looks(claim.variants), strict=True):
        for point in variant.points:
            flow = point.flow(True)
            assert flow.V is not None
            layers = np.array([layer for layer in point.layers("g") if layer > 1])
            V = flow.V[layers - 1, 0, 0, 0, 0]
            unit = point.n * flow.K[layers - 1, 0, 0] ** 2
            measured = estimators.join([m.estimate.chosen([0]) for m in vertex(point, None)])
            with_bars(top, layers / point.n, measured.scaled(1 / unit), colour, marker, markersize=3.5)
            top.plot(layers / point.n, V / unit, color=colour, linewidth=0.8)
            with_bars(bottom, layers / point.n, measured.scaled(1 / V), colour, marker, markersize=3.5)
        top.plot([], [], color=colour, marker=marker, markersize=3.5, label=variant.label)
    bottom.axhline(1, color="black", linewidth=0.9, zorder=0)
    top.set(ylabel=r"$V/(nK^2)$", xscale="log", yscale="log")
    bottom.set(xlabel=r"$\ell/n$", ylabel=r"$V/V_{\mathrm{theory}}$")
    top.legend(ncols=2)
    return figure


def depths(claim: Claim, result: Result) -> Figure | None:
    """E g of each sample of each variant against depth at the largest width, with the infinite-width kernel."""
    points = [variant.points[-1] for variant in claim.variants]
    if not all(p.records("g") and len(p.layers("g")) > 2 and p.plain for p in points):
        return None
    figure = Figure(figsize=(6.0, 4.4))
    axes = figure.subplots()
    for variant, point, (colour, marker) in zip(claim.variants, points, looks(claim.variants), strict=True):
        layers, all_layers = point.layers("g"), np.arange(1, point.depth + 1)
        K = point.flow(False).K
        for a in range(point.D):
            column = point.columns("g").index((a, a))
            mean = estimators.join([estimators.mean(point.read("g", layer)[:, [column]]) for layer in layers])
            label = f"{variant.label}, $n={point.n}$" if a == 0 else None
            with_bars(axes, np.array(layers), mean, colour, marker, label=label)
            axes.plot(all_layers, K[:, a, a], color=colour, linewidth=0.9)
    axes.set(xlabel=r"$\ell$", ylabel=r"$\mathrm{E}\,g_{aa}$", xscale="log", yscale="log")
    axes.legend()
    return figure


def nearly_gaussian(z: Array, K: float, G1: float, V: float, n: float) -> Array:
    """Density of one output to order 1/n (PDLT ch. 1): variance K + G1/n, excess kurtosis 3 V / (n K^2)."""
    variance = K + G1 / n
    u = z / math.sqrt(variance)
    kurtosis = 3 * V / (n * K**2)
    gaussian = np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi * variance)
    return gaussian * (1 + kurtosis / 24 * (u**4 - 6 * u**2 + 3))
