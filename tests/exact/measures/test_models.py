"""Measures of Taylor models and of networks of one layer find planted errors."""

import numpy as np

from analysis.measures.models import one_layer, taylor_error
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, expect, holds, inputs_of, rows, signs

GRAM = np.array([[1.0, 0.5], [0.5, 0.9]])
TARGET = 2.0


def share_left(steps: int) -> float:
    """The share of the error of a train sample with K = 1, Theta = 2 K that descent with eta = 0.1 leaves."""
    return float((1 - 0.1 * 2) ** steps)


def test_taylor_error() -> None:
    """For each network, the largest error of each model over the steps after the start, outputs and samples."""
    data = rows(
        "activation=linear",
        "initialization=critical",
        "network.depth=2",
        "network.width=8",
        "dynamics=gradient_descent",
        "dynamics.lambda_b=0",
        "dynamics.eta=0.1",
        "dynamics.steps=4",
        "observables.record=[outputs,taylor]",
        "observables.steps=[0,2,4]",
        x=inputs_of(GRAM),
        y=[[TARGET]],
    )
    start, noise = signs(2), np.exp(signs(4)[2:])  # each network's errors are e or 1/e times those below
    errors: dict[int, Array] = {2: np.array([0.5, 0.2, 0.3, 0.01]), 4: np.array([0.1, 0.4, 0.1, 0.05])}
    data.fill("z", 2, lambda i, a: start[a])
    for step, error in errors.items():
        frozen = [start[a] - (1 - share_left(step)) * GRAM[a, 0] * (start[0] - TARGET) for a in (0, 1)]
        # The frozen kernel errs most at sample 0, the others at sample 1.
        z = np.array([frozen[0] + error[0] * noise[0], frozen[1] - error[0] * noise[0] / 2])
        models = z + np.multiply.outer(error, np.outer([0.3, -1.0], noise[1]))  # (model, sample, network)
        data.fill("z", 2, lambda i, a, z=z: z[a], step=step)
        data.fill("taylor", 2, lambda k, i, a, models=models: models[k, a], step=step)
    # Model values before training are not compared.
    data.fill("taylor", 2, lambda k, i, a: 1e3)

    def check(data: Rows) -> None:
        worst, exponents = (
            np.maximum(errors[2], errors[4]),
            {"frozen": 0.5, "linear": 1.0, "quadratic": 1.0, "cubic": 2.0},
        )
        components = {
            name: (np.log(size), exponent, 1.0) for (name, exponent), size in zip(exponents.items(), worst, strict=True)
        }
        expect(list(taylor_error(data.point, None)), Wanted("log error", 2, 4, components))

    holds(check, data, data.scaled("taylor"), data.scaled("z"), data.exchanged("taylor", (1, 0, 1), (3, 0, 1)))


def test_one_layer() -> None:
    """Each network ends where least squares in (b, W) takes it from its start, but for one that is off by 0.3."""
    x, y = np.array([[1.0, 2.0, 0.5], [-0.5, 1.0, 1.0], [0.3, -1.0, 2.0]]), np.array([[1.0, 0.5], [-1.0, 2.0]])
    steps, unit = 2000, np.sqrt(np.mean(y**2))
    data = rows(
        "activation=linear",
        "initialization=gaussian",
        "network.depth=1",
        "network.width=[]",
        "network.outputs=2",
        "dynamics=gradient_descent",
        "dynamics.lambda_b=0",
        "dynamics.eta=0.2",
        f"dynamics.steps={steps}",
        "dynamics.lambda_b=0.5",
        "dynamics.lambda_W=1.5",
        "observables.record=[outputs]",
        f"observables.steps=[0,{steps}]",
        x=x,
        y=y,
    )
    start = np.random.default_rng(0).normal(size=(2, 3, NETWORKS))
    # The NTK of one layer is lambda_b + lambda_W x.x'/n_0 at every time.
    H = 0.5 + 1.5 * x @ x.T / 3
    end = start + np.einsum("ab,ibm->iam", H[:, :2] @ np.linalg.inv(H[:2, :2]), y.T[:, :, None] - start[:, :2])
    end[1, 2, 5] += 0.3
    data.fill("z", 1, lambda i, a: start[i, a]).fill("z", 1, lambda i, a: end[i, a], step=steps)

    def check(data: Rows) -> None:
        deviations = {"primal": 0.3 / unit, "dual": 0.3 / unit, "primal - dual": 0.0}
        components = {name: (deviation, 0.0, 1.0) for name, deviation in deviations.items()}
        expect(list(one_layer(data.point, None)), Wanted("deviation", 1, steps, components))

    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 2), (1, 2)))
    (measured,) = one_layer(data.point, None)
    assert np.ptp(measured.estimate.replicates, axis=0).max() == 0  # no sampling error
