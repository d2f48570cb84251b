"""Unbiased estimators, their jackknife, the fits and Holm's procedure."""

import itertools

import gvar
import numpy as np
import pytest
from scipy.optimize import curve_fit
from scipy.stats import kstat

from analysis import estimators, fits, models, verdicts
from analysis.models import Series


def test_covariance_is_numpys() -> None:
    x = np.random.default_rng(0).standard_normal((500, 3)) + 5
    got = estimators.covariance(x, [(0, 0), (0, 2), (1, 2)])
    want = np.cov(x.T)
    np.testing.assert_allclose(got.value, [want[0, 0], want[0, 2], want[1, 2]], rtol=1e-12)


def test_estimates_among_networks() -> None:
    """They are those of the networks that are kept, and a replicate leaves out a block of all. Too few are refused."""
    x, kept = np.random.default_rng(5).standard_normal((2560, 2)), np.arange(2560) % 3 > 0
    of_both = np.stack([kept, kept | (np.arange(2560) % 2 > 0)], axis=1)
    pairs, rest = [(0, 0), (0, 1)], np.arange(2560) // 10 != 7
    for among, plain in (
        (estimators.mean_among, estimators.mean),
        (lambda k, x: estimators.covariance_among(k, x, pairs), lambda x: estimators.covariance(x, pairs)),
    ):
        found = among(of_both, np.where(kept[:, None], x, np.nan))
        np.testing.assert_allclose(found.value, plain(x[kept]).value, rtol=1e-12)
        np.testing.assert_allclose(found.replicates[7], plain(x[kept & rest]).value, rtol=1e-12)
        assert found.networks == kept.sum() < 2560
        with pytest.raises(ValueError, match="31 networks: at least 32"):
            among(np.arange(2560)[:, None] < 31, x)


def test_replicates_leave_out_whole_blocks() -> None:
    """A replicate of docs/theory.md (7.8) is the estimate without one block of networks."""
    x = np.random.default_rng(1).standard_normal((512 + 100, 2))
    edges = np.linspace(0, len(x), estimators.BLOCKS + 1).astype(int)
    rest = np.delete(x, range(edges[7], edges[8]), axis=0)
    cov = estimators.covariance(x, [(0, 1)]).replicates[7, 0]
    assert cov == pytest.approx(np.cov(rest.T)[0, 1], rel=1e-12)
    assert estimators.mean(x).replicates[7] == pytest.approx(rest.mean(axis=0), rel=1e-12)
    assert estimators.fourth_cumulant(x).replicates[7, 0] == pytest.approx(kstat(rest[:, 0], 4), rel=1e-8)


def test_fourth_cumulant_is_the_k_statistic() -> None:
    """The fourth cumulant of docs/theory.md (7.2), unbiased."""
    x = np.random.default_rng(2).exponential(size=(200, 1)) + 3
    assert estimators.fourth_cumulant(x).value[0] == pytest.approx(kstat(x[:, 0], 4), rel=1e-9)


def test_third_cumulant_is_the_k_statistic() -> None:
    """The third cumulant of docs/theory.md (6.6), unbiased, by networks."""
    x = np.random.default_rng(6).exponential(size=(300, 1)) + 3
    got = estimators.third_cumulant(x)
    assert got.value[0] == pytest.approx(kstat(x[:, 0], 3), rel=1e-9)
    edges = np.linspace(0, 300, estimators.BLOCKS + 1).astype(int)
    rest = np.delete(x[:, 0], range(edges[3], edges[4]))
    assert got.replicates[3, 0] == pytest.approx(kstat(rest, 3), rel=1e-8)


def test_connected_is_unbiased_by_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate of docs/theory.md (7.7) is unbiased: its mean over all samples of three networks from a population
    of four is the population's value."""
    monkeypatch.setattr(estimators, "FEWEST", 2)
    x = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0], [2.0, 2.0]])
    products = np.array([[2.0], [1.0], [0.0], [5.0]])
    draws = itertools.product(range(4), repeat=3)
    values = [estimators.connected(products[list(d)], x[list(d)], [(0, 1)]).value[0] for d in draws]
    truth = products.mean() - x[:, 0].mean() * x[:, 1].mean()
    assert np.mean(values) == pytest.approx(truth, rel=1e-12)
    naive = [
        products[list(d)].mean() - x[list(d), 0].mean() * x[list(d), 1].mean()
        for d in itertools.product(range(4), repeat=3)
    ]
    assert abs(np.mean(naive) - truth) > 0.01, "the plug-in estimate is biased, or this test shows nothing"


def test_distinct_neurons() -> None:
    """The mean over i != j of docs/theory.md (7.1), pair by pair."""
    z = np.random.default_rng(3).standard_normal((6, 4))
    a, b, c, d = z.T
    brute = np.mean([a[i] * b[i] * c[j] * d[j] for i in range(6) for j in range(6) if i != j])
    means = [np.array([v]) for v in (np.mean(a * b), np.mean(c * d), np.mean(a * b * c * d))]
    assert estimators.distinct_neurons(*means, 6)[0] == pytest.approx(brute, rel=1e-12)
    with pytest.raises(ValueError, match="distinct neurons"):
        estimators.distinct_neurons(*means, 1)


def test_jackknife_error_of_a_mean() -> None:
    """The jackknife of docs/theory.md (7.8) of a mean over equal blocks is the spread of block means over sqrt(B)."""
    x = np.random.default_rng(4).standard_normal((estimators.BLOCKS * 10, 1))
    blocks = x.reshape(estimators.BLOCKS, 10).mean(axis=1)
    want = blocks.std(ddof=1) / np.sqrt(estimators.BLOCKS)
    assert estimators.mean(x).error[0] == pytest.approx(want, rel=1e-9)


def test_joined_estimates_keep_their_covariance() -> None:
    """Replicates of docs/theory.md (7.8) from the same networks correlate as the estimates do."""
    x = np.random.default_rng(5).standard_normal((5120, 1))
    joint = estimators.join([estimators.mean(x), estimators.mean(-2 * x)])
    correlation = joint.covariance[0, 1] / np.sqrt(joint.covariance[0, 0] * joint.covariance[1, 1])
    assert correlation == pytest.approx(-1.0)


def test_too_few_networks_give_no_error_bar() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        estimators.mean(np.zeros((10, 1)))


def series(value: np.ndarray, error: np.ndarray, model: str = "powers", prediction: float = 1.0) -> Series:
    n = np.array([32.0, 64, 128, 256, 512])
    return Series(
        "V", "V", 4, 0, "00,00", model, n, np.full(5, 4.0), value, np.diag(error**2), prediction, 1.0, 0.1, 255
    )


def test_fit_recovers_an_exact_series() -> None:
    r = 4 / np.array([32.0, 64, 128, 256, 512])
    fit = fits.fit(series(1 + 0.7 * r - 1.1 * r**2, np.full(5, 1e-8)), 3.0)
    assert fit.coefficient == pytest.approx(1, abs=1e-6)
    assert "chi2/dof" in fit.line()


def test_fit_against_scipy() -> None:
    """curve_fit with the priors as further data and absolute_sigma gives the same coefficient and error."""
    r = 4 / np.array([32.0, 64, 128, 256, 512])
    y, e = 1 + 0.5 * r + 0.01 * np.array([1, -1, 0.5, 0.2, -0.4]), np.full(5, 0.01)
    fit = fits.fit(series(y, e), 3.0)

    def model(_: np.ndarray, c: float, a1: float, a2: float, a3: float) -> np.ndarray:
        return np.concatenate([c + a1 * r + a2 * r**2 + a3 * r**3, [c, a1, a2, a3]])

    sigma = np.concatenate([e, [models.FLAT, 3.0, 9.0, 27.0]])
    p, cov = curve_fit(model, np.zeros(9), np.concatenate([y, np.zeros(4)]), np.zeros(4), sigma, True)
    assert fit.coefficient == pytest.approx(p[0], abs=1e-6)
    assert fit.error == pytest.approx(np.sqrt(cov[0, 0]), rel=1e-4)


def test_exponent_fit() -> None:
    n = np.array([32.0, 64, 128, 256, 512])
    fit = fits.fit(series(np.log(3 * n**-0.5 * (1 + 2 / n)), np.full(5, 1e-6), "exponent"), 3.0)
    assert fit.coefficient == pytest.approx(0.5, abs=1e-3)


def test_three_widths_are_too_few() -> None:
    s = series(np.ones(5), np.ones(5))
    short = Series(
        **(s.__dict__ | {"n": s.n[:3], "l": s.l[:3], "value": s.value[:3], "covariance": s.covariance[:3, :3]})
    )
    with pytest.raises(ValueError, match="at least 4"):
        fits.fit(short, 3.0)


def test_holm() -> None:
    """0.01 is rejected at 0.05/4 and 0.013 at 0.05/3; 0.04 is not at 0.05/2, and so neither is the rest."""
    assert verdicts.holm(np.array([0.04, 0.01, 0.045, 0.013]), 0.05).tolist() == [False, True, False, True]
    assert not verdicts.holm(np.array([0.04, 0.05]), 0.05).any()


def test_verdict_words() -> None:
    precise = fits.fit(series(np.ones(5), np.full(5, 0.001)), 3.0)
    blind = fits.fit(series(np.ones(5), np.full(5, 0.5)), 3.0)
    wrong = fits.fit(series(np.full(5, 1.2), np.full(5, 0.001)), 3.0)

    def word(fit: fits.Fit, diverged: float = 0.0) -> str:
        judged = verdicts.judge([fit], 0.01, 0.95)
        return verdicts.verdict("c", "s", judged, 100, diverged, 0.01).verdict

    assert word(precise) == "agrees"
    assert word(blind) == "underpowered"
    assert word(wrong) == "disagrees"
    assert word(precise, diverged=0.02) == "underpowered"
    assert verdicts.verdict("c", "s", [], 0, 0.0, 0.01).verdict == "not tested"


def test_gvar_means_absolute_errors() -> None:
    """The fit uses the given errors as they are: a perfect fit does not shrink them."""
    fit = fits.fit(series(np.ones(5), np.full(5, 0.01)), 1e-3)
    assert fit.error == pytest.approx(0.01 / np.sqrt(5), rel=1e-3)
    assert gvar.gvar(fit.coefficient, fit.error).mean == pytest.approx(1)
