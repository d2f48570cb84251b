"""Every algorithm and loss against automatic differentiation of single networks; Taylor models where they are exact."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import grad

from simulate.api import read_one
from simulate.networks import activations, dense, streams
from simulate.networks.differentials import differentials
from simulate.training import taylor
from simulate.training.algorithms import Training
from simulate.training.losses import LOSSES
from simulate.training.stability import stable_eta
from simulate.training.trajectory import trajectory

LAMBDA_B, LAMBDA_W = (0.3, 0.7, 0.5), (1.1, 0.9, 1.3)
ETA, M, N = 0.05, 3, 4


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def training(rule: str, activation: str = "tanh", outputs: int = 2, depth: int = 3, **own: object) -> Training:
    given = [f"network.depth={depth}", f"network.width={[5, 6][: depth - 1]}", f"network.outputs={outputs}"]
    rates = [f"dynamics.lambda_b={list(LAMBDA_B[:depth])}", f"dynamics.lambda_W={list(LAMBDA_W[:depth])}"]
    s = read_one([*given, *rates, f"activation={activation}", f"dynamics={rule}", f"dynamics.eta={ETA}"])
    stream = streams.Stream(streams.key(1, "test"), 0, M, torch.float64, torch.device("cpu"))
    parameters = dense.draw(s, 4, stream)
    for b in parameters.b:
        b.add_(0.1)
    y = normal(2, N, outputs)
    if own.get("loss") == "cross_entropy":
        y = y.sign() if outputs == 1 else torch.nn.functional.one_hot(y.argmax(1), outputs).double()
    functions = activations.functions(s.activation)
    own = {"eta": ETA} | own
    return Training(parameters, normal(1, N, 4), y, *functions, dataclasses.replace(s.dynamics, **own), stream)  # type: ignore[arg-type]


Theta = tuple[list[Tensor], list[Tensor]]


def of(t: Training, m: int) -> Theta:
    return [W[m].clone() for W in t.parameters.W], [b[m].clone() for b in t.parameters.b]


def outputs(theta: Theta, x: Tensor, s: activations.Function) -> Tensor:
    """One network written out, (N, n_L)."""
    z = x @ theta[0][0].T + theta[1][0]
    for W, b in zip(theta[0][1:], theta[1][1:], strict=True):
        z = s(z) @ W.T + b
    return z


def loss(theta: Theta, t: Training, x: Tensor, y: Tensor) -> Tensor:
    z = outputs(theta, x, t.s)
    if t.rule.loss == "mse":
        return ((z - y) ** 2).sum() / 2
    if y.shape[1] == 1:
        return torch.log1p(torch.exp(-y * z)).sum()
    return torch.nn.functional.cross_entropy(z, y, reduction="sum")


def slope(theta: Theta, t: Training, x: Tensor | None = None, y: Tensor | None = None) -> Theta:
    """lambda dLoss/dtheta"""
    gW, gb = grad(loss)(theta, t, t.x if x is None else x, t.y if y is None else y)
    W = [rate / g.shape[1] * g for rate, g in zip(t.rule.lambda_W, gW, strict=True)]
    return W, [rate * g for rate, g in zip(t.rule.lambda_b, gb, strict=True)]


def plus(theta: Theta, other: Theta, factor: float) -> Theta:
    a, b = ([x + factor * y for x, y in zip(*both, strict=True)] for both in zip(theta, other, strict=True))
    return a, b


def same(t: Training, m: int, want: Theta, rtol: float = 1e-10) -> None:
    for got, right in zip(of(t, m), want, strict=True):
        for one, other in zip(got, right, strict=True):
            torch.testing.assert_close(one, other, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
@pytest.mark.parametrize(("kind", "n_L"), [("mse", 1), ("mse", 2), ("cross_entropy", 1), ("cross_entropy", 3)])
def test_gradient_descent_is_the_gradient(kind: str, n_L: int, activation: str) -> None:
    t = training("gradient_descent", activation, n_L, loss=kind)
    before = [of(t, m) for m in range(M)]
    value, _ = LOSSES[kind](dense.forward(t.parameters, t.x, t.s)[0][-1], t.y)
    for m in range(M):
        torch.testing.assert_close(value[m], loss(before[m], t, t.x, t.y), rtol=1e-12, atol=1e-12)
    assert list(trajectory(t, (0, 1))) == [0, 1]
    for m in range(M):
        same(t, m, plus(before[m], slope(before[m], t), -ETA))


def test_momentum_is_the_heavy_ball() -> None:
    t = training("momentum", momentum=0.6)
    now = [of(t, m) for m in range(M)]
    v: list[Theta | None] = [None] * M
    list(trajectory(t, (4,)))
    for m in range(M):
        for _ in range(4):
            g = slope(now[m], t)
            old = v[m]
            v[m] = g if old is None else plus(g, old, 0.6)
            now[m] = plus(now[m], v[m], -ETA)  # type: ignore[arg-type]
        same(t, m, now[m])


def test_sgd_draws_batches_of_its_own_for_each_network_and_step() -> None:
    t = training("sgd", batch=2)
    now = [of(t, m) for m in range(M)]
    seen = set()
    for step in range(6):
        order = t.stream.normal(streams.BATCHES, step, N).argsort(dim=1)[:, :2]
        list(trajectory(t, (step + 1,)))
        for m in range(M):
            chosen = order[m]
            seen.add((m, *sorted(chosen.tolist())))
            now[m] = plus(now[m], slope(now[m], t, t.x[chosen], t.y[chosen]), -ETA * N / 2)
            same(t, m, now[m])
    assert len({s[1:] for s in seen}) > 3


def test_all_samples_in_a_batch_are_gradient_descent() -> None:
    a, b = training("sgd", batch=N), training("gradient_descent")
    for t in (a, b):
        list(trajectory(t, (5,)))
    for m in range(M):
        same(a, m, of(b, m))


def test_gradient_flow_is_of_order_four() -> None:
    """Against the flow of single networks at a hundredth of the step; halving eta divides the error by 16."""
    ends, errors = [], []
    for share in (1, 2, 4, 64):
        t = training("gradient_flow", eta=0.4 / share)
        list(trajectory(t, (4 * share,)))
        ends.append(dense.forward(t.parameters, t.x, t.s)[0][-1])
    for end in ends[:-1]:
        errors.append(float((end - ends[-1]).abs().max()))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (abs(orders - 4) < 0.7).all()
    t = training("gradient_flow", eta=0.4)
    theta = of(t, 0)
    for _ in range(8000):  # Euler
        theta = plus(theta, slope(theta, t), -1.6 / 8000)
    torch.testing.assert_close(ends[-1][0], outputs(theta, t.x, t.s), rtol=3e-3, atol=3e-3)


def test_a_network_that_has_arrived_stays_and_its_neighbours_do_not_notice() -> None:
    free = training("momentum", momentum=0.5, eta=0.1)
    held = training("momentum", momentum=0.5, eta=0.1)
    probe = training("momentum", momentum=0.5, eta=0.1)
    list(trajectory(probe, (30,)))
    value, _ = LOSSES["mse"](dense.forward(probe.parameters, probe.x, probe.s)[0][-1], probe.y)
    between = float(value.sort().values[:2].mean())  # one network gets below it, the others do not by then
    held.rule = dataclasses.replace(held.rule, tolerance=between)
    for t in (free, held):
        list(trajectory(t, (31,)))
    assert held.arrived is not None
    assert held.arrived.tolist().count(True) == 1
    first = int(held.arrived.nonzero())
    for m in range(M):
        if m != first:
            same(held, m, of(free, m), rtol=0)
    before = of(held, first)
    list(trajectory(held, (32,)))
    same(held, first, before, rtol=0)


def test_eta_auto_is_half_the_stability_bound() -> None:
    """At twice it linearised descent is on the edge: the largest eigenvalue of eta H is 2."""
    t = training("gradient_descent")
    eta = stable_eta([t])
    z, signals = dense.forward(t.parameters, t.x, t.s)
    H = dense.ntk(t.parameters, z, signals, t.slope, t.rule.lambda_b, t.rule.lambda_W).mean(dim=0)
    largest = torch.linalg.eigvalsh(H.reshape(2 * N, 2 * N))[-1]
    assert abs(2 * eta * float(largest) - 2) < 1e-2
    assert abs(stable_eta([training("gradient_descent", loss="cross_entropy")]) / (2 * eta) - 1) < 1e-2


# ------------------------------------------------------------------- Taylor models


def models(t: Training, flow: bool, steps: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Outputs of the three models, (steps, M, 3, P), and of the network, (steps, M, P)."""
    setting = read_one(["activation=linear"]).activation
    rates = t.rule.lambda_b, t.rule.lambda_W
    z, signals = dense.forward(t.parameters, t.x, t.s)
    P = z[-1].shape[2] * N
    H = dense.ntk(t.parameters, z, signals, t.slope, *rates).reshape(M, P, P)
    dH, ddI, ddII = differentials(t.parameters, z, signals, activations.derivatives(setting), *rates, second=True)
    assert ddI is not None
    assert ddII is not None
    start, y = z[-1].transpose(1, 2).flatten(1), t.y.T.flatten()
    path = taylor.trajectory(start, H, (dH, ddI, ddII), y, torch.arange(P), t.rule.eta, flow, steps)
    known = torch.stack(list(path))
    there = []
    for _ in trajectory(t, steps):
        there.append(dense.forward(t.parameters, t.x, t.s)[0][-1].transpose(1, 2).flatten(1))
    return known, torch.stack(there)


@pytest.mark.parametrize(("rule", "flow"), [("gradient_descent", False), ("gradient_flow", True)])
def test_every_model_of_a_one_layer_network_is_the_network(rule: str, flow: bool) -> None:
    known, there = models(training(rule, "linear", depth=1), flow, (0, 1, 10))
    for k in range(3):
        torch.testing.assert_close(known[:, :, k], there, rtol=1e-11, atol=1e-12)


def test_two_linear_layers_are_quadratic_in_their_parameters() -> None:
    """One step of descent: the quadratic and cubic models are exact, the linear one is not. Later: those that know more
    are closer."""
    known, there = models(training("gradient_descent", "linear", depth=2), False, (1, 30))
    for k in (1, 2):
        torch.testing.assert_close(known[0, :, k], there[0], rtol=1e-11, atol=1e-12)
    error = (known - there[:, :, None]).abs().amax(dim=(1, 3))
    assert error[0, 0] > 1e-4
    assert error[1, 2] < 0.3 * error[1, 0]
