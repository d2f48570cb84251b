"""Tensors of single samples with their next order in 1/n, for tables and figures."""

from collections.abc import Sequence

import numpy as np

from analysis.estimators import Array
from analysis.points import OUT_OF_RANGE, Point

NEXT = {name: f"{name.rstrip('1')}2" for name in ("G1", "V", "Theta1", "A", "B", "D", "F")}


def with_next_order(
    point: Point, name: str, layer: int, leading: Array, components: Sequence[Sequence[int]]
) -> Array | None:
    """What is measured as a tensor of order 1/n, with the next order at this width, docs/theory.md (17.3) and (17.12).

    leading (k,): theory at leading order. components: the samples of each. NaN for components of different samples,
    whose next order would take long; None where it is not known.
    """
    if not point.plain:
        return None
    found = np.full(len(leading), np.nan)
    for k, samples in enumerate(components):
        if len(set(samples)) == 1:
            try:
                following = point.flow((NEXT[name],), samples[0])[NEXT[name]]
            except OUT_OF_RANGE:
                return None
            found[k] = leading[k] + float(following[layer - 1].item()) / point.widths[layer - 2]
    return found if np.isfinite(found).any() else None
