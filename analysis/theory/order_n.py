"""The distribution of trained networks at order 1/n, for every algorithm, step and loss: docs/theory.md (5.23) to
(5.40)."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from analysis.stages import stages
from analysis.theory import movement
from analysis.theory.activations import Activation, Array
from analysis.theory.composite import TENSORS, Initial, initial, train_indices
from analysis.theory.cumulants import Cumulants, cumulants
from analysis.theory.losses import LOSSES
from analysis.theory.nodes import by_nodes
from analysis.theory.path import Eta, each_eta
from analysis.theory.recursion import Flow, flow
from analysis.theory.responses import responses

MOST_SEQUENCES = 1024  # so many sequences of batches are enumerated
SAMPLED = 256  # and of more so many are drawn


@dataclass(frozen=True)
class TrainedToOrderN:
    """Trained outputs z(t), the NTK H(t) and the kernels g(t) of hidden layers, at each of S steps.

    p = (output, sample), output first and train samples first, runs over P = n_L D. What ends in 1, and all from third
    on, are coefficients of 1/n with n = n_{L-1}: E z = mean + mean1 / n. None stands for what is not known.
    """

    steps: tuple[int, ...]
    mean: Array  # (S, P) docs/theory.md (5.2)
    mean1: Array  # (S, P) docs/theory.md (5.29)
    covariance: Array  # (S, P, P) docs/theory.md (5.2)
    covariance1: Array  # (S, P, P) docs/theory.md (5.30)
    frozen_covariance1: Array  # (S, P, P) the part of it that networks of the frozen kernel have, from the law of z(0)
    third: Array | None  # (S, P, P, P) third cumulant, docs/theory.md (5.31); of the mse and without batches
    fourth: Array | None  # (S, P, P, P, P) fourth cumulant, docs/theory.md (5.32); of the mse and without batches
    ntk_change: Array  # (S, P, P) E[H(t) - H(0)], docs/theory.md (5.33)
    kernel_change: Array  # (S, L - 1, D, D) E[g(l)(t) - g(l)(0)] of the layers 2 to L, docs/theory.md (5.36)
    taylor_errors: Array  # (S, 4, P) E[z - model], docs/theory.md (5.8): of the frozen, linear, quadratic, cubic model
    errors: Mapping[str, Array]  # by the names above: standard errors where batch sequences were sampled, else zero


NAMES = [f.name for f in fields(TrainedToOrderN) if f.name not in ("steps", "errors")]


def trained_to_order_n(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    inputs: ArrayLike,
    targets: ArrayLike,
    eta: Eta,
    steps: int | Sequence[int],
    algorithm: str = "gradient_descent",
    momentum: float = 0.0,
    loss: str = "mse",
    lambda_b: ArrayLike = 0.0,
    lambda_W: ArrayLike = 1.0,
    width_ratios: Sequence[float] | None = None,
    outputs: int | None = None,
    batches: ArrayLike | None = None,
    nodes: int | None = None,
    points: int | None = None,
) -> TrainedToOrderN:
    """What an ensemble of networks is after `steps` of an algorithm, to order 1/n: docs/theory.md (5.23) to (5.38).

    The first six arguments and lambda_b, lambda_W and width_ratios are those of `flow`, train samples first.
    targets: (N, n_L) of the first N inputs, or (N,). eta: the step size, or one for each step. steps: the steps wanted,
    ascending; 0 is the start. algorithm: gradient_descent, momentum, nesterov, gradient_flow (a step spans a time eta)
    or sgd. loss: mse, which is 1/2 sum (z - y)^2, or cross_entropy, which is log(1 + exp(-y z)) for one output with
    y = 1 or -1, and -sum_i y_i log softmax(z)_i for several. outputs: n_L, if it is to be checked.
    batches: for sgd the batch size B, or the samples of each step of one sequence, (steps, B); with a size all is
    averaged over sequences: over every one where these are at most 1024, else over 256 that are drawn with a fixed
    seed, and `errors` says how well they determine it; mean and covariance at infinite width of the mse are exact.
    nodes: of other losses than mse, for each of up to four train outputs (12 by default); with more train outputs the
    average is over 2^nodes points and their negatives (12 by default). points: see `flow`.

    Without batches a step costs of order P P_t^5 operations and P P_t^3 numbers, with P_t = n_L N. The tensors at
    initialisation cost far more: with more than four inputs ask for `points`.

    Raises ValueError for what `flow` refuses, kinked activations, other algorithms or losses, settings that do not
    belong together, and step sizes at which training diverges.
    """
    y = np.asarray(targets, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    _check_targets(y, outputs, len(np.asarray(inputs)), loss)
    at_start = flow(
        activation, depth, C_b, C_W, inputs, lambda_b, lambda_W, width_ratios, tensors=TENSORS, points=points
    )
    lambdas = np.broadcast_to(np.asarray(lambda_W, dtype=np.float64), (depth,)).tolist()
    hidden = movement.hidden_tensors(at_start, activation, C_b, C_W, lambdas, width_ratios, points)
    return of_flow(at_start, hidden, y, eta, steps, algorithm, momentum, loss, batches, nodes)


def of_flow(
    at_start: Flow,
    hidden: Mapping[int, movement.Hidden],
    targets: Array,
    eta: Eta,
    steps: int | Sequence[int],
    algorithm: str = "gradient_descent",
    momentum: float = 0.0,
    loss: str = "mse",
    batches: ArrayLike | None = None,
    nodes: int | None = None,
) -> TrainedToOrderN:
    """What `trained_to_order_n` returns, docs/theory.md (5.23) to (5.38), from a flow that has the tensors
    `composite.TENSORS` and from its `movement.hidden_tensors`. targets: (N, n_L). Other arguments and errors are those
    of `trained_to_order_n`."""
    wanted = _steps(steps)
    _check_algorithm(algorithm, momentum, loss, batches)
    N, n_L = targets.shape
    D = at_start.K.shape[-1]
    train = train_indices(N, n_L, D)
    start, etas, recursion = initial(at_start, n_L), _etas(eta, wanted[-1]), stages(algorithm, momentum)

    def trained(weights: Callable[[int], Array] | None) -> Iterator[Cumulants]:
        if loss == "mse":
            for answer in responses(start, train, etas, wanted, recursion, weights):
                yield cumulants(start, answer, targets.T.ravel(), full=weights is None)
        else:
            yield from by_nodes(start, train, targets, LOSSES[loss], etas, wanted, recursion, nodes or 12, weights)

    with np.errstate(over="ignore", invalid="ignore"):
        sequences, exact = _sequences(batches, N, wanted[-1]) if algorithm == "sgd" else ([None], True)
        runs = [list(trained(None if s is None else _weights(s, N, n_L))) for s in sequences]
    if not all(np.all(np.isfinite([at_step.mean, at_step.mean1])) for run in runs for at_step in run):
        raise ValueError(f"eta={eta}: {algorithm} diverges; choose a smaller step")
    values, errors = _over_sequences([_stacked(run, hidden, n_L) for run in runs], exact)
    if not exact and loss == "mse":  # infinite width needs no sequences, docs/theory.md (5.40)
        values["mean"] = np.stack([at_step.mean for at_step in trained(None)])
        values["covariance"] = _sgd_covariance(start, train, targets, etas, wanted, int(np.asarray(batches)))
        errors |= {name: np.zeros_like(values[name]) for name in ("mean", "covariance")}
    return TrainedToOrderN(steps=wanted, errors=errors, **{name: values.get(name) for name in NAMES})  # type: ignore[arg-type]


def _stacked(run: Sequence[Cumulants], hidden: Mapping[int, movement.Hidden], n_L: int) -> dict[str, Array]:
    """What is known after each step, by the names of `TrainedToOrderN`."""
    values = {"kernel_change": np.stack([_kernels(hidden, n_L, at_step) for at_step in run])}
    for name in NAMES:
        if name not in values and getattr(run[0], name) is not None:
            values[name] = np.stack([getattr(at_step, name) for at_step in run])
    return values


def _kernels(hidden: Mapping[int, movement.Hidden], n_L: int, at_step: Cumulants) -> Array:
    """The movement of the kernels of all layers from 2 on; each output moves them on its own, docs/theory.md (5.36)."""
    N, D = len(at_step.first) // n_L, len(at_step.mean) // n_L
    averages = (at_step.first, at_step.squares, at_step.mixed)
    summed = [np.einsum("iaib->ab", average.reshape(n_L, N, n_L, N)) for average in averages]
    return np.array([movement.kernel_movement(hidden[layer], *summed) for layer in sorted(hidden)]).reshape(-1, D, D)


def _over_sequences(runs: Sequence[Mapping[str, Array]], exact: bool) -> tuple[dict[str, Array], dict[str, Array]]:
    """Averages over sequences of batches, docs/theory.md (5.40), and their standard errors."""
    if len(runs) == 1:
        return dict(runs[0]), {name: np.zeros_like(value) for name, value in runs[0].items()}
    means, means1 = (np.stack([run[name] for run in runs]) for name in ("mean", "mean1"))
    apart, apart1 = means - means.mean(axis=0), means1 - means1.mean(axis=0)
    samples = {name: np.stack([run[name] for run in runs]) for name in runs[0]}
    frozen1 = means1 - samples["taylor_errors"][..., 0, :]
    samples["covariance"] = samples["covariance"] + apart[..., :, None] * apart[..., None, :]
    for name, moved in (("covariance1", apart1), ("frozen_covariance1", frozen1 - frozen1.mean(axis=0))):
        mixed = apart[..., :, None] * moved[..., None, :]
        samples[name] = samples[name] + mixed + mixed.swapaxes(-1, -2)
    values = {name: sample.mean(axis=0) for name, sample in samples.items()}
    scale = 0.0 if exact else 1 / math.sqrt(len(runs))
    errors = {name: scale * sample.std(axis=0, ddof=1) for name, sample in samples.items()}
    return values, errors


def enumerated(batch: int, samples: int, steps: int) -> bool:
    """Whether the averages over batches of docs/theory.md (5.40) are over all sequences of batches, and exact."""
    return math.comb(samples, batch) ** steps <= MOST_SEQUENCES


def _sequences(batches: ArrayLike | None, N: int, steps: int) -> tuple[Iterable[Array | None], bool]:
    """Sequences (steps, B) of batches of N samples, and whether they are all that there are."""
    given = np.asarray(batches)
    if given.ndim == 2:
        if len(given) < steps or given.min() < 0 or given.max() >= N:
            raise ValueError(f"batches: {steps} rows of samples from 0 to {N - 1} are needed, got shape {given.shape}")
        return [given], True
    B = int(given)
    if given.ndim or not 1 <= B <= N:
        raise ValueError(f"batches={batches!r}: a batch size from 1 to {N}, or an array (steps, B) of samples")
    kinds = list(itertools.combinations(range(N), B))
    if enumerated(B, N, steps):
        return (np.array(sequence).reshape(steps, B) for sequence in itertools.product(kinds, repeat=steps)), True
    rng = np.random.default_rng(0)
    return (rng.permuted(np.tile(np.arange(N), (steps, 1)), axis=1)[:, :B] for _ in range(SAMPLED)), False


def _sgd_covariance(start: Initial, train: Array, targets: Array, etas: Array, steps: Sequence[int], B: int) -> Array:
    """The covariance (S, P, P) at infinite width over networks and batches of B samples, docs/theory.md (5.40): a step
    is linear in the errors, so that their second moment follows a recursion of its own."""
    N, n_L = targets.shape
    Theta, y = start.Theta[:, train], np.zeros(len(start.K))
    y[train] = targets.T.ravel()
    # E w_j w_k of the weights w_j = (N / B) 1[j in batch].
    both = np.full((N, N), N * (B - 1) / (B * max(N - 1, 1)))
    np.fill_diagonal(both, N / B)
    both = np.tile(both, (n_L, n_L))
    moment, mean, done, found = start.K + np.outer(y, y), -y, 0, []
    for step in steps:
        while done < step:
            eta = etas[done]
            drift = eta * Theta @ moment[train]
            spread = eta**2 * Theta @ (both * moment[np.ix_(train, train)]) @ Theta.T
            moment, mean, done = moment - drift - drift.T + spread, mean - eta * Theta @ mean[train], done + 1
        found.append(moment - np.outer(mean, mean))
    return np.stack(found)


def _weights(sequence: Array, N: int, n_L: int) -> Callable[[int], Array]:
    def weight(step: int) -> Array:
        chosen = np.zeros(N)
        chosen[sequence[step].astype(int)] = N / len(sequence[step])
        return np.tile(chosen, n_L)

    return weight


def _etas(eta: Eta, steps: int) -> Array:
    etas = each_eta(eta, steps)
    if not np.all(np.isfinite(etas)) or np.any(etas < 0):
        raise ValueError(f"eta={eta!r}: numbers >= 0")
    return etas


def _steps(steps: int | Sequence[int]) -> tuple[int, ...]:
    wanted = tuple(int(step) for step in np.atleast_1d(steps))
    if not wanted or wanted[0] < 0 or any(a >= b for a, b in itertools.pairwise(wanted)):
        raise ValueError(f"steps={steps!r}: whole numbers >= 0 that ascend")
    return wanted


def _check_algorithm(algorithm: str, momentum: float, loss: str, batches: ArrayLike | None) -> None:
    stages(algorithm, momentum)
    if momentum and algorithm not in ("momentum", "nesterov"):
        raise ValueError(f"momentum={momentum}: {algorithm} has none; 0 is right")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum}: from 0 to below 1")
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r}: known are {', '.join(LOSSES)}")
    if (batches is None) == (algorithm == "sgd"):
        raise ValueError(f"batches={batches!r}: a batch size for sgd, and None for {algorithm}")


def _check_targets(y: Array, outputs: int | None, D: int, loss: str) -> None:
    if y.ndim != 2 or not 1 <= len(y) <= D or not np.all(np.isfinite(y)):
        raise ValueError(f"targets: finite numbers of shape (N, n_L) for the first N of {D} inputs, got {y.shape}")
    if outputs is not None and outputs != y.shape[1]:
        raise ValueError(f"outputs={outputs}: the targets are those of {y.shape[1]}")
    if loss == "cross_entropy" and y.shape[1] == 1 and not np.all(np.abs(y) == 1):
        raise ValueError("targets: 1 or -1 for cross_entropy of one output")
