"""Small ensembles to train, and the same networks one by one in a form for automatic differentiation."""

import dataclasses

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.func import grad

from simulate.api import read_one
from simulate.networks import activations, dense, streams
from simulate.training.algorithms import Training

LAMBDA_B, LAMBDA_W = (0.3, 0.7, 0.5), (1.1, 0.9, 1.3)
ETA, M, N = 0.05, 3, 4

Theta = tuple[list[Tensor], list[Tensor]]  # weights and biases of one network


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def training(algorithm: str, activation: str = "tanh", outputs: int = 2, depth: int = 3, **fields: object) -> Training:
    """Training of M networks on N samples with n_0 = 4 in float64. fields: of the dynamics."""
    shape = [f"network.depth={depth}", f"network.width={[5, 6][: depth - 1]}", f"network.outputs={outputs}"]
    settings = read_one([*shape, f"activation={activation}", "dynamics=gradient_descent"])
    stream = streams.Stream(streams.key(1, "test"), 0, M, torch.float64, torch.device("cpu"))
    parameters = dense.draw(settings, 4, stream)
    for b in parameters.b:
        b.add_(0.1)
    y = normal(2, N, outputs)
    if fields.get("loss") == "cross_entropy":
        y = y.sign() if outputs == 1 else torch.nn.functional.one_hot(y.argmax(1), outputs).double()
    rates = {"lambda_b": LAMBDA_B[:depth], "lambda_W": LAMBDA_W[:depth]}
    chosen = {"name": algorithm, "eta": ETA, **rates, **fields}
    dynamics = dataclasses.replace(settings.dynamics, **chosen)  # type: ignore[arg-type]
    functions = activations.functions(settings.activation)
    return Training(parameters, normal(1, N, 4), y, *functions, dynamics, stream)


def network(t: Training, m: int) -> Theta:
    """A copy of network m."""
    return [W[m].clone() for W in t.parameters.W], [b[m].clone() for b in t.parameters.b]


def outputs(theta: Theta, x: Tensor, s: activations.Function) -> Tensor:
    """One network written out, (N, n_L)."""
    z = x @ theta[0][0].T + theta[1][0]
    for W, b in zip(theta[0][1:], theta[1][1:], strict=True):
        z = s(z) @ W.T + b
    return z


def loss(theta: Theta, t: Training, x: Tensor, y: Tensor) -> Tensor:
    """The loss of one network, by torch's own function where there is one."""
    z = outputs(theta, x, t.s)
    if t.dynamics.loss == "mse":
        return ((z - y) ** 2).sum() / 2
    if t.dynamics.loss == "huber":
        return 3 * torch.nn.functional.huber_loss(z, y, reduction="sum", delta=0.5)
    if y.shape[1] == 1:
        return torch.log1p(torch.exp(-y * z)).sum()
    return torch.nn.functional.cross_entropy(z, y, reduction="sum")


def slope(theta: Theta, t: Training, x: Tensor | None = None, y: Tensor | None = None, bare: bool = False) -> Theta:
    """lambda times the gradient of the loss, for a batch N / B times, and of weight decay. bare: the gradient without
    lambda."""
    x, y = t.x if x is None else x, t.y if y is None else y
    decay = t.dynamics.rules.get("weight_decay", 0.0)

    def descended(theta: Theta) -> Tensor:
        size = sum((p**2).sum() for tensors in theta for p in tensors)
        return loss(theta, t, x, y) * len(t.x) / len(x) + decay / 2 * size

    gW, gb = grad(descended)(theta)
    if bare:
        return gW, gb
    W = [rate / g.shape[1] * g for rate, g in zip(t.dynamics.lambda_W, gW, strict=True)]
    return W, [rate * g for rate, g in zip(t.dynamics.lambda_b, gb, strict=True)]


def plus(theta: Theta, other: Theta, factor: float) -> Theta:
    a, b = ([x + factor * y for x, y in zip(*both, strict=True)] for both in zip(theta, other, strict=True))
    return a, b


def _flat(theta: Theta) -> np.ndarray:
    return torch.cat([p.flatten() for tensors in theta for p in tensors]).numpy()


def _shaped(values: np.ndarray, like: Theta) -> Theta:
    """The inverse of `_flat`."""
    sizes = [p.numel() for tensors in like for p in tensors]
    pieces = iter(torch.from_numpy(values).split(sizes))
    W, b = ([next(pieces).reshape(p.shape) for p in tensors] for tensors in like)
    return W, b


def flow(theta: Theta, t: Training, time: float) -> Theta:
    """theta after gradient flow for this time, by an adaptive solver."""

    def velocity(_: float, values: np.ndarray) -> np.ndarray:
        return -_flat(slope(_shaped(values, theta), t))

    solved = solve_ivp(velocity, (0, time), _flat(theta), rtol=1e-10, atol=1e-10)
    return _shaped(solved.y[:, -1], theta)


def assert_same(t: Training, m: int, want: Theta, rtol: float = 1e-10) -> None:
    """Assert that network m has these parameters, with rtol=0 bit for bit."""
    atol = 1e-12 if rtol else 0.0
    for tensors, wanted in zip(network(t, m), want, strict=True):
        for theta, value in zip(tensors, wanted, strict=True):
            torch.testing.assert_close(theta, value, rtol=rtol, atol=atol)
