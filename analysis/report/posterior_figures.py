"""Figures of posteriors: outputs and hidden kernels before and after inference, and evidence over what data sets differ
in, docs/theory.md (16.1) and (16.2). All numbers are those of `analysis.inference.Inferred.table`."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.estimators import Array
from analysis.inference import Inferred
from analysis.measures.measured import label_of
from analysis.report.band import DEVIATIONS, fill
from analysis.report.style import CATEGORIES, MARKERS, End, ink, name_ends, width_axis

PANELS = 3  # outputs that are drawn; the table holds all
LAYERS = 4  # hidden kernels that are drawn, the last ones
TICKS = 20  # samples up to which each has its own
KINDS = {"prior": ("0.6", "prior"), "estimate": (CATEGORIES[0], "posterior"), "infinite_width": (None, r"$n=\infty$")}
AXES = {"C_W": r"$C_W$", "depth": r"$L$", "n": r"$n$", "C_b": r"$C_b$"}  # evidence is drawn over one of them


def figures(found: Mapping[str, Inferred]) -> Iterator[tuple[str, str, Figure]]:
    """The name, the caption and the figure of each picture of the posteriors of data sets, by their names."""
    drawn = evidence(found)
    if drawn is not None:
        caption = "Log evidence of the targets. Points: networks. Lines: infinite width, and dashed to order 1/n."
        yield "evidence", caption, drawn
    for name, inferred in found.items():
        caption = f"{name}: mean and {DEVIATIONS:g} standard deviations of outputs without noise, before and after."
        yield f"outputs-{name}", f"{caption} Dashed: the posterior at infinite width.", bands(inferred)
        if any(layer > 1 for layer in inferred.point.layers("g")):
            caption = f"{name}: hidden kernels of pairs of samples before and after inference, and their difference."
            yield f"kernels-{name}", caption, kernels(inferred)


def bands(inferred: Inferred) -> Figure:
    """Prior, posterior, and posterior at infinite width of each output."""
    outputs = min(inferred.mean.shape[1], PANELS)
    figure = Figure(figsize=(4.8 * outputs, 3.8))
    table = inferred.table.set_index(["quantity", "samples"])
    for i, axes in enumerate(figure.subplots(1, outputs, squeeze=False)[0]):
        samples = range(len(inferred.mean))
        mean = table.loc[[("mean", label_of((i, b))) for b in samples]]
        variance = table.loc[[("covariance", label_of((i, b), (i, b))) for b in samples]]
        _bands(axes, inferred, i, mean, variance)
    return figure


def _bands(axes: Axes, inferred: Inferred, i: int, mean: Any, variance: Any) -> None:
    """Of output i, over the one component in which inputs differ, or over the samples one by one."""
    x, y = inferred.point.samples[0], inferred.targets
    varying = np.flatnonzero(np.ptp(x, axis=0))
    line = len(varying) == 1
    places = x[:, varying[0]] if line else np.arange(float(len(x)))
    order = np.argsort(places, kind="stable")
    ends: list[End] = []
    for shift, (column, (given, label)) in zip((-0.2, 0.0, 0.2), KINDS.items(), strict=True):
        colour = given or ink()
        middle, spread = mean[column].to_numpy(), DEVIATIONS * np.sqrt(variance[column].to_numpy())
        if not line:
            axes.errorbar(places + shift, middle, spread, fmt="o", color=colour, label=label)
            continue
        end = middle[order[-1]]
        if column == "infinite_width":
            edges = np.stack([middle - spread, middle + spread], axis=1)[order]
            axes.plot(places[order], edges, color=colour, linewidth=0.9, linestyle="--")
            end = edges[-1, 1]
        else:
            fill(axes, places[order], middle[order], spread[order], colour)
        ends.append((places[order[-1]], end, label, colour))
    axes.plot(places[: len(y)], y[:, i], "^", color=CATEGORIES[1], label="targets", zorder=3)
    axes.set(xlabel="input" if line else "sample", ylabel=f"output {i}")
    if not line and len(x) <= TICKS:
        axes.set_xticks(places, [f"{b}" for b in range(len(x))])
    name_ends(axes, ends)
    axes.legend()


def kernels(inferred: Inferred) -> Figure:
    """E g(l) of the prior and of the posterior, and their difference, of the last hidden layers that are recorded."""
    point, table = inferred.point, inferred.table
    layers = [layer for layer in point.layers("g") if layer > 1][-LAYERS:]
    figure = Figure(figsize=(8.4, 2.5 * len(layers)))
    for row, layer in zip(figure.subplots(len(layers), 3, squeeze=False), layers, strict=True):
        of_layer = table[(table["quantity"] == "kernel") & (table["layer"] == layer)]
        before, after = (_matrix(of_layer[name].to_numpy(), point.columns("g")) for name in ("prior", "estimate"))
        largest, change = np.abs([before, after]).max(), np.abs(after - before).max()
        for axes, values, limit, title in zip(
            row, (before, after, after - before), (largest, largest, change), ("prior", "posterior", "difference"),
            strict=True,
        ):  # fmt: skip
            image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set(title=rf"{title}, $\ell={layer}$", xlabel="sample")
            axes.grid(False)
            figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def _matrix(values: Array, pairs: list[tuple[int, ...]]) -> Array:
    """(D, D) from its elements by pair of samples."""
    D = max(b for _, b in pairs) + 1
    found = np.full((D, D), np.nan)
    for value, (a, b) in zip(values, pairs, strict=True):
        found[a, b] = found[b, a] = value
    return found


def evidence(found: Mapping[str, Inferred]) -> Figure | None:
    """Log evidence against the first of `AXES` in which data sets differ that are alike else, one curve for what these
    differ in; None where they do not differ so."""
    places = [_place(inferred) for inferred in found.values()]
    axis = next((key for key in AXES if _runs_over(key, places)), None)
    if axis is None:
        return None
    others = [key for key in places[0] if key != axis and len({place[key] for place in places}) > 1]
    curves: dict[tuple[Any, ...], list[tuple[float, Any]]] = {}
    for place, inferred in zip(places, found.values(), strict=True):
        row = inferred.table[inferred.table["quantity"] == "log_evidence"].iloc[0]
        curves.setdefault(tuple(place[key] for key in others), []).append((place[axis], row))
    figure = Figure(figsize=(5.4, 4.0))
    axes = figure.subplots()
    ends: list[End] = []
    for k, (values, points) in enumerate(curves.items()):
        points.sort(key=lambda point: point[0])
        x, rows = [at for at, _ in points], [row for _, row in points]
        label = ", ".join(f"{AXES.get(key, key)} = {value}" for key, value in zip(others, values, strict=True))
        colour = CATEGORIES[k % len(CATEGORIES)]
        value, error = ([row[column] for row in rows] for column in ("estimate", "error"))
        marker = MARKERS[k % len(MARKERS)]
        axes.errorbar(x, value, error, fmt=marker, color=colour)
        ends.append((x[-1], rows[-1]["infinite_width"], label, colour))
        axes.plot(x, [row["infinite_width"] for row in rows], color=colour, linewidth=0.9)
        axes.plot(x, [row["theory"] for row in rows], color=colour, linewidth=0.9, linestyle="--")
    axes.set(xlabel=AXES[axis], ylabel=r"$\log p(y)$")
    if axis == "n":
        width_axis(axes, sorted({place["n"] for place in places}))
    name_ends(axes, ends)
    return figure


def _runs_over(key: str, places: list[dict[str, Any]]) -> bool:
    """Whether places differ in this setting, and are fewer in all others."""
    others = {tuple(value for name, value in place.items() if name != key) for place in places}
    return len({place[key] for place in places}) > 1 and len(others) < len(places)


def _place(inferred: Inferred) -> dict[str, Any]:
    """What a data set's networks are: numbers of `AXES`, and the activation."""
    point, start = inferred.point, inferred.point.settings["initialization"]
    numbers = {"C_W": start["C_W"], "depth": point.depth, "n": point.n, "C_b": start["C_b"]}
    return numbers | {"activation": point.activation}
