"""The table of estimates: every quantity that can be measured in a data set, with its theory."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis.measures.measured import MEASURES, Measure
from analysis.points import Point


def _in_table(measure: Measure, point: Point) -> bool:
    """Whether the table of a point's estimates holds a measure."""
    if measure.table == "never" or measure.table == ("untrained" if point.trained else "trained"):
        return False
    if measure.table_samples is not None and measure.table_samples < point.D:
        return False
    return not any(True for _ in measure.missing(point))


def table(point: Point) -> Iterator[dict[str, Any]]:
    """The estimates of one point as rows: tensor, layer, step, width, samples, estimate, error, tail_dominated, theory,
    theory_next. The error of an estimate that is tail-dominated (`analysis.tails`) is withheld, as NaN."""
    for measure in MEASURES.values():
        if not _in_table(measure, point):
            continue
        for m in measure(point, None):
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
                }
