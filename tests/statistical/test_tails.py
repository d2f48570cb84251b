"""Error bars that are shown hold what they state, on the exact law of scale-invariant networks."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from benchmarks.tails import ESTIMATORS, Cell, measure

FALSE_ALARM = 1e-4  # of each comparison in this file
BEYOND = {sigma: 2 * norm.sf(sigma) for sigma in (2, 3)}
HEAVY, NORMAL = Cell("relu", 32, 8, 1000), Cell("relu", 128, 4, 10_000)


@pytest.fixture(scope="module")
def heavy() -> dict:
    return measure(HEAVY, 400)


@pytest.fixture(scope="module")
def usual() -> dict:
    return measure(NORMAL, 150)


@pytest.mark.parametrize("activation", ["linear", "relu", "leaky_relu"])
def test_the_sampler_has_the_exact_moments(activation: str) -> None:
    """E g and E g^2 of docs/theory.md (6.4), and E z^4 = 3 E g^2, with a false alarm of FALSE_ALARM in each number."""
    cell = Cell(activation, 16, 3, 200_000)
    g, z = cell.draw(np.random.default_rng(30))
    first, second, third = cell.moments
    for x, mean in ((g, first), (g**2, second), (g**3, third), (z**4, 3 * second)):
        deviation = (x.mean() - mean) / x.std() * np.sqrt(len(x))
        assert abs(deviation) < norm.isf(FALSE_ALARM / 2)
    assert abs(g.mean() - 1.02 * first) / g.std() * np.sqrt(len(g)) > norm.isf(FALSE_ALARM / 2), "the control"


def too_many(count: int, of: int, rate: float) -> bool:
    """Whether so many of independent events of a rate are seen with a probability of FALSE_ALARM or less."""
    return count > binom.isf(FALSE_ALARM, of, rate)


@pytest.mark.parametrize("name", [e.name for e in ESTIMATORS])
def test_what_is_shown_lies_at_most_twice_as_often(name: str, heavy: dict, usual: dict) -> None:
    """Estimates that are not tail-dominated deviate by more than two and three errors at most twice as often as normal
    numbers, at L/n = 1/4 with 1,000 networks and at 1/32 with 10,000."""
    for outcomes in (heavy, usual):
        for sigma, rate in BEYOND.items():
            assert not too_many(outcomes[name].beyond(sigma)[1], outcomes[name].shown, 2 * rate)


@pytest.mark.parametrize("name", ["V", "kappa_3(g)", "kappa_4(z)"])
def test_without_the_guard_the_rates_are_broken(name: str, heavy: dict) -> None:
    """Negative control: of all estimates at L/n = 1/4 with 1,000 networks, more lie beyond three errors."""
    assert too_many(heavy[name].beyond(3)[0], len(heavy[name].pulls), 2 * BEYOND[3])


@pytest.mark.parametrize("name", ["E g", "V"])
def test_normal_use_is_not_withheld(name: str, usual: dict, heavy: dict) -> None:
    """Less than one in a hundred is withheld at L/n = 1/32 with 10,000 networks. The control: at L/n = 1/4 with 1,000
    networks it is most of V."""
    assert not too_many(int(usual[name].withheld.sum()), len(usual[name].pulls), 0.01)
    assert heavy["V"].withheld.mean() > 0.9
