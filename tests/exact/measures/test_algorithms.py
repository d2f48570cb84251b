"""Measures of two algorithms on the same networks find planted differences, and their theory."""

import numpy as np
import pytest

from analysis import claims, theory
from analysis.measures.algorithms import algorithm_coefficient, algorithm_difference
from analysis.measures.solved import closed_form
from analysis.theory import nearly_kernel
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, expect, inputs_of, rows, signs
from tests.exact.measures.test_trained import GRAM, TEST, UNIT, Y

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
    """At infinite width the difference comes from the errors that are left, here (1 - 2 eta)^t and e^(-2 eta' t) of a
    test sample's K_ta y."""
    found = np.array([0.3, -0.2])
    point = filled(made("gradient_descent", eta), found, 0.2)
    reference = filled(made("gradient_flow", 0.2), 0 * found, 0.1)
    infinite = (np.exp(-2 * 0.2 * STEPS) - (1 - 2 * eta) ** STEPS) * (TEST @ Y)

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
    """n times the difference minus its infinite-width value; the theory is nearly-kernel regression at both etas."""
    steps, planted = 120, np.array([0.7, -0.4])
    point = made("gradient_descent", 0.2, activation="sin", steps=steps)
    reference = made(other, eta, activation="sin", steps=steps)
    flow = theory.flow("sin", 2, 0.0, 1.0, inputs_of(GRAM), 0.0, 1.0, tensors=nearly_kernel.TENSORS)
    assert flow.Theta is not None
    values, vectors = np.linalg.eigh(flow.Theta[-1][:2, :2])
    shares = [(1 - 0.2 * values) ** steps]
    shares.append(np.exp(-eta * steps * values) if other == "gradient_flow" else (1 - eta * values) ** steps)
    ends = [flow.Theta[-1][2, :2] @ (vectors * ((1 - left) / values)) @ vectors.T @ Y for left in shares]
    predicted = nearly_kernel.trained_mean(flow, Y, 0.2) - nearly_kernel.trained_mean(flow, Y, known)
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


def test_no_coefficient_where_none_is_predicted() -> None:
    """No coefficient is measured for momentum, or for two algorithms that agree at order 1/n."""
    descent = made("gradient_descent", 0.2, activation="sin", steps=120)
    for other in (made("momentum", 0.2, activation="sin", steps=120), descent):
        assert not list(algorithm_coefficient(descent.point, other.point, None))


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


def test_a_schedule_of_descent_has_no_coefficient() -> None:
    """docs/theory.md (5.21) is that of one eta: what a schedule lacks is named. The flow has no eta at its end."""
    rows_of = {
        name: made(name, 0.2, *changed, activation="sin", steps=200)
        for name, changed in (("gradient_descent", [SCHEDULE]), ("gradient_flow", [SCHEDULE]))
    }
    descent, flow = rows_of.values()
    constant = made("gradient_descent", 0.2, activation="sin", steps=200)
    tests = claims.tests()
    named = "dynamics.schedule=[{'kind': 'linear', 'to': 0.5}]: the coefficient is known for a constant eta only"
    assert list(tests["trained_mean_coefficient"].missing(descent.point, None)) == [named]
    assert list(tests["algorithm_coefficient"].undefined(descent.point, flow.point)) == [named]
    assert list(tests["algorithm_coefficient"].undefined(constant.point, descent.point)) == [named]
    assert list(tests["trained_mean_coefficient"].missing(flow.point, None)) == []
    assert list(tests["algorithm_coefficient"].undefined(constant.point, flow.point)) == []
