"""What grows with r = L/n agrees with tables, with exact laws at finite width, and with its limits."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis import theory
from analysis.theory import aspect_ratio
from analysis.theory.finite_width import kernel_moments, ntk_moments

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "aspect_ratio_reference.json").read_text())["section12"]
CRITICAL = {"linear": 1.0, "relu": 2.0}


@pytest.mark.parametrize(("name", "nu"), [("linear", 2.0), ("relu", 5.0)])
def test_log_kernel_has_the_slopes_of_the_regimes(name: str, nu: float) -> None:
    """Mean and variance of log g of docs/theory.md (12.1) are those of docs/theory.md (6.5), twice as near at twice the
    width. Negative control: the mean of log g is not log of the mean, which is 0."""
    r, errors = 0.5, []
    for n in (400, 800):
        mean, variance = aspect_ratio.log_kernel(name, [n] * int(r * n), CRITICAL[name], 1.0)
        errors.append([mean + nu * r / 2, variance - nu * r])
    assert np.abs(errors[1]).max() < 0.05
    assert np.array(errors[0]) / np.array(errors[1]) == pytest.approx([2, 2], rel=2e-2)
    assert abs(mean) > 0.4


def test_log_kernel_of_a_sample() -> None:
    """Mean and variance of docs/theory.md (12.1) at widths 6, 9 and 4, in 200,000 ReLU networks whose layers are drawn
    as chi-square numbers of a binomial number of active neurons, dead networks left out. Fixed seed; 5 standard errors
    have a false-alarm rate of 1e-6. Negative control: linear networks."""
    rng, widths, M = np.random.default_rng(1), [6, 9, 4], 200_000
    log_g, alive = np.zeros(M), np.ones(M, dtype=bool)
    for n in widths:
        s = np.maximum(rng.standard_normal((M, n)), 0)
        mean_square = (s**2).mean(axis=1)
        alive &= mean_square > 0
        log_g += np.log(2 * np.where(mean_square > 0, mean_square, 1.0))
    log_g = log_g[alive]

    def farthest(name: str) -> float:
        mean, variance = aspect_ratio.log_kernel(name, widths, CRITICAL[name], 1.0)
        centred = (log_g - mean) ** 2
        z = [(log_g.mean() - mean) / log_g.std(), (centred.mean() - variance) / centred.std()]
        return float(np.abs(z).max() * math.sqrt(len(log_g)))

    assert farthest("relu") < 5 < farthest("linear")


def test_log_kernel_is_that_of_the_chain() -> None:
    """Mean and variance of log g by the Gauss rules of docs/theory.md (17.5) are those of docs/theory.md (12.1) for
    linear networks. Negative control: another width."""
    mean, variance = theory.exact_log_law("linear", 9, 0.0, 1.1, 0.7, 16)
    closed = aspect_ratio.log_kernel("linear", [16] * 8, 1.1, 0.7)
    assert [mean[-1], variance[-1]] == pytest.approx(closed, rel=1e-7)
    assert variance[-1] != pytest.approx(aspect_ratio.log_kernel("linear", [17] * 8, 1.1, 0.7)[1], rel=1e-2)
    assert variance[0] == 0
    with pytest.raises(ValueError, match="a layer may be dead"):
        theory.exact_log_law("relu", 3, 0.0, 2.0, 1.0, 8)


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_the_law_of_log_g(name: str) -> None:
    """Mean and variance of log g, and three moments of g, of the law of docs/theory.md (12.1). Negative control: the
    moments at another width."""
    widths = [32, 32, 40, 24]
    g, weight = aspect_ratio.kernel_law(name, widths, CRITICAL[name], 0.7)
    mean, variance = aspect_ratio.log_kernel(name, widths, CRITICAL[name], 0.7)
    assert weight @ np.log(g) == pytest.approx(mean, rel=1e-7)
    assert weight @ (np.log(g) - mean) ** 2 == pytest.approx(variance, rel=1e-6)
    moments = [float(weight @ g**k) for k in (1, 2, 3)]
    assert moments == pytest.approx(kernel_moments(name, widths, CRITICAL[name], 0.7), rel=1e-6)
    assert moments[1] != pytest.approx(kernel_moments(name, [32] * 3, CRITICAL[name], 0.7)[1], rel=1e-2)


def test_breakdown() -> None:
    """Where order 1/n is 10 and 50 % low, docs/theory.md (12.2), as in the table, and with every power of 1/n at
    n = 40,000. Negative control: the other statistic."""
    for key, want in REFERENCE["breakdown_nu_r"].items():
        of, deviation = key.split("_")
        statistic = {"V": "vertex", "Eg2": "second_moment"}[of]
        x = aspect_ratio.breakdown(float(deviation[:-1]) / 100, statistic)
        assert x == pytest.approx(want, rel=1e-9)
        layers = round(40_000 * x / 2)
        full = (1 + 2 / 40_000) ** layers
        first = 2 * layers / 40_000
        low = {"V": 1 - first / (full - 1), "Eg2": 1 - (1 + first) / full}
        assert low[of] == pytest.approx(float(deviation[:-1]) / 100, rel=2e-3)
        assert low["Eg2" if of == "V" else "V"] != pytest.approx(low[of], rel=0.1)


@pytest.mark.parametrize("name", ["linear", "relu"])
@pytest.mark.parametrize("phi", [0.0, 0.5, 1.0])
def test_ntk_at_fixed_ratio(name: str, phi: float) -> None:
    """The moments of docs/theory.md (12.3) are the limit of docs/theory.md (6.7): the difference falls four times from
    n = 400 to 1600. Negative control: the moments at another phi."""
    t, C_W, errors = 0.5, CRITICAL[name], []
    lambda_b, lambda_W = phi, (1 - phi) * C_W  # w = 1, since A2 K = 1/C_W at K = 1
    limit = theory.aspect_ratio.ntk_at_ratio(name, t, phi)
    want = np.array([limit.z2H, limit.zzH, limit.HH, limit.H2])
    for n in (400, 1600):
        m = ntk_moments(name, [n] * int(t * n), C_W, 1.0, lambda_b, lambda_W, 1 / C_W)
        got = np.array([m.z2H / m.H, m.zzH / m.H, m.HH / m.H**2, m.H2 / m.H**2])
        errors.append(got / want - 1)
    assert np.abs(errors[1]).max() < 0.02
    assert errors[0] / errors[1] == pytest.approx([4] * 4, rel=0.05)
    other = theory.aspect_ratio.ntk_at_ratio(name, t, 0.25)
    assert abs(other.HH / limit.HH - 1) > 0.02


def test_moments_are_seen_up_to_their_reach() -> None:
    """The reach of docs/theory.md (12.4) orders the table of medians of the mean of g^2 over its exact value, and the
    medians are 5 % low or less below a reach of 0.5. The relative error is that of a log-normal sample."""
    medians = []
    for key, median in REFERENCE["chaos"].items():
        if key.startswith("freeze"):
            _, r, networks = key.split("_")
            medians.append((aspect_ratio.reach(2, 5 * float(r), int(networks)), median))
    assert len(medians) == 12
    reaches, values = np.array(sorted(medians)).T
    assert spearmanr(reaches, values).statistic < -0.95
    assert values[reaches < 0.6].min() > 0.95 > values[reaches > 0.7].max()
    assert aspect_ratio.relative_error(1, 1.0, 100) == pytest.approx(math.sqrt((math.e - 1) / 100))
    assert aspect_ratio.relative_error(2, 5.0, 10**6) > 10


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_alignment(name: str) -> None:
    """E log sin^2 of docs/theory.md (12.5) grows by a layer as in the table, and in 4000 networks as measured: 4
    standard errors have a false-alarm rate of 6e-5 each. Negative control: tanh networks."""
    n = 32
    own = aspect_ratio.alignment(name, [], n)
    for r in (0.25, 0.5, 1.0, 2.0):
        measured, error, exact, _ = REFERENCE["alignment"][f"{name}_{r}"]
        grown = aspect_ratio.alignment(name, [n] * round(r * n), n) - own
        assert grown == pytest.approx(exact, rel=1e-12)
        assert abs(measured - grown) < 4 * error
        assert abs(REFERENCE["alignment"][f"tanh_{r}"][0] - grown) > 4 * error
    assert own == pytest.approx(aspect_ratio.alignment("linear", [n], n) / 2)


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_effective_rank(name: str) -> None:
    """The ratio of means of docs/theory.md (12.5) is that of the table, at n = 32 and in the limit, which is near at
    n = 4000. Negative control: the mean of the ratio, which lies above it where r is large."""
    for r in (0.125, 0.5, 1.0, 2.0):
        measured, error, exact, limit = REFERENCE["chaos"][f"PR_{name}_32_{r}"]
        _, square, trace = aspect_ratio.jacobian_moments(name, [32] * round(r * 32), 32, CRITICAL[name])
        assert square / trace == pytest.approx(exact, rel=1e-12)
        assert aspect_ratio.effective_rank(name, r) == pytest.approx(limit, rel=1e-12)
        assert r < 0.5 or measured - exact > 3 * error
        wide = aspect_ratio.jacobian_moments(name, [4000] * round(r * 4000), 4000, CRITICAL[name])
        assert wide[1] / wide[2] == pytest.approx(limit, rel=3e-3)
    assert aspect_ratio.jacobian_moments(name, [], 7, 1.0) == (7, 49, 7)


def test_bad_input_is_refused() -> None:
    for call, words in (
        (lambda: aspect_ratio.log_kernel("tanh", [8], 1.0, 1.0), "not scale-invariant"),
        (lambda: aspect_ratio.log_kernel("leaky_relu", [8], 1.0, 1.0), "slopes differ in size"),
        (lambda: aspect_ratio.alignment("linear", [8, 1], 8), "width=1: 2 active"),
        (lambda: aspect_ratio.alignment("linear", [8], 1), "n=1"),
        (lambda: aspect_ratio.breakdown(1.5), "deviation=1.5"),
        (lambda: aspect_ratio.breakdown(0.1, "mean"), "statistic='mean'"),
        (lambda: aspect_ratio.effective_rank("linear", 0.0), "t=0.0"),
        (lambda: aspect_ratio.ntk_at_ratio("linear", 1.0, 1.5), "phi=1.5"),
        (lambda: aspect_ratio.reach(2, 1.0, 1), "networks=1"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
