"""Each model of scaling finds the coefficient of data that follow its law, and rejects a wrong one."""

from dataclasses import replace

import numpy as np
import pytest

from analysis import fits, verdicts
from analysis.models import MODELS, Series

WIDTHS, LAYERS = np.array([64.0, 96, 128, 256, 512]), np.array([4.0, 6, 8, 12, 16, 24])
ERROR = 2e-3


def made(model: str, c: float, drift: float = 0.0) -> Series:
    """A noiseless series with coefficient c and with corrections that no model has as parameters.

    drift: the coefficient of a correction that grows as l^2/n."""
    n, l = (grid.reshape(-1) for grid in np.meshgrid(WIDTHS, LAYERS, indexing="ij"))
    if model == "fixed_ratio":
        n, l = WIDTHS, WIDTHS / 8
    wide = np.expm1(0.8 * l / n) + 0.5 / n + drift * l**2 / n
    value = {
        "powers": c * (1 + wide),
        "half_powers": c * (1 + wide + 0.6 * np.sqrt(l / n)),
        "constant": np.full(len(n), c),
        "one_constant": np.full(len(n), c),
        "exponent": -c * np.log(n) + wide,
        "network_exponent": -c * np.log(n) + 0.6 * np.sqrt(l / n) + wide,
        "collapse": c * (1 + wide),
        "fixed_ratio": c * (1 + 0.7 * np.log(l + 1) / l),
        "asymptote": c * (1 + 0.7 * np.log(l + 1) / l + wide),
        "power_law": -c * np.log(l + 0.3) + 0.4 + wide,
        "exponential": -c * l + np.log1p(0.5 * np.exp(-c * (l - 4))) + wide,
    }[model]
    if not MODELS[model].joint and model != "fixed_ratio":
        chosen = l == 8
        n, l, value = n[chosen], l[chosen], value[chosen]
    return Series(
        "V", "V", None, None, "00", model, n, l, value, np.diag(np.full(len(n), ERROR**2)), c, max(c, 1.0), 0.1, 255
    )


@pytest.mark.parametrize("c", [0.3, 1.0])
@pytest.mark.parametrize("model", [m.name for m in MODELS.values() if m.build])
def test_models_find_their_coefficient(model: str, c: float) -> None:
    series = made(model, c)
    fit = fits.fit(series, 3.0)
    assert abs(fit.pull) < 1, "noiseless data: the fit's bias lies within its error"
    assert fit.Q > 0.01
    assert fit.error < 0.5 * series.scale, "the error is small enough to test the coefficient"


@pytest.mark.parametrize("model", ["asymptote", "power_law", "exponential"])
def test_a_drift_with_depth_does_no_harm(model: str) -> None:
    """Corrections of order l^2/n, as where kernels drift near the K* of half-stable activations, are absorbed."""
    fit = fits.fit(made(model, 1.0, drift=0.03), 3.0)
    assert abs(fit.pull) < 1
    assert fit.Q > 0.01


@pytest.mark.parametrize("model", [m.name for m in MODELS.values() if m.joint])
def test_models_reject_a_wrong_coefficient(model: str) -> None:
    """Negative control: a claimed coefficient that is ten errors away is rejected."""
    fit = fits.fit(made(model, 1.0), 3.0)
    assert abs(fit.coefficient - (1 + 10 * fit.error)) / fit.error > 4


def test_what_is_left_of_parts_has_their_next_orders() -> None:
    """A coefficient of 0.1 that is left of parts of size 5 is found with the size of the parts. Negative control: with
    next orders of its own size the fit is rejected."""
    left = made("powers", 1.0)
    left = replace(left, value=left.value - 0.9 + 4 * 8 / left.n, prediction=0.1, scale=0.1)
    sized = fits.fit(replace(left, size=5.0), 3.0)
    assert abs(sized.pull) < 1
    assert sized.Q > 0.01
    assert sized.error < 0.5 * left.scale
    assert fits.fit(left, 3.0).Q < 1e-3


def test_a_statement_that_is_exact_needs_no_expansion() -> None:
    """Negative control: a constant is a bad fit of a correction in 1/n. One width is enough for a constant."""
    series = made("powers", 1.0)
    assert fits.fit(series, 3.0).Q > 0.01
    assert fits.fit(replace(series, model="constant"), 3.0).Q < 1e-6
    one = {name: getattr(series, name)[:1] for name in ("n", "l", "value")}
    alone = fits.fit(replace(series, model="constant", covariance=series.covariance[:1, :1], **one), 3.0)
    assert alone.coefficient == pytest.approx(one["value"][0])
    assert alone.error == pytest.approx(ERROR)


def test_a_statistic_of_networks_needs_half_integer_powers() -> None:
    """Exponents have two models, since one with whole powers alone errs where corrections fall as (l/n)^(1/2)."""
    series = made("network_exponent", 1.0)
    series = replace(series, covariance=series.covariance / 100)
    assert abs(fits.fit(series, 3.0).pull) < 1
    assert abs(fits.fit(replace(series, model="exponent"), 3.0).pull) > 4


def test_what_is_exact_is_judged_by_its_tolerance() -> None:
    series = replace(made("powers", 1.0), model="tolerance", value=np.array([1e-12, 3e-11]), prediction=0.0, scale=1.0)
    fit = fits.fit(replace(series, precision=1e-9), 3.0)
    assert fit.coefficient == 3e-11
    assert abs(fit.pull) < 1
    assert fits.fit(replace(series, precision=1e-11), 3.0).pull > 4
    exact = replace(series, n=WIDTHS[:2], l=LAYERS[:2], covariance=np.zeros((2, 2)))
    assert fits.fit(exact, 3.0).residual_pulls.tolist() == [0, 0], "what has no error has no pull"


def test_three_widths_are_refused() -> None:
    series = made("asymptote", 1.0)
    narrow = series.n < 100
    few = replace(
        series, n=series.n[narrow], l=series.l[narrow], value=series.value[narrow], covariance=np.eye(int(narrow.sum()))
    )
    with pytest.raises(ValueError, match="at least 4"):
        fits.fit(few, 3.0)


def in_units(series: Series, factor: float) -> Series:
    """The same series measured in other units: values, or their logarithms, as a unit of 1 / factor gives them."""
    if MODELS[series.model].logarithmic:
        return replace(series, value=series.value + np.log(factor))
    return replace(
        series,
        value=factor * series.value,
        covariance=factor * (factor * series.covariance),
        prediction=factor * series.prediction,
        scale=factor * series.scale,
    )


@pytest.mark.parametrize("power", [-200, -100, -40, -10, 1, 10, 47, 53, 100, 200])
@pytest.mark.parametrize("model", [m.name for m in MODELS.values() if m.build])
def test_a_fit_has_no_units(model: str, power: int) -> None:
    """Pull, Q and relative error are the same in all units; so they are where the prediction is wrong."""
    for wrong in (1.0, 1.1):
        series = made(model, 1.0)
        series = replace(series, prediction=wrong) if model != "exponential" else series
        here, there = fits.fit(series, 3.0), fits.fit(in_units(series, 2.0**power), 3.0)
        assert there.pull == pytest.approx(here.pull, rel=1e-6, abs=1e-6)
        assert pytest.approx(here.Q, rel=1e-6) == there.Q
        assert there.error / there.series.scale == pytest.approx(here.error / here.series.scale, rel=1e-6)


def test_the_curve_is_in_the_units_of_the_data() -> None:
    for model in ("powers", "exponent"):
        series = in_units(made(model, 1.0), 2.0**60)
        assert np.abs(fits.fit(series, 3.0).residual_pulls).max() < 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": np.array([1.0, np.nan, 1.0, 1.0, 1.0])}, "not a finite number"),
        ({"scale": 0.0}, "no finite scale"),
        ({"prediction": np.inf}, "no finite scale"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fits.fit(replace(made("powers", 1.0), **change), 3.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("spread", [0.0, 1e-15])
def test_an_estimate_that_is_exact_is_judged(spread: float) -> None:
    """B of linear networks at layer 3 is 5/4 + 3 / (8 n), in every network. A prediction that is off by the deviation
    that the claim asks to see is rejected."""
    n = WIDTHS
    exact = Series("B", "B", 3, None, "00", "powers", n, np.full(5, 3.0), 1.25 + 0.375 / n,
                   np.diag(np.full(5, spread**2)), 1.25, 1.25, 0.01, 255)  # fmt: skip
    right, wrong = (fits.fit(replace(exact, prediction=c), 3.0) for c in (1.25, 1.25 * 1.01))
    assert abs(right.pull) < 0.01
    assert right.Q > 0.9
    assert abs(wrong.pull) > 50
    assert right.error < 1e-4


def test_a_fit_that_stays_where_it_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The iteration is cut off after no step: its coefficient is that of the prior, and is not reported."""
    monkeypatch.setitem(fits.lsqfit.nonlinear_fit.DEFAULTS, "maxit", 1)
    with pytest.raises(ValueError, match="did not reach its optimum"):
        fits.fit(made("exponential", 1.0), 3.0)


def test_a_slow_expansion_is_named() -> None:
    """0.664 / (1 + 48/n) disagrees with its own coefficient where a fit expects 9/n of higher orders, and the reason
    says that twice the prior changes that. A coefficient that is 30 % off at a fast expansion says nothing of it."""
    n = np.array([48.0, 64, 96, 128, 192])
    for share, prediction, slow in ((48.0, 0.664, True), (1.0, 0.664 * 1.3, False)):
        value = 0.664 / (1 + share / n)
        series = Series("z", "n dz", 3, 40, "0,6", "powers", n, np.full(5, 3.0), value, np.diag(np.full(5, 0.012**2)),
                        prediction, 0.664, 0.15, 255)  # fmt: skip
        at, wider = (verdicts.judge([fits.fit(series, w)], 0.01, 0.95) for w in (3.0, 6.0))
        verdict = verdicts.verdict("teacher", "", at, 5, 0.0, 0.01, (), wider)
        assert verdict.verdict == "disagrees"
        assert ("with twice the prior width of higher orders 0" in verdict.reason) == slow


def test_a_coefficient_without_a_prediction_is_measured() -> None:
    """The scaling in 1/n is judged, and the coefficient is not. Negative control: values that grow as n^(1/2)."""
    right = replace(made("powers", 0.7), prediction=np.nan)
    wrong = replace(right, value=right.value * np.sqrt(right.n / 64))
    good, bad = (verdicts.judge([fits.fit(s, 3.0)], 0.01, 0.95)[0] for s in (right, wrong))
    assert abs(good.fit.coefficient - 0.7) < good.fit.error
    assert (good.verdict, good.fit.pull) == (verdicts.AGREES, 0.0)
    assert good.fit.line().endswith(" measured")
    assert bad.verdict == verdicts.DISAGREES
