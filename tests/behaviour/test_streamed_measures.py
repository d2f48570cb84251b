"""Every measure yields the same on ranges of networks as on all rows at once, but for those that read all rows."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import simulate
from analysis import claims, estimators, on_device, walks, weights
from analysis.measures import depth, differentials_controlled, information
from analysis.planned import Drawn
from analysis.points import Point
from analysis.sums import ends
from analysis.walks import Gather, Run, Work
from simulate.numerics.rows import Rows
from simulate.store.sets import DataSet, open_data_set
from tests.behaviour.test_streams import QUICK, work_at

SMALL = ["ensemble.networks=160", "workers=1", "ensemble.device=cpu", "ensemble.block=32"]
CLAIM = "claim={name: a, statement: a, noise: 0.1, tests: {}}"
EVERYTHING = "kernel,moments,outputs,ntk,ntk_sums,ntk_loops,dntk,ddntk,ntk_signs,ddntk_signs,fourth,ntk_derivatives"
ALL = ["observables.layers=all", "dynamics.lambda_b=1.0", "dynamics.scaling=critical", "network.outputs=2"]
STEPS = ["dynamics.steps=60", "dynamics.eta=0.3", "observables.steps=[0,1,60]", "network.depth=2"]
DESCENT, DIGITS = ["dynamics=gradient_descent", *STEPS], ["inputs=digits", "inputs.count=2", "inputs.test=1"]
FEW = [*DIGITS, "dynamics.steps=6", "observables.steps=[0,1,6]", "observables.record=[outputs,linear]"]
PRIOR = [*DIGITS, "inputs.classes=[0,1,2]", "network.outputs=3", "observables.layers=all", CLAIM,
         "observables.record=[kernel,kernel_controls]"]  # fmt: skip
SETS = {
    "linear": [*ALL, "activation=linear", "observables.record=[kernel,outputs,ntk,response,jacobian]"],
    "wide": ["activation=linear", "network.width=256", "network.depth=2"],
    "tanh": [*ALL, f"observables.record=[{EVERYTHING}]", "inputs.count=2"],
    "gelu": [*ALL, "activation=gelu", "inputs.scale=critical", "network.depth=8", "observables.record=[kernel,ddntk]"],
    "off": ["activation=relu", "initialization=gaussian", "initialization.C_W=1.5", "inputs=ray"],
    "narrow": ["network.width=4", "network.depth=6", "observables.layers=[2,3,5]"],
    "prior": PRIOR,
    "exact": [*PRIOR, "activation=linear", "network.outputs=1", "inputs.classes=[0,1]"],
    "tilted": [*DIGITS, "observables=posterior", "observables.record=[posterior,weight_controls]",
               "ensemble.tilt={noise: 0.1, control: 3}", "ensemble.filter={particles: 2, every: 2}",
               "ensemble.networks=960", CLAIM],
    "conditioned": [*DIGITS, "ensemble.condition.noise=0.5", "observables.record=[ntk,prior_ntk,log_w]"],
    "quadratic": [*DESCENT[:3], "network=quadratic", "activation=linear", "initialization=gaussian",
                  "initialization.C_b=0.03", "initialization.C_W=0.03", "inputs=teacher", "features=fourier",
                  "inputs.count=3", "inputs.test=2", "inputs.dimension=3", "inputs.normalization=none",
                  "ensemble.dtype=float64", "observables.record=[outputs,ntk]", "observables.steps=[0,2,60]"],
    "mse": [*DESCENT, *DIGITS, "observables.record=[kernel,outputs,ntk,taylor,change,linear]"],
    "few": [*DESCENT, *FEW],
    "sgd": ["dynamics=sgd", "dynamics.batch=1", *STEPS, *FEW],
    "descent": [*DESCENT, "dynamics.eta=0.1", "inputs.test=1", "observables=training"],
    "arrived": ["dynamics=gradient_flow", *STEPS, "dynamics.eta=0.1", "inputs.test=1",
                "observables.record=[outputs,ntk]"],
    "trained": [*DESCENT, "dynamics.eta=0.1", "observables=training"],
    "flow": ["dynamics=gradient_flow", *STEPS, "dynamics.eta=0.1",
             "observables.record=[kernel,outputs,ntk,movement_controls]"],
    "deep": ["dynamics=gradient_flow", *STEPS, "dynamics.eta=0.1", "network.depth=3",
             "observables.record=[kernel,ntk]"],
    "loss": [*DESCENT, *DIGITS, "dynamics.loss=cross_entropy", "observables=training"],
    "one_layer": [*DESCENT, *DIGITS, "activation=linear", "network.depth=1", "network.width=[]",
                  "observables.record=[outputs]"],
}  # fmt: skip
REFERENCES = {"descent": "arrived", "sgd": "few", "deep": "flow"}  # points of the same networks, for paired measures
# What a measure that reads all rows at once comes to: a regression on them, weights of them, or an entropy of them.
OF_ALL_ROWS = {differentials_controlled.fitted, weights.Weights, weights.Kernels, information.measured}
# These are measured first where a smooth activation has tables, whose range is that of the numbers.
OF_TABLES = {"posterior_controls", "posterior_controls_third"}


def work_of(folders: dict[str, Path], name: str, tests: set[str]) -> Work:
    """Those of these tests that a point has."""
    point, found = Point(open_data_set(folders[name])), []
    references = {folders[other]: Point(open_data_set(folders[other])) for other in [REFERENCES.get(name)] if other}
    for test, record in claims.tests().items():
        for path, *others in references.items() if record.paired else [(None,)]:
            if test in tests and not any(chain(record.missing(point), record.undefined(point, *others))):
                found.append(Run(test, None, path))
    return Work(point, references, tuple(found), 1)


def calls(function: Any, found: set[Any]) -> set[Any]:
    """The functions and classes of the analysis that a function names, and those that these name, added to found."""
    function = inspect.unwrap(getattr(function, "func", function))
    ours = (inspect.isfunction(function) or inspect.isclass(function)) and function.__module__.startswith("analysis.")
    if not ours or function in found:
        return found
    found.add(function)
    codes = [function.__code__] if inspect.isfunction(function) else []
    for code in codes:  # grows by the functions inside
        codes += filter(inspect.iscode, code.co_consts)
    space = vars(sys.modules[function.__module__])
    spaces = [space, *(vars(value) for value in space.values() if inspect.ismodule(value))]
    for name in {name for code in codes for name in code.co_names}:
        for value in (space[name] for space in spaces if name in space):
            calls(value, found)
    return found


def formed_in_torch(work: Work) -> tuple[set[Run], set[Run]]:
    """The runs whose sums torch forms, to 1e-12 of those of the host, and on meta without a number or a tensor of the
    CPU; and those that ask for nothing but sums."""
    walk, host, outcomes = walks.walked(work, learns=True)
    widths = {key: sums.shape[1] for key, sums in host.sums.items()}
    found = {}
    for device in ("cpu", "meta"):
        point = on_device.OnDevice(drawn_on(device, work.point.data))
        there = replace(work, point=point, shifts=walk.shifts)
        found[device] = on_device.formed(there, point.data.status().all(axis=1), widths, host.ended)
    assert found["cpu"].left == found["meta"].left
    assert found["meta"].sums.tensor.device.type == "meta"
    sums, runs = found["cpu"].found().sums, [run for run in work.runs if run not in found["cpu"].left]
    for key in (key for key in sums if any(walk.among(repr(run), {key}) for run in runs)):
        of_host = host.sums[key]
        np.testing.assert_allclose(sums[key], of_host, rtol=0, atol=1e-12 * np.abs(of_host).max(initial=0))
    return {*runs}, {*outcomes}


def gathering(asked: list[tuple[Run, ...]]) -> Gather:
    """`walks.gather_here`, which adds to a list the runs that ask for a walk."""

    def gather(work: Work, ranges: Sequence[tuple[int, int]]) -> Iterator[walks.Found]:
        asked.append(work.runs)
        return walks.gather_here(work, ranges)

    return gather


def drawn_on(device: str, data: DataSet) -> Drawn:
    """A data set whose rows, and whether they are finite, are on a device."""

    def there(array: np.ndarray) -> Rows:
        return Rows(torch.from_numpy(array).to(device))

    rows = {family.prefix: there(data.read(family.prefix)) for family in data.layout.families()}
    (first, _), *_ = data.addresses
    given = (data.path, data.settings, data.layout, data.samples())
    return Drawn(*given, first, cast(Any, rows), cast(Any, there(data.status() == 0)))


@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.long)])
def test_every_measure(again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At one of these points at least (again: at each that has it) a measure yields the same to 1e-12, or is one of
    those that read all rows at once. Of those that walk networks once, all but two add up the same where rows are on a
    device, and these do at another point."""
    monkeypatch.setattr(walks, "SAME", 1e-12)
    monkeypatch.setattr(depth, "DEEPEST", 100)  # takes seconds, and reads no networks
    folders = {name: tmp_path / name for name in SETS}
    for name, settings in SETS.items():
        layers = [] if name == "quadratic" else ["network.width=16", "network.depth=3"]
        simulate.run("initialization=critical", "inputs.count=1", *layers, *SMALL, *settings, f"output={folders[name]}")
    measured, at_once, once, in_torch, known = set[str](), set[str](), set[str](), set[str](), set(claims.tests())
    for name in SETS:
        # Networks of one layer are trained as the frozen kernel has it, and what is left of others' tests is rounding.
        work = work_of(folders, name, known if again and name != "one_layer" else known - measured)
        with np.errstate(invalid="ignore"):  # logarithms of noise
            whole = {run: walks.outcome(run, work.point, work.references) for run in work.runs}
        asked = list[tuple[Run, ...]]()
        parts, _ = walks.in_ranges(work, [(0, 32), (32, 96), (96, work.point.networks)], gathering(asked))
        shown = [run for run in work.runs if whole[run].measured]
        formed, of_sums = formed_in_torch(replace(work, runs=tuple(shown)))
        in_torch |= {run.name for run in formed}
        measured |= {run.name for run in shown}
        walking = {run for run in shown if walks.same(whole[run], parts[run])}
        at_once |= {run.name for run in {*shown} - walking}
        once |= {run.name for run in walking & of_sums - set(chain(*asked[1:])) if run.reference is None}
    assert measured == known
    assert once - in_torch == (set() if again else OF_TABLES)
    assert at_once == {name for name, test in claims.tests().items() if calls(test.function, set()) & OF_ALL_ROWS}


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
    monkeypatch.setattr(walks, "SAME", 1e-12)
    assert walks.same(at_once, walks.in_ranges(work, ranges)[0][run])
    monkeypatch.setattr(estimators, "extremes", lambda *columns: ends(columns))
    assert not walks.same(at_once, walks.in_ranges(work, ranges)[0][run])
