"""The fits of a test, one panel a series, with residual pulls below."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import claims
from analysis.fits import Fit
from analysis.models import MODELS, Series
from analysis.report.style import open_circles, width_axis

EXPONENTS = ("exponent", "network_exponent")
DEPTHS = ("power_law", "exponential")
PANELS = 12  # series of one test that are drawn; the table holds all


def fit_panels(fits: Sequence[Fit]) -> Figure:
    """Each series against l/n with its fit, the prediction on a grey band of the deviation that is asked, and residual
    pulls below."""
    shown = fits[:PANELS]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.1 * rows))
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
    for k, fit in enumerate(shown):
        row, column = divmod(k, columns)
        top = figure.add_subplot(grid[2 * row, column])
        bottom = figure.add_subplot(grid[2 * row + 1, column], sharex=top)
        _one_fit(fit, top, bottom)
        top.tick_params(labelbottom=False)
        if column == 0:
            bottom.set_ylabel("pull")
    return figure


def shows_asked(fit: Fit) -> bool:
    """Whether the panel of a fit has the deviation that is asked as a band: that of a slope has none."""
    return fit.series.model not in (*EXPONENTS, *DEPTHS)


def _one_fit(fit: Fit, top: Axes, bottom: Axes) -> None:
    """Against n for exponents in n, 1/n at a fixed l/n, else l/n; against l for flows with depth, one curve a
    width. Theory with its next order is dashed, over a band of what this order changes."""
    series = fit.series
    colour = matplotlib.colormaps["viridis"](0.35)
    error = np.sqrt(series.covariance.diagonal())
    exponent, deep = series.model in EXPONENTS, series.model in DEPTHS
    apart = series.model == "fixed_ratio"  # l/n is the same at all widths
    out_n, out_l, out_value = series.left_out.T
    x, out, label = (
        (series.n, out_n, "$n$") if exponent
        else (series.l, out_l, r"$\ell$") if deep
        else (1 / series.n, 1 / out_n, "$1/n$") if apart
        else (series.l / series.n, out_l / out_n, r"$\ell/n$")
    )  # fmt: skip
    top.errorbar(x, series.value, error, fmt="o", color=colour)
    open_circles(top, out, out_value, colour)
    if MODELS[series.model].joint:
        for n in sorted(set(series.n.tolist())) if deep else []:
            layers = np.linspace(series.l.min(), series.l.max(), 60)
            top.plot(layers, fit.curve(np.full(60, n), layers)[0], color=colour, linewidth=0.8)
    else:
        unit = 1.0 if apart else series.l[0]
        n = np.geomspace(series.n.min(), series.n.max(), 60) if exponent else unit / np.linspace(1e-6, x.max(), 60)
        mean, deviation = fit.curve(n, n * series.l[-1] / series.n[-1] if apart else np.full(60, series.l[0]))
        at = n if exponent else unit / n
        top.plot(at, mean, color=colour)
        top.fill_between(at, mean - deviation, mean + deviation, color=colour, alpha=0.2, linewidth=0)
    if exponent:
        width_axis(top, series.n.tolist())
        slope = series.value[-1] - series.prediction * np.log(series.n / series.n[-1])
        top.plot(series.n, slope, color="black", linewidth=0.9, zorder=0)
    elif deep:
        last = np.argmax(series.l)
        steps = np.log(series.l / series.l[last]) if series.model == "power_law" else series.l - series.l[last]
        order = np.argsort(series.l)
        top.plot(series.l[order], (series.value[last] - series.prediction * steps)[order], color="black", linewidth=0.9)
        top.set_xscale("log" if series.model == "power_law" else "linear")
    else:
        if series.predicted:
            asked = series.precision * series.scale
            top.axhspan(series.prediction - asked, series.prediction + asked, color="0.9", zorder=-1)
            top.axhline(series.prediction, color="black", linewidth=0.9, zorder=0)
        if np.isfinite(series.following):
            r = np.array([0.0, x.max()])
            second = series.prediction + series.following * r
            top.plot(r, second, color="black", linewidth=0.9, linestyle="--", zorder=0)
            top.fill_between(r, series.prediction, second, color="black", alpha=0.06, linewidth=0, zorder=0)
        top.errorbar([0], [fit.coefficient], [fit.error], fmt="D", color="#d55e00", clip_on=False)
    top.set_title(f"{series.variant} {_symbol(series)}, pull {fit.pull:+.1f}".strip())
    bottom.bar(x, fit.residual_pulls, width=0.06 * x if exponent or deep else 0.03 * x.max(), color=colour)
    bottom.axhline(0, color="black", linewidth=0.8)
    bottom.set_ylim(-3.5, 3.5)
    bottom.set_xlabel(label)


def _symbol(series: Series) -> str:
    return claims.symbol(series.test, series.tensor) + series.name.removeprefix(f"{series.variant} ").removeprefix(
        series.tensor
    )
