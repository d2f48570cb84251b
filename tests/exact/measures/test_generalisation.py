"""Errors on test samples: what is measured is what is planted, and the theory is that of the outputs' cumulants."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from analysis import theory
from analysis.measures.generalisation import squared_error, wrong_sign, wrong_signs
from analysis.theory import generalisation
from tests.exact.measures.rows import Rows, expect, holds
from tests.exact.measures.test_trained_cumulants import (
    BY_STEP,
    DATA,
    ENGINE,
    ETA,
    OUTPUTS,
    OWN,
    SAMPLES,
    STEPS,
    Y,
    first_order,
    wanted,
)

ALL = np.concatenate([Y, [[0.4, -1.5]]])
TEST = [(i, 2) for i in range(OUTPUTS)]


def with_targets(data: Rows, y: np.ndarray = ALL) -> Rows:
    return replace(data, given=(data.given[0], y, len(Y)))


GIVEN = with_targets(DATA)
WRONG = [GIVEN.scaled("z"), GIVEN.exchanged("z", (0, 2), (1, 2)), with_targets(DATA, -ALL)]


def sized(found: generalisation.Expansion, at: int, i: int) -> tuple[float, float]:
    return float(found.coefficient[at, i * SAMPLES + 2]), float(found.size[at, i * SAMPLES + 2])


def test_squared_error() -> None:
    """(z - y)^2 less (f - y)^2 + 2 (f - y) d of the frozen output f and its shift d."""
    mean1, covariance1 = (np.stack([getattr(own, name) for own in OWN]) for name in ("mean1", "covariance1"))
    beyond = replace(ENGINE, mean1=ENGINE.mean1 - mean1, covariance1=ENGINE.covariance1 - covariance1)
    predicted, values, sizes = generalisation.squared_error(beyond, ALL), [], []
    for at, at_step in enumerate(BY_STEP.values()):
        value = {}
        for i, a in TEST:
            z, frozen, d = (at_step[name][:, i, a] for name in ("z", "frozen", "d"))
            y = ALL[a, i]
            value[f"{i},{a}"] = np.mean((z - y) ** 2 - (frozen - y) ** 2 - 2 * (frozen - y) * d)
        values.append(value)
        sizes.append({f"{i},{a}": sized(predicted, at, i) for i, a in TEST})

    def check(data: Rows) -> None:
        expect(list(squared_error(data.point, None)), *wanted("n d(z - y)^2", values, sizes))

    holds(check, GIVEN, *WRONG, GIVEN.scaled("H"))


def test_wrong_sign() -> None:
    """Whether z is wrong, less whether f is, and the probability that f is given the kernel."""
    predicted, values, sizes = generalisation.wrong_sign(ENGINE, ALL), [], []
    for at, at_step in enumerate(BY_STEP.values()):
        Theta, value = OWN[at].Theta[:SAMPLES, :SAMPLES], {}
        u = first_order(Theta, np.zeros((3, 3, 3)), np.eye(3), np.zeros(2), ETA, STEPS[at])[0].T
        for i, a in TEST:
            z, frozen = (at_step[name][:, i, a] * np.sign(ALL[a, i]) for name in ("z", "frozen"))
            mean = np.sign(ALL[a, i]) * ENGINE.mean[at, i * SAMPLES + a]
            of_kernel = norm.cdf(-mean / np.sqrt(np.einsum("c,Mcd,d->M", u[a], at_step["g"], u[a])))
            infinite = norm.cdf(-mean / np.sqrt(ENGINE.covariance[at, i * SAMPLES + a, i * SAMPLES + a]))
            value[f"{i},{a}"] = np.mean((z < 0) * 1.0 - (frozen < 0) + of_kernel) - infinite
        values.append(value)
        sizes.append({f"{i},{a}": sized(predicted, at, i) for i, a in TEST})

    def check(data: Rows) -> None:
        expect(list(wrong_sign(data.point, None)), *wanted("n dP", values, sizes))

    flipped = replace(GIVEN, values=GIVEN.values | {"z": GIVEN.values["z"] - 0.1})
    holds(check, GIVEN, *WRONG[1:], flipped, GIVEN.scaled("g"))


def test_wrong_signs() -> None:
    """The average of `wrong_sign` over two outputs and two test samples, against the theory of each sample alone."""
    many, values, predicted = replace(DATA, given=(GIVEN.given[0], ALL, 1)), [], []
    for m in wrong_sign(many.point, None):
        values.append({"test samples": m.estimate.value.mean() / DATA.point.last_width})
    alone = [theory.trained_to_order_n("sin", 2, 0.0, 1.0, DATA.given[0][[0, a]], Y[:1], ETA, STEPS, lambda_b=0.5)
             for a in (1, 2)]  # fmt: skip
    found = [generalisation.wrong_sign(engine, ALL[[0, a]]) for a, engine in zip((1, 2), alone, strict=True)]
    for at in range(len(STEPS)):
        both = (np.mean([getattr(one, name)[at, [1, 3]] for one in found]) for name in ("coefficient", "size"))
        predicted.append({"test samples": tuple(both)})

    def check(data: Rows) -> None:
        expect(list(wrong_signs(data.point, None)), *wanted("n dP test", values, predicted))

    flipped = replace(many, given=(many.given[0], -ALL, 1))
    shifted = replace(many, values=many.values | {"z": many.values["z"] - 0.1})
    check(many)
    for mutant in (many.scaled("g"), flipped, shifted, GIVEN):
        with pytest.raises(AssertionError):
            check(mutant)


def test_targets_of_test_samples_are_needed() -> None:
    needed = "inputs: the targets of all test samples are needed"
    assert needed in list(squared_error.missing(DATA.point))
    assert needed in list(wrong_sign.missing(DATA.point))
    assert list(squared_error.missing(GIVEN.point)) == []
    zero = with_targets(DATA, np.where(ALL > 1, 0.0, ALL))
    assert "inputs: targets other than 0 are needed" in list(wrong_sign.missing(zero.point))
    assert list(squared_error.missing(zero.point)) == []
    alone = replace(GIVEN, given=(GIVEN.given[0], ALL, SAMPLES))
    assert "inputs.test=0: test samples are needed" in list(squared_error.missing(alone.point))
