"""Measures of networks trained on any loss find planted values, against the record of the theory.

Rows are those of two outputs, a train sample and a test sample.
"""

import numpy as np
import pytest

from analysis import theory
from analysis.measures.losses import (
    loss_covariance,
    loss_covariance1,
    loss_mean,
    loss_mean1,
    loss_mean1_controlled,
)
from analysis.theory import composite
from analysis.theory.frozen import own_answers
from analysis.theory.order_n import TrainedToOrderN, trained_to_order_n
from analysis.theory.own_kernel import own_answer_mean1
from tests.exact.measures.rows import Array, Rows, Wanted, drawn, expect, holds, inputs_of, rows, signs

GRAM = np.array([[1.0, 0.4], [0.4, 0.8]])
TARGET = np.array([[0.0, 1.0]])
ETA, WIDTH, STEPS = 0.4, 8, (2, 5)
INDEX = [(i, a) for i in (0, 1) for a in (0, 1)]
PAIRS = [(p, q) for p in range(4) for q in range(p, 4) if INDEX[p][0] == INDEX[q][0] or INDEX[p][1] == INDEX[q][1]]


def made(loss: str = "cross_entropy", record: str = "outputs") -> Rows:
    return rows(
        "activation=tanh", "initialization=critical", "network.depth=2", f"network.width={WIDTH}", "network.outputs=2",
        "dynamics=gradient_descent", f"dynamics.loss={loss}", f"dynamics.eta={ETA}", f"dynamics.steps={STEPS[-1]}",
        "dynamics.lambda_b=1", f"observables.record=[{record}]", f"observables.steps={[0, *STEPS]}".replace(" ", ""),
        x=inputs_of(GRAM), y=TARGET,
    )  # fmt: skip


def predicted(loss: str = "cross_entropy") -> TrainedToOrderN:
    return trained_to_order_n(
        "tanh", 2, 0.0, 1.0, inputs_of(GRAM), TARGET, ETA, STEPS, loss=loss, lambda_b=1.0, lambda_W=1.0
    )


def frozen(start: Array, steps: int, loss: str) -> Array:
    """(4, M): z <- z - eta Theta dLoss/dz, for z in the order of INDEX."""
    Theta = theory.flow("tanh", 2, 0.0, 1.0, inputs_of(GRAM), 1.0, 1.0).Theta
    assert Theta is not None
    z = start.reshape(2, 2, -1).copy()
    for _ in range(steps):
        guess = z[:, 0] if loss == "mse" else np.exp(z[:, 0]) / np.exp(z[:, 0]).sum(axis=0)
        z -= ETA * Theta[-1][:, 0, None] * (guess - TARGET[0][:, None])[:, None]
    return z.reshape(4, -1)


def fill(data: Rows, values: Array, step: int) -> None:
    """values: (4,) or (4, M) in the order of INDEX."""
    data.fill("z", 2, lambda i, a: values[INDEX.index((i, a))], step=step)


def label(p: int, q: int) -> str:
    return f"{INDEX[p][0]}{INDEX[q][0]},{INDEX[p][1]}{INDEX[q][1]}"


def test_loss_mean() -> None:
    data, record = made(), predicted()
    means = {2: np.array([0.3, -0.2, 0.5, 0.1]), 5: np.array([0.4, -0.6, 0.7, 0.2])}
    fill(data, np.full(4, 9.0), 0)
    for step in STEPS:
        fill(data, means[step][:, None] + 0.1 * signs(4), step)

    def check(data: Rows) -> None:
        wanted = []
        for at_step, step in zip(record.mean, STEPS, strict=True):
            unit = np.abs(at_step).max()
            components = {f"{i},{a}": (means[step][p], at_step[p], unit) for p, (i, a) in enumerate(INDEX)}
            wanted.append(Wanted("z(t)", 2, step, components))
        expect(list(loss_mean(data.point, None)), *wanted)

    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 1), (1, 0)))


def test_loss_covariance() -> None:
    data, record, root = (
        made(),
        predicted(),
        np.array([[1.0, 0, 0, 0], [0.3, 0.8, 0, 0], [-0.5, 0.2, 1, 0], [0, 0.4, 0.1, 1]]),
    )
    planted, K = {2: root @ root.T, 5: 0.5 * root.T @ root}, theory.flow("tanh", 2, 0.0, 1.0, inputs_of(GRAM)).K[-1]
    fill(data, np.full(4, 9.0), 0)
    for step in STEPS:
        fill(data, drawn(np.ones(4), planted[step]), step)

    def check(data: Rows) -> None:
        wanted = []
        for at_step, step in zip(record.covariance, STEPS, strict=True):
            components = {}
            for p, q in PAIRS:
                size = np.sqrt(K[INDEX[p][1], INDEX[p][1]] * K[INDEX[q][1], INDEX[q][1]])
                components[label(p, q)] = planted[step][p, q], at_step[p, q], size
            wanted.append(Wanted("Cov z(t)", 2, step, components))
        expect(list(loss_covariance(data.point, None)), *wanted)

    assert len(PAIRS) == 8
    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 1), (1, 0)))


ERRORS = {2: np.array([0.3, -0.2, 0.5, 0.1]), 5: np.array([0.4, -0.6, 0.7, 0.2])}


def wanted_means(predicted: Array) -> list[Wanted]:
    """ERRORS were planted. predicted: (steps, 4)."""
    wanted = []
    for at_step, step in zip(predicted, STEPS, strict=True):
        unit = np.abs(at_step).max()
        components = {f"{i},{a}": (ERRORS[step][p], at_step[p], unit) for p, (i, a) in enumerate(INDEX)}
        wanted.append(Wanted("n dz(t)", 2, step, components))
    assert np.abs(predicted).max() > 0.1
    return wanted


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_loss_mean1(loss: str) -> None:
    data, start = made(loss), 0.7 * signs(4)
    fill(data, start, 0)
    for step in STEPS:
        fill(data, frozen(start, step, loss) + (ERRORS[step][:, None] + 0.1 * signs(4)) / WIDTH, step)
    wanted = wanted_means(predicted(loss).taylor_errors[:, 0])
    holds(
        lambda data: expect(list(loss_mean1(data.point, None)), *wanted),
        data, data.scaled("z"), data.exchanged("z", (0, 1), (1, 0)),
    )  # fmt: skip


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_loss_mean1_controlled(loss: str) -> None:
    """The frozen kernel's outputs and their answer to each network's own kernel leave what was planted."""
    data, start = made(loss, "outputs,ntk"), 0.7 * signs(4)
    flow = theory.flow("tanh", 2, 0.0, 1.0, inputs_of(GRAM), 1.0, 1.0, tensors=composite.TENSORS)
    Theta = flow["Theta"][-1]
    h = np.random.default_rng(0).normal(size=(start.shape[1], 4, 4))
    H = np.kron(np.eye(2), Theta) + h + h.transpose(0, 2, 1)
    fill(data, start, 0)
    data.fill("H", 2, lambda i, j, a, b: H[:, 2 * i + a, 2 * j + b])
    first = own_answers(Theta, H, start.T.reshape(-1, 2, 2), TARGET, loss, ETA, STEPS)
    for step, answer in zip(STEPS, first.swapaxes(0, 1), strict=True):
        planted = (ERRORS[step][:, None] + 0.1 * signs(4)) / WIDTH
        fill(data, frozen(start, step, loss) + answer.reshape(-1, 4).T + planted, step)
    own = own_answer_mean1(flow, TARGET, ETA, STEPS, "gradient_descent", loss=loss)
    wanted = wanted_means(predicted(loss).taylor_errors[:, 0] - own)
    holds(
        lambda data: expect(list(loss_mean1_controlled(data.point, None)), *wanted),
        data, data.scaled("z"), data.scaled("H"), data.exchanged("H", (0, 0, 0, 1), (0, 0, 1, 1)),
    )  # fmt: skip


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_loss_covariance1(loss: str) -> None:
    """The two covariances are those of the same networks, less each other; planted after training is that of the
    frozen kernel's outputs times (1 + c/n)^2."""
    data, record, start = made(loss), predicted(loss), 0.7 * signs(4)
    growth = {2: 0.3, 5: -0.4}
    own = {step: frozen(start, step, loss) for step in STEPS}
    fill(data, start, 0)
    for step in STEPS:
        fill(data, own[step] * (1 + growth[step] / WIDTH), step)

    def check(data: Rows) -> None:
        wanted = []
        for place, step in enumerate(STEPS):
            expected = record.covariance1[place] - record.frozen_covariance1[place]
            gained = WIDTH * ((1 + growth[step] / WIDTH) ** 2 - 1) * np.cov(own[step])
            unit = max(abs(expected[pair]) for pair in PAIRS)
            components = {label(*pair): (gained[pair], expected[pair], unit) for pair in PAIRS}
            wanted.append(Wanted("n dCov z(t)", 2, step, components))
        expect(list(loss_covariance1(data.point, None)), *wanted)

    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 1), (1, 0)))
