"""The table of estimates: every quantity that can be measured in a data set, with its theory."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from analysis.measures.measured import MEASURES, Layers, Measure, Measured
from analysis.points import OUT_OF_RANGE, Point

Measuring = Callable[[Measure, Point, Layers], Iterable[Measured]]  # what a measure yields at layers of a point


def measured_here(measure: Measure, point: Point, layers: Layers) -> Iterator[Measured]:
    """What the measure yields, from the rows of the point."""
    return measure(point, layers)


def _wanted(measure: Measure, point: Point) -> bool:
    """Whether the table of a point's estimates holds a measure, if the point has what it needs."""
    if measure.table == "never" or measure.table == ("untrained" if point.trained else "trained"):
        return False
    return measure.table_samples is None or measure.table_samples >= point.D


def measures_of(point: Point) -> list[Measure]:
    """The measures that the table of a point's estimates holds."""
    wanted = [measure for measure in MEASURES.values() if _wanted(measure, point)]
    return [measure for measure in wanted if not any(True for _ in measure.missing(point))]


def table(point: Point, measuring: Measuring = measured_here) -> Iterator[dict[str, Any]]:
    """The estimates of one point as rows: tensor, layer, step, width, samples, estimate, error, tail_dominated, theory,
    theory_next, skipped.

    The error of an estimate that is tail-dominated (`analysis.tails`) is withheld, as NaN. Where theory cannot be
    computed, one row for each layer of the tensor says why in `skipped`; in all other rows it is empty.
    """
    for measure in MEASURES.values():
        if _wanted(measure, point):
            yield from rows_of(measure, point, measuring=measuring)


def rows_of(
    measure: Measure, point: Point, layers: Layers = None, measuring: Measuring = measured_here
) -> Iterator[dict[str, Any]]:
    """The rows of one measure, at these layers of those that are recorded or at all; none where the point lacks what
    the measure needs. measuring: where its measurements come from."""
    made: set[int] = set()
    try:
        if any(True for _ in measure.lacks(point)):
            return
        wanted = None if layers is None else [layer for layer in measure.layers(point) if layer in layers]
        for m in () if wanted == [] else measuring(measure, point, wanted):
            if wanted is not None and m.layer not in wanted:  # a measure of the last layer alone asks for none
                continue
            made.add(m.layer)
            errors, dominated = m.estimate.error, m.estimate.tail_dominated
            for k, label in enumerate(m.samples):
                yield {
                    "tensor": m.tensor,
                    "layer": m.layer,
                    "step": m.step,
                    "width": point.n,
                    "samples": label,
                    "estimate": m.estimate.value[k],
                    "error": np.nan if dominated[k] else errors[k],
                    "tail_dominated": bool(dominated[k]),
                    "theory": m.theory[k],
                    "theory_next": np.nan if m.theory_next is None else m.theory_next[k],
                    "skipped": "",
                }
    except OUT_OF_RANGE as error:
        yield from _skipped(measure, point, made, str(error), layers)


def _skipped(
    measure: Measure, point: Point, made: set[int], reason: str, layers: Layers = None
) -> Iterator[dict[str, Any]]:
    """A row for each tensor of a measure and each layer that is not made."""
    numbers = dict.fromkeys(("estimate", "error", "theory", "theory_next"), np.nan)
    for tensor in measure.symbols:
        for layer in measure.layers(point):
            if layers is not None and layer not in layers:
                continue
            if layer not in made:
                yield {
                    "tensor": tensor,
                    "layer": layer,
                    "step": 0 if measure.steps == "start" else point.data.layout.steps[-1],
                    "width": point.n,
                    "samples": "",
                    "tail_dominated": False,
                    **numbers,
                    "skipped": reason,
                }


def skipped(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each reason for which rows of the table of estimates, each with the `data` that it is of, are
    skipped."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        if row["skipped"]:
            found.setdefault(row["skipped"], []).append((row["tensor"], row["data"]))
    return [
        f"no estimate of {', '.join(dict.fromkeys(tensors))} in {', '.join(dict.fromkeys(data))}: {reason}"
        for reason, (tensors, data) in ((reason, zip(*pairs, strict=True)) for reason, pairs in found.items())
    ]
