"""The look of figures: widths have a sequential scale that is safe for the colour-blind; theory is black."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from analysis import tails
from analysis.estimators import Array, Estimate
from analysis.points import Point, Variant

STYLE = Path(__file__).with_name("nearly_gaussian.mplstyle")


@dataclass(frozen=True)
class Drawn:
    claim: str
    caption: str
    svg: Path


# Variants have no order, so that they get the colours of Okabe and Ito, each with a marker.
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#b2a800")
MARKERS = "osD^v<>P"


def looks(variants: Sequence[Variant]) -> list[tuple[str, str]]:
    """A colour and a marker for each variant."""
    return [(CATEGORIES[k % len(CATEGORIES)], MARKERS[k % len(MARKERS)]) for k in range(len(variants))]


def colours(points: Sequence[Point]) -> list[tuple[float, float, float, float]]:
    return [matplotlib.colormaps["viridis"](x) for x in np.linspace(0.0, 0.85, len(points))]


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
