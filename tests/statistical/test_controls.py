"""Estimates with controls through the pipeline: they see what the plain ones cannot, and a wrong sampler is found.

The family-wise false-alarm rate of each verdict is 1 %.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import analysis
import simulate
from analysis.measures.controls import metric_controlled, six_point_controlled, vertex_controlled
from analysis.measures.preactivations import metric, six_point, vertex
from analysis.points import Point
from analysis.result import Result
from simulate.store.sets import DataSet
from tests.statistical.test_calibration import MUTANTS, mistake

SWEEP = [
    "experiment=vertex_and_metric", "network.depth=4", "network.width=16,24,32,64", "ensemble.networks=4000",
    "initialization=gaussian", "initialization.C_b=0.1", "initialization.C_W=1.2",
    "claim.tests.V_controlled={precision: 0.2, layers: [4]}", "claim.tests.G1_controlled={precision: 0.2, layers: [4]}",
    "claim.tests.layer_law={precision: 0.1, layers: [2,4]}", "inputs.count=1", "workers=1", "ensemble.device=cpu",
]  # fmt: skip


def judged(folder: Path) -> tuple[list[DataSet], Result]:
    sets = simulate.sweep(*SWEEP, f"output={folder}")
    return sets, analysis.analyze(sets)


def rejected(result: Result) -> set[str]:
    return {j.fit.series.test for j in result.verdicts[0].judged if j.rejected}


@pytest.mark.parametrize("mutant", [*MUTANTS, "off by one layer"])
def test_a_wrong_sampler_is_found_by_the_controls(mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right sampler agrees at 4,000 networks, and layer_law finds each mistake in a layer.

    Controls take nine tenths of the effect of a wrong C_W out of G1 (docs/theory.md (7.15)). Each layer of a chain that
    is late is right; the coefficients see that.
    """
    mistake(mutant, monkeypatch)
    sets, result = judged(tmp_path)
    verdict = result.verdicts[0]
    if mutant == "none":
        assert verdict.verdict == "agrees", verdict.reason
        return
    assert verdict.verdict == "disagrees"
    assert "layer_law" in rejected(result) or mutant == "off by one layer"
    if mutant == "C_W off by 5 %":
        point = Point(sets[-1])
        (plain,), (hidden,) = metric(point, [4]), metric_controlled(point, [4])
        moved = (np.abs(m.estimate.value - m.theory) for m in (plain, hidden))
        assert next(moved) > 10 * next(moved)


GAIN: dict[str, tuple[Callable, Callable, float]] = {
    "G1": (metric, metric_controlled, 1000),
    "V": (vertex, vertex_controlled, 15),
    "six-point": (six_point, six_point_controlled, 15),
}


@pytest.mark.parametrize("name", GAIN)
def test_gain(name: str, run: Callable[..., DataSet]) -> None:
    """Variances fall by these factors or more, and the plain estimate agrees within 5 standard errors (a false alarm in
    1e-6)."""
    data = run("network.width=64", "network.depth=4", "observables=kernel", "observables.layers=all", "inputs.count=2",
               "initialization=critical", "activation=tanh", "ensemble.networks=4000")  # fmt: skip
    plain_measure, controlled_measure, factor = GAIN[name]
    (plain,), (controlled,) = plain_measure(Point(data), [4]), controlled_measure(Point(data), [4])
    assert ((plain.estimate.error / controlled.estimate.error) ** 2).min() > factor
    assert (np.abs(plain.estimate.value - controlled.estimate.value) < 5 * plain.estimate.error).all()
    assert (np.abs(controlled.estimate.value / controlled.theory - 1) < 0.1).all(), (
        "the next order in 1/n is below 10 %"
    )
