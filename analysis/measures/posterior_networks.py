"""Networks whose last layer is drawn given targets, docs/theory.md (16.3), each with its evidence as weight.

What contains the weights of the last layer, as the NTK does, has its posterior average over them alone: weighted
networks of the prior have another one at order 1/n.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array
from analysis.measures.bayesian_controlled import targets_of
from analysis.measures.measured import Layers, Measured, label_of, measure, noise_of_condition
from analysis.measures.needs import no_parallel_kinks
from analysis.points import FOUR_POINT_SAMPLES, Point
from analysis.weights import average


def few_samples(point: Point) -> Iterator[str]:
    """Needs of coefficients of the NTK, and of its whole before and after."""
    if "ntk" in point.data.layout.tuples:
        yield "observables.tuples: all components of ntk are needed"
    if point.D > FOUR_POINT_SAMPLES:
        yield f"inputs: {point.D} samples; coefficients are known for up to {FOUR_POINT_SAMPLES}"
    yield from no_parallel_kinks(point)


def predicted(point: Point) -> Array:
    """What the NTK's mean gains by the posterior, (n_L, D, n_L, D): docs/theory.md (16.13) less Theta1."""
    noise = noise_of_condition(point)
    assert noise is not None
    ntk1 = _ntk1(point.network(point.samples[0]), tuple(map(tuple, targets_of(point).tolist())), noise)
    Theta1, same = point.flow(("Theta1",))["Theta1"][-1], np.eye(len(ntk1))
    return np.asarray(ntk1 - np.einsum("ij,ab->iajb", same, Theta1))


@lru_cache(maxsize=16)
def _ntk1(network: tuple[Any, ...], targets: tuple[tuple[float, ...], ...], noise: float) -> Array:
    """docs/theory.md (16.13), which the ranges of networks of a data set share. network: the first eight arguments of
    `flow_of`."""
    activation, depth, C_b, C_W, inputs, lambda_b, lambda_W, ratios = network
    y = np.array(targets)
    found = theory.posterior(activation, depth, C_b, C_W, np.array(inputs), y, noise, lambda_b, lambda_W, ratios).ntk1
    assert found is not None
    return found


@measure(
    "posterior_ntk",
    tensor="posterior NTK",
    symbol=r"$n\,(\mathrm{E}[H|y]-\mathrm{E}H)$",
    families=("H", "H0", "logw"),
    needs=few_samples,
    any_widths=True,
    conditioned=True,
)
def ntk(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the mean of the NTK under the posterior less that of the same networks before, docs/theory.md (16.13)
    without Theta1, relative to the largest component.

    Most of the NTK's noise is that of one network before and after, so that the difference has a tenth to a fiftieth of
    the variance, and no theory enters it.
    """
    L, columns = point.depth, point.columns("H")
    after = average(point.read("logw", L)[:, 0], point.read("H", L))
    estimate = (after - estimators.mean(point.read("H0", L))).scaled(point.widths[-1])
    want = predicted(point)
    values = np.array([want[i, a, j, b] for i, j, a, b in columns])
    labels = [label_of((i, j), (a, b)) for i, j, a, b in columns]
    scale = np.full(len(columns), np.abs(values).max())
    yield Measured("posterior NTK", L, 0, labels, estimate, theory=values, scale=scale)
