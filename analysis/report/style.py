"""The look of figures, in the style in use: widths have the colours of a sequential map, and theory that of text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from analysis import tails, theory
from analysis.estimators import Array, Estimate
from analysis.points import OUT_OF_RANGE, Point, Variant, variants
from analysis.tables import sets_of

End = tuple[float, float, str, Any]  # of a line: x, y, its name and its colour
STYLE = Path(__file__).with_name("nearly_gaussian.mplstyle")


@dataclass(frozen=True)
class Drawn:
    """A figure in a file. inches: its width."""

    claim: str
    caption: str
    svg: Path
    inches: float


# The colours of Okabe and Ito, which are safe for the colour-blind, and the markers that go with them.
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#b2a800")
MARKERS = "osD^v<>P"
HALF = 0.4  # half the length of the line at one of several samples, which are one apart
APART = 10.0  # two names of lines have this distance, in points
THIN: dict[str, Any] = {"linewidth": 0.9, "zorder": 0}  # a line of theory, behind what is measured


def axes_of(ax: Axes | None) -> Axes:
    """The axes that are given, or those of a new figure of pyplot's."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt  # late: it chooses a backend, which only a caller without axes wants

    return plt.subplots()[1]


def variants_of(data: Any) -> Sequence[Variant]:
    """The points of data as of `analysis.table`, by what they differ in apart from the width; variants as they are."""
    if isinstance(data, list | tuple) and all(isinstance(entry, Variant) for entry in data):
        return data
    return variants([Point(entry) for entry in sets_of(data)])


def drawable(data: Any, lacks: Callable[[Sequence[Point]], str]) -> Sequence[Variant]:
    """`variants_of` data that lack nothing. ValueError for others, with what they lack."""
    parts = variants_of(data)
    if reason := lacks(points_of(parts)):
        raise ValueError(f"no figure of these data: {reason}")
    return parts


def points_of(parts: Sequence[Variant]) -> list[Point]:
    """All points of variants."""
    return [point for variant in parts for point in variant.points]


def ink() -> str:
    """The colour of theory: that of text in the style in use."""
    return str(matplotlib.rcParams["text.color"])


def cycle() -> list[str]:
    """The colours of the style in use."""
    return [entry["color"] for entry in matplotlib.rcParams["axes.prop_cycle"] if "color" in entry]


def class_of(variant: Variant) -> str:
    """The universality class of a variant's activation; the label of the variant where there is none."""
    try:
        return theory.critical(variant.points[0].settings["activation"]["name"]).universality_class
    except OUT_OF_RANGE:
        return variant.label


def looks(parts: Sequence[Variant]) -> list[tuple[str, str]]:
    """A colour and a marker for each variant: colours for universality classes and markers for activations, or where
    all are of one class, colours for variants."""
    groups = [class_of(variant) for variant in parts]
    if len(set(groups)) == 1:
        groups = [variant.label for variant in parts]
    order, colours = list(dict.fromkeys(groups)), cycle()
    return [(colours[order.index(g) % len(colours)], MARKERS[k % len(MARKERS)]) for k, g in enumerate(groups)]


def colours(points: Sequence[Any]) -> list[tuple[float, float, float, float]]:
    """A colour for each point, from the colour map of the style in use."""
    chosen = matplotlib.colormaps[matplotlib.rcParams["image.cmap"]]
    return [chosen(x) for x in np.linspace(0.0, 0.85, len(points))]


def name_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Name lines at their ends. Names that would meet are moved apart."""
    figure = axes.get_figure()
    assert figure is not None
    axes.autoscale_view()
    per_inch = 72 / figure.dpi
    placed = [(axes.transData.transform((x, y))[1] * per_inch, x, y, name, colour) for x, y, name, colour in ends]
    free = -np.inf
    for height, x, y, name, colour in sorted(placed, key=lambda entry: entry[0]):
        shift = max(free - height, 0.0)
        free = height + shift + APART
        given: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": "small"}
        halo = [withStroke(linewidth=2, foreground=axes.get_facecolor())]  # other lines may pass behind a name
        mixed = 0.6 * np.array(to_rgb(colour)) + 0.4 * np.array(to_rgb(ink()))  # light colours are hard to read
        axes.annotate(name, (x, y), (5, shift), color=mixed, path_effects=halo, **given)


def explain(axes: Axes, **options: Any) -> None:
    """A legend of what has a label; none where nothing has."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(**options)


def with_bars(axes: Axes, x: Array, estimate: Estimate, colour: Any, fmt: str = "o", **options: Any) -> None:
    """The k values of an estimate at x (k,) with their errors; as open circles without errors where tail-dominated."""
    hidden = estimate.tail_dominated
    axes.errorbar(x[~hidden], estimate.value[~hidden], estimate.error[~hidden], fmt=fmt, color=colour, **options)
    open_circles(axes, x[hidden], estimate.value[hidden], colour)


def open_circles(axes: Axes, x: Array, value: Array, colour: Any) -> None:
    """Values (k,) that are tail-dominated, which have no error bar; the legend names them once."""
    if len(x):
        named = tails.WORD in axes.get_legend_handles_labels()[1]
        axes.plot(x, value, "o", color=colour, markerfacecolor="none", label=None if named else tails.WORD)


def width_axis(axes: Axes, widths: Sequence[float]) -> None:
    """Make the x axis logarithmic, with ticks at these widths."""
    axes.set_xscale("log")
    axes.set_xticks(list(widths), [f"{n:.0f}" for n in widths])
    axes.minorticks_off()
