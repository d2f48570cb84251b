"""The table of estimates: every quantity that a data set can give, with theory beside it."""

from typing import Any

from analysis import theory
from analysis.claims import AT_START, FURTHER, ORDER_N, TABLES, TRAINED, TWO_OUTPUTS
from analysis.measures.measured import chosen_layers
from analysis.points import FOUR_POINT_SAMPLES, Point


def table(point: Point) -> list[dict[str, Any]]:
    """The estimates of one point as rows: tensor, layer, step, width, samples, estimate, error, theory, theory_next."""
    out = []
    for families, measures in TABLES:
        if not chosen_layers(point, families, None):
            continue
        for measure in measures:
            if measure in ORDER_N and point.D > FOUR_POINT_SAMPLES:
                continue
            if measure in (AT_START if point.trained else TRAINED):
                continue
            if measure not in TRAINED and 0 not in point.data.layout.steps:
                continue
            if measure in TWO_OUTPUTS and point.settings["network"]["outputs"] < 2:
                continue
            if measure in FURTHER and theory.activation(point.activation).kinked:
                continue
            for m in measure(point, None):
                for k, label in enumerate(m.samples):
                    row = {
                        "tensor": m.tensor,
                        "layer": m.layer,
                        "step": m.step,
                        "width": point.n if len(set(point.widths)) == 1 else -1,
                        "samples": label,
                        "estimate": m.estimate.value[k],
                        "error": m.estimate.error[k],
                        "theory": m.theory[k],
                        "theory_next": m.theory_next[k],
                    }
                    out.append(row)
    return out
