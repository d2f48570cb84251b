"""What an underpowered test would need: known answers on synthetic series, and the commands."""

from dataclasses import replace

import numpy as np
import pytest

from analysis import fits, remedy, verdicts
from analysis.models import Series
from analysis.verdicts import Judged

PRIOR_WIDTH = 3.0


def judged(model: str, n: list[float], layer: float, error: float, share: float = 0.5) -> Judged:
    """A series of noiseless values with 1,000 networks a width, whose claim asks for `share` of what it sees."""
    k = len(n)
    made = Series(
        "V", "V", None, 0, "00", model, np.array(n), np.full(k, layer), np.ones(k), np.diag(np.full(k, error**2)),
        1.0, 1.0, 0.1, 255, networks=np.full(k, 1000.0),
    )  # fmt: skip
    (seen,) = verdicts.judge([fits.fit(made, PRIOR_WIDTH)], 0.01, 0.95)
    asked = replace(made, precision=share * seen.visible)
    return verdicts.judge([fits.fit(asked, PRIOR_WIDTH)], 0.01, 0.95)[0]


WIDE, NARROW = [1e5, 2e5, 4e5, 8e5], [8.0, 10, 12, 16]


@pytest.mark.parametrize(("share", "times"), [(0.5, 4), (0.25, 16), (0.1, 100)])
@pytest.mark.parametrize(("model", "n", "up"), [("constant", NARROW, 0), ("powers", WIDE, 0.1)])
def test_half_the_error_needs_four_times_the_networks(
    model: str, n: list[float], up: float, share: float, times: int
) -> None:
    """Where noise makes the whole error the number of networks goes as (visible/asked)^2, rounded up to two digits."""
    found = remedy.of_series(judged(model, n, 1.0, 0.01, share), PRIOR_WIDTH)
    assert found.networks is not None
    assert 1000 * times <= found.networks <= (1 + up) * 1000 * times
    assert found.visible == pytest.approx(found.asked, rel=0.05)
    assert f"{found.networks:,} networks a width" in found.text


def test_the_prior_binds() -> None:
    """At l/n near one the error is that of the prior, which 28 times the networks do not bring down."""
    found = remedy.of_series(judged("powers", NARROW, 8.0, 0.1, 0.6), PRIOR_WIDTH)
    assert found.networks is None
    assert found.visible > found.asked
    assert "the prior on higher orders in 1/n binds, and more networks will not help" in found.text
    assert "wider networks would help" in found.text


def test_noise_and_prior_together() -> None:
    """Where both make the error, more than (visible/asked)^2 times the networks are needed, and with these a fit has
    the error that is asked. Negative control: with (visible/asked)^2 times as many it has not."""
    start = judged("powers", [32.0, 64, 128, 256], 4.0, 0.003)
    found = remedy.of_series(start, PRIOR_WIDTH)
    assert found.networks is not None
    assert found.networks > 4400
    for networks, enough in ((found.networks, True), (4000, False)):
        series = start.fit.series
        more = replace(series, covariance=series.covariance * 1000 / networks, networks=np.full(4, float(networks)))
        assert (verdicts.judge([fits.fit(more, PRIOR_WIDTH)], 0.01, 0.95)[0].visible <= series.precision) == enough


def test_uneven_widths_are_filled_up() -> None:
    """A width with networks enough keeps them: the others get what is missing."""
    start = judged("constant", NARROW, 1.0, 0.01)
    series = start.fit.series
    weights = np.array([0.5, 0.5, 0.5, 10.0])
    uneven = replace(series, covariance=series.covariance / weights, networks=1000 * weights)
    (seen,) = verdicts.judge([fits.fit(uneven, PRIOR_WIDTH)], 0.01, 0.95)
    asked = replace(uneven, precision=seen.visible * np.sqrt(11.5 / 16))
    (seen,) = verdicts.judge([fits.fit(asked, PRIOR_WIDTH)], 0.01, 0.95)
    assert remedy.of_series(seen, PRIOR_WIDTH).networks == 2000, "3 times 2,000 and 10,000 are 16,000"


@pytest.mark.parametrize(
    ("command", "with_networks"),
    [
        ("python -m simulate experiment=ntk", "python -m simulate experiment=ntk ensemble.networks=3800000"),
        ("python -m simulate experiment=ntk ensemble.networks=100 'output=a b'",
         "python -m simulate experiment=ntk 'output=a b' ensemble.networks=3800000"),
        ("simulate.sweep('experiment=ntk', 'ensemble.networks=100', inputs=...)",
         "simulate.sweep('experiment=ntk', 'ensemble.networks=3800000', inputs=...)"),
        ("python -m analysis.until experiment=ntk --budget=5min",
         "python -m analysis.until experiment=ntk --budget=15min"),
        ("make it so", ""),
    ],
)  # fmt: skip
def test_commands(command: str, with_networks: str) -> None:
    assert remedy.with_networks({"command": command}, 3_800_000, 600.0) == with_networks


def test_words() -> None:
    assert remedy.in_words(3_800_000) == "3.8 million"
    assert remedy.in_words(2_500_000_000) == "2.5 billion"
    assert remedy.rounded_up(3_712_345) == 3_800_000
    assert remedy.rounded_up(4000.0000001) == 4000
    assert remedy.rounded_up(7) == 7
