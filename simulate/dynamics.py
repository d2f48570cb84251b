"""Training of stacked networks by hand-written batched passes (theory.md section 5, PDLT ch. 10 and infinity).

The learning-rate tensor is diagonal: lambda_b on biases, lambda_W / n_{l-1} on weights; eta multiplies it. Losses are
sums over samples and outputs. One network never sees another: what diverges or has arrived is alone in it.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from simulate import gemm, streams
from simulate.activations import Function, Slope
from simulate.ensemble import Parameters, forward, ntk
from simulate.settings import Dynamics
from simulate.streams import Stream

# ------------------------------------------------------------------------------------------- losses


def _mse(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    error = z - y
    return error.double().square().sum(dim=(1, 2)) / 2, error


def _cross_entropy(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """One output: log(1 + exp(-y z)) for y = 1 and -1. More: -sum_i y_i log softmax(z)_i."""
    if y.shape[-1] == 1:
        margin = y * z
        return torch.nn.functional.softplus(-margin.double()).sum(dim=(1, 2)), -y * torch.sigmoid(-margin)
    total = y.sum(dim=-1, keepdim=True)
    loss = -(y * torch.log_softmax(z.double(), dim=-1)).sum(dim=(1, 2))
    return loss, total * torch.softmax(z, dim=-1) - y


# Of outputs z (M, N, n_L) and targets y (N, n_L) or (M, N, n_L): the loss (M,) float64 and its slope in z.
LOSSES: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {"mse": _mse, "cross_entropy": _cross_entropy}
# The largest second derivative of a loss in one direction of z: with it, eta < 2 / (curvature lambda_max(H)).
CURVATURE = {"mse": lambda outputs: 1.0, "cross_entropy": lambda outputs: 0.25 if outputs == 1 else 0.5}


# ------------------------------------------------------------------------------------------- one step


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


def _backward(t: Training, x: Tensor, y: Tensor, into: Parameters, rate: float) -> None:
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
        below = gemm.descend(delta, signal, V, into.W[layer].mT, step, below=layer > 0)
        into.b[layer].sub_(delta.sum(dim=1), alpha=rate * t.rule.lambda_b[layer])
        if below is not None:
            delta = below.mul_(t.slope(z[layer - 1], signal))


def _gradient_descent(t: Training) -> None:
    """theta <- theta - eta lambda dLoss/dtheta"""
    _backward(t, t.x, t.y, t.parameters, t.rule.eta)


def _momentum(t: Training) -> None:
    """v <- mu v + lambda dLoss/dtheta; theta <- theta - eta v"""
    velocity = t.velocity = t.velocity or _like(t.parameters)
    for v in (*velocity.W, *velocity.b):
        v.mul_(t.rule.momentum)
    _backward(t, t.x, t.y, velocity, -1.0)
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
        _backward(t, t.x, t.y, velocity, -1.0)
        _add(t.parameters, velocity, -t.rule.eta * B)


def _sgd(t: Training) -> None:
    """Gradient descent on `batch` train samples, drawn without replacement for each network and step from its stream;
    the batch's loss times N / batch, whose mean is the full loss."""
    N, B = len(t.x), t.rule.batch
    order = t.stream.normal(streams.BATCHES, t.done, N).argsort(dim=1)[:, :B]
    _backward(t, t.x[order], t.y[order], t.parameters, t.rule.eta * N / B)


STEPS: dict[str, Callable[[Training], None]] = {
    "gradient_descent": _gradient_descent,
    "momentum": _momentum,
    "gradient_flow": _gradient_flow,
    "sgd": _sgd,
}


# On a CUDA device a step of small networks takes less time than its launches, one by one: from this many steps on it is
# captured once and replayed. Not sgd, whose batches have a new address in every step.
GRAPH, EAGER = 16, 3  # steps to go from which on it pays; steps that are made before, so that all buffers are there


def trajectory(training: Training, steps: tuple[int, ...]) -> Iterator[int]:
    """Trains in place and yields each chosen step when the parameters have reached it."""
    once: Callable[[], object] = partial(_step, training)
    graphed = training.x.is_cuda and training.rule.name != "sgd" and steps[-1] >= GRAPH
    for step in steps:
        while training.done < step:
            if graphed and training.done == EAGER:
                once = _replayed(once)
            once()
            training.done += 1
        yield step


def _step(training: Training) -> None:
    STEPS[training.rule.name](training)


def _replayed(once: Callable[[], object]) -> Callable[[], object]:
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            once()
    except RuntimeError as error:
        warnings.warn(f"no CUDA graph, steps are launched one by one: {error}", stacklevel=2)
        return once
    return graph.replay


# ------------------------------------------------------------------------------------------- the step's size


SHARE = 0.5  # of the stability bound, which eta=auto takes
AUTO = 32  # networks whose NTK at initialisation it averages


def stable_eta(drawn: Iterable[Training]) -> float:
    """SHARE times the bound 2 / (curvature lambda_max) below which gradient descent is stable, of the mean NTK of the
    train samples over networks at initialisation, to three digits (theory.md 5.1)."""
    mean: Tensor | float = 0.0
    networks, curvature = 0, 1.0
    for t in drawn:
        z, signals = forward(t.parameters, t.x, t.s)
        H = ntk(t.parameters, z, signals, t.slope, t.rule.lambda_b, t.rule.lambda_W)
        rows = H.shape[1] * H.shape[2]
        mean = mean + H.sum(dim=0).reshape(rows, rows)
        networks, curvature = networks + len(H), CURVATURE[t.rule.loss](H.shape[1])
    largest = float(torch.linalg.eigvalsh(torch.as_tensor(mean) / networks)[-1])
    return float(f"{SHARE * 2 / (curvature * largest):.3g}")
