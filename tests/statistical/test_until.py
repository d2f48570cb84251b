"""Claims that grow until they are decided have the false-alarm rate that they promise."""

import numpy as np
from scipy.stats import binom

from analysis import looks, sequential
from analysis.looks import Look, Record, Start
from benchmarks import until

ALPHA, CLAIMS, FALSE_ALARM = 0.05, 12, 1e-4
WALKS = 4000


def test_a_small_version_of_the_benchmark() -> None:
    """Of 12 true claims at 5 %, no more disagree than chance allows in all but 1e-4 of cases, and every other one
    agrees; of 4 claims that are false by what they ask to see, those disagree that a power of 95 % finds in all but
    1e-4 of cases. `python -m benchmarks.until` has 400 of each."""
    (kind, _) = until.KINDS
    true = until.claims(kind, CLAIMS, ALPHA)
    assert sum(o.rejected for o in true) <= binom.isf(FALSE_ALARM, CLAIMS, ALPHA)
    assert {o.verdict for o in true} <= {"agrees", "disagrees"}
    assert max(o.looks for o in true) <= 12
    false = until.claims(kind, 4, ALPHA, wrong=kind.asked)
    assert sum(o.rejected for o in false) >= binom.ppf(FALSE_ALARM, 4, 0.95)


def rates(looks_at: np.ndarray) -> tuple[float, float]:
    """How often one of two independent true series, whose pulls are walks, is rejected at some look: with the levels of
    the record, and at the full alpha each time."""
    times = looks_at / looks_at[-1]
    record = Record(Start("V", {}, ALPHA, 0.95, 3.0, {}))
    levels = []
    for k, time in enumerate(times):
        entries = looks.series_of(record, [_Fit(name, 1 / np.sqrt(time)) for name in "ab"], time)
        record = looks.added(record, Look({"d": k}, time, entries, "underpowered", "", 0.0, {}), "")
        levels.append(entries["V: a"]["pull"])
    rng = np.random.default_rng(7)
    steps = np.sqrt(np.diff(times, prepend=0.0))
    walks = np.cumsum(steps * rng.standard_normal((WALKS, 2, len(times))), axis=-1) / np.sqrt(times)
    p = 2 * sequential.norm.sf(np.abs(walks))
    spending, plain = ((p < level).any(axis=(1, 2)).mean() for level in (np.array(levels), ALPHA / 4))
    return float(spending), float(plain)


class _Series:
    def __init__(self, name: str) -> None:
        self.test, self.name = "V", name


class _Fit:
    """What the record reads of a fit."""

    def __init__(self, name: str, error: float) -> None:
        self.series, self.error = _Series(name), error


def test_looks_without_spending_raise_the_rate() -> None:
    """The record leaves half of alpha to pulls and half to chi2. Over 20 looks 4,000 pairs of walks are rejected at no
    more than alpha / 2, within 1e-4. Negative control: at the full alpha each time they are rejected at over three
    times that rate."""
    spending, plain = rates(np.linspace(0.05, 1, 20))
    assert (
        binom.ppf(FALSE_ALARM, WALKS, ALPHA / 2 * 0.9) <= spending * WALKS <= binom.isf(FALSE_ALARM, WALKS, ALPHA / 2)
    )
    assert plain > 3 * ALPHA / 2


def test_new_series_never_use_more_than_alpha() -> None:
    """Series that appear later get a smaller part, and all together stay below alpha."""
    record = Record(Start("V", {}, ALPHA, 0.95, 3.0, {}))
    for k, (names, time) in enumerate((("a", 0.9), ("ab", 0.95), ("abcdefgh", 1.0))):
        entries = looks.series_of(record, [_Fit(name, 1.0 / (k + 1)) for name in names], time)
        record = looks.added(record, Look({"d": k}, time, entries, "underpowered", "", 0.0, {}), "")
    used = {name: entry["used"] for look in record.looks for name, entry in look.series.items()}
    assert len(used) == 8
    assert 2 * sum(used.values()) <= ALPHA * (1 + 1e-12)
    assert 2 * sum(used.values()) > 0.99 * ALPHA
