"""One step of each learning algorithm, by hand-written batched passes (docs/theory.md section 5, PDLT ch. 10).

The learning-rate tensor is diagonal: lambda_b on biases, lambda_W / n_{l-1} on weights; eta multiplies it. Networks
never interact: one that diverges or converges leaves the others unchanged.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.networks import streams
from simulate.networks.activations import Function, Slope
from simulate.networks.dense import Parameters, forward
from simulate.networks.streams import Stream
from simulate.numerics.products import descend
from simulate.settings.training import Dynamics
from simulate.training.losses import LOSSES


@dataclass
class Training:
    """Everything that a step reads and changes. x: (N, n_0) and y: (N, n_L) of the train samples."""

    parameters: Parameters
    x: Tensor
    y: Tensor
    s: Function
    slope: Slope
    rule: Dynamics
    stream: Stream
    done: int = 0
    velocity: Parameters | None = None
    arrived: Tensor | None = None  # (M,) networks whose loss has come down to the tolerance


def _like(parameters: Parameters) -> Parameters:
    """Zeros that are stored as the parameters are."""
    return Parameters([torch.zeros_like(W.mT).mT for W in parameters.W], [torch.zeros_like(b) for b in parameters.b])


def _add(to: Parameters, other: Parameters, factor: float) -> None:
    for a, b in zip((*to.W, *to.b), (*other.W, *other.b), strict=True):
        a.add_(b, alpha=factor)


def gradient(t: Training, x: Tensor, y: Tensor, into: Parameters, rate: float) -> None:
    """into -= rate lambda dLoss/dtheta, in place; `into` may be the parameters themselves.

    The error delta(l) = dLoss/dz(l) is (M, N, n_l). Networks that have arrived get no gradient.
    """
    z, signals = forward(t.parameters, x, t.s)
    loss, delta = LOSSES[t.rule.loss](z[-1], y)
    if t.rule.tolerance:
        arrived = loss <= t.rule.tolerance
        t.arrived = arrived if t.arrived is None else t.arrived.logical_or_(arrived)
        delta = torch.where(t.arrived[:, None, None], torch.zeros_like(delta), delta)
    for layer in reversed(range(t.parameters.depth)):
        V, signal = t.parameters.W[layer].mT, signals[layer]
        step = rate * t.rule.lambda_W[layer] / V.shape[1]
        below = descend(delta, signal, V, into.W[layer].mT, step, below=layer > 0)
        into.b[layer].sub_(delta.sum(dim=1), alpha=rate * t.rule.lambda_b[layer])
        if below is not None:
            delta = below.mul_(t.slope(z[layer - 1], signal))


def _gradient_descent(t: Training) -> None:
    """theta <- theta - eta lambda dLoss/dtheta"""
    gradient(t, t.x, t.y, t.parameters, t.rule.eta)


def _momentum(t: Training) -> None:
    """v <- mu v + lambda dLoss/dtheta; theta <- theta - eta v"""
    velocity = t.velocity = t.velocity or _like(t.parameters)
    for v in (*velocity.W, *velocity.b):
        v.mul_(t.rule.momentum)
    gradient(t, t.x, t.y, velocity, -1.0)
    if t.arrived is not None:  # it stays where it is
        for v in (*velocity.W, *velocity.b):
            v.masked_fill_(t.arrived.view(-1, *[1] * (v.dim() - 1)), 0.0)
    _add(t.parameters, velocity, -t.rule.eta)


# Five stages of order four in two registers: Carpenter and Kennedy, NASA TM 109112 (1994), solution 3.
STAGES = (
    (0.0, 1432997174477 / 9575080441755),
    (-567301805773 / 1357537059087, 5161836677717 / 13612068292357),
    (-2404267990393 / 2016746695238, 1720146321549 / 2090206949498),
    (-3550918686646 / 2091501179385, 3134564353537 / 4481467310338),
    (-1275806237668 / 842570457699, 2277821191437 / 14882151754819),
)


def _gradient_flow(t: Training) -> None:
    """dtheta/dtau = -lambda dLoss/dtheta over a time eta, by a Runge and Kutta step: v <- A v + lambda dLoss/dtheta and
    theta <- theta - eta B v for each stage. The error falls as eta^4 (measured in docs/training.md).
    """
    velocity = t.velocity = t.velocity or _like(t.parameters)
    for A, B in STAGES:
        for v in (*velocity.W, *velocity.b):
            v.mul_(A) if A else v.zero_()
        gradient(t, t.x, t.y, velocity, -1.0)
        _add(t.parameters, velocity, -t.rule.eta * B)


def _sgd(t: Training) -> None:
    """Gradient descent on `batch` train samples, drawn without replacement for each network and step from its stream;
    the batch's loss times N / batch, whose mean is the full loss."""
    N, B = len(t.x), t.rule.batch
    order = t.stream.normal(streams.BATCHES, t.done, N).argsort(dim=1)[:, :B]
    gradient(t, t.x[order], t.y[order], t.parameters, t.rule.eta * N / B)


STEPS: dict[str, Callable[[Training], None]] = {
    "gradient_descent": _gradient_descent,
    "momentum": _momentum,
    "gradient_flow": _gradient_flow,
    "sgd": _sgd,
}
