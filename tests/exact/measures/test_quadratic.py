"""Measures of quadratic models find planted errors, and fit in epsilon."""

import numpy as np

from analysis.measures import quadratic, trained
from analysis.points import variants
from analysis.theory import linear_model, quadratic_model
from tests.exact.measures.rows import Rows, Wanted, expect, holds, rows, signs

X = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0]])
Y, EPSILON, ETA, STEPS = np.array([[1.0], [-0.6]]), 0.25, 0.2, (0, 1, 6)


def point(*overrides: str) -> Rows:
    return rows(
        "network=quadratic", f"network.epsilon={EPSILON}", "network.rank=5", "network.seed=3", "activation=linear",
        "initialization=gaussian", "initialization.C_b=0.2", "initialization.C_W=0.5", "dynamics=gradient_descent",
        f"dynamics.eta={ETA}", "dynamics.steps=6", "dynamics.lambda_b=0.7", "dynamics.lambda_W=1.2",
        "observables.record=[outputs,ntk]", f"observables.steps={list(STEPS)}", *overrides, x=X, y=Y,
    )  # fmt: skip


def theory() -> quadratic_model.FirstOrder:
    """From the features and the start written out."""
    phi = linear_model.layer_features(X, 0.7, 1.2)
    psi = quadratic_model.meta_features(X, 0.7, 1.2, 5, 3)
    start = np.diag([0.2 / 0.7, 0.5 / 1.2, 0.5 / 1.2])
    return quadratic_model.first_order(phi, psi, Y[:, 0], ETA, STEPS, np.zeros(3), start)


def test_quadratic_outputs() -> None:
    """Each network is off the linear model of its own start by 0.1 + noise at step 1 and by 0.4 + noise at step 6."""
    data, noise, first = point(), signs(4), theory()
    k = linear_model.kernel(*[linear_model.layer_features(X, 0.7, 1.2)] * 2)
    start, off = noise[:3], {1: 0.1, 6: 0.4}
    data.fill("z", 1, lambda i, a: start[a])
    for step, size in off.items():
        z = start.copy()
        for _ in range(step):
            z = z - ETA * k[:, :2] @ (z[:2] - Y)
        data.fill("z", 1, lambda i, a, z=z, size=size: z[a] + (a == 2) * (size + 0.01 * noise[3]), step=step)

    def check(data: Rows) -> None:
        wanted = []
        for at, step in enumerate(STEPS[1:], start=1):
            predicted = float(first.bent[at, 2])
            components = {"2": (off[step] / EPSILON, predicted, abs(predicted))}
            wanted.append(Wanted("(z - linear)/epsilon", 1, step, components))
        expect(list(quadratic.quadratic_outputs(data.point, None)), *wanted)

    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 1), (0, 2)))


def test_quadratic_kernel() -> None:
    """The kernel is held to that at the start of each network."""
    data, noise, first = point(), signs(1)[0], theory()
    data.fill("H", 1, lambda i, j, a, b: 1 + a + b + noise)
    for step in STEPS[1:]:
        data.fill("H", 1, lambda i, j, a, b, s=step: 1 + a + b + noise + 0.1 * s * (1 + a + 2 * b), step=step)

    def check(data: Rows) -> None:
        wanted = []
        for at, step in enumerate(STEPS[1:], start=1):
            predicted = first.kernel1[at]
            size = np.abs(predicted).max()
            pairs = [(a, b) for a in range(3) for b in range(a, 3)]
            components = {
                f"{a}{b}": (0.1 * step * (1 + a + 2 * b) / EPSILON, float(predicted[a, b]), size) for a, b in pairs
            }
            wanted.append(Wanted("(H(t) - H(0))/epsilon", 1, step, components))
        expect(list(quadratic.quadratic_kernel(data.point, None)), *wanted)

    holds(check, data, data.scaled("H"), data.exchanged("H", (0, 0, 0, 1), (0, 0, 0, 2)))


def test_what_cannot_be_judged() -> None:
    """Quadratic models have no tests of networks, networks none of quadratic models, and both what they need."""
    for name in ("quadratic_outputs", "quadratic_kernel"):
        assert list(getattr(quadratic, name).missing(point().point)) == []
    mlp = rows(
        "network.depth=1", "network.width=[]", "dynamics=gradient_descent", "observables.record=[outputs]", x=X, y=Y
    )
    for name, data, words in (
        ("quadratic_outputs", mlp, "network=mlp: quadratic_outputs is a test of quadratic models"),
        (
            "quadratic_outputs",
            point("dynamics=momentum"),
            "gradient_descent with loss=mse, without rules and with one eta",
        ),
        ("quadratic_kernel", point("dynamics.lambda_b=0"), "rates > 0 are needed"),
        ("quadratic_kernel", point("observables.steps=[6]"), "step 0 is needed"),
    ):
        (reason,) = getattr(quadratic, name).missing(data.point)
        assert words in reason
    (reason,) = trained.trained_mean.missing(point().point)
    assert reason == "network=quadratic: trained_mean is a test of layers of neurons"
    assert list(quadratic.quadratic_outputs.undefined(point("network.epsilon=0").point))


def test_points_that_differ_in_epsilon_are_one_series() -> None:
    """They are ordered as widths are, and epsilon is their 1/n; another seed of meta features is another variant."""
    few, more, other = point(), point("network.epsilon=0.05"), point("network.seed=4")
    first, second = variants([data.point for data in (few, other, more)])
    assert [p.n for p in first.points] == [1 / EPSILON, 20.0]
    assert [p.n for p in second.points] == [1 / EPSILON]
