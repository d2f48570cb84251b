"""Measures of networks whose last layer is drawn given targets, on networks whose averages are known."""

import itertools

import numpy as np
import pytest

from analysis import theory
from analysis.measures.measured import MEASURES, Measured
from tests.exact.measures.rows import FACTORS, NETWORKS, Rows, inputs_of, rows

X, Y, NOISE = inputs_of([[1.0, 0.3], [0.3, 0.8]]), [[0.7, 0.2]], 0.3
SIGNS = np.array(list(itertools.product([-1.0, 1.0], repeat=FACTORS)))


def data(size: float = 0.5) -> tuple[Rows, np.ndarray]:
    """Networks with log w = size times a sign, and a number for every component of H: H is that of the prior plus the
    number times the sign, whose mean under the weights is tanh size. The prior's has a sign of its own, so that its
    mean in a weighted sample is that of an unweighted one."""
    settings = ["activation=tanh", "network.depth=3", "network.width=8", "network.outputs=2", "dynamics.lambda_b=0.5",
                "initialization=gaussian", "initialization.C_b=0.1", "observables.record=[ntk,prior_ntk,log_w]",
                f"ensemble.condition.noise={NOISE}"]  # fmt: skip
    found = rows(*settings, x=X, y=Y)
    Theta = theory.flow("tanh", 3, 0.1, 1.0, X, 0.5, 1.0, tensors=("K", "Theta"))["Theta"][-1]
    columns = found.layout.indices(found.family("H"))
    number = {index: 0.1 * (1 + k) for k, index in enumerate(columns)}
    found.fill("logw", 3, lambda: size * SIGNS[:, 0])
    for family, of_sign in (("H", 1), ("H0", 0)):
        found.fill(family, 3, lambda *index, of_sign=of_sign: Theta[index[2:]] * (index[0] == index[1]) + (
            0.3 * SIGNS[:, 1] + of_sign * number[index] * SIGNS[:, 0]))  # fmt: skip
    return found, np.array([number[index] for index in columns])


def measured(point: Rows) -> Measured:
    (found,) = MEASURES["posterior_ntk"](point.point, None)
    return found


def test_posterior_ntk() -> None:
    """n times the weighted mean less that of the prior, docs/theory.md (16.13), up to the jackknife's correction of
    order 1/M, and its theory, pairs of outputs included. Negative control: networks of nearly equal weight."""
    point, numbers = data()
    found = measured(point)
    np.testing.assert_allclose(found.estimate.value, 8 * numbers * np.tanh(0.5), rtol=2 / NETWORKS)
    few, _ = data(0.25)
    assert np.abs(measured(few).estimate.value / (8 * numbers * np.tanh(0.5)) - 1).min() > 0.3
    exact = theory.posterior("tanh", 3, 0.1, 1.0, X, Y, NOISE, lambda_b=0.5, lambda_W=1.0).ntk1
    assert exact is not None
    Theta1 = theory.flow("tanh", 3, 0.1, 1.0, X, 0.5, 1.0, tensors=("K", "Theta", "Theta1"))["Theta1"][-1]
    want = [exact[i, a, j, b] - (i == j) * Theta1[a, b] for i, j, a, b in point.layout.indices(point.family("H"))]
    np.testing.assert_allclose(found.theory, want, rtol=1e-9)
    assert {"00,01", "01,01", "11,11"} <= set(found.samples)


def test_few_networks_carry_the_weight() -> None:
    """Half of the networks have all of it."""
    with pytest.raises(ValueError, match=r"underpowered: 128 networks weigh as much as 64, .* 1\.6% of the weight"):
        measured(data(5.0)[0])
