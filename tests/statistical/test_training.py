"""Predictions of order 1/n for training hold from the run to the fit.

Seeds are fixed, false-alarm rates are stated, and tests have negative controls.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

import simulate
from analysis import fits
from analysis.measures import solved
from analysis.points import Point, variants
from analysis.series import judgeable, series
from simulate.store.sets import DataSet
from simulate.training import taylor

FALSE_ALARM = 1e-3  # of each test in this file; its series share it
SMALL = ("network.width=16,24,32,48", "workers=1", "ensemble.device=cpu", "dynamics.lambda_b=1.0")


def largest_pull(name: str, sets: list[DataSet], **options: object) -> tuple[float, float]:
    """The largest |pull| over the series of one test, and the limit that it must stay below."""
    found, not_tested = series(judgeable(name, {"precision": 1.0} | options, variants([Point(data) for data in sets])))
    assert not_tested == []
    return max(abs(fits.fit(s, 3.0).pull) for s in found), float(norm.isf(FALSE_ALARM / (2 * len(found))))


@pytest.fixture(scope="module")
def represented(tmp_path_factory: pytest.TempPathFactory) -> list[DataSet]:
    folder = tmp_path_factory.mktemp("represented")
    small = [*SMALL, "network.depth=2", "ensemble.networks=2000", f"output={folder}"]
    return simulate.sweep("experiment=representation_learning", *small)


def test_the_ntk_moves_as_predicted(represented: list[DataSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """n E[H(T) - H(0)] of gradient flow is docs/theory.md (5.9). Negative control: the sign of the curvature's part."""
    pull, limit = largest_pull("ntk_change", represented)
    assert pull < limit
    predicted = solved._order_n

    def wrong(network, targets, *training):  # type: ignore[no-untyped-def]
        right, without = (predicted(network, y, *training) for y in (targets, ((0.0,),)))
        return replace(right, ntk_change=2 * without.ntk_change - right.ntk_change)

    monkeypatch.setattr(solved, "_order_n", wrong)
    pull, limit = largest_pull("ntk_change", represented)
    assert pull > limit


def test_one_step_moves_the_ntk_as_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """n E[H_ab(1) - H_ab(0)] on two samples after a large step is docs/theory.md (5.10). Negative control: the first
    order in eta alone."""
    small = [
        *SMALL,
        "network.depth=3",
        "ensemble.networks=30000",
        "inputs.count=2",
        "dynamics.eta=0.4",
        "dynamics.steps=1",
    ]
    sets = simulate.sweep("experiment=representation_learning", "claim=null", "dynamics=gradient_descent", *small,
                          "observables.record=[ntk]", "observables.steps=[0,1]", f"output={tmp_path}/a")  # fmt: skip
    pull, limit = largest_pull("ntk_change_of_step", sets)
    assert pull < limit
    predicted = solved._order_n

    def wrong(network, targets, etas, *training):  # type: ignore[no-untyped-def]
        small = predicted(network, targets, (1e-6,) * len(etas), *training)
        return replace(small, ntk_change=etas[0] / 1e-6 * small.ntk_change)

    monkeypatch.setattr(solved, "_order_n", wrong)
    pull, limit = largest_pull("ntk_change_of_step", sets)
    assert pull > limit


def test_two_algorithms_differ_as_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradient descent with a large step and gradient flow on the same networks differ by docs/theory.md (5.29).
    Negative control: another step size."""
    small = [*SMALL, "network.depth=2", "ensemble.networks=2000", f"output={tmp_path}/a"]
    both = "dynamics=gradient_descent,gradient_flow"
    training = [both, "dynamics.eta=0.4", "dynamics.steps=30", "observables.steps=[0,30]"]
    sets = simulate.sweep("experiment=algorithm_dependence", "claim=null", *small, *training)
    for name in ("algorithm_difference", "algorithm_coefficient"):
        pull, limit = largest_pull(name, sets, reference="gradient_flow")
        assert pull < limit
    predicted = solved._order_n

    def wrong(network, targets, etas, *training):  # type: ignore[no-untyped-def]
        return predicted(network, targets, tuple(eta / 3 for eta in etas), *training)

    monkeypatch.setattr(solved, "_order_n", wrong)
    pull, limit = largest_pull("algorithm_coefficient", sets, reference="gradient_flow")
    assert pull > limit


def test_exponents_of_the_taylor_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exponents are 1/2, 1, 1 and 2, docs/theory.md (5.8). Negative control: with ddII left out the cubic model is
    no better than 1/n."""
    small = ["network.width=32,48,64,96", *SMALL[1:], "ensemble.networks=300", "network.depth=2"]
    pull, limit = largest_pull(
        "taylor_error", simulate.sweep("experiment=taylor_models", *small, f"output={tmp_path}/a")
    )
    assert pull < limit
    exact = taylor.trajectory

    def wrong(z, H, known, *rest):  # type: ignore[no-untyped-def]
        return exact(z, H, (known[0], known[1], 0 * known[2]), *rest)

    monkeypatch.setattr(taylor, "trajectory", wrong)
    pull, limit = largest_pull(
        "taylor_error", simulate.sweep("experiment=taylor_models", *small, f"output={tmp_path}/b")
    )
    assert pull > limit


def test_one_layer_is_exact(tmp_path: Path) -> None:
    """Every network ends at the primal and dual solution of docs/theory.md (5.4). Negative control: networks whose
    training has not ended."""
    few = ["workers=1", "ensemble.networks=32", "ensemble.device=cpu", "features=fourier", "inputs.dimension=3"]
    steps = ["inputs.count=4,40", "dynamics.steps=2000", "observables.steps=[0,2000]", f"output={tmp_path}/a"]
    sets = simulate.sweep("experiment=linear_model", *few, *steps)
    assert len(sets) == 4, "under- and overparametrised, without and with a ridge"
    found, not_tested = series(judgeable("one_layer", {"precision": 1e-9}, variants([Point(data) for data in sets])))
    assert not_tested == []
    assert len(found) == 12
    assert {s.model for s in found} == {"tolerance"}
    assert max(s.value.max() for s in found) < 1e-10
    short = ["sweep=null", "dynamics.steps=60", "observables.steps=[0,60]", f"output={tmp_path}/b"]
    with pytest.raises(simulate.SettingsError, match="of the error is left"):
        simulate.sweep("experiment=linear_model", *few, *short)
    (early,) = simulate.sweep("experiment=linear_model", *few, *short, "claim=null")
    no_series, (refused,) = series(judgeable("one_layer", {"precision": 1e-9}, variants([Point(early)])))
    assert no_series == []
    assert "of the error is left" in refused.reason


def test_trained_outputs_approach_every_closed_form(tmp_path: Path) -> None:
    """Mean and covariance at an early step are those of docs/theory.md (5.2), for descent, flow and momentum."""
    for rule in ("gradient_descent", "gradient_flow", "momentum"):
        small = [
            *SMALL,
            "ensemble.networks=6000",
            "observables.steps=[0,10]",
            "dynamics.steps=10",
            f"output={tmp_path}/{rule}",
        ]
        sets = simulate.sweep("experiment=infinite_width_training", f"dynamics={rule}", "dynamics.eta=0.1", *small,
                              f"output={tmp_path}/{rule}")  # fmt: skip
        for name in ("trained_mean", "trained_covariance"):
            pull, limit = largest_pull(name, sets)
            assert pull < limit, rule


def test_the_claim_needs_its_reference(represented: list[DataSet]) -> None:
    points = variants([Point(data) for data in represented])
    no_series, (refused,) = series(judgeable("algorithm_difference", {"precision": 1.0, "reference": "sgd"}, points))
    assert no_series == []
    assert "reference=sgd: the sweep has dynamics=gradient_flow" in refused.reason
    assert np.isfinite(represented[0].read("moved")).all()
