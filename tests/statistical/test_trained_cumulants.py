"""The mean of trained outputs at order 1/n holds at every step, from the run to the fit."""

from dataclasses import replace
from pathlib import Path

import pytest

import simulate
from analysis.measures import solved, trained_cumulants
from analysis.points import Point
from analysis.theory.order_n import TrainedToOrderN
from simulate.store.sets import DataSet
from tests.statistical.test_training import SMALL, largest_pull


def check_means(sets: list[DataSet], wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest pull is below its limit, and above it where coefficients are `wrong` times too large."""
    pull, limit = largest_pull("trained_mean1", sets)
    assert pull < limit

    def changed(point: Point) -> TrainedToOrderN:
        right = solved.order_n(point)
        return replace(right, mean1=wrong * right.mean1)

    monkeypatch.setattr(trained_cumulants, "order_n", changed)
    pull, limit = largest_pull("trained_mean1", sets)
    assert pull > limit


def test_trained_means_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two and after six steps, train and test samples; seed 0. False alarms: 1e-3 for all series together.
    Negative control: a coefficient that is too large by a half."""
    small = ["network.width=48,64,96,128", *SMALL[1:], "ensemble.networks=3000", "dynamics.steps=6"]
    sets = simulate.sweep("experiment=trained_cumulants", "claim=null", *small, "observables.steps=[0,2,6]",
                          "observables.record=[outputs,ntk]", f"output={tmp_path}/a")  # fmt: skip
    check_means(sets, 1.5, monkeypatch)


@pytest.mark.long
def test_training_of_everything_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GELU with biases, two outputs, four train samples and widths of a ratio of two, after two and six steps; seed 0.
    False alarms: 1e-3 for all series together. Negative control: coefficients of 1/n_1 where those of 1/n_{L-1} are
    meant."""
    small = ["workers=1", "ensemble.device=cpu", "ensemble.networks=8000", "dynamics.steps=6", "inputs.test=0"]
    sets = simulate.sweep("experiment=general_training", "claim=null", *small, "observables.steps=[0,2,6]",
                          "network.width=[64,32],[96,48],[128,64],[192,96]", f"output={tmp_path}/a")  # fmt: skip
    check_means(sets, 2, monkeypatch)
