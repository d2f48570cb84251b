"""The detector of estimates that a few networks carry, and the series and verdicts that do without them."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import eval_sh_legendre
from scipy.stats import chi2, norm

from analysis import estimators, fits, tails, verdicts
from analysis.models import Series
from analysis.series import NotTested, without_tails

WIDTHS = np.array([16.0, 32, 64, 128, 256, 512])


def normal(M: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((M, 2))


def ratios(quantile: Callable[[float], float]) -> tuple[float, float]:
    """L-skewness and L-kurtosis by integrals over the quantile."""

    def moment(k: int) -> float:
        return quad(lambda u: quantile(u) * eval_sh_legendre(k, u), 0, 1, limit=400)[0]

    return moment(2) / moment(1), moment(3) / moment(1)


def test_the_constants_are_those_of_normal_numbers() -> None:
    """t, 2 sqrt(3) - 3 and 0.2265 of docs/theory.md (7.16) are ratios of L-moments of a normal number and its square,
    and the variances of the ratios are those of 256 normal numbers, to 10 % in 4,000 draws (four standard errors)."""
    np.testing.assert_allclose(ratios(norm.ppf), (0, tails.NORMAL), atol=1e-9)
    np.testing.assert_allclose(ratios(lambda u: chi2.ppf(u, 1)), tails.SQUARE, rtol=1e-5)
    got = np.array(tails.shape(np.random.default_rng(1).standard_normal((256, 4000))))
    np.testing.assert_allclose(256 * got.var(axis=1), tails.NOISE, rtol=0.1)


def test_shape_is_that_of_the_pseudo_values() -> None:
    """Ratios of L-moments as in docs/theory.md (7.16): by scipy's integral over the quantile, and for eight numbers by
    their definition as means over all subsets of two, three and four."""
    u = (np.arange(100_000) + 0.5) / 100_000
    got = tails.shape(-np.stack([u**4, -(u**4)], axis=1))
    skew, kurtosis = ratios(lambda v: v**4)
    np.testing.assert_allclose(got, [[skew, -skew], [kurtosis, kurtosis]], rtol=1e-3)
    x = np.random.default_rng(2).exponential(size=(8, 1))
    by_subsets = []
    for signs in ((1, -1), (1, -2, 1), (1, -3, 3, -1)):
        subsets = np.sort([list(c) for c in itertools.combinations(x[:, 0], len(signs))], axis=1)
        by_subsets.append((subsets[:, ::-1] @ np.array(signs)).mean() / len(signs))
    l2, l3, l4 = by_subsets
    np.testing.assert_allclose(np.ravel(tails.shape(-x)), (l3 / l2, l4 / l2), rtol=1e-12)


@pytest.mark.parametrize("M", [32, 40, 100, 300, 1000, 10_000])
def test_normal_data_are_not_flagged(M: int) -> None:
    """The control: means and variances of normal numbers, and their cumulants where networks are many."""
    x = normal(M)
    assert not estimators.mean(x).tail_dominated.any()
    assert not estimators.covariance(x, [(0, 0), (0, 1)]).tail_dominated.any()
    if M >= 1000:
        assert not estimators.third_cumulant(x).tail_dominated.any(), "its tails are heavy and even"


@pytest.mark.parametrize("M", [32, 40, 300, 10_000])
@pytest.mark.parametrize("sign", [-1, 1])
def test_one_network_that_outweighs_all_is_flagged(M: int, sign: int) -> None:
    x = normal(M)
    x[M // 2, 1] = sign * 30 * np.sqrt(M)
    assert estimators.mean(x).tail_dominated.tolist() == [False, True]
    assert estimators.covariance(x, [(0, 0), (1, 1)]).tail_dominated[1]


def test_a_tail_is_seen_in_a_sample_that_missed_it() -> None:
    """The bulk tells: without its largest networks the sample of a heavy law has no network that outweighs the others,
    and still is flagged by its skew."""
    x = np.sort(np.exp(1.5 * normal(20_000)), axis=0)[:-400]
    estimate = estimators.covariance(np.random.default_rng(3).permutation(x)[:1000], [(0, 0), (1, 1)])
    d = estimate.replicates.mean(axis=0) - estimate.replicates
    assert ((d**2).max(axis=0) < 0.15 * (d**2).sum(axis=0)).all(), "no block holds much of the variance"
    assert estimate.tail_dominated.all()


def test_numbers_without_sampling_error_are_not_flagged() -> None:
    """Replicates that are the same, or differ by rounding alone; the same pattern above rounding is flagged."""
    pattern = np.zeros((256, 1))
    pattern[7] = 1.0
    for size, flagged in ((0.0, False), (1e-15, False), (1e-9, True)):
        assert tails.dominated(0.7 + size * pattern).tolist() == [flagged]
    assert tails.dominated(np.full((256, 2), np.nan)).tolist() == [False, False]
    assert tails.dominated(np.where(pattern > 0, np.inf, 1.0)).tolist() == [False], "a fit refuses what is not finite"


def test_a_flag_has_no_units() -> None:
    x = np.exp(1.5 * normal(2000))
    estimate = estimators.covariance(x, [(0, 0), (0, 1)])
    for factor in (-1.0, 1e-200, 1e150):
        assert (estimate.scaled(factor).tail_dominated == estimate.tail_dominated).all()
        shape = np.abs(tails.shape(estimate.scaled(factor).replicates))
        np.testing.assert_allclose(shape, np.abs(tails.shape(estimate.replicates)), rtol=1e-9)


def made(model: str = "powers", layers: tuple[int, ...] = (4,)) -> Series:
    n, l = (grid.reshape(-1) for grid in np.meshgrid(WIDTHS, np.array(layers, dtype=float), indexing="ij"))
    value = 1 + 0.5 * l / n
    layer = layers[0] if len(layers) == 1 else None
    return Series("V", "V", layer, 0, "00,00", model, n, l, value, np.diag(np.full(len(n), 1e-6)), 1.0, 1.0, 0.1, 255)


def at(series: Series, *places: tuple[int, int]) -> np.ndarray:
    return np.array([(n, l) in places for n, l in zip(series.n, series.l, strict=True)])


def left(series: Series) -> list[tuple[float, float]]:
    return list(zip(series.n.tolist(), series.l.tolist(), strict=True))


def test_a_width_and_the_narrower_ones_are_left_out() -> None:
    whole, networks = made(), np.full(6, 1000.0)
    got = without_tails(whole, at(whole), networks)
    assert isinstance(got, Series)
    assert left(got) == left(whole), "the control: nothing is flagged"
    assert (got.covariance == whole.covariance).all()
    got = without_tails(whole, at(whole, (32, 4)), networks)
    assert isinstance(got, Series)
    assert got.n.tolist() == [64, 128, 256, 512]
    assert got.left_out.tolist() == [[16, 4, whole.value[0]], [32, 4, whole.value[1]]]
    assert got.without == "n=16, n=32"
    assert got.covariance.shape == (4, 4)
    assert whole.without == ""


def test_a_size_that_does_not_matter_stays_with_itself_as_its_error() -> None:
    """Residuals of trained samples have heavy tails and are a thousand times smaller than what a claim asks to see."""
    residual = replace(made(), value=1e-4 / made().n, covariance=np.eye(6) * 1e-14, prediction=0.0)
    got = without_tails(residual, at(residual, (16, 4), (512, 4)), np.full(6, 1000.0))
    assert isinstance(got, Series)
    assert left(got) == left(residual)
    error = np.sqrt(got.covariance.diagonal())
    assert error[[0, 5]] == pytest.approx(np.hypot(residual.value[[0, 5]] + 1e-7, 1e-7))
    assert (error[1:5] == 1e-7).all()
    large = replace(residual, value=residual.value * 1e6)
    assert isinstance(without_tails(large, at(residual, (512, 4)), np.full(6, 1000.0)), NotTested), "the control"


def test_a_width_with_more_networks_stays() -> None:
    """The narrowest width has a hundred times as many networks as the flagged one."""
    whole = made()
    got = without_tails(whole, at(whole, (32, 4)), np.array([100_000.0, *[1000.0] * 5]))
    assert isinstance(got, Series)
    assert got.n.tolist() == [16, 64, 128, 256, 512]


def test_deeper_layers_are_left_out_where_a_layer_is() -> None:
    whole = made("asymptote", (4, 8, 16))
    got = without_tails(whole, at(whole, (32, 8), (16, 4)), np.full(18, 1000.0))
    assert isinstance(got, Series)
    assert left(got)[:2] == [(32, 4), (64, 4)]
    assert got.without == "n=16 from l=4 on, n=32 from l=8 on"
    assert len(got.left_out) + len(got.n) == 18


def test_too_few_widths_are_not_tested() -> None:
    whole = made()
    got = without_tails(whole, at(whole, (64, 4)), np.full(6, 1000.0))
    assert isinstance(got, NotTested)
    assert got.name == whole.name
    assert got.reason.startswith("tail-dominated: a few of 1,000 networks carry the estimates at n=16, n=32, n=64")
    for right in ("3 of the 4 widths", "ensemble.networks", "network.width"):
        assert right in got.reason
    constant = without_tails(made("constant"), at(whole, (64, 4)), np.full(6, 1000.0))
    assert isinstance(constant, Series), "a statement that is exact at every width needs one"


def word(*entries: Series | NotTested) -> verdicts.Verdict:
    found = [fits.fit(entry, 3.0) for entry in entries if isinstance(entry, Series)]
    refused = [entry for entry in entries if isinstance(entry, NotTested)]
    return verdicts.verdict("c", "s", verdicts.judge(found, 0.01, 0.95), 1000, 0.0, 0.01, refused)


def test_tails_are_never_a_disagreement() -> None:
    """An estimate that is far off with a small error gives "disagrees"; not if it is tail-dominated."""
    whole, networks = made(), np.full(6, 1000.0)
    low = replace(whole, value=whole.value - np.where(whole.n < 50, 0.5, 0.0))
    assert word(low).verdict == "disagrees"
    without = word(without_tails(low, at(low, (32, 4)), networks))
    assert without.verdict == "agrees"
    assert without.reason.endswith("; tail-dominated estimates are left out of 1 of 1 series")
    assert verdicts.without_tails(without.judged) == (
        "tail-dominated estimates are left out: n=16, n=32 (1 of 1 series)"
    )
    all_of_it = word(without_tails(low, at(low, (512, 4)), networks))
    assert all_of_it.verdict == "not tested"
    assert "tail-dominated" in all_of_it.reason
    assert word(whole, without_tails(low, at(low, (512, 4)), networks)).verdict == "underpowered"
    assert word(whole).reason == "all 1 series; largest pull +0.00"
    assert verdicts.without_tails(word(whole).judged) == ""
