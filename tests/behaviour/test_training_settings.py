"""Options of algorithms and rules, also of those from plugins, are read, and each mistake gives one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

import configs
from simulate.__main__ import main
from simulate.api import read_one, read_sweep
from simulate.settings.training import ALGORITHMS, RULES, Algorithm, Rule
from simulate.store.files import StoreError
from simulate.store.sets import DataSet

ADAM = ["dynamics=gradient_descent", "dynamics.name=adam", "dynamics.eta=0.1", "+dynamics.beta1=0.9",
        "+dynamics.beta2=0.99", "+dynamics.epsilon=1e-8"]  # fmt: skip
DECAY = ["dynamics=momentum", "dynamics.eta=0.1"]

WRONG = [
    (["dynamics=momentum", "dynamics.momentun=0.3"], "dynamics.momentun=0.3", "no such setting"),
    (["dynamics=momentum", "+dynamics.momentun=0.3"], "dynamics.momentun=0.3", "did you mean dynamics.momentum?"),
    (["dynamics=gradient_descent", "dynamics.momentum=0.3"], "dynamics.momentum=0.3", "no such setting"),
    (["dynamics=sgd", "+dynamics.momentum=0.3"], "dynamics.momentum=0.3", "no such setting"),
    (["dynamics=momentum", "dynamics.momentum=fast"], "dynamics.momentum='fast'", "from 0 to below 1"),
    (["dynamics=gradient_descent", "dynamics.name=momentun"], "dynamics.name='momentun'", "nesterov, sgd, adam"),
    (["dynamics=gradient_descent", "dynamics.name=momentum"], "dynamics.momentum=None", "missing"),
    ([*ADAM, "+dynamics.beta3=0.9"], "dynamics.beta3=0.9", "did you mean dynamics.beta"),
    ([*ADAM, "++dynamics.beta1=1"], "dynamics.beta1=1", "from 0 to below 1"),
    ([*ADAM, "++dynamics.epsilon=0"], "dynamics.epsilon=0", "a number > 0"),
    ([*ADAM, "dynamics.eta=auto"], "dynamics.eta='auto'", "a number > 0: adam has no known stability bound"),
    ([*ADAM, "observables.record=[taylor]"], "observables.record", "nesterov or sgd with loss=mse"),
    ([*DECAY, "dynamics.rules={wieght_decay: 1}"], "dynamics.rules.wieght_decay=1", "known rules: ridge, weight_decay"),
    ([*DECAY, "dynamics.rules={weight_decay: -1}"], "dynamics.rules.weight_decay=-1", ">= 0"),
    ([*DECAY, "dynamics.rules={weight_decay: {a: 1}}"], "dynamics.rules.weight_decay={'a': 1}", ">= 0"),
    ([*DECAY, "dynamics.rules={weight_decay: null}"], "dynamics.rules.weight_decay=None", ">= 0"),
    ([*DECAY, "dynamics.rules=weight_decay"], "dynamics.rules='weight_decay'", "a mapping"),
    ([*DECAY, "dynamics.rules=[weight_decay]"], "dynamics.rules=['weight_decay']", "a mapping"),
    (["dynamics=momentum", "dynamics.rules={weight_decay: 0.1}"], "dynamics.eta='auto'", "a number > 0: with"),
    (["dynamics.rules={weight_decay: 0.1}"], "dynamics.rules={weight_decay: 0.1}", "dynamics=gradient_descent has it"),
    (
        ["dynamics=gradient_descent", "dynamics.eta=0.1", "dynamics.rules={weight_decay: 1}",
         "observables.record=[taylor]"],
        "dynamics.rules={'weight_decay': 1.0}",
        "none where taylor is recorded",
    ),
    ([*DECAY, "dynamics.rules={lasso: 1}"], "dynamics.rules='lasso'", "a record without a function"),
    ([*DECAY, "dynamics.name=undone", "~dynamics.momentum"], "dynamics='undone'", "a record without a function"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "named", "hint"), WRONG, ids=[" ".join(wrong[0]) for wrong in WRONG])
def test_wrong_settings(
    overrides: list[str], named: str, hint: str, plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    plugin("adam")
    plugin("weight_decay")
    RULES.add(Rule("lasso", "sum |theta|", float, "a number"))
    ALGORITHMS.add(Algorithm("undone", "a record alone"))
    monkeypatch.chdir(tmp_path)
    code = main([*overrides, "output=out"])
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1, "one line"
    assert named in error
    assert hint in error
    assert list(tmp_path.iterdir()) == [], "nothing written"


def test_right_settings_are_read(plugin) -> None:
    """Control of the list above. Settings that an algorithm does not have are at their defaults."""
    plugin("adam")
    plugin("weight_decay")
    adam = read_one([*ADAM, "dynamics.rules={weight_decay: 0.1}"]).dynamics
    assert adam.options == {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
    assert (adam.momentum, adam.batch, adam.rules) == (0.0, 0, {"weight_decay": 0.1})
    momentum = read_one(["dynamics=momentum", "dynamics.momentum=0.3"]).dynamics
    assert (momentum.momentum, momentum.batch, momentum.options, momentum.rules) == (0.3, 0, {}, {})


def test_without_a_plugin_the_ridge_is_the_only_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dynamics=momentum", "dynamics.eta=0.1", "dynamics.rules={weight_decay: 0.1}"]) == 2
    error = capsys.readouterr().err
    assert "dynamics.rules.weight_decay=0.1: no such rule; known rules: ridge; a plugin can register more" in error


def test_rules_are_swept(plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules are swept by the command line and by an experiment's file, and each point has its own folder."""
    plugin("weight_decay")
    by_line = read_sweep([*DECAY, "dynamics.rules=none,{weight_decay: 0.1},{weight_decay: 0.2}"])
    compose = configs._compose
    rules = {"dynamics.rules": ["none", {"weight_decay": 0.1}, {"weight_decay": 0.2}]}
    monkeypatch.setattr(configs, "_compose", lambda *given: {**compose(*given), "sweep": rules})
    for points in (by_line, read_sweep(DECAY)):
        assert [dict(point.dynamics.rules) for point in points] == [{}, {"weight_decay": 0.1}, {"weight_decay": 0.2}]
        assert len({point.output for point in points}) == 3


@pytest.mark.parametrize("option", configs.options("dynamics"))
def test_biases_train_unless_they_are_told_not_to(option: str) -> None:
    """PDLT's rates: every option has lambda_b = lambda_W = 1, also where the rates enter the NTK alone."""
    dynamics = read_one([f"dynamics={option}", "network.depth=3"]).dynamics
    assert dynamics.lambda_b == dynamics.lambda_W == (1.0, 1.0, 1.0)


def test_rates_that_nothing_depends_on_do_not_make_another_data_set(run: Callable[..., DataSet]) -> None:
    """Kernels of networks that are not trained go on from lambda_b = 0, the default of earlier versions."""
    small = ["network.width=4", "network.depth=2", "ensemble.block=4"]
    old = run(*small, "observables=kernel", "ensemble.networks=4", "dynamics.lambda_b=0")
    grown = run(*small, "observables=kernel", "ensemble.networks=8", f"output={old.path}")
    assert grown.networks == 8
    ntk = run(*small, "observables=ntk", "ensemble.networks=4", "dynamics.lambda_b=0")
    with pytest.raises(StoreError, match=r"dynamics\.lambda_b=\[0\.0, 0\.0\], not \[1\.0, 1\.0\]"):
        run(*small, "observables=ntk", "ensemble.networks=8", f"output={ntk.path}")
