"""What each test of a claim has found, in a sentence: number, unit, theory, and what to do where it could not be told.

All quantities are dimensionless, and deviations are relative to the natural size of the quantity, in percent.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import gvar

from analysis import claims, verdicts
from analysis.models import MODELS
from analysis.remedy import Remedy, percent
from analysis.series import NotTested
from analysis.verdicts import Judged, Verdict

LARGEST_DENOMINATOR = 12  # of a prediction that is written as a fraction


def answers(verdict: Verdict, remedies: Mapping[str, Remedy], alpha: float) -> dict[str, str]:
    """The sentence of each test of a claim that was judged, by name.

    remedies: what tests need, as `analysis.remedy.remedies` gives it. alpha: the family-wise false-alarm rate of the
    analysis; bounds hold for all of its series at once with confidence 1 - alpha.
    """
    tests = dict.fromkeys(judged.fit.series.test for judged in verdict.judged)
    return {test: _answer(verdict.of_test(test), remedies.get(test), alpha) for test in tests}


def _answer(judged: Sequence[Judged], remedy: Remedy | None, alpha: float) -> str:
    """What its predicted series have told, and the coefficients that were measured because theory has none."""
    known = [e for e in judged if e.fit.series.predicted or e.verdict != verdicts.AGREES]
    measured = [found(e) for e in judged if not e.fit.series.predicted and e.verdict == verdicts.AGREES]
    return "; ".join([_verdict(known, remedy, alpha), *measured] if known else measured)


def _verdict(judged: Sequence[Judged], remedy: Remedy | None, alpha: float) -> str:
    word = verdicts.worst(judged)
    alike = [entry for entry in judged if entry.verdict == word]
    if word == verdicts.DISAGREES:
        return _disagrees(min(alike, key=lambda entry: min(entry.p_pull, entry.p_fit)), len(alike), len(judged))
    if word == verdicts.UNDERPOWERED:
        least = max(alike, key=lambda entry: entry.visible / entry.fit.series.precision)
        asked = percent(least.fit.series.precision)
        seen = f"deviations below {percent(least.visible)} would not be seen, and {asked} is asked"
        return f"{found(least)}; {seen}" + (f"; {remedy.text}" if remedy else "")
    widest = max(alike, key=lambda entry: entry.bound)
    if MODELS[widest.fit.series.model].build is None:
        return found(widest)
    if not math.isfinite(widest.bound):  # at an early look, which may use no alpha
        return found(widest)
    who = "differs" if len(judged) == 1 else f"this and all others of {len(judged)} series differ"
    return f"{found(widest)}; {who} from theory by less than {percent(widest.bound)} ({percent(1 - alpha)} confidence)"


def _disagrees(judged: Judged, bad: int, series: int) -> str:
    fit = judged.fit
    more = f"; {bad} of {series} series disagree" if series > 1 else ""
    then = "networks of another ensemble.seed tell whether that stays"
    if judged.p_pull <= judged.p_fit:
        off = (fit.coefficient - fit.series.prediction) / fit.series.scale
        words = f"off by {percent(off)}, {abs(fit.pull):.3g} standard errors (p = {judged.p_pull:.2g})"
        return f"{found(judged)}; {words}{more}; {then}"
    quality = f"chi2/dof = {fit.chi2 / fit.dof:.2g} [{fit.dof}], Q = {judged.p_fit:.2g}"
    return f"{fit.series.name}: the values do not follow the fit, {quality}{more}; {then}"


def found(judged: Judged) -> str:
    """What the fit of one series has found, beside its theory: "V l=8 [00,00] tends to 0.667(3) at infinite width
    (theory 2/3)"."""
    series = judged.fit.series
    model = MODELS[series.model]
    measure = claims.tests().get(series.test)
    says = (measure and measure.says) or model.says
    if model.build is None:
        asked = f"{series.precision * series.scale:.2g}"
        return says.format(name=series.name, value=f"{judged.fit.coefficient:.2g}", asked=asked)
    value = str(gvar.gvar(judged.fit.coefficient, judged.fit.error))
    theory = f"theory {in_short(series.prediction)}" if series.predicted else "measured, theory has no number"
    return f"{says.format(name=series.name, value=value)} ({theory})"


def in_short(number: float) -> str:
    """A number with five digits, or as the fraction that it is: 0.666666666667 as 2/3."""
    fraction = Fraction(number).limit_denominator(LARGEST_DENOMINATOR)
    if fraction.denominator > 1 and abs(float(fraction) - number) <= 1e-12 * abs(number):
        return str(fraction)
    return f"{number:.5g}"


def not_tested(entries: Sequence[NotTested]) -> list[tuple[str, str]]:
    """The tests, with their series, that could not be judged, and why; those of one test and one reason together."""
    together: dict[tuple[str, str], list[str]] = {}
    for entry in entries:
        known = together.setdefault((entry.test, entry.reason), [])
        known.append(entry.name if known else entry.label)
    return [(", ".join(filter(None, names)), reason) for (_, reason), names in together.items()]
