"""One step of each learning algorithm, by hand-written batched passes (docs/theory.md section 5, PDLT ch. 10).

The learning-rate tensor is diagonal: lambda_b on biases, lambda_W / n_{l-1} on weights; eta multiplies it. Networks
never interact: one that diverges or converges leaves the others unchanged. The facts of an algorithm are in
`simulate.settings.training`; its step is a function of a `Training`, registered here under the same name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from analysis.stages import stages
from simulate.networks import streams
from simulate.networks.activations import Function, Slope, slopes
from simulate.networks.dense import Parameters, forward, pulled
from simulate.networks.streams import Stream
from simulate.numerics.products import descend
from simulate.registry import implements
from simulate.settings.training import ALGORITHMS, RULES, Dynamics
from simulate.training.losses import VALUE_AND_SLOPE


@dataclass
class Training:
    """Everything that a step reads and changes. x: (N, n_0) and y: (N, n_L) of the train samples."""

    parameters: Parameters
    x: Tensor
    y: Tensor
    s: Function
    slope: Slope
    dynamics: Dynamics
    stream: Stream
    done: int = 0  # number of steps made
    buffers: dict[str, Parameters] = field(default_factory=dict)  # state of the algorithm by name
    arrived: Tensor | None = None  # (M,) networks whose loss has reached the tolerance
    resting: Tensor | None = None  # (M,) networks that had arrived at the first gradient of the present step

    def buffer(self, name: str) -> Parameters:
        """State in the shape of the parameters: zeros at first, then what the last step has left there."""
        if name not in self.buffers:
            self.buffers[name] = _zeros(self.parameters)
        return self.buffers[name]


Step = Callable[[Training], None]
STEPS: dict[str, Step] = {}
GradientTerm = Callable[..., Parameters]
GRADIENT_TERMS: dict[str, GradientTerm] = {}


def step(name: str) -> Callable[[Step], Step]:
    """Register the step of the algorithm of that name, a function that changes the parameters of a Training. Raises
    ValueError where ALGORITHMS has no such name."""
    return implements(ALGORITHMS, STEPS, name)


def gradient_term(name: str) -> Callable[[GradientTerm], GradientTerm]:
    """Register the term that the rule of that name adds to the gradient: a function of the parameters and of the rule's
    value, and of nothing else, that returns a tensor for each tensor of the parameters. It must not change them. A rule
    that is `rated` has the rates of the biases and the weights of each layer as its third argument, a list of pairs.
    Raises ValueError where RULES has no such name."""
    return implements(RULES, GRADIENT_TERMS, name)


def _zeros(parameters: Parameters) -> Parameters:
    """Zeros with the shapes and strides of the parameters."""
    return Parameters([torch.zeros_like(W.mT).mT for W in parameters.W], [torch.zeros_like(b) for b in parameters.b])


def _add(to: Parameters, other: Parameters, factor: float) -> None:
    for a, b in zip(to.tensors, other.tensors, strict=True):
        a.add_(b, alpha=factor)


def _clear(parameters: Parameters, networks: Tensor) -> None:
    """Set the parameters of the networks (M,) that are true to zero."""
    for theta in parameters.tensors:
        theta.masked_fill_(networks.view(-1, *[1] * (theta.dim() - 1)), 0.0)


def _rates(t: Training, rate: float, bare: bool = False) -> list[tuple[float, float]]:
    """rate times lambda for the biases and the weights of each layer; the rate alone where it is bare."""
    if bare:
        return [(rate, rate)] * t.parameters.depth
    lambdas = zip(t.dynamics.lambda_b, t.dynamics.lambda_W, t.parameters.W, strict=True)
    return [(rate * lambda_b, rate * lambda_W / W.shape[-1]) for lambda_b, lambda_W, W in lambdas]


def gradient(t: Training, x: Tensor, y: Tensor, into: Parameters, rate: float, bare: bool = False) -> None:
    """into -= rate lambda dLoss/dtheta, in place, with the terms of the rules; `into` may be the parameters themselves.

    x, y: t.x and t.y, or batches of them, (M, B, n_0) and (M, B, n_L), whose loss counts N / B times so that its mean
    is the full loss. bare: without lambda. The error delta(l) = dLoss/dz(l) is (M, N, n_l). Networks that have arrived
    get no gradient.
    """
    z, signals = forward(t.parameters, x, t.s)
    loss, delta = VALUE_AND_SLOPE[t.dynamics.loss](z[-1], y)
    if t.dynamics.tolerance:
        arrived = loss <= t.dynamics.tolerance
        t.arrived = arrived if t.arrived is None else t.arrived.logical_or_(arrived)
        t.resting = t.arrived.clone() if t.resting is None else t.resting
        delta = torch.where(t.arrived[:, None, None], torch.zeros_like(delta), delta)
    of_loss = rate if x is t.x else rate * len(t.x) / x.shape[-2]
    rates = _rates(t, of_loss, bare)
    # Both are taken here, because the loop may change the parameters.
    terms = _terms(t) if t.dynamics.rules else None
    bent = None
    if t.parameters.meta is not None:
        W, b = t.parameters.meta.slope(t.parameters.W[0], t.parameters.b[0], x, delta)
        bent = Parameters([W], [b])
    for layer in reversed(range(t.parameters.depth)):
        V, signal, (rate_b, rate_W) = t.parameters.W[layer].mT, signals[layer], rates[layer]
        bent_by = slopes(t.slope, z[layer - 1], signal) if layer else None
        v = descend(delta, signal, V, into.W[layer].mT, into.b[layer], (rate_W, rate_b), bent_by)
        if v is not None:
            delta = pulled(t.parameters, layer + 1, delta, v)
    if bent is not None:
        _descend(t, into, bent, of_loss, bare)
    if terms is not None:
        _descend(t, into, terms, rate, bare)


def _terms(t: Training) -> Parameters:
    """The sum of the terms that rules add to the gradient at the present parameters."""
    total = _zeros(t.parameters)
    for name, value in t.dynamics.rules.items():
        rates = [_rates(t, 1.0)] if RULES[name].rated else []
        _add(total, GRADIENT_TERMS[name](t.parameters, value, *rates), 1.0)
    if t.arrived is not None:
        _clear(total, t.arrived)
    return total


def move(t: Training, direction: Parameters, rate: float) -> None:
    """theta <- theta - rate lambda direction"""
    _descend(t, t.parameters, direction, rate)


def _descend(t: Training, into: Parameters, direction: Parameters, rate: float, bare: bool = False) -> None:
    for layer, (rate_b, rate_W) in enumerate(_rates(t, rate, bare)):
        into.b[layer].sub_(direction.b[layer], alpha=rate_b)
        into.W[layer].sub_(direction.W[layer], alpha=rate_W)


def batch(t: Training) -> tuple[Tensor, Tensor]:
    """B train samples, (M, B, n_0) and (M, B, n_L), drawn without replacement for each network and step from the stream
    of the networks. B is the option `batch`."""
    order = _batch(t, t.done)
    return t.x[order], t.y[order]


def _batch(t: Training, number: int) -> Tensor:
    """The train samples in the batch of a step, (M, B)."""
    return t.stream.normal(streams.BATCHES, number, len(t.x)).argsort(dim=1)[:, : t.dynamics.batch]


def batch_weights(t: Training, number: int) -> Tensor:
    """What the error of each train output (i, a) counts in that step, (M, n_L N): N / B in its batch, and else zero."""
    (N, outputs), order = t.y.shape, _batch(t, number)
    weights = torch.zeros(len(order), N, dtype=torch.float64, device=order.device)
    return weights.scatter_(1, order, N / t.dynamics.batch).repeat(1, outputs)


@gradient_term("ridge")
def ridge(parameters: Parameters, value: float, rates: list[tuple[float, float]]) -> Parameters:
    """value theta / lambda, docs/theory.md (5.46): times lambda, every parameter decays at the rate `value`. Parameters
    whose rate is zero are none of the model, and have no term."""
    shares = [[value / rate if rate else 0.0 for rate in both] for both in rates]
    b = [share * tensor for (share, _), tensor in zip(shares, parameters.b, strict=True)]
    return Parameters([share * W for (_, share), W in zip(shares, parameters.W, strict=True)], b)


@step("gradient_descent")
def gradient_descent(t: Training) -> None:
    """theta <- theta - eta lambda dLoss/dtheta"""
    gradient(t, t.x, t.y, t.parameters, t.dynamics.eta)


@step("momentum")
def momentum(t: Training) -> None:
    """v <- mu v + lambda dLoss/dtheta; theta <- theta - eta v"""
    velocity = t.buffer("velocity")
    for v in velocity.tensors:
        v.mul_(t.dynamics.momentum)
    gradient(t, t.x, t.y, velocity, -1.0)
    if t.arrived is not None:  # the record declares that networks rest once they have arrived
        _clear(velocity, t.arrived)
    _add(t.parameters, velocity, -t.dynamics.eta)


@step("nesterov")
def nesterov(t: Training) -> None:
    """v <- mu v + lambda dLoss/dtheta at the point theta - eta mu v; theta <- theta - eta v

    This is a step of descent at and from that point, where networks rest that have arrived there.
    """
    velocity, slope = t.buffer("velocity"), t.buffer("slope")
    for v, g in zip(velocity.tensors, slope.tensors, strict=True):
        v.mul_(t.dynamics.momentum)
        g.zero_()
    _add(t.parameters, velocity, -t.dynamics.eta)
    gradient(t, t.x, t.y, slope, -1.0)
    _add(t.parameters, slope, -t.dynamics.eta)
    _add(velocity, slope, 1.0)
    if t.arrived is not None:
        _clear(velocity, t.arrived)


@step("gradient_flow")
def gradient_flow(t: Training) -> None:
    """dtheta/dtau = -lambda dLoss/dtheta over a time eta, by a Runge and Kutta step: v <- A v + lambda dLoss/dtheta and
    theta <- theta - eta B v for each stage. The error falls as eta^4 (measured in docs/training.md).
    """
    velocity = t.buffer("velocity")
    for stage in stages("gradient_flow"):
        for v in velocity.tensors:
            v.mul_(stage.keep) if stage.keep else v.zero_()
        gradient(t, t.x, t.y, velocity, -1.0)
        _add(t.parameters, velocity, -t.dynamics.eta * stage.move)


@step("sgd")
def sgd(t: Training) -> None:
    """Gradient descent on a batch."""
    gradient(t, *batch(t), t.parameters, t.dynamics.eta)
