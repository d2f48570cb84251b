"""Figures of one's own: each function draws data beside their theory into axes and returns these.

    ax = analysis.plot.scaling("outputs/preactivations", tensor="V", x="L/n", ax=ax)

They use the style of the caller. Axes that are given are all that they touch; without `ax` they draw into a new figure
of pyplot's, as a notebook shows it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.outputs import file_for
from analysis.points import Point
from analysis.report.band import draw_band
from analysis.report.ntk import frozen_ntk, ntk_variance
from analysis.report.panels import fit, pulls
from analysis.report.preactivations import classes, collapse, density, depths
from analysis.report.scaling import Y, draw_heat, draw_scaling
from analysis.report.style import STYLE, axes_of
from analysis.report.trained import trained
from analysis.tables import sets_of, table

__all__ = [
    "band", "classes", "collapse", "density", "depths", "fit", "frozen_ntk", "heat", "ntk_variance", "pulls", "save",
    "scaling", "trained",
]  # fmt: skip

FORMATS = (".svg", ".png", ".pdf")


def scaling(
    data: Any,
    tensor: str,
    x: str = "L/n",
    y: str | None = None,
    layers: Sequence[int] | None = None,
    samples: str | Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one tensor against L/n, n, 1/n, l, step, or a setting in which the data sets differ, on the lines of theory.

    data, tensor, layers: as of `analysis.table`. x: settings are named as `initialization.C_W`, or `C_W` where that is
    one of them; with L/n each layer l stands for the output of the network that is cut off there, at l/n. y: "value";
    "ratio", over theory at leading order; or "unit", over n K^a Theta^b, docs/theory.md (4.2), in which tensors at
    criticality grow as L/n. None is "unit" for those with such a unit against L/n, else "value". samples: the
    components as a table has them ("00,00"), or the first. Lines are theory at leading order, and dashed with the next
    one where it is known, between points that are measured. All axes are dimensionless. ValueError for what the data do
    not have.
    """
    return draw_scaling(table(data, tensor, layers), x, y, samples, axes_of(ax))


def heat(
    data: Any,
    tensor: str,
    x: str,
    y: str,
    layers: Sequence[int] | None = None,
    samples: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one tensor over two of n, l, step and swept settings: measured as colours, theory as contour lines.

    data, tensor, x, y, layers, samples: as of `scaling`; cells are as large for every value of a setting. ValueError
    where a cell would hold several estimates, with the columns in which they differ.
    """
    return draw_heat(table(data, tensor, layers), x, y, samples, axes_of(ax))


def band(data: Any, x: Any = None, step: int | None = None, output: int = 0, ax: Axes | None = None) -> Axes:
    """Draw the outputs of trained networks at test samples, their mean and two standard deviations around it, on the
    closed form of infinite width where there is one, docs/theory.md (5.2), dashed two of its standard deviations away.

    data: as of `analysis.table`, trained networks that recorded outputs; a band for each data set. x: the place of each
    test sample on the axis, (test samples,); None: the input itself, where inputs have one feature, and then train
    samples are drawn with their targets. step: a recorded step; None: the last one. output: which output of a network.
    ValueError for what the data do not have.
    """
    return draw_band([Point(entry) for entry in sets_of(data)], x, step, output, axes_of(ax))


def save(
    data: Any,
    path: Path,
    tensor: str,
    x: str = "L/n",
    y: str | None = None,
    layers: Sequence[int] | None = None,
    samples: str | Sequence[str] | None = None,
) -> Path:
    """Write the figure of `scaling`, or that of `heat` where y is a setting, n, l or step, in the style of the report.

    The file is an SVG, PNG or PDF by the ending of its name; it holds no date, so that the same data give the same
    bytes. ValueError for another ending, or where the file cannot be.
    """
    if path.suffix not in FORMATS:
        raise ValueError(f"output={path}: a figure is written as {', '.join(FORMATS)}")
    frame = table(data, tensor, layers)
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(6.0, 4.2))
        ax = figure.subplots()
        if y is None or y in Y:
            draw_scaling(frame, x, y, samples, ax)
        elif samples is None or isinstance(samples, str):
            draw_heat(frame, x, y, samples, ax)
        else:
            raise ValueError(f"samples={samples}: one component, because each cell has one colour")
        undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
        figure.savefig(file_for(path), metadata=undated)
    return path
