"""Measures of Taylor models find planted errors."""

import itertools

import numpy as np

from analysis.measures.models import taylor_error, taylor_mean_error
from tests.exact.measures.rows import Array, Rows, Wanted, expect, holds, inputs_of, rows, signs

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


def mean_errors(k: Array, y: Array, rate: float, eta: float, steps: int) -> Array:
    """n times the mean errors of the linear and the quadratic model at every sample as n grows, (2, D), of
    z = sum_j W_j a_j that is trained on all but the last, by equations of motion.

    The biases of layer 1 learn at this rate, so that its NTK is h = k + rate. With e = z - y, c = h e, q = sum_j W_j^2
    and g_ab = sum_j a_ja a_jb / n a step changes z by -eta (c q + g e) + (eta^2/n) c e.z, q by -(2 eta/n) e.z +
    (eta^2/n) e.k e, and g by -(eta/n) (c z + z c) + (eta^2/n) c c. Below, dg, dq and shift are the parts of order 1/n,
    for one z(0). The quadratic model has dH_abc = (h_ac z_b + h_ab z_c)/n at z(0) for ever.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)  # exact for the cubes of z(0) that occur
    D, root = len(k), np.linalg.cholesky(k)
    found = np.zeros((2, D))
    h, t = k + rate, slice(None, D - 1)
    Theta = (h + k)[:, t]
    for node in itertools.product(range(len(nodes)), repeat=D):
        z = root @ nodes[list(node)]
        dH = np.einsum("ac,b->abc", h, z) + np.einsum("ab,c->abc", h, z)
        dg, dq, shift, H, model = np.zeros((D, D)), 0.0, np.zeros(D), np.zeros((D, D)), np.zeros(D)
        for _ in range(steps):
            e = z[t] - y
            c, bent = h[:, t] @ e, dH[:, :, t] @ e
            model = model - eta * (Theta @ model[t] + H[:, t] @ e) + eta**2 / 2 * bent[:, t] @ e
            H = H - eta * (bent + bent.T)
            shift = shift - eta * (Theta @ shift[t] + c * dq + dg[:, t] @ e) + eta**2 * c * (e @ z[t])
            dg = dg - eta * (np.outer(c, z) + np.outer(z, c)) + eta**2 * np.outer(c, c)
            dq += -2 * eta * e @ z[t] + eta**2 * e @ k[t, t] @ e
            z = z - eta * Theta @ e
        weight = np.prod(weights[list(node)]) / weights.sum() ** D
        found += weight * np.array([shift, shift - model])
    return found


def test_taylor_mean_error() -> None:
    """n times the mean of z less each model at two steps, with its theory by equations of motion: at all samples while
    train samples are learnt, and at the test sample at the end."""
    early, end, eta, width, y = 2, 45, 0.25, 8, np.array([2.0, 3.0])
    gram = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -0.4], [0.5, -0.4, 1.2]])
    data = rows(
        "activation=linear", "initialization=critical", "network.depth=2", f"network.width={width}",
        "dynamics=gradient_descent", "dynamics.lambda_b=[2.0,0.0]", f"dynamics.eta={eta}", f"dynamics.steps={end}",
        "observables.record=[outputs,taylor]", f"observables.steps=[0,{early},{end}]", x=inputs_of(gram), y=y[:, None],
    )  # fmt: skip
    z = signs(4)
    data.fill("z", 2, lambda i, a: z[a])
    data.fill("taylor", 2, lambda k, i, a: 1e3)  # before training; such values are not compared
    errors = {early: (0.2, -0.5, 0.05), end: (0.4, -0.3, 0.1)}
    for step, of_step in errors.items():
        data.fill("z", 2, lambda i, a: 2 + a + z[a], step=step)
        models = [[2 + a + z[a] - (1 + a) * (error + z[3] / 5) / width for a in range(3)] for error in of_step]
        data.fill("taylor", 2, lambda k, i, a, models=models: models[k - 1][a], step=step)
    predicted = {step: np.vstack([mean_errors(gram, y, 2.0, eta, step), np.zeros(3)]) for step in errors}
    units = np.abs([of_step[[0, 1, 1]] for of_step in predicted.values()]).max(axis=0)
    assert np.abs(predicted[end][:2, 2]).min() > 0.1
    assert np.abs(predicted[early][:2]).min() > 0.01

    def check(data: Rows) -> None:
        wanted = []
        for step, samples in ((early, (0, 1, 2)), (end, (2,))):
            components = {
                f"{name} 0,{a}": ((1 + a) * errors[step][k], predicted[step][k, a], units[k, a])
                for k, name in enumerate(("linear", "quadratic", "cubic"))
                for a in samples
            }
            wanted.append(Wanted("n (z - model)", 2, step, components))
        expect(list(taylor_mean_error(data.point, None)), *wanted)

    swapped = data.exchanged("taylor", (1, 0, 2), (2, 0, 2))
    holds(check, data, data.scaled("taylor"), data.scaled("z"), swapped, data.exchanged("z", (0, 1), (0, 2)))
