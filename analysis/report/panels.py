"""The fits of a test, one panel a series, with residual pulls below."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import claims
from analysis.estimators import Array
from analysis.fits import Fit
from analysis.models import MODELS, Series
from analysis.report.style import THIN, axes_of, colours, cycle, ink, name_ends, open_circles, width_axis
from analysis.result import Result

EXPONENTS = ("exponent", "network_exponent")
DEPTHS = ("power_law", "exponential")
PANELS = 12  # series of one test that are drawn; the table holds all


def fit_panels(fits: Sequence[Fit]) -> Figure:
    """`fit` and `pulls` of the first fits."""
    shown = fits[:PANELS]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.1 * rows))
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3, 1] * rows)
    for k, one in enumerate(shown):
        row, column = divmod(k, columns)
        top = figure.add_subplot(grid[2 * row, column])
        bottom = figure.add_subplot(grid[2 * row + 1, column], sharex=top)
        _draw_pulls(one, bottom)
        _draw_fit(one, top)
        top.tick_params(labelbottom=False)
        top.set_xlabel("")
        if column:
            bottom.set_ylabel("")
    return figure


def fit(result: Result, series: str, ax: Axes | None = None) -> Axes:
    """Draw one fit of a result: measured values, the fitted curve with its band of one standard deviation, its leading
    coefficient as a diamond, and the prediction on a grey band of the deviation that is asked, all over the prediction
    where this is as large as the quantity.

    series: the name of a fit as reports and verdicts.json have it (`V l=4 [00,00]`). Against n for powers of n, 1/n at
    a fixed l/n, l for flows with depth, else l/n. Theory with its next order is dashed, over a band of what this order
    changes. ValueError for another name, with those that there are.
    """
    return _draw_fit(fit_of(result, series), axes_of(ax))


def pulls(result: Result, series: str, ax: Axes | None = None) -> Axes:
    """Draw the deviations of measured values from the curve of one fit in their errors, against what `fit` has.

    ValueError as of `fit`.
    """
    return _draw_pulls(fit_of(result, series), axes_of(ax))


def fit_of(result: Result, series: str) -> Fit:
    """The fit of this series, which its key in `Result.scans` names where several tests have it. ValueError where there
    is none or several, with those that there are."""
    found = [scan[1.0] for key, scan in result.scans.items() if series in (key, scan[1.0].series.name)]
    if len(found) != 1:
        raise ValueError(f"series={series}: {len(found)} such fits; there are {'; '.join(result.scans) or 'none'}")
    return found[0]


def shows_asked(fit: Fit) -> bool:
    """Whether the panel of a fit has the deviation that is asked as a band: that of a slope has none."""
    return fit.series.model not in (*EXPONENTS, *DEPTHS)


def unit_of(series: Series) -> float:
    """What a panel draws values over: their prediction, or one where it is small or there is none to divide by."""
    divides = series.predicted and series.model not in (*EXPONENTS, *DEPTHS)
    return series.prediction if divides and abs(series.prediction) >= series.scale else 1.0


def _across(model: str, n: Array, layers: Array) -> tuple[Array, str]:
    """Where values stand on the axis, and its label."""
    if model in EXPONENTS:
        return n, "$n$"
    if model in DEPTHS:
        return layers, r"$\ell$"
    return (1 / n, "$1/n$") if model == "fixed_ratio" else (layers / n, r"$\ell/n$")


def _curves(fit: Fit) -> list[tuple[Array, Array]]:
    """Widths and layers of each curve that is drawn, within the range of what is fitted: one a width for models of
    several layers, and up to infinite width for an expansion in 1/n."""
    series, share = fit.series, np.linspace(0, 1, 60)
    if MODELS[series.model].joint:
        of_width = [(n, series.l[series.n == n]) for n in np.unique(series.n)]
        return [(np.full(60, n), layers.min() + share * np.ptp(layers)) for n, layers in of_width if len(layers) > 1]
    if series.model in EXPONENTS:
        n = np.geomspace(series.n.min(), series.n.max(), 60)
        return [(n, np.full(60, series.l[0]))]
    n = series.n.min() / np.maximum(share, 1e-9)
    fixed = series.model == "fixed_ratio"
    return [(n, n * series.l[-1] / series.n[-1] if fixed else np.full(60, series.l[0]))]


def _draw_fit(fit: Fit, ax: Axes) -> Axes:
    series, widths = fit.series, np.unique(fit.series.n)
    x, label = _across(series.model, series.n, series.l)
    by_width = dict(zip(widths, colours(widths.tolist()), strict=True)) if MODELS[series.model].joint else {}
    plain = colours(range(3))[1]
    unit = unit_of(series)
    error = np.sqrt(series.covariance.diagonal()) / abs(unit)
    for n in by_width or [None]:
        here = series.n == n if by_width else np.full(len(x), True)
        ax.errorbar(x[here], series.value[here] / unit, error[here], fmt="o", color=by_width.get(n, plain))
    out_n, out_l, out_value = series.left_out.T
    open_circles(ax, _across(series.model, out_n, out_l)[0], out_value / unit, plain)
    for n, layers in _curves(fit):
        mean, deviation = (curve / unit for curve in fit.curve(n, layers))
        at, colour = _across(series.model, n, layers)[0], by_width.get(n[0], plain)
        ax.plot(at, mean, color=colour, linewidth=0.9 if by_width else None)
        ax.fill_between(at, mean - deviation, mean + deviation, color=colour, alpha=0.2, linewidth=0)
    title = f"{series.variant} {_symbol(series)}, pull {fit.pull:+.1f}".strip()
    ax.set(title=title, xlabel=label, ylabel="over prediction" if unit != 1.0 else "")
    name_ends(ax, _draw_theory(fit, ax, x))
    return ax


def _draw_theory(fit: Fit, ax: Axes, x: Array) -> list[tuple[float, float, str, str]]:
    """The prediction; the end of each line, its name and its colour."""
    series = fit.series
    if series.model in (*EXPONENTS, *DEPTHS):
        if series.model in EXPONENTS:
            width_axis(ax, series.n.tolist())
        logarithmic = series.model != "exponential"
        if series.model == "power_law":
            ax.set_xscale("log")
        order = np.argsort(x, kind="stable")
        steps = np.log(x / x[order[-1]]) if logarithmic else x - x[order[-1]]
        line = (series.value[order[-1]] - series.prediction * steps)[order]
        ax.plot(x[order], line, color=ink(), **THIN)
        return [(x[order[-1]], line[-1], "theory", ink())]
    ends, end, unit = [], float(x.max()), unit_of(series)
    prediction = series.prediction / unit
    if series.predicted:
        asked = series.precision * series.scale / abs(unit)
        ax.axhspan(prediction - asked, prediction + asked, color=ink(), alpha=0.1, linewidth=0, zorder=-1)
        ax.plot([0.0, end], [prediction] * 2, color=ink(), **THIN)
        ends.append((end, prediction, "theory", ink()))
    if np.isfinite(series.following):
        r = np.array([0.0, end])
        second = prediction + series.following / unit * r
        ax.plot(r, second, color=ink(), linestyle="--", **THIN)
        ax.fill_between(r, prediction, second, color=ink(), alpha=0.06, linewidth=0, zorder=0)
        ends.append((end, second[-1], "next order", ink()))
    ax.errorbar([0], [fit.coefficient / unit], [fit.error / abs(unit)], fmt="D", color=cycle()[1], clip_on=False)
    return ends


def _draw_pulls(fit: Fit, ax: Axes) -> Axes:
    x, label = _across(fit.series.model, fit.series.n, fit.series.l)
    wide = fit.series.model in (*EXPONENTS, *DEPTHS)
    ax.bar(x, fit.residual_pulls, width=0.06 * x if wide else 0.03 * x.max(), color=colours(range(3))[1])
    ax.axhline(0, color=ink(), linewidth=0.8)
    ax.set(ylim=(-3.5, 3.5), xlabel=label, ylabel="pull")
    return ax


def _symbol(series: Series) -> str:
    return claims.symbol(series.test, series.tensor) + series.name.removeprefix(f"{series.variant} ").removeprefix(
        series.tensor
    )
