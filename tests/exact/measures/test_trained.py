"""Measures of trained outputs find planted values, and the closed form of two orthogonal train samples.

Linear networks of two layers with lambda_W = 1 have Theta = 2 K. Train samples of K = 1 keep a share
left = (1 - 2 eta)^t of their error, and a test sample with K_ta ends at M_a = (1 - left) K_ta of the targets.
"""

import numpy as np
import pytest

from analysis import theory
from analysis.measures.measured import Measure
from analysis.measures.trained import (
    trained_covariance,
    trained_kurtosis,
    trained_mean,
    trained_mean_coefficient,
    trained_skewness,
)
from analysis.theory import composite
from tests.exact.measures.rows import NETWORKS, Rows, Wanted, drawn, expect, flow_left, holds, inputs_of, rows, signs
from tests.exact.theory import nearly_kernel

TEST = np.array([0.5, 0.2])  # K of the test sample with the train samples
GRAM = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.2], [0.5, 0.2, 0.9]])
Y = np.array([[1.0, 3.0], [-1.0, 2.0]])
UNIT = np.sqrt((1 + 9 + 1 + 4) / 4)
ETA = 0.1


def made(*overrides: str, steps: int = 4, activation: str = "linear", outputs: int = 2) -> Rows:
    return rows(
        f"activation={activation}",
        "initialization=critical",
        "network.depth=2",
        "network.width=8",
        f"network.outputs={outputs}",
        "dynamics=gradient_descent",
        "dynamics.lambda_b=0",
        f"dynamics.eta={ETA}",
        f"dynamics.steps={steps}",
        "observables.record=[outputs]",
        f"observables.steps=[0,{steps}]",
        *overrides,
        x=inputs_of(GRAM),
        y=Y[:, :outputs],
    )


SHARES = [
    ("gradient_descent", (1 - 2 * ETA) ** 4),
    ("gradient_flow", flow_left(2 * ETA) ** 4),
]


def of_rule(algorithm: str, steps: int = 4) -> Rows:
    return made(f"dynamics={algorithm}", steps=steps)


def momentum_left(steps: int, beta: float) -> float:
    """The share of an error e that is left, by its recursion e(t+1) = (1 + beta - 2 eta) e(t) - beta e(t-1)."""
    step = np.array([[1 + beta - 2 * ETA, -beta], [1.0, 0.0]])
    return float((np.linalg.matrix_power(step, steps) @ np.ones(2))[0])


@pytest.mark.parametrize(("algorithm", "left"), [*SHARES, ("momentum", momentum_left(4, 0.5))])
def test_trained_mean(algorithm: str, left: float) -> None:
    data = of_rule(algorithm)
    means = np.array([[0.5, -0.4, 0.3], [1.0, 0.7, 2.0]])
    data.fill("z", 2, lambda i, a: 9.0).fill("z", 2, lambda i, a: means[i, a] + 0.1 * signs(1)[0], step=4)

    def check(data: Rows) -> None:
        predicted = (1 - left) * np.concatenate([Y, (TEST @ Y)[None]])
        components = {f"{i},{a}": (means[i, a], predicted[a, i], UNIT) for i in (0, 1) for a in range(3)}
        expect(list(trained_mean(data.point, None)), Wanted("z", 2, 4, components))

    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 1), (1, 1)))


def test_trained_covariance() -> None:
    data, left = of_rule("gradient_descent"), (1 - 2 * ETA) ** 4
    planted = np.diag([0.5, 0.4, 0.3]) + 0.1
    values = [drawn(np.zeros(3), planted), drawn(np.ones(3), 2 * planted)]
    data.fill("z", 2, lambda i, a: 9.0).fill("z", 2, lambda i, a: values[i][a], step=4)
    m, size = 1 - left, TEST @ TEST
    predicted = {(0, 0): left**2, (0, 1): 0.0, (1, 1): left**2, (0, 2): left**2 * 0.5, (1, 2): left**2 * 0.2}
    predicted[2, 2] = 0.9 - 2 * m * size + m**2 * size

    def check(data: Rows) -> None:
        pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
        components = {
            f"{i},{a}{b}": ((i + 1) * planted[a, b], predicted[a, b], np.sqrt(GRAM[a, a] * GRAM[b, b]))
            for i in (0, 1)
            for a, b in pairs
        }
        expect(list(trained_covariance(data.point, None)), Wanted("Cov z", 2, 4, components))

    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 1), (0, 2)))


@pytest.mark.parametrize(
    ("measure", "steps", "left_over"),
    [
        (trained_mean, 40, ["0,0", "0,1", "0,2"]),  # left^2 = 2e-8: little, but no rounding yet
        (trained_mean, 60, ["0,2"]),
        (trained_covariance, 60, ["0,22"]),
        (trained_skewness, 12, ["0", "1", "2"]),  # left^2 = 5e-3
        (trained_skewness, 40, ["2"]),
        (trained_kurtosis, 40, ["2"]),
    ],
)
def test_what_is_learnt_to_rounding_is_left_out(measure: Measure, steps: int, left_over: list[str]) -> None:
    data = made(steps=steps, outputs=1)
    data.fill("z", 2, lambda i, a: signs(3)[a]).fill("z", 2, lambda i, a: signs(3)[a], step=steps)
    (measured,) = measure(data.point, None)
    assert measured.samples == left_over


def test_trained_skewness() -> None:
    """Numbers that are 3 for a quarter of the networks and else -1 have the third cumulant 6 up to 1/M."""
    data, left = of_rule("gradient_descent"), (1 - 2 * ETA) ** 4
    third = signs(2)[0] * signs(2)[1] + signs(2)[0] + signs(2)[1]
    sizes = np.array([0.5, 0.3, 0.8])
    data.fill("z", 2, lambda i, a: 9.0)
    data.fill("z", 2, lambda i, a: 5 + sizes[a] * third if i == 0 else third, step=4)

    def check(data: Rows) -> None:
        k3 = 6 * NETWORKS**2 / ((NETWORKS - 1) * (NETWORKS - 2))
        test = 0.9 - (1 - left**2) * (TEST @ TEST)
        variance = [left**2, left**2, test]
        components = {str(a): (k3 * sizes[a] ** 3 * variance[a] ** -1.5, 0.0, 1.0) for a in range(3)}
        expect(list(trained_skewness(data.point, None)), Wanted("skewness", 2, 4, components))

    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 0), (1, 0)))


def test_trained_kurtosis() -> None:
    """Signs have k_4 = -2 M^2 / ((M - 1)(M - 3))."""
    data, left = of_rule("gradient_descent"), (1 - 2 * ETA) ** 4
    sizes = np.array([0.5, 0.3, 0.8])
    data.fill("z", 2, lambda i, a: 9.0)
    data.fill("z", 2, lambda i, a: 5 + sizes[a] * signs(1)[0] * (1 if i == 0 else 2), step=4)

    def check(data: Rows) -> None:
        k4 = -2 * NETWORKS**2 / ((NETWORKS - 1) * (NETWORKS - 3))
        test = 0.9 - (1 - left**2) * (TEST @ TEST)
        variance = [left**2, left**2, test]
        components = {str(a): (k4 * sizes[a] ** 4 / variance[a] ** 2, 0.0, 1.0) for a in range(3)}
        expect(list(trained_kurtosis(data.point, None)), Wanted("kurtosis", 2, 4, components))

    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 0), (1, 0)))


@pytest.mark.parametrize(("algorithm", "eta"), [("gradient_descent", ETA), ("gradient_flow", 0.0)])
def test_trained_mean_coefficient(algorithm: str, eta: float) -> None:
    """n times the mean of z(T) - z(0) + M (z_train(0) - y). Its theory is that of this activation, depth, targets,
    algorithm, eta and step, near the end that nearly-kernel regression gives."""
    data = made(f"dynamics={algorithm}", activation="sin", steps=120)
    flow = theory.flow("sin", 2, 0.0, 1.0, inputs_of(GRAM), 0.0, 1.0, tensors=composite.TENSORS)
    assert flow.Theta is not None
    record = theory.trained_to_order_n("sin", 2, 0.0, 1.0, inputs_of(GRAM), Y, ETA, 120, algorithm)
    predicted = record.mean1[0].reshape(2, 3).T
    np.testing.assert_allclose(predicted[2], nearly_kernel.trained_mean(flow, Y, eta)[2], rtol=5e-3)
    frozen, planted = flow.Theta[-1], np.array([0.7, -0.4])
    values, vectors = np.linalg.eigh(frozen[:2, :2])
    left = np.exp(-ETA * 120 * values) if algorithm == "gradient_flow" else (1 - ETA * values) ** 120
    M = frozen[2, :2] @ (vectors * ((1 - left) / values)) @ vectors.T
    start = signs(6).reshape(2, 3, NETWORKS)
    end = [start[i, 2] - M @ (start[i, :2] - Y[:, i, None]) + planted[i] / 8 for i in (0, 1)]
    data.fill("z", 2, lambda i, a: start[i, a])
    data.fill("z", 2, lambda i, a: end[i] if a == 2 else Y[a, i], step=120)

    def check(data: Rows) -> None:
        components = {f"{i},2": (planted[i], predicted[2, i], abs(predicted[2, i])) for i in (0, 1)}
        expect(list(trained_mean_coefficient(data.point, None)), Wanted("n dz", 2, 120, components))

    assert np.abs(predicted[2]).min() > 0.01
    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 2), (1, 2)))


def test_the_coefficient_of_linear_networks_of_one_train_sample_vanishes() -> None:
    """A test sample is a multiple of the train sample, which ends at its target, and an orthogonal part, whose sign
    makes no difference: its mean is the frozen kernel's at every width, and the theory says so."""
    gram = np.array([[1.0, 0.5], [0.5, 0.9]])
    flow = theory.flow("linear", 3, 0.0, 1.0, inputs_of(gram), 0.0, 1.0, tensors=composite.TENSORS)
    np.testing.assert_allclose(nearly_kernel.trained_mean(flow, np.ones((1, 1)), 0.0), 0.0, atol=1e-12)
    np.testing.assert_allclose(nearly_kernel.trained_mean(flow, np.ones((1, 1)), 0.1), 0.0, atol=1e-12)
