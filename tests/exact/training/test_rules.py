"""Weight decay as a plugin ends at the ridge solution and agrees with automatic differentiation."""

import dataclasses

import numpy as np
import pytest
import torch

from analysis.theory import linear_model
from simulate.networks import streams
from simulate.networks.dense import Parameters
from simulate.settings.training import RULES, Rule
from simulate.training.algorithms import Training, gradient_term
from simulate.training.trajectory import trajectory
from tests.exact.training.networks import ETA, M, N, Theta, assert_same, flow, network, plus, slope, training
from tests.exact.training.test_algorithms import OPTIONS, arriving, rests

DECAY = {"rules": {"weight_decay": 0.3}}
STEPS = 6


@pytest.mark.parametrize("algorithm", ["gradient_descent", "momentum", "gradient_flow", "sgd"])
def test_the_end_of_a_one_layer_network_is_the_ridge_solution(algorithm: str, plugin) -> None:
    """The end solves the normal equations with ridge = decay, whatever the start, the rates and the algorithm."""
    plugin("weight_decay")
    t = training(algorithm, "linear", depth=1, eta=0.2, **DECAY, **OPTIONS.get(algorithm, {}))
    list(trajectory(t, (1600,)))
    features = np.concatenate([np.ones((N, 1)), t.x.numpy()], axis=1)
    for i, y in enumerate(t.y.numpy().T):
        theta = torch.cat([t.parameters.b[0][:, i, None], t.parameters.W[0][:, i]], dim=1).numpy()
        for ridge, close in ((0.3, True), (0.303, False), (0.0, False)):
            want = np.broadcast_to(linear_model.optimum(features, y, ridge), theta.shape)
            assert np.allclose(theta, want, rtol=1e-9, atol=1e-11) == close, ridge


def descended(t: Training, m: int, theta: Theta) -> Theta:
    """Network m, which starts as theta, after STEPS steps of the algorithm written out."""
    velocity: Theta | None = None
    for number in range(STEPS):
        if t.dynamics.name == "momentum":
            g = slope(theta, t)
            velocity = g if velocity is None else plus(g, velocity, t.dynamics.momentum)
            theta = plus(theta, velocity, -t.dynamics.eta)
        elif t.dynamics.name == "sgd":
            chosen = t.stream.normal(streams.BATCHES, number, N).argsort(dim=1)[m, : t.dynamics.batch]
            theta = plus(theta, slope(theta, t, t.x[chosen], t.y[chosen]), -t.dynamics.eta)
        else:
            theta = plus(theta, slope(theta, t), -t.dynamics.eta)
    return theta


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("gradient_descent", {}),
        ("momentum", {"momentum": 0.6}),
        ("sgd", {"batch": 2}),
        ("gradient_flow", {"eta": ETA / 4}),
    ],
)
def test_a_deep_network_descends_the_loss_and_the_decay(algorithm: str, options: dict[str, float], plugin) -> None:
    plugin("weight_decay")
    t = training(algorithm, **DECAY, **options)
    start = [network(t, m) for m in range(M)]
    list(trajectory(t, (STEPS,)))
    rtol = 1e-6 if algorithm == "gradient_flow" else 1e-10  # the step of the flow errs by order eta^4

    def check(t: Training, m: int) -> None:
        wanted = (
            flow(start[m], t, STEPS * t.dynamics.eta) if algorithm == "gradient_flow" else descended(t, m, start[m])
        )
        assert_same(t, m, wanted, rtol)

    for m in range(M):
        check(t, m)
    for decay in (0.0, 0.301):  # controls
        t.dynamics = dataclasses.replace(t.dynamics, rules={"weight_decay": decay})
        with pytest.raises(AssertionError):
            check(t, 0)


def test_rules_add_up(plugin) -> None:
    """Two rules act as one with the sum of their values, since each is evaluated before the step."""
    plugin("weight_decay")
    RULES.add(Rule("more", "weight decay once more", float, "a number"))
    gradient_term("more")(lambda p, value: Parameters([value * W for W in p.W], [value * b for b in p.b]))
    both, single = training("momentum", rules={"more": 0.1, "weight_decay": 0.2}), training("momentum", **DECAY)
    for t in (both, single):
        list(trajectory(t, (STEPS,)))
    for m in range(M):
        assert_same(both, m, network(single, m))


def test_a_rule_may_return_the_parameters_themselves(plugin) -> None:
    plugin("weight_decay")
    RULES.add(Rule("itself", "weight decay of one", float, "a number"))
    gradient_term("itself")(lambda parameters, value: parameters)
    itself, decay = (training("gradient_descent", rules={name: 1.0}) for name in ("itself", "weight_decay"))
    for t in (itself, decay):
        list(trajectory(t, (STEPS,)))
    for m in range(M):
        assert_same(itself, m, network(decay, m))


@pytest.mark.parametrize("algorithm", ["gradient_descent", "momentum", "gradient_flow", "sgd"])
def test_a_network_that_has_arrived_does_not_decay(algorithm: str, plugin) -> None:
    plugin("weight_decay")
    t, first = arriving(algorithm, eta=0.1, rules={"weight_decay": 0.001}, **OPTIONS.get(algorithm, {}))
    assert rests(t, first)


# ------------------------------------------------------------------- through the program


RUN = ["network.width=8", "network.depth=3", "observables=training", "dynamics.steps=5", "dynamics.eta=0.1",
       "ensemble.networks=8", "ensemble.block=8"]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_neutral_rules_are_no_rules(dtype: str, run, plugin) -> None:
    """Neutral rules leave rows and identity unchanged, and another decay changes both."""
    plugin("weight_decay")
    rules = ["none", "{}", "{weight_decay: 0}", "{weight_decay: 0.2}"]
    sets = [run("dynamics=momentum", *RUN, f"ensemble.dtype={dtype}", f"dynamics.rules={rule}") for rule in rules]
    tables, identities = [data.table() for data in sets], [data.manifest["identity"] for data in sets]
    for k in (1, 2):
        assert tables[k].equals(tables[0])
        assert identities[k] == identities[0]
    assert "rules" not in identities[0]["dynamics"]
    assert identities[3]["dynamics"]["rules"] == {"weight_decay": 0.2}
    assert not tables[3].equals(tables[0])
    assert sets[3].settings["dynamics"]["rules"] == {"weight_decay": 0.2}
