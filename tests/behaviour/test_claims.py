"""A claim is checked before anything is drawn.

In data sets of versions without this check, what cannot be judged is reported as not tested and the rest is judged.
"""

import json
from pathlib import Path

import pytest

import analysis
import configs
import simulate
from analysis import claims
from analysis.__main__ import main as analysis_main
from analysis.points import Planned, Point
from simulate import api
from simulate.__main__ import main
from simulate.running.prepare import prepare
from simulate.settings import plain

FEW = ["ensemble.networks=64", "workers=1", "ensemble.device=cpu"]
WIDTHS = "network.width=8,12,16,24"
WIDE = ["ensemble.networks=10000", "network.width=64,96,128,192"]  # no estimate is tail-dominated
NTK = ["experiment=ntk", *FEW, WIDTHS]
TRAINED = ["experiment=representation_learning", *FEW, WIDTHS, "network.depth=2"]
EXCHANGED = (  # the widths of both layers, for one of two algorithms
    "sweep={dynamics: null, dynamics.eta: null, network.width: null, zip: {"
    "dynamics: [gradient_flow, gradient_flow, gradient_flow, gradient_flow, "
    "gradient_descent, gradient_descent, gradient_descent, gradient_descent], "
    "network.width: [[8,16], [12,24], [16,32], [24,48], [16,8], [24,12], [32,16], [48,24]]}}"
)
ALGORITHMS = ["experiment=algorithm_dependence", *FEW, WIDTHS, "dynamics.eta=0.1"]

# Overrides, and a part of the message that refuses them.
REFUSED = [
    ([*NTK, "network.outputs=1"], "claim.tests.A: network.outputs=1: A needs 2 outputs"),
    (["experiment=ntk_mean", *FEW, "network.width=8,16,24"],
     "network.width=8,16,24: a fit in 1/n needs at least 4 widths"),
    ([*NTK, "~claim.tests.A", "+claim.tests.Ax={precision: 0.1}"], "claim.tests.Ax: no such test; did you mean A?"),
    ([*NTK, "ensemble.networks=20"], "ensemble.networks=20: at least 32 are needed"),
    (["experiment=six_point", *FEW, "network.depth=4", "network.width=[8,8,16],[12,12,24],[16,16,32],[24,24,48]"],
     "network.width=[8, 8, 16]: six_point is known for one width in all layers"),
    ([*NTK, "network.width=[8,8,16],[12,12,24],[16,16,32],[24,48,24]"],
     "network.width=[16, 16, 32],[24, 48, 24]: a fit in 1/n needs widths in the same ratios at all points"),
    ([*NTK, "observables.record=[kernel,outputs]"], "observables.record=[kernel, outputs]: ntk_mean needs columns H"),
    (["experiment=preactivations", *FEW, WIDTHS, "observables.layers=[1]", "~claim.tests.V.layers",
      "~claim.tests.G1.layers"], "V needs columns g together at a layer from 2 on"),
    (["experiment=derivatives", *FEW, WIDTHS, "activation=relu"], "P is defined for smooth activations only"),
    (["experiment=ntk", *FEW, WIDTHS, "activation=relu", "inputs=ray"], "Theta1: inputs: two samples are parallel"),
    (["experiment=criticality", *FEW, WIDTHS, "inputs.squares=[0.5,0.5]"],
     "samples 0 and 1 of different length are needed"),
    (["experiment=ntk_universality", *FEW, WIDTHS, "activation=tanh", "dynamics.scaling=none"],
     "dynamics.scaling=none: classes compare with rates scaled as critical"),
    (["experiment=universality", *FEW, WIDTHS, "activation=tanh", "initialization=gaussian", "inputs.scale=1.0",
      "initialization.C_W=1.2"], "at criticality only"),
    ([*TRAINED, "dynamics.steps=3", "observables.steps=[0,3]"], "dynamics.steps=3: a share"),
    ([*TRAINED, "dynamics=gradient_descent"], "ntk_change: dynamics=gradient_descent: gradient_flow is needed"),
    ([*TRAINED, "inputs.test=1"], "ntk_change: inputs: 2 samples"),
    (["experiment=trained_distribution", *FEW, WIDTHS, "dynamics=sgd", "dynamics.batch=1"],
     "dynamics=sgd, loss=mse: one of gradient_descent"),
    ([*TRAINED, "observables.steps=[40]"], "observables.steps=[40]: ntk_change needs step 0"),
    ([*NTK, "+claim.tests.trained_mean={precision: 0.1}"], "dynamics=none: trained_mean needs trained networks"),
    ([*ALGORITHMS, "dynamics=gradient_descent,momentum"],
     "reference=gradient_flow: the sweep has dynamics=gradient_descent, momentum"),
    (["experiment=criticality", *FEW, WIDTHS, "activation=relu", "initialization.C_W=2.0", "initialization.C_b=0.1",
      "~claim.tests.K_power_law"], "the kernel does not flow exponentially"),
    ([*TRAINED, "dynamics=gradient_descent", "observables.steps=[0,1]", "dynamics.steps=1", "network.outputs=3",
      "inputs.classes=[0,1,2]", "~claim.tests.ntk_change",
      "+claim.tests.ntk_change_of_step={precision: 0.4}"],
     "ntk_change_of_step: network.outputs=3: one output is needed"),
    (["experiment=linear_model", *FEW, "network.depth=2", "network.width=8"], "networks of one layer are needed"),
    (["experiment=criticality", *FEW, WIDTHS, "initialization.C_W=0.8"],
     "K_power_law: initialization: C_b=0.0, C_W=0.8: K falls as a power of l at criticality only"),
    ([*ALGORITHMS, "activation=relu"], "algorithm_coefficient is defined for smooth activations only"),
    ([*ALGORITHMS, "dynamics=gradient_flow"], "reference=gradient_flow: the sweep has no other dynamics"),
    (["experiment=algorithm_dependence", *FEW, "dynamics.eta=0.1", EXCHANGED],
     "network.width: gradient_descent and gradient_flow need the same widths"),
    (["experiment=representation_over_depth", *FEW, WIDTHS, "claim.tests.movement_growth.reference=5"],
     "reference=5: the sweep has dynamics=gradient_flow and network.depth=2, 4, 8"),
    (["experiment=taylor_models", *FEW, WIDTHS, "observables.steps=[0]"], "taylor_error needs a step of training"),
    (["experiment=ntk_controlled", *FEW, WIDTHS, "~claim.tests.ntk_one_step"],
     "a fault that its controls hide is seen by ntk_one_step: add this test to the claim"),
    (["experiment=ntk_controlled", *FEW, WIDTHS, "observables.layers=[1,3,4]"],
     "observables.layers=[1, 3, 4]: all layers from 1 to the last one that is measured are needed"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_judged_is_not_drawn(
    overrides: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal is one line with the setting, its value and what is needed, and nothing is written."""
    assert main([*overrides, f"output={tmp_path}/s"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: claim.tests.")
    assert error.endswith("(claim=null makes the data without a claim)\n")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_without_its_claim_it_is_drawn(tmp_path: Path) -> None:
    """Control: the same settings run with claim=null, and the claim is judged with a fourth width."""
    refused = ["experiment=ntk_mean", *FEW, "network.width=8,16,24", f"output={tmp_path}/s"]
    with pytest.raises(simulate.SettingsError, match="at least 4 widths"):
        simulate.sweep(*refused)
    assert len(simulate.sweep(*refused, "claim=null")) == 3
    four = [*refused[:-2], "network.width=8,16,24,32", f"output={tmp_path}/t"]
    assert analysis.analyze(simulate.sweep(*four)).verdicts[0].verdict != "not tested"


def test_points_that_are_there_count(tmp_path: Path) -> None:
    """Points of an earlier sweep count: two further widths, too few for a fit, are added to four."""
    settings = ["experiment=ntk_mean", *FEW, f"output={tmp_path}/s"]
    simulate.sweep(*settings, "network.width=8,12,16,24")
    added = simulate.sweep(*settings, "network.width=32,48")
    assert [data.complete for data in added] == [True, True]


@pytest.mark.parametrize("name", configs.options("experiment"))
def test_every_experiment_can_be_judged(name: str, tmp_path: Path) -> None:
    """Each experiment of configs/ can be judged at its own size. Its points are prepared and not drawn."""
    settings = api.read_sweep([f"experiment={name}", f"output={tmp_path}/s", "ensemble.device=cpu", "workers=1"])
    with_known_eta = [s for s in settings if s.dynamics.name == "none" or s.dynamics.eta]
    points = []
    for s in with_known_eta or settings[:4]:
        job = prepare(s)
        given = job.samples.x, job.samples.y, job.samples.train
        points.append(Point(Planned(job.path, plain(job.settings), job.layout, given)))
    assert settings[0].claim is not None
    assert list(claims.check(settings[0].claim, points)) == []


def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn the check off, as in versions that did not have it."""
    monkeypatch.setattr(api, "check_claims", lambda jobs: None)


def test_old_data_with_one_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A and B are not tested, for a stated reason; Theta1, the NTK's mean and another claim are judged."""
    unchecked(monkeypatch)
    simulate.sweep(*NTK, "network.outputs=1", f"output={tmp_path}/one")
    simulate.sweep("experiment=ntk_mean", *FEW[1:], *WIDE, f"output={tmp_path}/good")
    assert analysis_main([f"data={tmp_path}", f"output={tmp_path}/report", "figures=false"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "ntk: underpowered " in printed
    for test in "AB":
        assert printed.count(f" {test}: not tested: network.outputs=1: {test} needs 2 outputs") == 1
    found = json.loads((tmp_path / "report" / "verdicts.json").read_text())
    ntk, mean = sorted(found["claims"], key=lambda claim: claim["claim"])
    assert {test["test"] for test in ntk["tests"]} == {"ntk_mean", "Theta1"}
    assert [entry["test"] for entry in ntk["not_tested"]] == ["A", "B"]
    assert mean["not_tested"] == []
    assert {test["test"] for test in mean["tests"]} == {"ntk_mean", "ntk_variance"}
    page = (tmp_path / "report" / "report.html").read_text()
    assert "not tested: network.outputs=1: A needs 2 outputs" in page


def test_old_data_at_three_widths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim without any test that can be judged is not tested, and its report is written nevertheless."""
    unchecked(monkeypatch)
    sets = simulate.sweep("experiment=ntk_mean", *FEW, "network.width=8,16,32", f"output={tmp_path}/s")
    result = analysis.analyze(sets, output=tmp_path / "report")
    (verdict,) = result.verdicts
    assert verdict.verdict == "not tested"
    assert "a fit in 1/n needs at least 4 widths" in verdict.reason
    assert (result.table["verdict"] == "not tested").all()
    assert len(result.estimates) > 0
    assert (tmp_path / "report" / "report.html").exists()


def test_series_of_one_name_do_not_replace_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Series with the same label are not tested. Control: with different labels they are."""
    settings = ["experiment=ntk_mean", *FEW[1:], *WIDE, f"output={tmp_path}/s"]
    sets = simulate.sweep(*settings)
    (complete,) = analysis.analyze(sets).verdicts
    assert complete.not_tested == ()
    monkeypatch.setattr("analysis.measures.ntk.label_of", lambda *groups: "00")
    (verdict,) = analysis.analyze(sets).verdicts
    assert {entry.reason for entry in verdict.not_tested} == {
        "the measure yields two series of this name; its labels have to differ"
    }
    assert 0 < len(verdict.judged) < len(complete.judged)
    assert len(verdict.judged) + len(verdict.not_tested) == len(complete.judged)


def test_a_misspelt_test_leaves_the_others_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unchecked(monkeypatch)
    sets = simulate.sweep(
        "experiment=preactivations", *FEW, WIDTHS, "~claim.tests.V", "+claim.tests.Vx={precision: 0.1}",
        "network.depth=4", "observables.layers=[2,4]", "claim.tests.G1.layers=[4]", f"output={tmp_path}/s",
    )  # fmt: skip
    (verdict,) = analysis.analyze(sets).verdicts
    assert verdict.not_tested[0].test == "Vx"
    assert "no such test" in verdict.reason
    assert {judged.fit.series.test for judged in verdict.judged} == {"V_collapse", "cumulant", "G1"}


def test_theory_out_of_its_range_is_not_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a kinked activation and parallel inputs, G1 has no theory and is not tested, and V is judged."""
    unchecked(monkeypatch)
    sets = simulate.sweep(
        "experiment=preactivations", *FEW[1:], *WIDE, "network.depth=3", "activation=relu", "inputs=ray",
        "observables.layers=[2,3]", "claim.tests.V.layers=[3]", "claim.tests.G1.layers=[3]", "~claim.tests.cumulant",
        f"output={tmp_path}/s",
    )  # fmt: skip
    (verdict,) = analysis.analyze(sets).verdicts
    assert [entry.test for entry in verdict.not_tested] == ["G1"]
    assert "kinks" in verdict.reason
    assert "V" in {judged.fit.series.test for judged in verdict.judged}
