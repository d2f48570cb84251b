"""The figures of data sets that have no claim: every tensor that was measured, on its theory."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from analysis import tables
from analysis.points import OUT_OF_RANGE, Point
from analysis.report.scaling import draw_scaling
from analysis.result import Result


def plain(result: Result) -> Iterator[tuple[str, str, Figure]]:
    """Name, caption and figure of each tensor in the table of estimates that has a theory."""
    points = [Point(data, found=result.found[data.path]) for data in result.sets]
    for tensor in dict.fromkeys(result.estimates.get("tensor", [])):
        try:
            frame = tables.frame_of(points, tensor)
            x = _axis(frame)
            figure = Figure(figsize=(5.4, 3.8))
            draw_scaling(frame, x, None, None, figure.subplots())
        except OUT_OF_RANGE:  # the notes of the report say why there is no estimate
            continue
        yield (
            tensor,
            f"{tensor} against {x}, its first component: measured (circles) on theory (lines).",
            figure,
        )


def _axis(frame: pd.DataFrame) -> str:
    """What a tensor is drawn against: the first that it has several of."""
    several = {name: frame[name].nunique() > 1 for name in ("step", "layer", "width")}
    if several["step"]:
        return "step"
    if several["layer"]:
        return "l/n" if frame["unit"].notna().any() else "l"
    return "n" if several["width"] else "l"
