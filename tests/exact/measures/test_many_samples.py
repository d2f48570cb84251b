"""Measures of tilted networks with some of the prior, on weights whose averages are known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis import claims, theory
from analysis.measures.measured import MEASURES, Measured
from analysis.recorded import POINTS
from tests.exact.measures.rows import NETWORKS, Rows, inputs_of, rows
from tests.exact.measures.test_needs import BASE, GRAM, OF_NETWORKS, reasons, tilted

X, Y = inputs_of([[1.0, 0.3], [0.3, 0.8]]), [[0.7]]
SIZE = 0.1  # log w of the prior is this times a sign, so that its mean weight is cosh SIZE


def data(shift: float, *more: str) -> Rows:
    """Networks of even address are of the prior, and the tilted ones have the weight of their mean times exp shift."""
    given = ["activation=tanh", "network.depth=3", "network.width=8", "initialization=gaussian",
             "observables=posterior", "ensemble.tilt.noise=0.1", "ensemble.tilt.control=2"]  # fmt: skip
    found = rows(*given, *more, x=X, y=Y)
    found = replace(found, settings=found.settings | {"claim": {"noise": 0.1}})
    signs = np.where(np.arange(NETWORKS) // 2 % 2, 1.0, -1.0)
    log_w = np.where(np.arange(NETWORKS) % 2, math.log(math.cosh(SIZE)) + shift, SIZE * signs)
    for prefix in ("mu", "var"):
        found.fill(prefix, 3, lambda *index: np.ones(NETWORKS))
    return found.fill("lw", 3, lambda k: log_w - 5)


def repeated(found: Rows) -> Rows:
    """The same networks three times, so that a hundred of each kind count."""
    values = {prefix: np.tile(x, (3, 1, 1, 1)) for prefix, x in found.values.items()}
    return replace(found, values=values, states=np.tile(found.states, (3, 1)))


def measured(name: str, shift: float) -> Measured:
    (found,) = MEASURES[name](repeated(data(shift)).point, None)
    return found


def test_evidence_by_filter() -> None:
    """Rows 0, 4, .. are those of filters, here with one weight, and odd ones those of tilted networks: the difference
    of log mean weights. Negative control: tilted weights that are not corrected."""
    given = "ensemble.filter={particles: 2, every: 4}"
    for shift in (0.0, 0.3):
        (found,) = MEASURES["evidence_by_filter"](repeated(repeated(data(shift, given))).point, None)
        assert found.estimate.value[0] == pytest.approx(-SIZE - math.log(math.cosh(SIZE)) - shift, abs=SIZE / NETWORKS)


def controlled(shift: float, spread: float) -> Rows:
    """The same networks with controls, which in those of the prior are the signs of log w, shifted by so many standard
    deviations, and of squares that are so much smaller or larger than their mean."""
    found = data(0.0, "observables.record=[posterior,weight_controls]")
    v1 = theory.weight_variance("tanh", 3, 0.0, 1.0, X, Y, 0.1, points=POINTS)
    signs, others = (np.where(np.arange(NETWORKS) // size % 2, 1.0, -1.0) for size in (2, 4))
    found.fill("x", 3, lambda k: np.sqrt(v1 / 8) * (signs * np.sqrt(1 + spread * others) + shift))
    return found.fill("xm", 3, lambda k, i, a: np.roll(signs, 2 * a + 1) + shift)


def test_weight_controls() -> None:
    """Means of x, which are zero, and of x^2 - v1/n and x y - E x y, in standard deviations of one network. Negative
    control: shifted signs. A control that is the sign of log w takes all noise off log p(y) and leaves it."""
    x, products = MEASURES["weight_controls"](controlled(0.0, 0.5).point, None)
    assert x.samples == ["log w", "0,1"]
    np.testing.assert_allclose(x.estimate.value, 0, atol=1e-12)
    covariance = theory.weight_covariances("tanh", 3, 0.0, 1.0, X, Y, 0.1, points=POINTS)
    v1, of_test = covariance[0], covariance[2]
    # E x^2 is v1/n, and x y of signs that are independent of each other has mean zero.
    size = math.hypot(math.sqrt(v1 / 8), of_test / 8)
    np.testing.assert_allclose(products.estimate.value, [0, -of_test / 8 / size], rtol=1e-9, atol=1e-9)
    shifted, _ = MEASURES["weight_controls"](controlled(0.5, 0.5).point, None)
    np.testing.assert_allclose(shifted.estimate.value, 0.5 / math.sqrt(1.25), rtol=1e-9)

    tests = (MEASURES["evidence_by_tilt"](repeated(given).point, None) for given in (data(0.0), controlled(0.0, 0.0)))
    (with_noise,), (without,) = tests
    assert without.estimate.error[0] < 1e-3 * with_noise.estimate.error[0]
    assert abs(without.estimate.value[0]) < SIZE / NETWORKS


def test_evidence_by_tilt() -> None:
    """The difference of log mean weights, docs/theory.md (16.1), up to the jackknife's correction of order 1/M, is
    zero. Negative control: weights that are not corrected."""
    found = measured("evidence_by_tilt", 0.0)
    assert abs(found.estimate.value[0]) < SIZE / NETWORKS
    assert measured("evidence_by_tilt", 0.3).estimate.value[0] == pytest.approx(0.3, abs=SIZE / NETWORKS)
    assert found.theory[0] == 0
    with pytest.raises(ValueError, match="underpowered"):
        list(MEASURES["evidence_by_tilt"](data(0.0).point, None))


def test_share_forecast() -> None:
    """-n log share over v1, less one, docs/theory.md (16.5), of weights exp(+-SIZE): their share is
    cosh^2 SIZE/cosh 2 SIZE, which is below the forecast."""
    found = measured("share_forecast", 0.0)
    v1 = theory.weight_variance("tanh", 3, 0.0, 1.0, X[:1], Y, 0.1)
    want = -math.log(math.cosh(SIZE) ** 2 / math.cosh(2 * SIZE)) * 8 / v1 - 1
    assert found.estimate.value[0] == pytest.approx(want, rel=1e-9)
    other = theory.weight_variance("tanh", 3, 0.0, 1.0, X[:1], Y, 0.2)
    assert found.estimate.value[0] != pytest.approx((want + 1) * v1 / other - 1, rel=0.1), (
        "negative control: twice the noise"
    )


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_tilted_networks(name: str) -> None:
    """Where hidden layers are tilted, nothing else is tested than what is made for it, and that needs a control."""
    if not claims.tests()[name].tilted:
        of_prior = [f"ensemble.tilt.noise=0.1: {name} is a test of networks whose hidden layers are those of the prior"]
        if not claims.tests()[name].conditioned:
            assert reasons(name, tilted()) == of_prior
        return
    (untilted,) = reasons(name, rows(*BASE, "observables=ntk", x=inputs_of(GRAM), y=[[1.0, -0.5]]))
    assert untilted == f"ensemble.tilt.noise=null: {name} is a test of networks whose hidden layers are tilted"
    assert "networks of the prior, too" in reasons(name, tilted("ensemble.tilt.control=0"))[0]
    filtered = tilted("network.outputs=1", "ensemble.filter.particles=2", noise=0.2)
    assert reasons(name, filtered) == ["claim.noise=0.2: one of observables.noises=[0.1]"]
    if name == "evidence_by_filter":
        (without,) = reasons(name, tilted("network.outputs=1"))
        assert without.startswith("ensemble.filter.particles=null: ")
