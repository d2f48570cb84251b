"""Controls of wrong signs have mean zero at every width, and take noise."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

import simulate
from analysis.measures import generalisation
from analysis.measures.solved import closed_form
from analysis.measures.trained import outputs
from analysis.points import Point

STEP, LIMIT = 4, 3.3  # standard errors: false alarms 1e-3


def test_wrong_signs_keep_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight digits and networks of width four, far from infinite width; seed 0. Negative control: the probability of a
    wrong frozen sign from kernels that are 30 % too large."""
    data = simulate.run(
        "experiment=generalisation_signs", "claim=null", "sweep=null", "network.width=4", "ensemble.networks=20000",
        f"dynamics.steps={STEP}", f"observables.steps=[0,{STEP}]", "workers=1", "ensemble.device=cpu",
        f"output={tmp_path}",
    )  # fmt: skip
    point, test = Point(data), slice(2, None)
    (mean, covariance), sign = closed_form(point, STEP), np.sign(point.samples[1])
    infinite = norm.cdf(-sign * mean / np.sqrt(covariance.diagonal())[:, None])[test, 0]
    plain = (sign[test, 0] * outputs(point, STEP)[:, 0, test] < 0) - infinite

    def controlled() -> np.ndarray:
        return generalisation._beyond_frozen(point)(STEP, generalisation._tested(point)).mean(axis=1)

    def pull() -> float:
        apart = plain.mean(axis=1) - controlled()
        return float(abs(apart.mean()) / apart.std() * np.sqrt(len(apart)))

    assert pull() < LIMIT
    assert controlled().var() < 0.7 * plain.mean(axis=1).var()
    kernels = generalisation.last_kernels
    monkeypatch.setattr(generalisation, "last_kernels", lambda point: 1.3 * kernels(point))
    assert pull() > LIMIT
