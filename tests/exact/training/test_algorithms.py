"""Algorithms agree with automatic differentiation of single networks, and stop networks that have arrived.

A network has arrived when its loss is below dynamics.tolerance.
"""

import dataclasses

import numpy as np
import pytest
import torch

from simulate.networks import dense, streams
from simulate.settings.training import ALGORITHMS, Algorithm
from simulate.training.algorithms import STEPS, Training, gradient, move, step
from simulate.training.losses import VALUE_AND_SLOPE
from simulate.training.trajectory import trajectory
from tests.exact.training.networks import ETA, M, N, Theta, assert_same, flow, network, outputs, plus, slope, training

OPTIONS = {"momentum": {"momentum": 0.6}, "nesterov": {"momentum": 0.6}, "sgd": {"batch": N}}  # others have none


def test_gradient_descent_is_the_gradient() -> None:
    t = training("gradient_descent")
    before = [network(t, m) for m in range(M)]
    assert list(trajectory(t, (0, 1))) == [0, 1]
    for m in range(M):
        assert_same(t, m, plus(before[m], slope(before[m], t), -ETA))


def test_momentum_is_the_heavy_ball() -> None:
    t = training("momentum", momentum=0.6)
    now = [network(t, m) for m in range(M)]
    velocity: list[Theta | None] = [None] * M
    list(trajectory(t, (4,)))
    for m in range(M):
        for _ in range(4):
            g = slope(now[m], t)
            old = velocity[m]
            velocity[m] = g if old is None else plus(g, old, 0.6)
            now[m] = plus(now[m], velocity[m], -ETA)  # type: ignore[arg-type]
        assert_same(t, m, now[m])


def test_sgd_draws_batches_for_each_network_and_step() -> None:
    t = training("sgd", batch=2)
    now = [network(t, m) for m in range(M)]
    seen = set()
    for number in range(6):
        order = t.stream.normal(streams.BATCHES, number, N).argsort(dim=1)[:, :2]
        list(trajectory(t, (number + 1,)))
        for m in range(M):
            chosen = order[m]
            seen.add((m, *sorted(chosen.tolist())))
            now[m] = plus(now[m], slope(now[m], t, t.x[chosen], t.y[chosen]), -ETA)
            assert_same(t, m, now[m])
    assert len({samples[1:] for samples in seen}) > 3


def test_a_batch_of_all_samples_is_gradient_descent() -> None:
    batches, descent = training("sgd", batch=N), training("gradient_descent")
    for t in (batches, descent):
        list(trajectory(t, (5,)))
    for m in range(M):
        assert_same(batches, m, network(descent, m))


def test_gradient_flow_is_of_order_four() -> None:
    """Halving eta divides the error by 16, and the limit is the flow of a single network by another solver."""
    ends, errors = [], []
    for share in (1, 2, 4, 64):
        t = training("gradient_flow", eta=0.4 / share)
        list(trajectory(t, (4 * share,)))
        ends.append(dense.forward(t.parameters, t.x, t.s)[0][-1])
    for end in ends[:-1]:
        errors.append(float((end - ends[-1]).abs().max()))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (abs(orders - 4) < 0.7).all()
    t = training("gradient_flow")
    end = outputs(flow(network(t, 0), t, 1.6), t.x, t.s)
    torch.testing.assert_close(ends[-1][0], end, rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------- networks that have arrived


def arriving(algorithm: str, **fields: object) -> tuple[Training, int]:
    """Networks after 31 steps with a tolerance that exactly one of them has reached, and the index of this network."""
    probe = training(algorithm, **fields)
    list(trajectory(probe, (30,)))
    value, _ = VALUE_AND_SLOPE["mse"](dense.forward(probe.parameters, probe.x, probe.s)[0][-1], probe.y)
    between = float(value.sort().values[:2].mean())
    t = training(algorithm, **fields, tolerance=between)
    list(trajectory(t, (31,)))
    assert t.arrived is not None
    assert t.arrived.tolist().count(True) == 1
    return t, int(t.arrived.nonzero())


def rests(t: Training, m: int) -> bool:
    """Whether ten further steps leave network m unchanged."""
    before = network(t, m)
    list(trajectory(t, (t.done + 10,)))
    try:
        assert_same(t, m, before, rtol=0)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_network_that_has_arrived_stays_and_the_others_are_unchanged(name: str) -> None:
    fields = {"eta": 0.1, **OPTIONS.get(name, {})}
    held, first = arriving(name, **fields)
    free = training(name, **fields)
    list(trajectory(free, (31,)))
    others = [m for m in range(M) if m != first]
    for m in others:
        assert_same(held, m, network(free, m), rtol=0)
    before = network(held, others[0])
    assert rests(held, first)
    with pytest.raises(AssertionError):
        assert_same(held, others[0], before)


def heavy_ball(t: Training) -> None:
    """Momentum that would carry on networks that have arrived, since their velocity does not stop."""
    velocity = t.buffer("velocity")
    for v in velocity.tensors:
        v.mul_(0.6)
    gradient(t, t.x, t.y, velocity, -1.0, bare=True)
    move(t, velocity, t.dynamics.eta)


@pytest.mark.parametrize("declared", [False, True])
def test_an_algorithm_cannot_move_networks_that_have_arrived(declared: bool, registries: None) -> None:
    """Such a network is put back bit for bit. Control: it moves if the record declares that this is not needed."""
    ALGORITHMS.add(Algorithm("heavy_ball", "v <- 0.6 v + dLoss/dtheta", copies=1, rests=declared))
    step("heavy_ball")(heavy_ball)
    t, first = arriving("heavy_ball", eta=0.1)
    assert rests(t, first) is not declared


def test_a_network_is_put_back_to_where_it_arrived(registries: None) -> None:
    """A later gradient of the same step does not count, so that the loss stays below the tolerance."""

    def twice(t: Training) -> None:
        for _ in range(2):
            gradient(t, t.x, t.y, t.parameters, t.dynamics.eta)

    ALGORITHMS.add(Algorithm("twice", "two steps of descent", gradients=2))
    step("twice")(twice)
    for between in (1.0, 2.0):
        t = training("twice", tolerance=between)
        list(trajectory(t, (40,)))
        value, _ = VALUE_AND_SLOPE["mse"](dense.forward(t.parameters, t.x, t.s)[0][-1], t.y)
        assert t.arrived is not None
        assert t.arrived.any()
        assert (value[t.arrived] <= between).all()


def test_steps_do_not_change_the_samples() -> None:
    for name in STEPS:
        t = training(name, **OPTIONS.get(name, {}))
        x, y = t.x.clone(), t.y.clone()
        list(trajectory(t, (2,)))
        assert torch.equal(t.x, x)
        assert torch.equal(t.y, y)


def test_fields_of_the_dynamics_are_kept() -> None:
    t = training("momentum", momentum=0.6)
    assert t.dynamics.option("momentum") == 0.6
    assert dataclasses.replace(t.dynamics, options={"beta": 2}).option("beta") == 2
