"""Measures of untrained and trained networks yield the same on ranges, but for those that read all rows at once."""

from pathlib import Path

import pytest

import simulate
from analysis import claims, estimators, streams, walks
from analysis.points import Point
from analysis.sums import ends
from simulate.store.sets import open_data_set
from tests.behaviour.test_streams import QUICK, work_at


def streamed(folder: Path) -> tuple[set[str], set[str]]:
    """The measures that a point can have, and those of them that are run on ranges."""
    point = Point(open_data_set(folder))
    names = [name for name, test in claims.tests().items() if not test.paired and not list(test.missing(point))]
    return set(names), {run.name for run in streams.streamed(work_at(folder, *names))}


@pytest.mark.long
def test_all_measures_of_untrained_networks(tmp_path: Path) -> None:
    """Of all measures that a point can have, these read all rows at once, and the others yield the same in ranges."""
    record = "kernel,moments,outputs,ntk,ntk_sums,response,jacobian,dntk,ddntk,ntk_signs,ddntk_signs,fourth"
    simulate.run(
        "network.width=16", "network.depth=3", "network.outputs=2", "inputs.count=2", "ensemble.networks=1500",
        "workers=1", "ensemble.device=cpu", f"observables.record=[{record}]", f"output={tmp_path}/a",
    )  # fmt: skip
    names, found = streamed(tmp_path / "a")
    regressed = {f"{tensor}_controlled" for tensor in "PQRSTU"} | {"D_signs", "F_signs"}
    assert names - found == regressed | {"information_exact"}
    assert len(found) > 50


STEPS = ["inputs.count=2", "dynamics.steps=60", "dynamics.eta=0.3", "observables.steps=[0,1,60]", "network.depth=2"]
DESCENT, ALL = ["dynamics=gradient_descent", *STEPS], "observables.record=[kernel,outputs,ntk,taylor,change]"
# Settings of points, and some of the measures that they have beside those of untrained networks.
TRAINED = {
    "mse": ([*DESCENT, "inputs.test=1", ALL], ("trained_mean1", "taylor_error", "squared_error", "kernel_movement")),
    "flow": (["dynamics=gradient_flow", *STEPS, "inputs.count=1", "observables=training"], ("ntk_change",)),
    "step": ([*DESCENT, "observables=training"], ("ntk_change_of_step",)),
    "loss": ([*DESCENT, "inputs.test=1", "dynamics.loss=cross_entropy", "observables=training"], ("loss_mean",)),
    "one": ([*DESCENT, "inputs.test=1", "activation=linear", "network.depth=1", "network.width=[]",
             "observables.record=[outputs]"], ("one_layer",)),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", TRAINED)
def test_all_measures_of_trained_networks(name: str, tmp_path: Path) -> None:
    settings, some = TRAINED[name]
    simulate.run(*QUICK, "ensemble.networks=150", "network.width=16", *settings, f"output={tmp_path}/a")
    names, found = streamed(tmp_path / "a")
    assert set(some) <= names
    assert names - found <= {"information_exact"}


def test_networks_weighted_by_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The NTK of posterior networks is that of all rows at once to 1e-12. Negative control: weights relative to the
    heaviest network of each range alone."""
    condition = ["inputs=digits", "inputs.count=1", "inputs.test=1", "ensemble.condition.noise=0.5"]
    condition += ["observables.record=[ntk,prior_ntk,log_w]"]
    simulate.run("network.width=32", "network.depth=3", *QUICK, *condition, f"output={tmp_path}/a")
    work = work_at(tmp_path / "a", "posterior_ntk")
    ranges = [(low, low + 200) for low in range(0, 600, 200)]
    (run,), at_once = work.runs, walks.outcome(work.runs[0], work.point, {})
    assert at_once.measured
    monkeypatch.setattr(streams, "SAME", 1e-12)
    assert streams.same(at_once, walks.in_ranges(work, ranges)[0][run])
    monkeypatch.setattr(estimators, "extremes", lambda *columns: ends(columns))
    assert not streams.same(at_once, walks.in_ranges(work, ranges)[0][run])
