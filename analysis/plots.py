"""The figures of a report. Widths are ordered, so they get a sequential, colour-blind safe scale; theory is black."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import estimators, preactivations, training
from analysis.fits import JOINT, Fit, Series
from analysis.pipeline import Claim, Result
from analysis.points import FOUR_POINT_SAMPLES, Point, Variant

STYLE = Path(__file__).with_name("nearly_gaussian.mplstyle")
SYMBOLS = {
    "V": "$V$",
    "G1": "$G^{\\{1\\}}$",
    "V of neurons": "$V$ of neurons",
    "cumulant": r"$\frac{n}{3}\kappa_4(z)$",
    "six-point": r"$n^2\kappa_3(g)$",
    "Theta1": r"$\Theta^{\{1\}}$",
    **{tensor: f"${tensor}$" for tensor in "ABDFPQRSTU"},
    "log dH^2": r"$\log\mathrm{E}\,(\mathrm{d}H)^2$",
    "log ddI^2": r"$\log\mathrm{E}\,(\mathrm{dd}_I H)^2$",
    "log d4^2": r"$\log\mathrm{E}\,(\mathrm{d}^4 z)^2$",
    "V / theory": r"$V/V_{\mathrm{theory}}$",
    "G": r"$\mathrm{E}\,g$",
    "log K": r"$\log\mathrm{E}\,g$",
    "log dK": r"$\log\mathrm{E}(g_{00}-g_{11})$",
    "H": r"$\mathrm{E}\,H$",
    "log Var H": r"$\log\mathrm{Var}\,H$",
    "z": r"$\mathrm{E}\,z$",
    "Cov z": r"$\mathrm{Cov}\,z$",
    "n dz": r"$n\,(\mathrm{E}\,z-z_\infty)$",
    "z - z'": r"$\mathrm{E}(z-z')$",
    "n (z - z')": r"$n\,\mathrm{E}(z-z')$",
    "n dH": r"$n\,\mathrm{E}[H(T)-H(0)]$",
    "log dg^2": r"$\log\mathrm{E}\,(\Delta g)^2$",
    "log dH^2 in training": r"$\log\mathrm{E}\,(\Delta H)^2$",
    "log error": r"$\mathrm{E}\log\sup_t|z-z_{\mathrm{model}}|$",
}
PANELS = 12  # series of one test that are drawn; the table holds all


@dataclass(frozen=True)
class Drawn:
    claim: str
    caption: str
    svg: Path


# Variants have no order: Okabe and Ito's colours, each also with a marker of its own.
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#b2a800")
MARKERS = "osD^v<>P"


def looks(variants: Sequence[Variant]) -> list[tuple[str, str]]:
    """A colour and a marker each."""
    return [(CATEGORIES[k % len(CATEGORIES)], MARKERS[k % len(MARKERS)]) for k in range(len(variants))]


def colours(points: Sequence[Point]) -> list[tuple[float, float, float, float]]:
    return [matplotlib.colormaps["viridis"](x) for x in np.linspace(0.0, 0.85, len(points))]


def width_axis(axes: Axes, widths: Sequence[float]) -> None:
    """A logarithmic width axis that names the widths there are."""
    axes.set_xscale("log")
    axes.set_xticks(list(widths), [f"{n:.0f}" for n in widths])
    axes.minorticks_off()


def collapse(claim: Claim, result: Result) -> Figure | None:
    """V/(n K^2) against L/n, the diagonal component of the first sample."""
    points = claim.points
    if not all(p.records("g") and len(p.layers("g")) > 2 and p.D <= FOUR_POINT_SAMPLES for p in points):
        return None
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(5.4, 5.2), sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    for point, colour in zip(points, colours(points), strict=True):
        flow = point.flow(True)
        assert flow.V is not None
        layers = np.array([layer for layer in point.layers("g") if layer > 1])
        K, V = flow.K[layers - 1, 0, 0], flow.V[layers - 1, 0, 0, 0, 0]
        measured = [m.estimate for m in preactivations.vertex(point, None)]
        value = np.array([m.value[0] for m in measured]) / (point.n * K**2)
        error = np.array([m.error[0] for m in measured]) / (point.n * K**2)
        top.errorbar(layers / point.n, value, error, fmt="o", color=colour, label=f"$n={point.n}$")
        every = np.arange(2, point.depth + 1)
        line = flow.V[every - 1, 0, 0, 0, 0] / (point.n * flow.K[every - 1, 0, 0] ** 2)
        top.plot(every / point.n, line, color="black", linewidth=0.9, zorder=0)
        bottom.errorbar(layers / point.n, value * point.n * K**2 / V, error * point.n * K**2 / V, fmt="o", color=colour)
    top.plot([], [], color="black", linewidth=0.9, label="theory, order $1/n$")
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
    K, G1, V, n = flow.K[-1, 0, 0], flow.G1[-1, 0, 0], flow.V[-1, 0, 0, 0, 0], point.n
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
        return preactivations.nearly_gaussian(u * unit, K, G1, V, n) * unit

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(5.4, 5.2), sharex=True, gridspec_kw={"height_ratios": [2, 1.4]})
    colour = colours(claim.points)[0]
    top.errorbar(middle, p, error, fmt="o", color=colour, label=f"{len(z):,} networks, $n={n}$, $L={L}$")
    top.plot(fine, gaussian(fine), color="0.55", linestyle="--", label=r"Gaussian, $n=\infty$")
    top.plot(fine, nearly(fine), color="black", label="nearly Gaussian, order $1/n$")
    top.set(ylabel=r"$\sqrt{K}\,p(z)$", yscale="log", ylim=(max(p[p > 0].min() / 3, 1e-7), 1))
    top.legend(loc="lower center")
    seen = (count > 20) & (np.abs(middle) < 4)  # beyond, order 1/n^2 shows in a density divided by nearly nothing
    g = gaussian(middle)
    bottom.errorbar(middle[seen], p[seen] / g[seen], error[seen] / g[seen], fmt="o", color=colour)
    bottom.axhline(1, color="0.55", linestyle="--")
    bottom.plot(fine, nearly(fine) / gaussian(fine), color="black")
    bottom.set(
        xlabel=r"$z/\sqrt{K}$", ylabel=r"$p\,/\,p_{\mathrm{Gaussian}}$", ylim=(0.7, max(1.8, (p / g)[seen].max()))
    )
    return figure


def frozen_ntk(claim: Claim, result: Result) -> Figure | None:
    """H against Theta: mean and spread over networks for each sample pair, by width."""
    points = claim.points
    if not all(p.records("H") for p in points):
        return None
    shown = [(k, c) for k, c in enumerate(points[0].columns("H")) if c[0] == c[1] == 0][:10]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.8))
    for at, (point, colour) in enumerate(zip(points, colours(points), strict=True)):
        H = point.read("H", point.depth)[:, [k for k, _ in shown]]
        x = np.arange(len(shown)) + 0.12 * (at - (len(points) - 1) / 2)
        left.errorbar(x, H.mean(axis=0), H.std(axis=0), fmt="o", color=colour, label=f"$n={point.n}$")
        variance = estimators.covariance(H[:, :1], [(0, 0)])
        right.errorbar([point.n], variance.value, variance.error, fmt="o", color=colour)
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


def trained(claim: Claim, result: Result) -> Figure | None:
    """Trained outputs: mean and spread over networks against the closed form with its band."""
    points = claim.points
    if any(not p.trained or not p.records("z") or not training.solved(p) for p in points):
        return None
    point = points[0]
    x, y, train = point.samples
    step = point.data.layout.steps[-1]
    assert y is not None
    mean, covariance = training.closed_form(point, step)
    figure, axes = plt.subplots(figsize=(6.4, 3.8))
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


def fit_panels(fits: Sequence[Fit]) -> Figure:
    """Each series against l/n with its fit, the prediction at the axis, and residual pulls below."""
    shown = fits[:PANELS]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = plt.figure(figsize=(3.6 * columns, 3.1 * rows))
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


def _one_fit(fit: Fit, top: Axes, bottom: Axes) -> None:
    """Against n for exponents in n, else against l/n; against l for flows with depth, which have one curve a width."""
    series = fit.series
    colour = matplotlib.colormaps["viridis"](0.35)
    error = np.sqrt(series.covariance.diagonal())
    exponent, deep = series.model in ("exponent", "network_exponent"), series.model in ("power_law", "exponential")
    x, label = (series.n, "$n$") if exponent else (series.l, r"$\ell$") if deep else (series.l / series.n, r"$\ell/n$")
    top.errorbar(x, series.value, error, fmt="o", color=colour)
    if series.model in JOINT:
        for n in sorted(set(series.n.tolist())) if deep else []:
            layers = np.linspace(series.l.min(), series.l.max(), 60)
            top.plot(layers, fit.curve(np.full(60, n), layers)[0], color=colour, linewidth=0.8)
    else:
        n = (
            np.geomspace(series.n.min(), series.n.max(), 60)
            if exponent
            else series.l[0] / np.linspace(1e-6, x.max(), 60)
        )
        mean, deviation = fit.curve(n, np.full(60, series.l[0]))
        at = n if exponent else series.l[0] / n
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
        top.axhline(series.prediction, color="black", linewidth=0.9, zorder=0)
        top.errorbar([0], [fit.coefficient], [fit.error], fmt="D", color="#d55e00", clip_on=False)
    top.set_title(f"{series.variant} {_symbol(series)}, pull {fit.pull:+.1f}".strip())
    bottom.bar(x, fit.residual_pulls, width=0.06 * x if exponent or deep else 0.03 * x.max(), color=colour)
    bottom.axhline(0, color="black", linewidth=0.8)
    bottom.set_ylim(-3.5, 3.5)
    bottom.set_xlabel(label)


def _symbol(series: Series) -> str:
    symbol = SYMBOLS.get(series.tensor, series.tensor)
    return symbol + series.name.removeprefix(f"{series.variant} ").removeprefix(series.tensor)


def classes(claim: Claim, result: Result) -> Figure | None:
    """V/(nK^2) of each variant against l/n with its prediction: one curve a universality class."""
    if not all(p.critical and p.records("g") and p.D <= FOUR_POINT_SAMPLES for p in claim.points):
        return None
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.0, 6.4), sharex=True, height_ratios=(2, 1))
    for variant, (colour, marker) in zip(claim.variants, looks(claim.variants), strict=True):
        for point in variant.points:
            flow = point.flow(True)
            assert flow.V is not None
            layers = np.array([layer for layer in point.layers("g") if layer > 1])
            V = flow.V[layers - 1, 0, 0, 0, 0]
            unit = point.n * flow.K[layers - 1, 0, 0] ** 2
            measured = [m.estimate for m in preactivations.vertex(point, None)]
            value, error = np.array([(m.value[0], m.error[0]) for m in measured]).T
            drawn = {"fmt": marker, "markersize": 3.5, "color": colour}
            top.errorbar(layers / point.n, value / unit, error / unit, **drawn)
            top.plot(layers / point.n, V / unit, color=colour, linewidth=0.8)
            bottom.errorbar(layers / point.n, value / V, error / V, **drawn)
        top.plot([], [], color=colour, marker=marker, markersize=3.5, label=variant.label)
    bottom.axhline(1, color="black", linewidth=0.9, zorder=0)
    top.set(ylabel=r"$V/(nK^2)$", xscale="log", yscale="log")
    bottom.set(xlabel=r"$\ell/n$", ylabel=r"$V/V_{\mathrm{theory}}$")
    top.legend(ncols=2)
    return figure


def depths(claim: Claim, result: Result) -> Figure | None:
    """E g of each sample of each variant against depth at the largest width, with the infinite-width kernel."""
    points = [variant.points[-1] for variant in claim.variants]
    if not all(p.records("g") and len(p.layers("g")) > 2 for p in points):
        return None
    figure, axes = plt.subplots(figsize=(6.0, 4.4))
    for variant, point, (colour, marker) in zip(claim.variants, points, looks(claim.variants), strict=True):
        layers, every = point.layers("g"), np.arange(1, point.depth + 1)
        K = point.flow(False).K
        for a in range(point.D):
            column = point.columns("g").index((a, a))
            mean = [estimators.mean(point.read("g", layer)[:, [column]]) for layer in layers]
            label = f"{variant.label}, $n={point.n}$" if a == 0 else None
            value, error = [m.value[0] for m in mean], [m.error[0] for m in mean]
            axes.errorbar(layers, value, error, fmt=marker, color=colour, label=label)
            axes.plot(every, K[:, a, a], color=colour, linewidth=0.9)
    axes.set(xlabel=r"$\ell$", ylabel=r"$\mathrm{E}\,g_{aa}$", xscale="log", yscale="log")
    axes.legend()
    return figure


# For claims whose points differ in width alone, and for those with several variants.
FIGURES: dict[str, tuple[Callable[[Claim, Result], Figure | None], str]] = {
    "collapse": (
        collapse,
        "Four-point vertex of sample 0 over the square of the kernel against the aspect ratio, all widths. "
        "Line: theory at order 1/n.",
    ),
    "density": (
        density,
        "Density of output 0 at sample 0 over networks of the narrowest width, and its ratio to the Gaussian.",
    ),
    "frozen_ntk": (
        frozen_ntk,
        "Neural tangent kernel against the frozen NTK (left), and its variance against width (right).",
    ),
    "trained": (
        trained,
        "Outputs after training on train and test samples: networks of each width against the closed form and its "
        "one-standard-deviation band.",
    ),
}
OF_VARIANTS: dict[str, tuple[Callable[[Claim, Result], Figure | None], str]] = {
    "classes": (
        classes,
        "Four-point vertex over the square of the kernel against the aspect ratio, and over its prediction. Lines: "
        "theory at order 1/n.",
    ),
    "depths": (depths, "Kernels of all samples against depth at the largest width. Lines: infinite width."),
}


def write_all(result: Result, folder: Path) -> list[Drawn]:
    """Every figure that the claims have data for, as SVG and PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    out = []

    def save(figure: Figure, claim: str, name: str, caption: str) -> None:
        for kind in ("svg", "png"):
            # No date in the file: the same data draw the same bytes.
            figure.savefig(folder / f"{claim}-{name}.{kind}", metadata={"Date": None} if kind == "svg" else None)
        plt.close(figure)
        out.append(Drawn(claim, caption, folder / f"{claim}-{name}.svg"))

    with plt.style.context(STYLE):
        for claim, verdict in zip(result.claims, result.verdicts, strict=True):
            safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in claim.name)
            for name, (draw, caption) in (OF_VARIANTS if len(claim.variants) > 1 else FIGURES).items():
                figure = draw(claim, result)
                if figure is not None:
                    save(figure, safe, name, caption)
            for test in claim.tests:
                fits = [j.fit for j in verdict.judged if j.fit.series.test == test]
                if fits:
                    more = f" ({PANELS} of {len(fits)} drawn; the table holds all)" if len(fits) > PANELS else ""
                    caption = f"Test {test}: measured (circles), fit with its band, leading coefficient (diamond) and "
                    caption += f"prediction (black line); below, residual pulls{more}."
                    save(fit_panels(fits), safe, f"fit-{test}", caption)
    return out
