"""Closed forms of algorithms at infinite width: their options, where they converge, and settings without one."""

import numpy as np
import pytest

from analysis import theory
from analysis.measures.solved import options_of, response, rule_of, solved
from analysis.points import Point
from analysis.theory.linear_training import ClosedForm, remaining
from simulate.settings.training import ALGORITHMS

OPTIONS = {"momentum": {"momentum": 0.7}}
VALUES = np.array([0.5, 2.0])  # eigenvalues of the NTK


def test_closed_forms_are_of_algorithms_with_their_options() -> None:
    assert {*theory.CLOSED_FORMS} <= {*ALGORITHMS}
    for name, form in theory.CLOSED_FORMS.items():
        assert {*form.options} <= {option.name for option in ALGORITHMS[name].options}
        np.testing.assert_allclose(form.remaining(VALUES, 0.1, 0, **OPTIONS.get(name, {})), 1)


@pytest.mark.parametrize("name", ["gradient_descent", "momentum"])
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
    form = ClosedForm("sgd", lambda values, eta, steps, batch: (1 - eta * values) ** (batch * steps), lambda batch: 2.0,
                      ("batch",))  # fmt: skip
    theory.linear_training.add_closed_form(form)
    try:
        assert options_of(rule_of(Point(data))) == {"batch": 2}
        flow = Point(data).flow(("K", "Theta"))
        assert flow.Theta is not None
        want = theory.response(flow.Theta[-1], 2, 0.1, 6)
        np.testing.assert_allclose(response(Point(data), 3), want, rtol=1e-12)
    finally:
        del theory.CLOSED_FORMS["sgd"]


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
