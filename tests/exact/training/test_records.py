"""Records of algorithms, losses and rules have functions that agree with them, and assume nothing undeclared."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import configs
from analysis.stages import STAGES, stages
from simulate.api import read_one
from simulate.registry import implements
from simulate.running.cost import network_bytes, parameters
from simulate.settings.training import ALGORITHMS, LOSSES, RULES, Algorithm, Dynamics, Loss, Option, Rule
from simulate.training import trajectory
from simulate.training.algorithms import GRADIENT_TERMS, STEPS, Training, gradient, gradient_term, step
from simulate.training.losses import VALUE_AND_SLOPE, value_and_slope
from tests.exact.training.networks import M, assert_same, network, training

OPTIONS: dict[str, dict[str, Any]] = {
    "momentum": {"momentum": 0.6},
    "nesterov": {"momentum": 0.6},
    "sgd": {"batch": 2},
    "adam": {"options": {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4}},
}


def unpaired() -> list[str]:
    """Records without a function and functions without a record, as `kind name`."""
    pairs: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("algorithm", ALGORITHMS, STEPS), ("loss", LOSSES, VALUE_AND_SLOPE), ("rule", RULES, GRADIENT_TERMS),
    ]  # fmt: skip
    return [f"{kind} {name}" for kind, facts, functions in pairs for name in sorted({*facts} ^ {*functions})]


def test_every_record_has_its_function_and_every_function_its_record(plugin) -> None:
    assert unpaired() == []
    plugin("adam")
    plugin("weight_decay")
    assert unpaired() == []
    ALGORITHMS.add(Algorithm("rprop", "by signs"))
    LOSSES.add(Loss("mae", "sum |z - y|", curvature=lambda outputs: 0.0))
    RULES.add(Rule("lasso", "sum |theta|", float, "a number"))
    assert unpaired() == ["algorithm rprop", "loss mae", "rule lasso"], "the control"


def test_algorithms_with_stages_are_followed(plugin) -> None:
    """Taylor models follow every algorithm that is linear in past gradients. Control: Adam is not."""
    plugin("adam")
    assert (
        {name for name, algorithm in ALGORITHMS.items() if algorithm.followed} == {*STAGES} == {*ALGORITHMS} - {"adam"}
    )


def test_every_record_says_what_it_is() -> None:
    for record in (*ALGORITHMS.values(), *LOSSES.values(), *RULES.values()):
        assert record.meaning
    assert [*RULES] == ["ridge"]


def test_every_algorithm_has_a_file_of_settings() -> None:
    assert set(configs.options("dynamics")) == {"none", *ALGORITHMS}
    for name, algorithm in ALGORITHMS.items():
        config = configs.compose("simulate", [f"dynamics={name}"])["dynamics"]
        assert config["name"] == name
        assert all(option.name in config for option in algorithm.options)


# ------------------------------------------------------------------- declared properties are measured


@pytest.mark.parametrize("name", [*ALGORITHMS, "adam"])
def test_copies_and_gradients_are_those_of_a_step(name: str, plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin("adam")
    t, calls = training(name, **OPTIONS.get(name, {})), []
    mse = VALUE_AND_SLOPE["mse"]
    monkeypatch.setitem(VALUE_AND_SLOPE, "mse", lambda z, y: calls.append(1) or mse(z, y))
    list(trajectory.trajectory(t, (1,)))
    assert len(calls) == ALGORITHMS[name].gradients
    assert len(t.buffers) == ALGORITHMS[name].copies
    if name in STAGES:
        assert len(stages(name)) == ALGORITHMS[name].gradients


def depends_on_its_number(name: str) -> bool:
    """Whether the first and the 58th step differ for the same networks and state."""
    steps = [training(name, **OPTIONS.get(name, {})) for _ in range(2)]
    for t, number in zip(steps, (0, 57), strict=True):
        t.done = number
        trajectory._step(t)
    try:
        for m in range(M):
            assert_same(steps[0], m, network(steps[1], m), rtol=0)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("name", [*ALGORITHMS, "adam"])
def test_replayable_steps_do_not_depend_on_their_number(name: str, plugin) -> None:
    """Control: the steps of sgd and Adam depend on their number."""
    plugin("adam")
    assert depends_on_its_number(name) == (name in ("sgd", "adam"))
    assert ALGORITHMS[name].replayable is not depends_on_its_number(name)


def captured(name: str, monkeypatch: pytest.MonkeyPatch, steps: int = 40, cuda: bool = True) -> int:
    """How many steps a run would capture on a device that claims to be a CUDA device."""
    captures = []
    monkeypatch.setattr(trajectory, "_replayed", lambda once: captures.append(once) or once)
    monkeypatch.setattr(trajectory, "_step", lambda t: None)
    device = SimpleNamespace(is_cuda=cuda)
    assert list(trajectory.trajectory(SimpleNamespace(x=device, dynamics=Dynamics(name, (), ()), done=0), (steps,)))  # type: ignore[arg-type]
    return len(captures)


def test_only_replayable_algorithms_are_captured(plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin("adam")
    ALGORITHMS.add(Algorithm("undeclared", "descent whose record does not declare that it is replayable"))
    assert {name: captured(name, monkeypatch) for name in ALGORITHMS} == {
        "gradient_descent": 1, "gradient_flow": 1, "momentum": 1, "nesterov": 1, "sgd": 0, "adam": 0, "undeclared": 0,
    }  # fmt: skip
    assert captured("gradient_descent", monkeypatch, cuda=False) == 0
    assert captured("gradient_descent", monkeypatch, steps=trajectory.GRAPH - 1) == 0


def test_memory_follows_from_the_record(plugin) -> None:
    """Memory grows by the copies of the parameters that the record declares and that a tolerance and rules need."""
    plugin("adam")
    plugin("weight_decay")
    base = read_one(["network.width=16", "dynamics=gradient_descent", "observables.record=[outputs]"])

    def copies(**fields: Any) -> float:
        settings = replace(base, dynamics=replace(base.dynamics, **fields))
        return (network_bytes(8, 2, settings) - network_bytes(8, 2, base)) / (4 * parameters(8, base))

    assert copies() == copies(name="sgd") == copies(tolerance=0.1) == 0
    assert copies(name="momentum") == copies(name="momentum", tolerance=0.1) == copies(name="gradient_flow") == 1
    assert copies(name="nesterov") == 2
    assert copies(name="adam") == 3
    assert copies(name="adam", tolerance=0.1) == 4
    assert copies(name="adam", tolerance=0.1, rules={"weight_decay": 0.1}) == 6


# ------------------------------------------------------------------- what is refused


def test_names_are_taken_once(registries: None) -> None:
    with pytest.raises(ValueError, match="algorithm 'momentum' is there already"):
        ALGORITHMS.add(Algorithm("momentum", "again"))
    with pytest.raises(ValueError, match="algorithm 'momentum' has its function already"):
        step("momentum")(lambda t: None)
    with pytest.raises(ValueError, match="loss 'mse' has its function already"):
        value_and_slope("mse")(lambda z, y: (z, y))


@pytest.mark.parametrize(
    ("decorator", "kind"),
    [(step, "algorithm"), (value_and_slope, "loss"), (gradient_term, "rule")],
)
def test_a_function_needs_a_record(decorator: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=f"no {kind} 'momentun' is registered; add its record first"):
        decorator("momentun")
    functions: dict[str, Any] = {}
    assert implements(ALGORITHMS, functions, "momentum")(print) is print
    assert functions == {"momentum": print}


def test_an_algorithm_cannot_take_the_names_of_others() -> None:
    with pytest.raises(ValueError, match="algorithm 'none' means that nothing is trained"):
        Algorithm("none", "nothing")
    with pytest.raises(ValueError, match="'adam': every algorithm has a setting 'eta' already"):
        Algorithm("adam", "", options=(Option("eta", float, "a number"),))


def test_a_batch_counts_as_the_whole() -> None:
    """gradient() of a batch of two equal samples is that of all four."""
    whole, part = training("gradient_descent"), training("gradient_descent")
    for t in (whole, part):
        t.x, t.y = t.x[:1].repeat(4, 1), t.y[:1].repeat(4, 1)
    gradient(whole, whole.x, whole.y, whole.parameters, 0.1)
    gradient(part, part.x[:2], part.y[:2], part.parameters, 0.1)
    for m in range(M):
        assert_same(part, m, network(whole, m))


def test_the_bare_gradient_is_without_the_learning_rate_tensor() -> None:
    t = training("gradient_descent")
    bare, full = t.buffer("bare"), t.buffer("full")
    gradient(t, t.x, t.y, bare, -1.0, bare=True)
    gradient(t, t.x, t.y, full, -1.0)
    for layer in range(3):
        torch.testing.assert_close(full.b[layer], t.dynamics.lambda_b[layer] * bare.b[layer])
        rate = t.dynamics.lambda_W[layer] / bare.W[layer].shape[2]
        torch.testing.assert_close(full.W[layer], rate * bare.W[layer])
    assert isinstance(t, Training)
