"""Measures of what batches change find planted differences of sgd and descent, and their theory."""

import numpy as np
import pytest

from analysis import claims, theory
from analysis.measures.algorithms import sgd_mean, sgd_mean1
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, expect, inputs_of, rows, signs
from tests.exact.measures.test_trained import GRAM, UNIT, Y

ETA, WIDTH, STEPS = 0.2, 8, (2, 5)
FOUND = {2: np.array([[0.3, -0.2, 0.5], [0.1, 0.4, -0.6]]), 5: np.array([[0.2, 0.7, -0.1], [-0.3, 0.6, 0.4]])}


def made(algorithm: str, *overrides: str) -> Rows:
    return rows(
        "activation=sin", "initialization=critical", "network.depth=2", f"network.width={WIDTH}", "network.outputs=2",
        f"dynamics={algorithm}", f"dynamics.eta={ETA}", "dynamics.lambda_b=1", f"dynamics.steps={STEPS[-1]}",
        "observables.record=[outputs,linear]", f"observables.steps={[0, *STEPS]}".replace(" ", ""), *overrides,
        x=inputs_of(GRAM), y=Y,
    )  # fmt: skip


def filled(data: Rows, beyond: dict[int, Array], own: Array) -> Rows:
    """Outputs that are those of the linear model, which are own[i, a] (M,), plus beyond[step] and a noise."""
    data.fill("z", 2, lambda i, a: 9.0).fill("linear", 2, lambda i, a: 9.0)
    for step, planted in beyond.items():
        noise = 0.1 * signs(7)[6]
        data.fill("linear", 2, lambda i, a: own[i, a], step=step)
        data.fill("z", 2, lambda i, a, planted=planted: own[i, a] + planted[i, a] + noise, step=step)  # noqa: B023
    return data


NOTHING = {step: np.zeros((2, 3)) for step in STEPS}
MEAN = np.arange(1.0, 7.0).reshape(2, 3, 1)  # of the linear models, which is the same for both
SGD, DESCENT = (MEAN + drawn.reshape(2, 3, NETWORKS) for drawn in (signs(6), signs(7)[1:]))


def fails(check, *pairs: tuple[Rows, Rows]) -> None:
    for wrong in pairs:
        with pytest.raises(AssertionError):
            check(*wrong)


def test_sgd_mean() -> None:
    """The mean difference at every step, of the networks that are finite under both, for zero."""
    point, reference = filled(made("sgd"), FOUND, SGD), filled(made("gradient_descent"), NOTHING, DESCENT)

    def check(point: Rows, reference: Rows) -> None:
        wanted = [
            Wanted(
                "(z - z')(t)", 2, step, {f"{i},{a}": (FOUND[step][i, a], 0.0, UNIT) for i in (0, 1) for a in range(3)}
            )
            for step in STEPS
        ]
        expect(list(sgd_mean(point.point, reference.point, None)), *wanted)

    check(point, reference)
    check(point.with_diverged(), reference.with_diverged())
    fails(check, (point.scaled("z"), reference), (point.exchanged("z", (0, 1), (1, 0)), reference))
    assert not list(sgd_mean(reference.point, point.point, None)), "it is sgd that is compared with descent"


def test_sgd_mean1() -> None:
    """n times the mean of what each network differs from its own linear model, of sgd less of descent, for the
    difference of the coefficients."""
    point = filled(made("sgd"), {step: found / WIDTH for step, found in FOUND.items()}, SGD)
    reference = filled(made("gradient_descent"), NOTHING, DESCENT)
    options = {"lambda_b": 1.0, "lambda_W": 1.0}
    engine = ("sin", 2, 0.0, 1.0, inputs_of(GRAM), Y, ETA, STEPS)
    sgd = theory.trained_to_order_n(*engine, "sgd", batches=1, **options).mean1
    descent = theory.trained_to_order_n(*engine, **options).mean1
    predicted = (sgd - descent).reshape(len(STEPS), 2, 3)
    assert np.abs(predicted).min(axis=(1, 2)).max() > 1e-3

    def check(point: Rows, reference: Rows) -> None:
        wanted, unit = [], np.abs(predicted).max(axis=0)
        for step, at_step in zip(STEPS, predicted, strict=True):
            components = {f"{i},{a}": (FOUND[step][i, a], at_step[i, a], unit[i, a]) for i in (0, 1) for a in range(3)}
            wanted.append(Wanted("n (z - z')(t)", 2, step, components))
        expect(list(sgd_mean1(point.point, reference.point, None)), *wanted)

    check(point, reference)
    check(point.with_diverged(), reference.with_diverged())
    fails(
        check, (point.scaled("z"), reference), (point, reference.scaled("linear")),
        (point.exchanged("linear", (0, 1), (1, 0)), reference), (point, filled(made("gradient_descent"), FOUND, SGD)),
    )  # fmt: skip


def test_what_batches_change_needs_all_else_alike() -> None:
    """Descent with another step is no reference, and neither are other networks or more sequences than are averaged
    over. Control: no reason at all."""
    point, reference = made("sgd"), made("gradient_descent")
    test = claims.tests()["sgd_mean1"]
    assert list(test.undefined(point.point, reference.point)) == []
    assert list(test.missing(point.point)) == []
    other = made("gradient_descent", "dynamics.eta=0.1")
    assert list(test.undefined(point.point, other.point)) == [
        "dynamics=sgd: sgd and a reference of gradient_descent with the same rates and loss are needed"
    ]
    long = made("sgd", "dynamics.steps=11", "observables.steps=[0,11]")
    assert list(test.missing(long.point)) == [
        "dynamics.batch=1, observables.steps: 11 steps with batches of 2 samples have more than 1024 sequences, over "
        "which the prediction would be sampled"
    ]
    assert list(test.missing(made("sgd", "dynamics.steps=10", "observables.steps=[0,10]").point)) == []
    seed = filled(made("gradient_descent", "ensemble.seed=1"), NOTHING, DESCENT)
    with pytest.raises(ValueError, match="not the networks and steps of"):
        list(sgd_mean1(filled(point, FOUND, SGD).point, seed.point, None))
