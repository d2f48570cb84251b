"""Measures of two algorithms on the same networks find planted differences, and their theory."""

import numpy as np
import pytest

from analysis import theory
from analysis.measures.algorithms import algorithm_coefficient, algorithm_difference
from analysis.measures.solved import closed_form
from analysis.theory import composite
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, expect, flow_left, inputs_of, rows, signs
from tests.exact.measures.test_trained import GRAM, TEST, UNIT, Y
from tests.exact.theory import nearly_kernel

STEPS = 30


def made(algorithm: str, eta: float, *overrides: str, activation: str = "linear", steps: int = STEPS) -> Rows:
    return rows(
        f"activation={activation}",
        "initialization=critical",
        "network.depth=2",
        "network.width=8",
        "network.outputs=2",
        f"dynamics={algorithm}",
        f"dynamics.eta={eta}",
        "dynamics.lambda_b=0",
        f"dynamics.steps={steps}",
        "observables.record=[outputs]",
        f"observables.steps=[0,{steps}]",
        *overrides,
        x=inputs_of(GRAM),
        y=Y,
    )


def filled(data: Rows, difference: Array, noise: float) -> Rows:
    """Fill in outputs that all algorithms share, but for a difference of each output's test sample and a noise."""
    common, last = signs(6).reshape(2, 3, NETWORKS), data.layout.steps[-1]
    data.fill("z", 2, lambda i, a: 9.0)
    return data.fill("z", 2, lambda i, a: common[i, a] + (a == 2) * (difference[i] + noise * signs(7)[6]), step=last)


@pytest.mark.parametrize("eta", [0.2, 0.3])
def test_algorithm_difference(eta: float) -> None:
    """At infinite width the difference comes from the errors that are left, here (1 - 2 eta)^t and that of the
    solver's steps of e^(-2 eta' t), of a test sample's K_ta y."""
    found = np.array([0.3, -0.2])
    point = filled(made("gradient_descent", eta), found, 0.2)
    reference = filled(made("gradient_flow", 0.2), 0 * found, 0.1)
    infinite = (flow_left(2 * 0.2) ** STEPS - (1 - 2 * eta) ** STEPS) * (TEST @ Y)

    def check(point: Rows, reference: Rows) -> None:
        components = {f"{i},2": (found[i], infinite[i], UNIT) for i in (0, 1)}
        wanted = Wanted("z - z'", 2, STEPS, components)
        expect(list(algorithm_difference(point.point, reference.point, None)), wanted)

    check(point, reference)
    swapped = point.exchanged("z", (0, 2), (0, 1))
    for wrong in ((reference, point), (point.scaled("z"), reference), (swapped, reference)):
        with pytest.raises(AssertionError):
            check(*wrong)


def test_networks_that_diverged_under_either_algorithm_are_left_out() -> None:
    found = np.array([0.3, -0.2])
    point = filled(made("gradient_descent", 0.2), found, 0.2)
    reference = filled(made("gradient_flow", 0.2), 0 * found, 0.1)
    (all_networks,) = algorithm_difference(point.point, reference.point, None)
    point.values["z"][3], reference.values["z"][90] = np.nan, np.inf
    (finite,) = algorithm_difference(point.point, reference.point, None)
    assert finite.estimate.replicates.shape[0] == NETWORKS - 2
    kept = [network for network in range(NETWORKS) if network not in (3, 90)]
    mean = found[0] + (0.2 - 0.1) * signs(7)[6][kept].mean()
    assert finite.estimate.value[0] == pytest.approx(mean)
    assert finite.estimate.value[0] != all_networks.estimate.value[0]


def test_other_networks_are_refused() -> None:
    point, other = made("gradient_descent", 0.2), made("gradient_flow", 0.2, "ensemble.seed=1")
    for data in (point, other):
        filled(data, np.zeros(2), 0.1)
    with pytest.raises(ValueError, match="not the networks of"):
        list(algorithm_difference(point.point, other.point, None))


def test_two_flows_are_one_algorithm() -> None:
    first, second = made("gradient_flow", 0.2), made("gradient_flow", 0.3)
    assert not list(algorithm_difference(first.point, second.point, None))
    assert not list(algorithm_coefficient(first.point, second.point, None))


@pytest.mark.parametrize(("other", "eta", "known"), [("gradient_flow", 0.2, 0.0), ("gradient_descent", 0.1, 0.1)])
def test_algorithm_coefficient(other: str, eta: float, known: float) -> None:
    """n times the difference minus its infinite-width value; the theory is that of both algorithms at this step, near
    what nearly-kernel regression at both etas gives for the end."""
    steps, planted = 120, np.array([0.7, -0.4])
    point = made("gradient_descent", 0.2, activation="sin", steps=steps)
    reference = made(other, eta, activation="sin", steps=steps)
    flow = theory.flow("sin", 2, 0.0, 1.0, inputs_of(GRAM), 0.0, 1.0, tensors=composite.TENSORS)
    assert flow.Theta is not None
    values, vectors = np.linalg.eigh(flow.Theta[-1][:2, :2])
    shares = [(1 - 0.2 * values) ** steps]
    shares.append(flow_left(eta * values) ** steps if other == "gradient_flow" else (1 - eta * values) ** steps)
    ends = [flow.Theta[-1][2, :2] @ (vectors * ((1 - left) / values)) @ vectors.T @ Y for left in shares]
    records = [
        theory.trained_to_order_n("sin", 2, 0.0, 1.0, inputs_of(GRAM), Y, step_size, steps, algorithm).mean1[0]
        for algorithm, step_size in (("gradient_descent", 0.2), (other, eta))
    ]
    predicted = (records[0] - records[1]).reshape(2, 3).T
    end = nearly_kernel.trained_mean(flow, Y, 0.2) - nearly_kernel.trained_mean(flow, Y, known)
    np.testing.assert_allclose(predicted[2], end[2], rtol=0.02)
    filled(point, planted / 8 + ends[0] - ends[1], 0.2)
    filled(reference, np.zeros(2), 0.1)

    def check(point: Rows, reference: Rows) -> None:
        components = {f"{i},2": (planted[i], predicted[2, i], abs(predicted[2, i])) for i in (0, 1)}
        wanted = Wanted("n (z - z')", 2, steps, components)
        expect(list(algorithm_coefficient(point.point, reference.point, None)), wanted, rtol=1e-6)

    assert np.abs(predicted[2]).min() > 1e-3
    check(point, reference)
    for wrong in ((reference, point), (point.scaled("z"), reference)):
        with pytest.raises(AssertionError):
            check(*wrong)


def test_the_coefficient_of_momentum_is_known() -> None:
    """Heavy ball differs from descent at order 1/n, and to first order in eta by its effective step, docs/theory.md
    (5.39). Negative control: eta / (1 - mu)."""
    descent, x = made("gradient_descent", 0.2, activation="sin", steps=120), inputs_of(GRAM)
    ball = made("momentum", 0.01, "dynamics.momentum=0.5", activation="sin", steps=1500)
    filled(descent, np.zeros(2), 0.1)
    filled(ball, np.zeros(2), 0.1)
    (measured,) = algorithm_coefficient(ball.point, descent.point, None)
    flow = theory.flow("sin", 2, 0.0, 1.0, x, 0.0, 1.0, tensors=composite.TENSORS)
    ends = [nearly_kernel.trained_mean(flow, Y, eta)[2] for eta in (0.01 * 1.5 / 0.5**2, 0.01 / 0.5, 0.2)]
    np.testing.assert_allclose(measured.theory, ends[0] - ends[2], rtol=0.03)
    assert not np.allclose(measured.theory, ends[1] - ends[2], rtol=0.1)


SCHEDULE = "dynamics.schedule={kind: linear, to: 0.5}"


def test_a_schedule_changes_what_is_left_of_the_error() -> None:
    """At infinite width the difference has the eta of each step, here (1 - 2 eta_k) in a product. Negative control:
    that of a constant eta."""
    steps, found = 6, np.array([0.3, -0.2])
    point = filled(made("gradient_descent", 0.2, SCHEDULE, steps=steps), found, 0.2)
    reference = filled(made("gradient_descent", 0.2, steps=steps), 0 * found, 0.1)
    left = np.prod([1 - 2 * 0.2 * (1 - 0.5 * k / steps) for k in range(steps)])
    infinite = ((1 - 2 * 0.2) ** steps - left) * (TEST @ Y)
    means = [closed_form(data.point, steps)[0][2] for data in (point, reference)]
    np.testing.assert_allclose(means[0] - means[1], infinite, rtol=1e-9)
    assert np.abs(infinite).min() > 1e-3
