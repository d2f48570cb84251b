"""Closed forms of algorithms at infinite width: their options, where they converge, and settings without one."""

import numpy as np
import pytest

from analysis import theory
from analysis.measures.solved import options_of, order_n, response, rule_of, solved
from analysis.measures.trained import linear_in_z, outputs
from analysis.points import Point
from analysis.theory.linear_training import ClosedForm, remaining
from simulate.settings.schedules import SCHEDULES, Schedule
from simulate.settings.training import ALGORITHMS

OPTIONS = {"momentum": {"momentum": 0.7}, "nesterov": {"momentum": 0.7}}
VALUES = np.array([0.5, 2.0])  # eigenvalues of the NTK


def test_closed_forms_are_of_algorithms_with_their_options() -> None:
    assert {*theory.CLOSED_FORMS} <= {*ALGORITHMS}
    for name, form in theory.CLOSED_FORMS.items():
        assert {*form.options} <= {option.name for option in ALGORITHMS[name].options}
        np.testing.assert_allclose(form.remaining(VALUES, np.array([]), **OPTIONS.get(name, {})), 1)


@pytest.mark.parametrize("name", theory.CLOSED_FORMS)
def test_bounds_are_where_training_stops_converging(name: str) -> None:
    options = OPTIONS.get(name, {})
    bound = theory.CLOSED_FORMS[name].bound(**options)
    below, above = (np.abs(remaining(name, VALUES, share * bound / 2.0, 2000, **options)[1]) for share in (0.98, 1.02))
    assert below < 1e-3
    assert above > 1e3
    with pytest.raises(ValueError, match=f"{name} converges only below {bound / 2:.4g}"):
        remaining(name, VALUES, 1.02 * bound / 2, None, **options)


def test_a_closed_form_can_be_added(run) -> None:
    """Measures find an added closed form and its options by its name; this one takes two steps of descent in one."""
    data = run("dynamics=sgd", "dynamics.batch=2", "dynamics.eta=0.1", "dynamics.steps=3", "observables=training",
               "network.width=8", "ensemble.networks=4")  # fmt: skip
    with pytest.raises(ValueError, match="dynamics=sgd, loss=mse: one of gradient_descent, gradient_flow, momentum"):
        rule_of(Point(data))

    def left(values: np.ndarray, etas: np.ndarray, batch: int) -> np.ndarray:
        return (1 - etas[0] * values) ** (batch * len(etas))

    form = ClosedForm("sgd", left, lambda batch: 2.0, ("batch",))
    theory.linear_training.add_closed_form(form)
    try:
        assert options_of(rule_of(Point(data))) == {"batch": 2}
        flow = Point(data).flow(("K", "Theta"))
        assert flow.Theta is not None
        want = theory.response(flow.Theta[-1], 2, 0.1, 6)
        np.testing.assert_allclose(response(Point(data), 3), want, rtol=1e-12)
    finally:
        del theory.CLOSED_FORMS["sgd"]


TRAINED = ["dynamics.eta=0.1", "dynamics.steps=4", "observables=training", "network.width=8", "ensemble.networks=4"]
SCHEDULE = "dynamics.schedule={kind: factors, values: [2,1,0,0.5]}"


@pytest.mark.parametrize("name", theory.CLOSED_FORMS)
def test_networks_of_one_layer_are_their_closed_form(name: str, run) -> None:
    """With an eta for each step every network of one layer is at each step where docs/theory.md (5.1) sends it from its
    start, docs/theory.md (5.4), the flow with the error of its solver. Negative control: a constant eta."""
    data = run(f"dynamics={name}", "dynamics.eta=0.1", "dynamics.steps=4", SCHEDULE, "network.depth=1",
               "inputs.count=2", "inputs.test=1", "ensemble.networks=8", "ensemble.dtype=float64",
               "observables.record=[outputs]", "observables.steps=[0,1,4]")  # fmt: skip
    point = Point(data)
    for step in (1, 4):
        np.testing.assert_allclose(outputs(point, step), linear_in_z(point, step), rtol=1e-9, atol=1e-12)
    flow, options = point.flow(("K", "Theta")), {"momentum": 0.5} if name in OPTIONS else {}
    assert flow.Theta is not None
    constant = theory.response(flow.Theta[-1], 2, 0.1, 4, name, **options)
    assert not np.allclose(response(point, 4), constant, rtol=0.05)


def test_order_1_over_n_has_the_eta_of_each_step(run) -> None:
    """The loop over steps of docs/theory.md (5.24) takes the factors of a schedule. Negative control: a constant
    eta."""
    point = Point(run("dynamics=nesterov", *TRAINED, SCHEDULE, "network.depth=2", "inputs.count=2", "inputs.test=0"))
    x, y, _ = point.samples
    rates = point.settings["dynamics"]["lambda_b"], point.settings["dynamics"]["lambda_W"]
    start = point.settings["initialization"]
    found, constant = (
        theory.trained_to_order_n(
            point.activation, 2, start["C_b"], start["C_W"], x, y, eta, 4, "nesterov", 0.5, "mse", *rates
        )
        for eta in ([0.2, 0.1, 0.0, 0.05], 0.1)
    )
    np.testing.assert_allclose(order_n(point).mean1[-1], found.mean1[0], rtol=1e-12)
    assert not np.allclose(constant.mean1, found.mean1, rtol=0.05)


def test_a_schedule_of_a_plugin_that_is_not_loaded_has_no_closed_form(run, registries: None) -> None:
    """The data are read, and what needs the factors is refused by the name of the setting."""
    SCHEDULES.add(Schedule("halves", "half of eta", lambda steps: (), lambda step, steps: 0.5))
    point = Point(run("dynamics=momentum", *TRAINED, "dynamics.schedule={kind: halves}"))
    assert solved(point)
    del SCHEDULES["halves"]
    assert not solved(point)
    with pytest.raises(ValueError, match=r"dynamics\.schedule\[0\]\.kind='halves': one of linear, cosine"):
        rule_of(point)


@pytest.mark.parametrize(("changed", "known"), [
    ([], True),
    (["dynamics.rules={weight_decay: 0}"], True),
    (["dynamics.rules={weight_decay: 0.1}"], False),
    (["dynamics.loss=cross_entropy"], False),
])  # fmt: skip
def test_which_settings_have_a_closed_form(changed: list[str], known: bool, run, plugin) -> None:
    plugin("weight_decay")
    data = run("dynamics=momentum", "dynamics.eta=0.1", "dynamics.steps=2", "observables=training", "network.width=8",
               "ensemble.networks=4", *changed)  # fmt: skip
    assert solved(Point(data)) is known
    if known:
        assert options_of(rule_of(Point(data))) == {"momentum": 0.5}
    else:
        with pytest.raises(ValueError, match="with loss=mse and without rules is needed"):
            rule_of(Point(data))
