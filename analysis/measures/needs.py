"""Needs that several measures share, which say in words what a point lacks."""

from collections.abc import Iterator

import numpy as np

from analysis import theory
from analysis.points import Point


def no_parallel_kinks(point: Point) -> Iterator[str]:
    """The metric's and the NTK's mean at order 1/n diverge where two kinks meet (docs/theory.md (1.6), (2.11))."""
    if not theory.activation(point.activation).kinked:
        return
    x = np.unique(point.samples[0], axis=0)
    sizes = np.linalg.norm(x, axis=1)
    cosines = np.abs(x @ x.T) / np.where(np.outer(sizes, sizes) > 0, np.outer(sizes, sizes), 1.0)
    if point.settings["initialization"]["C_b"] == 0 and np.any(np.triu(cosines, 1) > 1 - 1e-12):
        yield f"inputs: two samples are parallel, where the kinks of activation={point.activation} meet"


def outputs_of_last_layer(point: Point) -> Iterator[str]:
    """Needs of measures at the outputs of the whole network."""
    if not point.records("z", point.depth):
        yield f"observables.output_layers={list(point.data.layout.output_layers)}: the last layer is needed"
