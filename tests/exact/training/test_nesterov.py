"""Nesterov's momentum is its definition by automatic differentiation, and torch's, which keeps the look-ahead point."""

import pytest
import torch

from simulate.networks import dense
from simulate.training.algorithms import Training
from simulate.training.losses import VALUE_AND_SLOPE
from simulate.training.trajectory import trajectory
from tests.exact.training.networks import ETA, M, Theta, assert_same, network, plus, slope, training

MU, STEPS = 0.6, 7
COSINE = ({"kind": "cosine", "to": 0.1},)


def defined(theta: Theta, t: Training, etas: list[float]) -> Theta:
    """theta after steps of these sizes: v <- mu v + lambda dLoss at theta - eta mu v, theta <- theta - eta v."""
    v = plus(theta, theta, -1.0)
    for eta in etas:
        v = plus(slope(plus(theta, v, -eta * MU), t), v, MU)
        theta = plus(theta, v, -eta)
    return theta


@pytest.mark.parametrize("scheduled", [False, True], ids=["constant", "cosine"])
def test_nesterov_is_its_definition(scheduled: bool) -> None:
    """Negative control: the heavy ball, which takes the gradient at theta."""
    t = training("nesterov", momentum=MU, schedule=COSINE if scheduled else (), steps=STEPS)
    ball = training("momentum", momentum=MU, schedule=t.dynamics.schedule, steps=STEPS)
    start = [network(t, m) for m in range(M)]
    etas = [t.dynamics.eta_at(step) for step in range(STEPS)]
    assert (etas[-1] < 0.3 * ETA) == scheduled
    for trained in (t, ball):
        list(trajectory(trained, (STEPS,)))
    for m in range(M):
        assert_same(t, m, defined(start[m], t, etas))
        with pytest.raises(AssertionError):
            assert_same(ball, m, defined(start[m], t, etas), rtol=1e-4)


def test_nesterov_is_that_of_torch_at_the_point_ahead() -> None:
    """torch.optim.SGD with nesterov=True keeps p = theta - eta mu v instead of theta, where eta is constant. Negative
    control: theta itself is another point."""
    t = training("nesterov", momentum=MU)
    start = [network(t, m) for m in range(M)]
    list(trajectory(t, (STEPS,)))
    for m in range(M):
        tensors = [p.clone() for kind in start[m] for p in kind]
        depth = len(start[m][0])
        optimizer = torch.optim.SGD(tensors, lr=ETA, momentum=MU, nesterov=True)
        for _ in range(STEPS):
            now = tensors[:depth], tensors[depth:]
            for p, g in zip(tensors, [g for kind in slope(now, t) for g in kind], strict=True):
                p.grad = g  # with lambda, which is one learning rate for each tensor
            optimizer.step()
        velocity = [W[m] for W in t.buffer("velocity").W], [b[m] for b in t.buffer("velocity").b]
        wanted = plus((tensors[:depth], tensors[depth:]), velocity, ETA * MU)
        assert_same(t, m, wanted)
        with pytest.raises(AssertionError):
            assert_same(t, m, (tensors[:depth], tensors[depth:]), rtol=1e-4)


def test_a_network_that_arrives_ahead_rests_there() -> None:
    """The loss that reaches the tolerance is that at the look-ahead point, and the network stays at this point."""
    t = training("nesterov", momentum=MU, tolerance=1.0, eta=0.1)
    list(trajectory(t, (60,)))
    assert t.arrived is not None
    assert t.arrived.any()
    value, _ = VALUE_AND_SLOPE["mse"](dense.forward(t.parameters, t.x, t.s)[0][-1], t.y)
    assert (value[t.arrived] <= 1.0).all()
