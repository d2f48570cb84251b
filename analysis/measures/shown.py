"""What figures show of rows: counts in bins, means and spreads.

They are estimated as tests are, so that a walk over ranges adds them up in the same pass. They have no theory, and a
claim cannot name them.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.measured import Layers, Measure, Measured
from analysis.measures.solved import solved
from analysis.points import FOUR_POINT_SAMPLES, Point

BINS = np.linspace(-5.0, 5.0, 51)  # edges of the bins of an output over sqrt(K)
PAIRS = 10  # of samples whose NTK is shown


class Shown(Measure):
    """What a figure shows of a point that has it."""

    def __call__(self, point: Point, *others: Point | Layers) -> Iterator[Measured]:
        return self.function(point)


def _shown(name: str, *families: str) -> Callable[[Callable[[Point], Iterator[Measured]]], Shown]:
    return lambda function: Shown(name, function, {}, "powers", families)


def _measured(family: str, step: int, point: Point, labels: Sequence[str], estimate: estimators.Estimate) -> Measured:
    unknown = np.full(len(labels), np.nan)
    return Measured(family, point.depth, step, list(labels), estimate, unknown, unknown)


@_shown("density of an output", "z")
def density(point: Point) -> Iterator[Measured]:
    """The shares (50,) of networks whose output 0 at sample 0, over sqrt(K), lies in each of BINS."""
    K = point.flow(False).K[-1, 0, 0]
    shares = estimators.shares(point.read("z", point.depth)[:, 0] / np.sqrt(K), BINS)
    yield _measured("p", 0, point, [f"{edge:g}" for edge in BINS[:-1]], shares)


def has_density(point: Point) -> bool:
    """Whether a point has outputs of networks that were not trained, and their theory at order 1/n."""
    return point.records("z", point.depth) and point.D <= FOUR_POINT_SAMPLES and not point.trained


@_shown("spread of the NTK", "H")
def ntk(point: Point) -> Iterator[Measured]:
    """Mean and variance of H of output 0 at the last layer, for the first PAIRS of samples."""
    yield _moments(point, "H", 0, ntk_columns(point))


def ntk_columns(point: Point) -> list[int]:
    """The places of those pairs among the columns of H."""
    return [k for k, (i, j, _, _) in enumerate(point.columns("H")) if i == j == 0][:PAIRS]


def has_ntk(point: Point) -> bool:
    """Whether a point has the NTK at the last layer."""
    return point.records("H", point.depth)


@_shown("spread of trained outputs", "z")
def trained(point: Point) -> Iterator[Measured]:
    """Mean and variance of output 0 at every sample after the last step."""
    columns = [k for k, (i, _) in enumerate(point.columns("z")) if i == 0]
    yield _moments(point, "z", point.data.layout.steps[-1], columns)


def has_trained(point: Point) -> bool:
    """Whether a point has outputs after training that has a closed form."""
    return point.trained and point.records("z") and solved(point)


@_shown("spread of outputs", "z")
def outputs(point: Point) -> Iterator[Measured]:
    """Mean and variance of each output at every sample and recorded step."""
    for step in point.data.layout.steps:
        yield _moments(point, "z", step, range(len(point.columns("z"))))


def _moments(point: Point, family: str, step: int, columns: Sequence[int]) -> Measured:
    """Means and variances of k columns at the last layer, as one estimate (2k,)."""
    labels = [f"{moment} {k}" for moment in ("mean", "variance") for k in columns]
    moments = estimators.moments(point.read(family, point.depth, step)[:, list(columns)])
    return _measured(family, step, point, labels, moments)


def mean_and_spread(measured: Measured) -> tuple[Array, Array]:
    """The means and the standard deviations, (k,) each, of what has means and variances."""
    mean, variance = np.split(measured.estimate.value, 2)
    return mean, np.sqrt(np.maximum(variance, 0.0))


SHOWN = {measure.name: measure for measure in (density, ntk, trained, outputs)}


def of_report(point: Point) -> list[Measure]:
    """What a report shows of a point, beyond what its table of estimates holds."""
    kinds = {has_density: density, has_ntk: ntk, has_trained: trained}
    return [measure for has, measure in kinds.items() if has(point)]
