"""Cumulants of trained outputs with controls: what is measured is what is planted, and the theory is the engine's."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstat

from analysis import theory
from analysis.measures.algorithms import algorithm_mean1
from analysis.measures.trained_cumulants import (
    trained_band1,
    trained_covariance1,
    trained_curve1,
    trained_fourth,
    trained_mean1,
    trained_third,
)
from analysis.theory import composite
from analysis.theory.own_kernel import OwnKernel, own_kernel
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, expect, holds, inputs_of, rows
from tests.exact.theory.test_own_kernel import first_order

GRAM = np.array([[1.0, 0.2, 0.5], [0.2, 1.1, -0.3], [0.5, -0.3, 0.9]])
Y, ETA, STEPS, WIDTH = np.array([[1.0, 0.7], [-0.6, 2.0]]), 0.3, (2, 6), 8
OUTPUTS, SAMPLES = 2, 3


def made(eta: float = ETA, seed: int = 0) -> tuple[Rows, dict[int, dict[str, Array]]]:
    """Rows of random networks, and by step their outputs z, z_frozen and the shift d, (M, outputs, samples)."""
    data = rows(
        "activation=sin", "initialization=critical", "network.depth=2", f"network.width={WIDTH}", "network.outputs=2",
        "dynamics=gradient_descent", "dynamics.lambda_b=0.5", f"dynamics.eta={eta}", f"dynamics.steps={STEPS[-1]}",
        "observables.record=[outputs,kernel,ntk]", f"observables.steps=[0,{STEPS[0]},{STEPS[1]}]",
        x=inputs_of(GRAM), y=Y,
    )  # fmt: skip
    rng, P = np.random.default_rng(seed), OUTPUTS * SAMPLES
    flow = theory.flow("sin", 2, 0.0, 1.0, inputs_of(GRAM), 0.5, 1.0, tensors=("K", "Theta"))
    assert flow.Theta is not None
    Theta = np.kron(np.eye(OUTPUTS), flow.Theta[-1])
    start, h = rng.normal(size=(NETWORKS, OUTPUTS, SAMPLES)), 0.3 * rng.normal(size=(NETWORKS, P, P))
    h = h + h.transpose(0, 2, 1)
    H = (Theta + h).reshape(NETWORKS, OUTPUTS, SAMPLES, OUTPUTS, SAMPLES)
    g = rng.normal(size=(NETWORKS, SAMPLES, 5))
    g = g @ g.transpose(0, 2, 1)
    data.fill("z", 2, lambda i, a: start[:, i, a]).fill("H", 2, lambda i, j, a, b: H[:, i, a, j, b])
    data.fill("g", 2, lambda a, b: g[:, a, b])
    by_step = {}
    order = [i * SAMPLES + a for i in range(OUTPUTS) for a in (0, 1)] + [i * SAMPLES + 2 for i in range(OUTPUTS)]
    for step in STEPS:
        # Train samples of both outputs first, as `first_order` wants them, and back.
        zs = first_order(
            Theta[np.ix_(order, order)], h[:, order][:, :, order], start.reshape(NETWORKS, P)[:, order], Y.T.ravel(),
            eta, step,
        )  # fmt: skip
        frozen, d = (z[:, np.argsort(order)].reshape(start.shape) for z in zs)
        z = frozen + d + 0.2 * frozen**2 + 0.3 * rng.normal(size=start.shape)
        data.fill("z", 2, lambda i, a, z=z: z[:, i, a], step=step)
        by_step[step] = {"z": z, "frozen": frozen, "d": d, "g": g}
    return data, by_step


DATA, BY_STEP = made()
ENGINE = theory.trained_to_order_n("sin", 2, 0.0, 1.0, inputs_of(GRAM), Y, ETA, STEPS, lambda_b=0.5)


def own(eta: float) -> list[OwnKernel]:
    flow = theory.flow("sin", 2, 0.0, 1.0, inputs_of(GRAM), 0.5, 1.0, tensors=composite.TENSORS)
    return own_kernel(flow, Y, eta, STEPS, "gradient_descent")


OWN = own(ETA)
WRONG = [DATA.scaled("z"), DATA.exchanged("z", (0, 2), (1, 2)), DATA.exchanged("z", (0, 0), (0, 2))]


def wanted(
    tensor: str, values: list[dict[str, float]], predicted: list[dict[str, tuple[float, float]]]
) -> list[Wanted]:
    """What a measure has to yield, with predictions and their sizes; the scale is the largest size over the steps."""
    size = {label: max(at_step[label][1] for at_step in predicted) for label in predicted[0]}
    return [
        Wanted(tensor, 2, step, {label: (WIDTH * value[label], at_step[label][0], size[label]) for label in value})
        for step, value, at_step in zip(STEPS, values, predicted, strict=True)
    ]


def with_size(predicted: dict[str, float]) -> dict[str, tuple[float, float]]:
    return {label: (value, abs(value)) for label, value in predicted.items()}


Planted = tuple[list[dict[str, float]], list[dict[str, tuple[float, float]]]]
OTHER_KERNELS = [DATA.scaled("H"), DATA.exchanged("H", (0, 0, 0, 2), (0, 0, 1, 2))]


def means() -> Planted:
    values, predicted = [], []
    for at, at_step in enumerate(BY_STEP.values()):
        mean = (at_step["z"] - at_step["frozen"] - at_step["d"]).mean(axis=0)
        left = (ENGINE.mean1[at] - OWN[at].mean1).reshape(OUTPUTS, SAMPLES)
        values.append({f"{i},{a}": mean[i, a] for i in range(OUTPUTS) for a in range(SAMPLES)})
        predicted.append(with_size({f"{i},{a}": left[i, a] for i in range(OUTPUTS) for a in range(SAMPLES)}))
    return values, predicted


def covariances() -> Planted:
    values, predicted = [], []
    for at, at_step in enumerate(BY_STEP.values()):
        value, theory_ = {}, {}
        for i, (a, b) in (
            (i, pair) for i in range(OUTPUTS) for pair in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
        ):
            z, frozen, d = (at_step[name][:, i] for name in ("z", "frozen", "d"))
            value[f"{i},{a}{b}"] = (
                np.cov(z[:, a], z[:, b]) - np.cov(frozen[:, a], frozen[:, b])
                - np.cov(frozen[:, a], d[:, b]) - np.cov(d[:, a], frozen[:, b])
            )[0, 1]  # fmt: skip
            p, q = i * SAMPLES + a, i * SAMPLES + b
            theory_[f"{i},{a}{b}"] = ENGINE.covariance1[at][p, q] - OWN[at].covariance1[p, q]
        values.append(value)
        predicted.append(with_size(theory_))
    return values, predicted


def test_trained_mean1() -> None:
    planted = wanted("n dz(t)", *means())
    holds(lambda data: expect(list(trained_mean1(data.point, None)), *planted), DATA, *WRONG, *OTHER_KERNELS)


def test_trained_covariance1() -> None:
    planted = wanted("n dCov(t)", *covariances())
    holds(lambda data: expect(list(trained_covariance1(data.point, None)), *planted), DATA, *WRONG, *OTHER_KERNELS)


def at_test_sample(tensor: str, planted: Planted, samples: str) -> list[Wanted]:
    """What is planted there, in units of the larger of both outputs at each step."""
    labels, all_steps = [f"{i},{samples}" for i in range(OUTPUTS)], []
    for step, values, predicted in zip(STEPS, *planted, strict=True):
        unit = max(predicted[label][1] for label in labels)
        at_step = {label: (WIDTH * values[label], predicted[label][0], unit) for label in labels}
        all_steps.append(Wanted(tensor, 2, step, at_step))
    return all_steps


def test_trained_curve1() -> None:
    planted = at_test_sample("n dz(t)", means(), "2")
    holds(lambda data: expect(list(trained_curve1(data.point, None)), *planted), DATA, *WRONG, *OTHER_KERNELS)


def test_trained_band1() -> None:
    planted = at_test_sample("n dCov(t)", covariances(), "22")
    holds(lambda data: expect(list(trained_band1(data.point, None)), *planted), DATA, *WRONG, *OTHER_KERNELS)


def kept() -> list[int]:
    """Samples with a fifth of their variance at the start after every step: here the test sample alone."""
    K = theory.flow("sin", 2, 0.0, 1.0, inputs_of(GRAM), 0.5, 1.0, tensors=("K", "Theta")).K[-1]
    shares = np.array([ENGINE.covariance[at].diagonal()[:SAMPLES] / K.diagonal() for at in (0, 1)])
    assert (shares[:, :2] < 0.2).all()
    assert (shares[:, 2] > 0.2).all()
    return [2]


def test_trained_third() -> None:
    """The k-statistic of outputs less that of the frozen ones."""
    values, predicted = [], []
    for at, at_step in enumerate(BY_STEP.values()):
        columns = [(i, a) for i in range(OUTPUTS) for a in kept()]
        k3 = {f"{i},{a}": kstat(at_step["z"][:, i, a], 3) - kstat(at_step["frozen"][:, i, a], 3) for i, a in columns}
        assert ENGINE.third is not None
        values.append(k3)
        predicted.append(with_size({f"{i},{a}": ENGINE.third[at][(i * SAMPLES + a,) * 3] for i, a in columns}))

    def check(data: Rows) -> None:
        expect(list(trained_third(data.point, None)), *wanted("n k3(t)", values, predicted))

    holds(check, DATA, *WRONG)


def test_trained_fourth() -> None:
    """That of the frozen outputs u.z(0) is replaced by 3 Var(u.g u)."""
    values, predicted = [], []
    for at, at_step in enumerate(BY_STEP.values()):
        columns, u = [(i, a) for i in range(OUTPUTS) for a in kept()], np.eye(SAMPLES)
        Theta = OWN[at].Theta[:SAMPLES, :SAMPLES]
        u = first_order(Theta, np.zeros((3, 3, 3)), u, np.zeros(2), ETA, STEPS[at])[0].T
        size = np.einsum("ac,Mcd,ad->Ma", u, at_step["g"], u)
        k4 = {
            f"{i},{a}": kstat(at_step["z"][:, i, a], 4)
            - kstat(at_step["frozen"][:, i, a], 4)
            + 3 * size[:, a].var(ddof=1)
            for i, a in columns
        }
        assert ENGINE.fourth is not None
        values.append(k4)
        predicted.append(with_size({f"{i},{a}": ENGINE.fourth[at][(i * SAMPLES + a,) * 4] for i, a in columns}))

    def check(data: Rows) -> None:
        expect(list(trained_fourth(data.point, None)), *wanted("n k4(t)", values, predicted))

    holds(check, DATA, *WRONG, DATA.scaled("g"), DATA.exchanged("g", (0, 2), (1, 2)))


def test_algorithm_mean1() -> None:
    """The difference of what two algorithms leave beyond the answer to the own NTK. Descent at two step sizes."""
    other, by_step = made(eta=0.2, seed=1)
    engine = theory.trained_to_order_n("sin", 2, 0.0, 1.0, inputs_of(GRAM), Y, 0.2, STEPS, lambda_b=0.5)
    values, predicted = [], []
    for at, step in enumerate(STEPS):
        mine, others = ((s["z"] - s["frozen"] - s["d"]).mean(axis=0) for s in (BY_STEP[step], by_step[step]))
        left = ENGINE.mean1[at] - OWN[at].mean1 - (engine.mean1[at] - own(0.2)[at].mean1)
        values.append({f"{i},{a}": (mine - others)[i, a] for i in range(OUTPUTS) for a in range(SAMPLES)})
        predicted.append(with_size({f"{i},{a}": left[i * SAMPLES + a] for i in range(OUTPUTS) for a in range(SAMPLES)}))

    def check(point: Rows, reference: Rows) -> None:
        found = list(algorithm_mean1(point.point, reference.point, None))
        expect(found, *wanted("n (z - z')(t)", values, predicted))

    check(DATA, other)
    check(DATA.with_diverged(), other.with_diverged())
    for wrong in ((other, DATA), (DATA.scaled("z"), other), (DATA, other.scaled("H"))):
        with pytest.raises(AssertionError):
            check(*wrong)
    assert not list(algorithm_mean1(DATA.point, DATA.point, None))
    with pytest.raises(ValueError, match="not the networks and steps of"):
        list(algorithm_mean1(DATA.point, replace(other, states=other.states[:-1]).point, None))
