"""Errors on samples with known targets, against integrals over the densities that the cumulants describe."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import eval_hermitenorm
from scipy.stats import norm

from analysis.theory.generalisation import Expansion, squared_error, wrong_sign
from analysis.theory.order_n import TrainedToOrderN
from tests.exact.measures.rows import Array

Y = np.array([[1.0, -2.0], [-0.5, 0.7], [3.0, -1.0]])  # three samples, two outputs
STEPS, P = 2, 6


def record() -> TrainedToOrderN:
    """Cumulants of two steps that are nobody's, with variances near one."""
    rng = np.random.default_rng(0)
    covariance = 0.1 * rng.normal(size=(STEPS, P, P)) + np.eye(P)
    others = {name: np.zeros(0) for name in ("ntk_change", "kernel_change", "taylor_errors", "frozen_covariance1")}
    return TrainedToOrderN(
        steps=(1, 2),
        mean=rng.normal(size=(STEPS, P)),
        mean1=rng.normal(size=(STEPS, P)),
        covariance=covariance @ covariance.swapaxes(1, 2),
        covariance1=rng.normal(size=(STEPS, P, P)),
        third=rng.normal(size=(STEPS, P, P, P)),
        fourth=rng.normal(size=(STEPS, P, P, P, P)),
        errors={},
        **others,
    )


GIVEN = record()
PLACES = [(step, output, sample) for step in range(STEPS) for output in range(2) for sample in range(3)]


def density(step: int, p: int, n: float) -> tuple[float, float, float, float]:
    """Mean, deviation, and coefficients of the third and the fourth Hermite polynomial of the Edgeworth density."""
    assert GIVEN.third is not None
    assert GIVEN.fourth is not None
    variance = GIVEN.covariance[step, p, p] + GIVEN.covariance1[step, p, p] / n
    mean, sigma = GIVEN.mean[step, p] + GIVEN.mean1[step, p] / n, float(np.sqrt(variance))
    third, fourth = GIVEN.third[step, p, p, p] / n, GIVEN.fourth[step, p, p, p, p] / n
    return float(mean), sigma, third / (6 * sigma**3), fourth / (24 * sigma**4)


@cache
def average(what: str, step: int, output: int, sample: int, n: float) -> float:
    """The average over the Edgeworth density at width n, by quadrature."""
    mean, sigma, third, fourth = density(step, 3 * output + sample, n)
    y = Y[sample, output]

    def weighted(x: float) -> float:
        series = 1 + third * eval_hermitenorm(3, x) + fourth * eval_hermitenorm(4, x)
        return float(norm.pdf(x) * series * ((mean + sigma * x - y) ** 2 if what == "squared" else 1.0))

    zero = -mean / sigma
    ends = {"squared": (-12.0, 12.0), "sign": (-12.0, zero) if y > 0 else (zero, 12.0)}[what]
    return float(quad(weighted, *ends, epsabs=1e-12, epsrel=1e-12, limit=200)[0])


def differs(found: Expansion, what: str) -> float:
    """The largest difference of value and coefficient from quadrature. The coefficient is a derivative in 1/n."""
    n, worst = 1e5, 0.0
    for step, output, sample in PLACES:
        at = step, 3 * output + sample
        value = average(what, step, output, sample, np.inf)
        slope = n / 2 * (average(what, step, output, sample, n) - average(what, step, output, sample, -n))
        worst = max(worst, abs(found.value[at] - value), abs(found.coefficient[at] - slope))
    return worst


@pytest.mark.parametrize(("function", "what"), [(squared_error, "squared"), (wrong_sign, "sign")])
def test_averages_over_the_edgeworth_density(function, what: str) -> None:  # type: ignore[no-untyped-def]
    """Negative controls: other targets, and each cumulant scaled."""
    found = function(GIVEN, Y)
    assert differs(found, what) < 1e-6
    assert differs(function(GIVEN, -Y), what) > 1e-2
    cumulants = ("mean1", "covariance1") if what == "squared" else ("mean1", "covariance1", "third", "fourth")
    for name in cumulants:
        wrong: Array = 1.1 * getattr(GIVEN, name)
        assert differs(function(replace(GIVEN, **{name: wrong}), Y), what) > 1e-3, name


def test_sizes_do_not_cancel() -> None:
    found = squared_error(GIVEN, Y)
    np.testing.assert_allclose(found.size, np.abs(found.parts["bias"]) + np.abs(found.parts["variance"]))
    assert (found.size >= np.abs(found.coefficient)).all()
    assert (found.size > np.abs(found.coefficient) + 1e-3).any()


def test_what_has_no_sign_or_no_cumulants() -> None:
    with pytest.raises(ValueError, match="a sign is needed"):
        wrong_sign(GIVEN, np.where(Y > 2, 0.0, Y))
    with pytest.raises(ValueError, match="third and fourth"):
        wrong_sign(replace(GIVEN, third=None), Y)
