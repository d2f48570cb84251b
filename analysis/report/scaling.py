"""Figures of one tensor over widths, layers, steps or swept settings: measured points on the lines of theory.

They draw into the axes that they are given, in the style of the caller.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from analysis import claims, tables, tails, theory
from analysis.report.style import cycle, name_ends, width_axis

X = {"L/n": r"$\ell/n$", "l/n": r"$\ell/n$", "n": "$n$", "1/n": "$1/n$", "l": r"$\ell$", "step": "$t$"}
# Columns of a table that the horizontal axis runs over, and that do not part its points into groups.
RUNS_OVER = {"L/n": "layer", "l/n": "layer", "n": "width", "1/n": "width", "l": "layer", "step": "step"}
Y = ("unit", "value", "ratio")
SHORT = {"width": "n", "layer": r"\ell", "step": "t"}
NAMED = 12  # lines that are named at their ends; names of more are in a legend beside the axes
DECADE = 8.0  # positive numbers that span more than this factor get a logarithmic axis


def draw_scaling(frame: pd.DataFrame, x: str, y: str | None, samples: str | Sequence[str] | None, ax: Axes) -> Axes:
    """Draw a table of estimates (`analysis.tables.table`) over x, as `analysis.plot.scaling` describes it."""
    frame = _chosen(frame, samples, prefer_unit=y == "unit" or (y is None and RUNS_OVER.get(x) == "layer" and x != "l"))
    if y is None:
        y = "unit" if x in ("L/n", "l/n") and frame["unit"].notna().all() else "value"
    if y not in Y:
        raise ValueError(f"y={y}: one of {', '.join(Y)}")
    one = pd.Series(1.0, frame.index)
    unit = {"unit": frame["unit"], "value": one, "ratio": frame["theory"]}[y]
    if unit.isna().any():
        raise ValueError(f"y={y}: {frame['tensor'].iloc[0]} has no unit n K^a Theta^b at these components; y=value")
    frame = frame.assign(**{name: frame[name] / unit for name in ("estimate", "theory", "theory_next")})
    frame["error"] = frame["error"] / unit.abs()
    frame["x"], label, ticks = _horizontal(frame, x)
    known = _next_order(frame)
    parts = _groups(frame, x)
    colours, ends = _colours(parts), []
    end = 0 if y == "unit" and x in ("L/n", "l/n") else -1  # curves over L/n part at their beginnings
    for (name, part), colour in zip(parts, colours, strict=True):
        part = part.sort_values("x", kind="stable")
        alone: dict[str, Any] = {"marker": "_", "markersize": 18} if part["x"].nunique() == 1 else {}
        ax.plot(part["x"], part["theory"], color=colour, linewidth=0.9, zorder=1, **alone)
        if known:
            ax.plot(part["x"], part["theory_next"], color=colour, linewidth=0.9, linestyle="--", zorder=1, **alone)
        seen, hidden = part[~part["tail_dominated"]], part[part["tail_dominated"]]
        bars = ax.errorbar(seen["x"], seen["estimate"], seen["error"], fmt="o", color=colour)
        if name and len(parts) <= NAMED:
            ends.append((*part[["x", "estimate"]].iloc[end], name, colour))
        else:
            bars.set_label(name or "measured")
        if len(hidden):
            named = tails.WORD in ax.get_legend_handles_labels()[1]
            marks: dict[str, Any] = {"markerfacecolor": "none", "label": None if named else tails.WORD}
            ax.plot(hidden["x"], hidden["estimate"], "o", color=colour, **marks)
    ax.plot([], [], color="0.4", linewidth=0.9, label="theory")
    if known:
        ax.plot([], [], color="0.4", linewidth=0.9, linestyle="--", label="with the next order")
    _scales(frame, x, ticks, ax)
    ax.set(xlabel=label, ylabel=_vertical(frame, y))
    name_ends(ax, ends)
    aside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "fontsize": "small"}
    ax.legend(**(aside if len(parts) > NAMED else {}))
    return ax


def draw_heat(frame: pd.DataFrame, x: str, y: str, samples: str | None, ax: Axes) -> Axes:
    """Draw a table of estimates over x and y as colours, as `analysis.plot.heat` describes it."""
    frame = _chosen(frame, samples, prefer_unit=False)
    frame["x"], across, of_x = _horizontal(frame, x)
    frame["y"], up, of_y = _horizontal(frame, y, "y")
    if (several := frame.groupby(["x", "y"]).size()).max() > 1:
        differ = [name for name in _parting(frame, x, y) if frame[name].nunique() > 1]
        raise ValueError(
            f"x={x}, y={y}: up to {several.max()} estimates a cell, which differ in {', '.join(differ)}; choose one "
            "(layers=, or the data sets)"
        )
    measured, predicted = (frame.pivot(index="y", columns="x", values=name) for name in ("estimate", "theory"))
    at_x, at_y = np.arange(len(measured.columns)), np.arange(len(measured.index))
    mesh = ax.pcolormesh(at_x, at_y, measured.to_numpy(), shading="nearest")
    if len(at_x) > 1 and len(at_y) > 1 and predicted.stack().nunique() > 1:
        lines = ax.contour(at_x, at_y, predicted.to_numpy(), colors="white", linewidths=0.9)
        ax.clabel(lines, fontsize="small")
    for axis, values, names in ((ax.xaxis, measured.columns, of_x), (ax.yaxis, measured.index, of_y)):
        axis.set_ticks(range(len(values)), [names[int(v)] if names else _text(v) for v in values])
    ax.set(xlabel=across, ylabel=up, title=f"{_symbol(frame)}: colours measured, lines theory")
    figure = ax.get_figure()
    assert figure is not None
    figure.colorbar(mesh, ax=ax)
    return ax


def _chosen(frame: pd.DataFrame, samples: str | Sequence[str] | None, prefer_unit: bool) -> pd.DataFrame:
    """The rows of the components that are asked for, or of the first, which have an estimate."""
    reasons = "; ".join(frame["skipped"].unique())
    frame = frame[frame["skipped"] == ""]
    if not len(frame):
        raise ValueError(f"nothing to draw: {reasons}")
    labels = list(dict.fromkeys(frame["samples"]))
    if samples is None:
        with_unit = list(dict.fromkeys(frame["samples"][frame["unit"].notna()])) if prefer_unit else []
        wanted = (with_unit or labels)[:1]
    else:
        wanted = [samples] if isinstance(samples, str) else list(samples)
    for label in wanted or [""]:
        if label not in labels:
            raise ValueError(f"samples={label}: no such component; there are {'; '.join(labels)}")
    return frame[frame["samples"].isin(wanted)].copy()


def _horizontal(frame: pd.DataFrame, x: str, axis: str = "x") -> tuple[Any, str, list[str]]:
    """The values of an axis, its label, and the names of its ticks where the values have no order."""
    ratio = {"L/n": "layer", "l/n": "layer"}.get(x)
    if ratio or x in X:
        column = RUNS_OVER[x]
        values = frame[column] / frame["width"] if ratio else frame[column]
        return (1 / values if x == "1/n" else values), X[x], []
    name = setting_of(frame, x, axis)
    short = name.removesuffix(".name").rpartition(".")[2]
    if pd.api.types.is_numeric_dtype(frame[name]):
        return frame[name], short, []
    texts = list(dict.fromkeys(map(str, frame[name])))
    return frame[name].astype(str).map(texts.index), short, texts


def setting_of(frame: pd.DataFrame, name: str, axis: str) -> str:
    """The column of a swept setting, which may be named without its group. ValueError where there is none."""
    there = tables.swept(frame)
    found = [column for column in there if name in (column, column.rpartition(".")[2], column.removesuffix(".name"))]
    if len(found) != 1:
        right = f"neither an axis nor a setting in which these data sets differ; there are {', '.join([*X, *there])}"
        raise ValueError(f"{axis}={name}: {right}")
    return found[0]


def _parting(frame: pd.DataFrame, *axes: str) -> list[str]:
    """The columns by which points are parted into groups: all that the axes do not run over and do not determine."""
    over = {RUNS_OVER.get(x) or setting_of(frame, x, "x") for x in axes}
    settings = sorted(tables.swept(frame), key=lambda name: not name.endswith(".name"))
    determined = {
        name
        for name in settings
        if any(x not in X and frame.groupby("x")[name].nunique(dropna=False).max() <= 1 for x in axes)
    }
    return [name for name in (*settings, "width", "layer", "step", "samples") if name not in over | determined]


def _groups(frame: pd.DataFrame, x: str) -> list[tuple[str, pd.DataFrame]]:
    """The points of each line with its label, which names as few columns as tell the lines apart."""
    telling: list[str] = []
    for name in _parting(frame, x):
        if len(frame[[*telling, name]].drop_duplicates()) > (len(frame[telling].drop_duplicates()) if telling else 1):
            telling.append(name)
    if not telling:
        return [("", frame)]
    out = []
    for values, part in frame.groupby(telling, sort=False):
        words = [_word(name, value) for name, value in zip(telling, values, strict=True)]
        out.append((", ".join(words), part))
    return out


def _word(name: str, value: Any) -> str:
    if name in SHORT:
        return f"${SHORT[name]}={value:g}$"
    if name == "samples" or name.endswith(".name"):
        return str(value)
    return f"{name.rpartition('.')[2]}={_text(value)}"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _colours(parts: Sequence[Any]) -> list[Any]:
    """A colour for each line: those of the caller's cycle, or of its colour map where there are more lines."""
    if len(parts) <= len(cycle()):
        return cycle()[: len(parts)]
    return list(matplotlib.colormaps[matplotlib.rcParams["image.cmap"]](np.linspace(0, 0.85, len(parts))))


def _next_order(frame: pd.DataFrame) -> bool:
    """Whether the next order is known, and differs from the leading one."""
    following = frame["theory_next"].notna()
    return bool(following.any()) and not np.allclose(frame["theory_next"][following], frame["theory"][following])


def _scales(frame: pd.DataFrame, x: str, ticks: Sequence[str], ax: Axes) -> None:
    """Logarithmic axes where positive numbers span much, and ticks at the widths or at the names that were swept."""
    if x == "n" and frame["x"].nunique() > 1:
        width_axis(ax, sorted(frame["x"].unique()))
    elif frame["x"].nunique() == 1 and not ticks:
        ax.set_xticks([frame["x"].iloc[0]], [_text(frame["x"].iloc[0])])
    elif ticks:
        ax.set_xticks(range(len(ticks)), ticks)
    elif frame["x"].min() > 0 and frame["x"].max() > DECADE * frame["x"].min():
        ax.set_xscale("log")
        if frame["x"].max() > 10 * frame["x"].min():  # a power of ten is among the ticks
            ax.xaxis.set_minor_formatter(NullFormatter())
    values = np.concatenate([frame["estimate"] - 2 * frame["error"].fillna(0.0), frame["theory"]])
    if values.min() > 0 and values.max() > DECADE * values.min():
        ax.set_yscale("log")


def _symbol(frame: pd.DataFrame) -> str:
    tensor = frame["tensor"].iloc[0]
    symbol = next((m.symbols[tensor] for m in claims.tests().values() if tensor in m.symbols), tensor)
    components = list(dict.fromkeys(frame["samples"]))
    return f"{symbol} [{components[0]}]" if len(components) == 1 else symbol


def _vertical(frame: pd.DataFrame, y: str) -> str:
    if y != "unit":
        return f"{_symbol(frame)} over theory" if y == "ratio" else _symbol(frame)
    of_K, of_Theta = theory.UNITS[frame["tensor"].iloc[0]]
    letters = [f"{letter}^{power}" for letter, power in (("K", of_K), (r"\Theta", of_Theta)) if power]
    return f"{_symbol(frame)} over $n{''.join(letters)}$"
