"""Boundaries of repeated looks: published numbers, walks, and what repeated looks do without them."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from analysis import sequential

WALKS, FALSE_ALARM = 200_000, 1e-4

# Lan and DeMets' function of O'Brien-Fleming type at the two-sided rate 0.05, equally spaced looks: D. M. Reboussin, D.
# L. DeMets, K. Kim and K. K. G. Lan, Controlled Clinical Trials 21 (2000) 190.
PUBLISHED = {
    1: [1.960],
    2: [2.963, 1.969],
    5: [4.877, 3.357, 2.680, 2.290, 2.031],
}


def bounds(times: np.ndarray, alpha: float) -> np.ndarray:
    return sequential.boundaries(times.tolist(), [sequential.spent(t, alpha) for t in times])


@pytest.mark.parametrize("looks", PUBLISHED)
def test_published_boundaries(looks: int) -> None:
    assert bounds(np.arange(1, looks + 1) / looks, 0.05) == pytest.approx(PUBLISHED[looks], abs=6e-4)


def test_all_of_alpha_is_spent_at_the_end_and_never_more() -> None:
    times = np.linspace(0, 1.5, 40)
    used = [sequential.spent(t, 0.01) for t in times]
    assert used[0] == 0
    assert np.all(np.diff(used) >= 0)
    assert used[-1] == sequential.spent(1, 0.01) == 0.01


def crossed(times: np.ndarray, z: np.ndarray, seed: int = 1) -> int:
    """How many walks go beyond z at a look."""
    rng = np.random.default_rng(seed)
    steps = np.sqrt(np.diff(times, prepend=0))
    walks = np.cumsum(steps * rng.standard_normal((WALKS, len(times))), axis=1) / np.sqrt(times)
    return int((np.abs(walks) > z).any(axis=1).sum())


def test_walks_cross_at_the_promised_rate() -> None:
    """At uneven looks, of which two nearly coincide, 200,000 walks cross in 5 % of cases; each of the two limits is
    exceeded by chance in 1e-4. Negative control: 1.96 at each look is crossed more than twice as often, as Armitage,
    McPherson and Rowe's table has it: 14.2 % for five equally spaced looks."""
    times = np.array([0.1, 0.35, 0.4, 0.41, 0.8, 1.0])
    low, high = binom.ppf(FALSE_ALARM, WALKS, 0.05), binom.isf(FALSE_ALARM, WALKS, 0.05)
    assert low <= crossed(times, bounds(times, 0.05)) <= high
    plain = crossed(np.arange(1, 6) / 5, np.full(5, norm.isf(0.025)))
    assert plain / WALKS == pytest.approx(0.142, abs=0.004)
    assert plain > 2 * high


def test_boundaries_lie_below_those_of_a_walk_that_is_always_watched() -> None:
    """A look at the share t of the information has a boundary of at most z(alpha/4) / sqrt(t): at t = 1 a deviation
    that is visible at half of alpha is visible at the boundary, whatever looks came before."""
    rng = np.random.default_rng(2)
    for alpha in (0.05, 0.01, 1e-4):
        for _ in range(20):
            times = np.sort(rng.uniform(0.05, 1, 6))
            times[-1] = 1
            z = bounds(times, alpha)
            assert np.all((z <= norm.isf(alpha / 4) / np.sqrt(times) + 1e-9) | np.isinf(z))
            assert np.isfinite(z[-1])


def test_looks_without_alpha_reject_nothing() -> None:
    z = sequential.boundaries([1.0, 2.0, 2.0], [0.0, 0.01, 0.01])
    assert z[0] == z[2] == np.inf
    assert z[1] == pytest.approx(norm.isf(0.005), abs=1e-6)


@pytest.mark.parametrize(("information", "used"), [([1.0], []), ([1.0, 2.0], [0.02, 0.01]), ([1.0], [1.5])])
def test_refusals(information: list[float], used: list[float]) -> None:
    with pytest.raises(ValueError, match=r"looks|used"):
        sequential.boundaries(information, used)
    with pytest.raises(ValueError, match="alpha=1\\.5"):
        sequential.spent(0.5, 1.5)
