"""Networks whose last layer is drawn given targets, docs/theory.md (16.3), each with its evidence as weight.

What contains the weights of the last layer, as the NTK does, has its posterior average over them alone: weighted
networks of the prior have another one at order 1/n.
"""

from collections.abc import Iterator

import numpy as np

from analysis import theory
from analysis.estimators import Array
from analysis.measures.bayesian_controlled import targets_of
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.needs import no_parallel_kinks
from analysis.points import FOUR_POINT_SAMPLES, Point
from analysis.weights import Weights


def few_samples(point: Point) -> Iterator[str]:
    """Needs of coefficients of the NTK."""
    if point.D > FOUR_POINT_SAMPLES:
        yield f"inputs: {point.D} samples; coefficients are known for up to {FOUR_POINT_SAMPLES}"
    yield from no_parallel_kinks(point)


def predicted(point: Point) -> Array:
    """n ( E H_ij;ab - delta_ij Theta_ab ), (n_L, D, n_L, D), docs/theory.md (16.13)."""
    activation, depth, C_b, C_W, inputs, lambda_b, lambda_W, ratios = point.network(point.samples[0])
    y, noise = targets_of(point), point.conditioned
    assert noise is not None
    found = theory.posterior(activation, depth, C_b, C_W, np.array(inputs), y, noise, lambda_b, lambda_W, ratios)
    assert found.ntk1 is not None
    return found.ntk1


@measure(
    "posterior_ntk",
    tensor="posterior NTK",
    symbol=r"$n\,(\mathrm{E}[H|y]-\delta\Theta)$",
    families=("H", "logw"),
    needs=few_samples,
    any_widths=True,
    conditioned=True,
)
def ntk(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the mean of the NTK under the posterior less the frozen one, docs/theory.md (16.13), relative to the
    largest component."""
    L, columns = point.depth, point.columns("H")
    weights = Weights.of(point.read("logw", L)[:, 0])
    weights.check()
    Theta, want = point.flow(False).Theta, predicted(point)
    assert Theta is not None
    frozen = np.array([Theta[L - 1, a, b] * (i == j) for i, j, a, b in columns])
    estimate = weights.average(point.read("H", L) - frozen).scaled(point.widths[-1])
    values = np.array([want[i, a, j, b] for i, j, a, b in columns])
    labels = [label_of((i, j), (a, b)) for i, j, a, b in columns]
    scale = np.full(len(columns), np.abs(values).max())
    yield Measured("posterior NTK", L, 0, labels, estimate, theory=values, scale=scale)
