"""The laws at fixed r = L/n of the class K* = 0 and of shaped ReLUs agree with paths, with series and with chains."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis import theory

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "aspect_ratio_reference.json").read_text())["section12"]


def test_against_simulated_paths() -> None:
    """E g/K, Var g/(E g)^2, and mean and variance of log g/K of docs/theory.md (12.6) at five aspect ratios, in paths
    of its equation: 20 numbers within 4 standard errors, a false-alarm rate of 1e-3. Negative control: r larger by
    5 %."""

    def farthest(stretch: float) -> float:
        found = []
        for r in (0.125, 0.25, 0.5, 1.0, 2.0):
            law = theory.limit_law(stretch * r)
            mine = [
                stretch * r * law.mean,
                law.relative_variance,
                law.log_mean + math.log(stretch * r),
                law.log_variance,
            ]
            measured, errors = (np.array(x) for x in REFERENCE["joint_limit_Kstar0"][f"sde_{r}"])
            found.append(np.abs(measured - mine) / errors)
        return float(np.max(found))

    assert farthest(1.0) < 4 < farthest(1.05)


def test_series_in_the_aspect_ratio() -> None:
    """E (g/K)^k of docs/theory.md (12.6) at small r has the polynomials of docs/theory.md (17.8), to order r^3.
    Negative control: without the last order."""
    r = 0.02
    first, second = (m * r**k for k, m in enumerate(theory.limit_moments(r, 2), start=1))
    assert first == pytest.approx(1 - r / 3 + r**2 / 15, abs=r**3 / 10)
    assert first != pytest.approx(1 - r / 3, abs=r**3 / 10)
    variance = 2 / 3 * r - 14 / 45 * r**2
    assert second - first**2 == pytest.approx(variance, abs=r**3)
    assert second - first**2 != pytest.approx(2 / 3 * r, abs=r**3)


def test_a_start_that_falls_with_the_width() -> None:
    """A finite start of docs/theory.md (12.6): near a small start the law is that of its first steps, from a large one
    that of an infinite one, and at kap = 4 that of simulated paths within 4 standard errors (false-alarm rate 2e-4).
    Negative control: another start."""
    law = theory.limit_law(0.01, 1.0)
    assert law.mean == pytest.approx(1 - 0.01, abs=2e-4)
    assert law.log_variance == pytest.approx(0.02, rel=0.02)
    large, infinite = theory.limit_law(1.0, 1e6), theory.limit_law(1.0)
    assert large.log_variance == pytest.approx(infinite.log_variance, rel=1e-5)
    assert large.mean == pytest.approx(infinite.mean, rel=1e-5)

    def farthest(start: float) -> float:
        law, table = theory.limit_law(1.0, start), REFERENCE["sde"]["sde"]
        mine = {"E": law.mean / 2, "Erel2": law.relative_variance, "Varlog": law.log_variance}
        return max(abs(value - table[key][0]) / table[key][1] for key, value in mine.items())

    assert farthest(8.0) < 4 < farthest(6.0)  # |a1| = 2 for tanh, and g(1) = 4/n


def test_networks_approach_the_limit() -> None:
    """Var log g of tanh networks by docs/theory.md (17.5) approaches docs/theory.md (12.6) as the width grows. Negative
    control: linear networks."""
    limit = theory.limit_law(0.5).log_variance
    away = [theory.exact_log_law("tanh", n // 2 + 1, 0.0, 1.0, 1.0, n)[1][-1] / limit - 1 for n in (16, 32, 64)]
    assert np.all(np.abs(away) < 0.06)
    assert np.all(np.abs(np.diff(away)) < 0.05)
    assert abs(away[2]) < abs(away[0])
    assert theory.exact_log_law("linear", 17, 0.0, 1.0, 1.0, 32)[1][-1] / limit > 2


def test_shaped_relu() -> None:
    """docs/theory.md (12.7): the mean correlation and kernel of paths in 4 standard errors (false-alarm rate 2e-4), a
    linear network keeps E z_a z_b, and the first steps have the drift. Negative control: a stronger shape."""
    table = REFERENCE["sde"]["shaped_sde"]

    def farthest(minus: float) -> float:
        law = theory.shaped_law(1.0, 0.3, 0.0, minus)
        mine = {"Erho": law.correlation, "Varrho": law.variance, "Eab": law.kernel}
        return max(abs(value - table[key][0]) / table[key][1] for key, value in mine.items())

    assert farthest(-1.0) < 4 < farthest(-1.5)
    assert theory.shaped_law(0.7, 0.3, 1.0, 1.0).kernel == pytest.approx(0.3, rel=1e-5)
    step = 1e-3
    early = theory.shaped_law(step, 0.3, 0.0, -1.0)
    nu = (math.sqrt(1 - 0.09) - 0.3 * math.acos(0.3)) / (2 * math.pi)
    assert (early.kernel - 0.3) / step == pytest.approx(nu, rel=1e-2)
    assert early.variance / step == pytest.approx((1 - 0.09) ** 2, rel=1e-2)


def test_bad_input_is_refused() -> None:
    for call, words in (
        (lambda: theory.limit_law(0.0), "ratio=0.0"),
        (lambda: theory.limit_law(1.0, -1.0), "start=-1.0"),
        (lambda: theory.limit_moments(1.0, 50), "moments=50"),
        (lambda: theory.shaped_law(1.0, 1.0, 0.0, -1.0), "start=1.0"),
        (lambda: theory.shaped_law(math.inf, 0.1, 0.0, -1.0), "ratio=inf"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
