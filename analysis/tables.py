"""Any tensor of data sets as a frame: measured and predicted, by layer, step, width and the settings that differ."""

import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import claims, theory
from analysis.estimates import rows_of
from analysis.measures.measured import Measure
from analysis.outputs import file_for
from analysis.points import OUT_OF_RANGE, Point
from analysis.streams import measuring_of
from simulate import plugins
from simulate.store.copies import merged
from simulate.store.files import StoreError
from simulate.store.frames import LEFT_OUT
from simulate.store.sets import DataSet, find
from simulate.store.summary import flat

WIDTHS = ("network.width", "network.widths")  # they are the column `width`
FORMATS = (".csv", ".parquet")


def sets_of(data: Any) -> list[DataSet]:
    """The data sets that are meant by a folder, a data set, a result of the analysis, or a list of these.

    ValueError for anything else. StoreError where there is none, or where one was made with a plugin that this process
    has not loaded, without which its rows mean nothing.
    """
    if isinstance(data, DataSet):
        if unmet := plugins.unmet(data.settings):
            raise StoreError(f"{data.path}: made with {unmet}")
        return [data]
    entries = find(data) if isinstance(data, str | Path) else getattr(data, "sets", data)
    if not isinstance(entries, list | tuple) or not entries:
        right = "a folder, a data set, or a list of them, as analyze('outputs/preactivations')"
        raise ValueError(f"data={data!r:.80}: {right}")
    return [found for entry in entries for found in sets_of(entry)]


def table(data: Any, tensor: str, layers: Sequence[int] | None = None) -> pd.DataFrame:
    """The estimates of one tensor beside theory, a row for each data set, layer, step and component.

    data: a folder, a data set, a result, or a list. tensor: the name of a tensor, as the table of estimates has it
    (`V`, `Cov z`), or of a test that measures it (`V_slope`). layers: those to take, or all.

    Columns: data, the folder of the data set; settings by dotted names in which data sets differ; tensor, layer, step,
    width, samples; estimate and error, which is NaN where `tail_dominated`; theory, at leading order, and theory_next
    with the next one, NaN where it is not known; pull, the deviation from the better of the two in errors; unit,
    n K^a Theta^b, over which a tensor of one sample grows as l/n; skipped, why there is no estimate. All are
    dimensionless. ValueError where the data have no such tensor or layer, with those that they have.
    """
    if layers is not None and (np.ndim(layers) != 1 or np.asarray(layers).dtype.kind not in "iu"):
        raise ValueError(f"layers={layers!r}: a list of layers, as layers=[4,8], or null")
    sets, _ = merged(sets_of(data))
    points = [Point(entry) for entry in sets if entry.networks]
    if not points:
        raise StoreError(f"data={sets[0].path.parent}: no networks yet")
    return frame_of(points, tensor, layers)


def frame_of(points: Sequence[Point], tensor: str, layers: Sequence[int] | None = None) -> pd.DataFrame:
    """`table` of points with data, which keep the columns that were read."""
    settings = _swept(points)
    rows: list[dict[str, Any]] = []
    for point in points:
        of_point = settings[point.data.path]
        for measure in _measures(tensor, point):
            for row in rows_of(measure, point, layers, measuring_of(point)):
                if tensor in (row["tensor"], measure.name):
                    rows.append({"data": point.data.path.name, **of_point, **row, "unit": _unit(point, row)})
    if not rows:
        raise ValueError(_nothing(tensor, layers, points))
    order = [*dict.fromkeys(name for settings in settings.values() for name in settings), "width", "layer", "step"]
    frame = pd.DataFrame(rows).sort_values(order, kind="stable", ignore_index=True, key=_sortable)
    best = frame["theory_next"].fillna(frame["theory"])
    error = frame["error"].where(frame["error"] > 0)
    frame.insert(list(frame.columns).index("skipped"), "pull", (frame["estimate"] - best) / error)
    return frame


def writable(path: Path) -> Path:
    """The name of a file for a table. ValueError for another ending than those of `FORMATS`."""
    if path.suffix not in FORMATS:
        raise ValueError(f"output={path}: a table is written as {' or '.join(FORMATS)}")
    return path


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as csv or parquet, by the ending of the name. ValueError where it cannot be."""
    writable(path)
    if path.suffix == ".csv":
        frame.to_csv(file_for(path), index=False)
    else:
        frame.to_parquet(file_for(path), index=False)


def tensors(data: Any) -> list[str]:
    """The names of all tensors that these data have."""
    return _there([Point(entry) for entry in sets_of(data)])


def swept(frame: pd.DataFrame) -> list[str]:
    """The columns of a table that are settings in which data sets differ."""
    names = [str(name) for name in frame.columns]
    return names[1 : names.index("tensor")]


def _swept(points: Sequence[Point]) -> dict[Path, dict[str, Any]]:
    """By data set, the settings but widths in which data sets differ."""
    known = {point.data.path: flat(point.settings) for point in points}
    names = dict.fromkeys(name for settings in known.values() for name in settings)
    differ = [n for n in names if len({json.dumps(settings.get(n)) for settings in known.values()}) > 1]
    left_out = (*LEFT_OUT, *WIDTHS)
    telling = [n for n in differ if not any(f"{n}.".startswith(f"{key}.") for key in left_out)]
    return {path: {n: settings.get(n) for n in telling} for path, settings in known.items()}


def _measures(tensor: str, point: Point) -> Iterator[Measure]:
    """The measures of a tensor that a point has what it needs for; the one of the same name first."""
    found = [m for m in claims.tests().values() if tensor in (m.name, *m.symbols) and not m.paired]
    for measure in sorted(found, key=lambda measure: measure.name != tensor):
        if not _lacks(measure, point):
            yield measure
            return


def _lacks(measure: Measure, point: Point) -> str:
    """Why a point does not have a measure; empty where it has."""
    try:
        return next((reason for needs in (measure.undefined, measure.lacks) for reason in needs(point)), "")
    except OUT_OF_RANGE as error:
        return str(error)


def _there(points: Sequence[Point]) -> list[str]:
    measures = [m for m in claims.tests().values() if not m.paired]
    found = (m.symbols for m in measures if any(not _lacks(m, point) for point in points))
    return sorted({tensor for symbols in found for tensor in symbols})


def _sortable(column: pd.Series) -> pd.Series:
    """Numbers by size, and settings that are text or both by their text."""
    return column if pd.api.types.is_numeric_dtype(column) else column.astype(str)


def _nothing(tensor: str, layers: Sequence[int] | None, points: Sequence[Point]) -> str:
    """Why there are no rows of a tensor."""
    there = _there(points)
    if tensor in there:
        recorded = sorted({layer for point in points for layer in point.data.layout.layers})
        return f"layers={list(layers or ())}: {tensor} is not measured there; recorded are layers {recorded}"
    known = [m for m in claims.tests().values() if tensor in (m.name, *m.symbols)]
    if known:
        reason = _lacks(known[0], points[0]) if not known[0].paired else "it compares data sets with others"
        why = f"these data do not have it: {reason}"
    else:
        near = difflib.get_close_matches(tensor, there, 1)
        why = "no such tensor" + (f", did you mean {near[0]}?" if near else "")
    return f"table={tensor}: {why}; there are {', '.join(there)}"


def _unit(point: Point, row: dict[str, Any]) -> float:
    """n K^a Theta^b of a component of one sample, by which theory.UNITS measures its tensor; NaN for others."""
    samples = set(row["samples"]) - {","}
    if row["tensor"] not in theory.UNITS or len(samples) != 1 or row["step"]:
        return np.nan
    flow, at = point.flow(("K", "Theta")), (row["layer"] - 1, *[int(min(samples))] * 2)
    assert flow.Theta is not None
    of_K, of_Theta = theory.UNITS[row["tensor"]]
    return float(point.widths[row["layer"] - 2] * flow.K[at] ** of_K * flow.Theta[at] ** of_Theta)
