"""What a test has found, in a sentence: the numbers of known series, and the words of each verdict."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from analysis import answers, fits, remedy, verdicts
from analysis.models import MODELS, Series
from analysis.series import NotTested
from analysis.verdicts import Judged

WIDTHS = np.array([64.0, 128, 256, 512])


def series(off: float = 0.0, error: float = 1e-3, precision: float = 0.03, **changes: object) -> Series:
    """A constant of value 2/3 + off whose prediction is 2/3, with 1,000 networks a width."""
    made = Series(
        "no_such_test", "V", 4, 0, "00,00", "constant", WIDTHS, np.full(4, 4.0), np.full(4, 2 / 3 + off),
        np.diag(np.full(4, error**2)), 2 / 3, 2 / 3, precision, 255, networks=np.full(4, 1000.0),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def answer(*made: Series) -> tuple[str, list[Judged]]:
    judged = verdicts.judge([fits.fit(s, 3.0) for s in made], 0.01, 0.95)
    verdict = verdicts.verdict("claim", "", judged, 4000, 0.0, 0.01)
    remedies = remedy.remedies(verdict, [], 3.0)
    (sentence,) = answers.answers(verdict, remedies, 0.01).values()
    return sentence, judged


def test_a_test_that_agrees_says_how_well() -> None:
    """The bound is that of the interval at the level of the series: t times the error of four values, and the pull."""
    sentence, (judged,) = answer(series(off=5e-4))
    error = 1e-3 / 2 / (2 / 3)
    assert judged.bound == pytest.approx(7.5e-4 + student.isf(0.01 / 4, 255) * error, rel=1e-4)
    assert judged.visible == pytest.approx((student.isf(0.01 / 4, 255) + 1.644854) * error, rel=1e-4)
    assert sentence == (
        "V l=4 [00,00] is 0.66717(50) at every width (theory 2/3); differs from theory by less than "
        f"{100 * judged.bound:.3g} % (99 % confidence)"
    )


def test_the_series_with_the_largest_bound_speaks_for_all() -> None:
    sentence, judged = answer(series(), series(samples="11,11", error=2e-3))
    assert sentence.startswith("V l=4 [11,11] is 0.6667(10)")
    assert "this and all others of 2 series differ from theory by less than" in sentence
    assert judged[1].bound > judged[0].bound


def test_an_underpowered_test_says_what_it_takes() -> None:
    sentence, (judged,) = answer(series(precision=0.001))
    assert "and 0.1 % is asked; " in sentence
    (networks,) = re.findall(r"([\d,]+) networks a width would see 0.1 %", sentence)
    assert 1 <= float(networks.replace(",", "")) / (1000 * (judged.visible / 0.001) ** 2) <= 1.1, "rounded up"


def test_a_test_that_disagrees_says_by_how_much() -> None:
    sentence, (judged,) = answer(series(off=-0.0667))
    assert "(theory 2/3); off by -10 %, 133 standard errors (p = " in sentence
    assert "differs from theory by less" not in sentence
    assert judged.verdict == "disagrees"


def test_a_test_whose_fit_fails_says_so() -> None:
    bent = series(value=2 / 3 + np.array([0.01, -0.01, 0.01, -0.01]))
    sentence, _ = answer(bent, series())
    assert sentence.startswith("V l=4 [00,00]: the values do not follow the fit, chi2/dof = 1e+02 [4], Q = ")
    assert "1 of 2 series disagree" in sentence


def test_a_tolerance_is_named() -> None:
    sentence, _ = answer(series(model="tolerance", value=np.full(4, 1e-5), prediction=0.0, scale=1.0, precision=1e-3))
    assert sentence == "V l=4 [00,00] is at most 1e-05, where 0.001 is allowed"


@pytest.mark.parametrize(
    ("number", "words"),
    [(2 / 3, "2/3"), (-4 / 3, "-4/3"), (1.0, "1"), (0.0, "0"), (0.66667, "0.66667"), (1 / 13, "0.076923")],
)
def test_predictions_are_fractions_only_where_they_are_exact(number: float, words: str) -> None:
    assert answers.in_short(number) == words


def test_what_could_not_be_tested_is_said_once_for_each_reason() -> None:
    """With the name of a test once, where those of its series begin with it."""
    entries = [
        NotTested("V", "V [00]", "why"), NotTested("V", "V [11]", "why"), NotTested("G1", "", "else"),
        NotTested("V_collapse", "V / theory", "else"),
    ]  # fmt: skip
    together = [("V [00], V [11]", "why"), ("G1", "else"), ("V_collapse V / theory", "else")]
    assert answers.not_tested(entries) == together


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_each_model_has_words_for_its_coefficient(model: object) -> None:
    says: Sequence[str] = model.says.format(name="NAME", value="VALUE", asked="ASKED")  # type: ignore[attr-defined]
    assert "NAME" in says
    assert "VALUE" in says


def test_the_report_of_a_fit_adds_up() -> None:
    """Its error budget has the error of c as its total, in the units of the fit. An exact statement has no report."""
    fit = fits.fit(series(model="powers"), 3.0)
    unit = float(re.findall(r"In units of ([\d.]+)", fit.report())[0])
    parts = dict(re.findall(r"^ +(\w+): +([\d.e-]+)$", fit.report(), re.MULTILINE))
    total = float(parts.pop("total"))
    assert set(parts) == {"data", "c", "a1", "a2", "a3"}
    assert total == pytest.approx(fit.error / unit, rel=0.05)
    assert total == pytest.approx(sum(float(part) ** 2 for part in parts.values()) ** 0.5, rel=0.05)
    assert fits.fit(series(model="tolerance"), 3.0).report() == ""


def test_a_measured_coefficient_is_named_beside_predicted_ones() -> None:
    """Where theory has no number there is none to differ from."""
    sentence, _ = answer(series(), series(samples="11,11", error=2e-3, prediction=np.nan))
    assert sentence.startswith("V l=4 [00,00] is 0.66667(50) at every width (theory 2/3); differs from theory by less")
    assert sentence.endswith("; V l=4 [11,11] is 0.6667(10) at every width (measured, theory has no number)")
    sentence, _ = answer(series(prediction=np.nan))
    assert sentence == "V l=4 [00,00] is 0.66667(50) at every width (measured, theory has no number)"
