"""From fits to verdicts: agrees, disagrees, underpowered or not tested, at a stated family-wise false-alarm rate.

Every fit gives two p-values: of its pull (is the coefficient the predicted one?) and of its chi2 (is the
expansion the right one?). Holm's procedure holds over all of them together, whatever their correlation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from analysis import tails
from analysis.estimators import Array
from analysis.fits import Fit
from analysis.series import NotTested

AGREES, DISAGREES, UNDERPOWERED, NOT_TESTED = "agrees", "disagrees", "underpowered", "not tested"


@dataclass(frozen=True)
class Judged:
    """One fit and its p-values, corrected for all tests of the analysis. visible: the smallest relative deviation that
    would be found with the stated power at the strictest level of Holm's procedure. bound: the largest one that the
    data do not exclude at this level."""

    fit: Fit
    p_pull: float
    p_fit: float
    rejected: bool
    visible: float
    bound: float

    @property
    def verdict(self) -> str:
        if self.rejected:
            return DISAGREES
        return AGREES if self.visible <= self.fit.series.precision else UNDERPOWERED


@dataclass(frozen=True, repr=False)
class Verdict:
    """The verdict of one claim and what it rests on. diverged: share of the networks that are not finite somewhere."""

    claim: str
    statement: str
    verdict: str
    reason: str
    judged: tuple[Judged, ...]
    networks: int
    diverged: float
    not_tested: tuple[NotTested, ...] = ()

    def __repr__(self) -> str:
        return f"Verdict({self.claim}: {self.verdict}: {self.reason})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the claim, its verdict and the reason."""
        return f"<p><b>{escape(self.claim)}: {self.verdict}</b>: {escape(self.reason)}<br>{escape(self.statement)}</p>"

    def of_test(self, test: str) -> list[Judged]:
        """The series of a test."""
        return [judged for judged in self.judged if judged.fit.series.test == test]

    def visible(self, test: str) -> float:
        """The smallest deviation visible in every series of a test."""
        return max(judged.visible for judged in self.of_test(test))


def worst(judged: Sequence[Judged]) -> str:
    """The verdict of series together: disagrees if one does, else underpowered if one is, else agrees."""
    words = {entry.verdict for entry in judged}
    return next(word for word in (DISAGREES, UNDERPOWERED, AGREES) if word in words)


def holm(p: Array, alpha: float) -> NDArray[np.bool_]:
    """The hypotheses (true) that Holm's step-down procedure rejects at family-wise rate alpha."""
    order = np.argsort(p)
    passed = p[order] <= alpha / (len(p) - np.arange(len(p)))
    keep = np.cumprod(passed).astype(bool)  # false from the first hypothesis on that is not rejected
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order] = keep
    return rejected


def judge(
    fits: Sequence[Fit], alpha: float, power: float, levels: Sequence[tuple[float, float]] | None = None
) -> list[Judged]:
    """Judge all fits of one analysis as one family, or each at its own two levels, of the pull and of the chi2, where
    looks at data that grow share alpha (`analysis.looks`)."""
    if not fits:
        return []
    p_pull = np.array([2 * student.sf(abs(f.pull), f.series.dof) for f in fits])
    p_fit = np.array([f.Q for f in fits])
    if levels is None:
        by_pull, by_fit = holm(np.concatenate([p_pull, p_fit]), alpha).reshape(2, -1)
        of_pull = np.full(len(fits), alpha / (2 * len(fits)))
    else:
        of_pull, of_fit = np.array(levels).T
        by_pull, by_fit = p_pull < of_pull, p_fit < of_fit
    rejected = np.logical_or(by_pull, by_fit)
    reach = [student.isf(a / 2, f.series.dof) for a, f in zip(of_pull, fits, strict=True)]
    out = []
    for f, a, b, r, k in zip(fits, p_pull, p_fit, rejected, reach, strict=True):
        unit = f.error / f.series.scale
        visible, bound = (k + norm.isf(1 - power)) * unit, (k + abs(f.pull)) * unit
        out.append(Judged(f, float(a), float(b), bool(r), float(visible), float(bound)))
    return out


def without_tails(judged: Sequence[Judged]) -> str:
    """Which tail-dominated estimates (`analysis.tails`) the fits leave out, in words; empty where none does."""
    words = [j.fit.series.without for j in judged if j.fit.series.without]
    counts = "; ".join(f"{entry} ({words.count(entry)} of {len(judged)} series)" for entry in dict.fromkeys(words))
    return f"{tails.WORD} estimates are left out: {counts}" if words else ""


def _reason(not_tested: Sequence[NotTested]) -> str:
    if not not_tested:
        return "the claim has no tests"
    first = not_tested[0]
    more = f" (and {len(not_tested) - 1} more)" if len(not_tested) > 1 else ""
    return f"{first.label} not tested: {first.reason}{more}"


def verdict(
    claim: str,
    statement: str,
    judged: Sequence[Judged],
    networks: int,
    diverged: float,
    tolerated: float,
    not_tested: Sequence[NotTested] = (),
    wider: Sequence[Judged] = (),
) -> Verdict:
    """The verdict of a claim: disagrees if a series is rejected; agrees if none is, each would have shown what the
    claim asks, and every test could be judged; not tested if no test could; else underpowered.

    wider: the same series judged at twice the prior width of higher orders, which changes no verdict. Where fewer of
    them are rejected the reason says so: an expansion that converges slowly looks like a wrong coefficient.
    """
    bad = [j for j in judged if j.verdict == DISAGREES]
    blind = [j for j in judged if j.verdict == UNDERPOWERED]
    if not judged:
        word, why = NOT_TESTED, _reason(not_tested)
    elif bad:
        worst = min(bad, key=lambda j: min(j.p_pull, j.p_fit))
        part = "coefficient" if worst.p_pull <= worst.p_fit else "fit"
        word, why = DISAGREES, f"{len(bad)} of {len(judged)} series, worst {worst.fit.series.name} ({part})"
        still = sum(w.rejected for j, w in zip(judged, wider, strict=False) if j.verdict == DISAGREES)
        if wider and still < len(bad):
            why += f"; with twice the prior width of higher orders {still}, and wider networks would tell"
    elif diverged > tolerated:
        word, why = UNDERPOWERED, f"{diverged:.2%} of the networks diverged; at most {tolerated:.2%} are tolerated"
    elif not_tested:
        word, why = UNDERPOWERED, _reason(not_tested)
    elif blind:
        worst = max(blind, key=lambda j: j.visible / j.fit.series.precision)
        why = f"{worst.fit.series.name}: sees {worst.visible:.2g}, should see {worst.fit.series.precision:.2g}"
        word = UNDERPOWERED
    else:
        widest = max(judged, key=lambda j: abs(j.fit.pull))
        word, why = AGREES, f"all {len(judged)} series; largest pull {widest.fit.pull:+.2f}"
    left_out = sum(bool(j.fit.series.without) for j in judged)
    if left_out:
        why += f"; {tails.WORD} estimates are left out of {left_out} of {len(judged)} series"
    return Verdict(claim, statement, word, why, tuple(judged), networks, diverged, tuple(not_tested))
