"""Schedules of eta have the factors of torch's schedulers, reach every algorithm, and wrong ones are named."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from simulate.api import read_one
from simulate.settings.reader import SettingsError
from simulate.settings.schedules import SCHEDULES, Schedule, checked, etas, extremes
from simulate.settings.training import ALGORITHMS
from simulate.store import StoreError
from simulate.training import trajectory
from tests.exact.training.networks import ETA, M, assert_same, network, training

STEPS = 12
OPTIONS: dict[str, dict[str, Any]] = {
    "momentum": {"momentum": 0.6}, "nesterov": {"momentum": 0.6}, "sgd": {"batch": 2},
    "adam": {"options": {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4}},
}  # fmt: skip
VALUES = [float(k % 4) for k in range(STEPS)]
OF_TORCH: dict[str, tuple[Mapping[str, Any], Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]]] = {
    "linear": ({"to": 0.2}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, STEPS)),
    "cosine": ({"to": 0.2}, lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, 0.2 * ETA)),
    "step": ({"at": [3, 8], "by": 0.3}, lambda o: lr_scheduler.MultiStepLR(o, [3, 8], 0.3)),
    "exponential": ({"by": 0.9}, lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
    "warmup": ({"start": 0.1, "over": 5}, lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 5)),
    "factors": ({"values": VALUES}, lambda o: lr_scheduler.LambdaLR(o, lambda k: (*VALUES, 0.0)[k])),
}  # fmt: skip


def of_torch(make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]) -> list[float]:
    """The learning rates of so many steps with a scheduler of torch."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=ETA)
    scheduler, rates = make(optimizer), []
    for _ in range(STEPS):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("kind", SCHEDULES)
def test_factors_are_those_of_torch(kind: str) -> None:
    """Negative control: the factors of one step later."""
    options, make = OF_TORCH[kind]
    plan = checked({"kind": kind, **options}, STEPS)
    wanted = pytest.approx(of_torch(make), rel=1e-12)
    assert etas(ETA, plan, STEPS) == wanted
    assert [ETA * SCHEDULES[kind].factor(min(k + 1, STEPS - 1), STEPS, **options) for k in range(STEPS)] != wanted


def test_the_factors_of_a_list_multiply() -> None:
    both = [{"kind": kind, **OF_TORCH[kind][0]} for kind in ("warmup", "cosine")]
    each = [etas(1.0, checked(entry, STEPS), STEPS) for entry in both]
    assert etas(ETA, checked(both, STEPS), STEPS) == pytest.approx([ETA * a * b for a, b in zip(*each, strict=True)])
    assert checked("none", STEPS) == checked({"kind": "linear", "to": 1}, STEPS) == ()


@pytest.mark.parametrize("name", [*ALGORITHMS, "adam"])
def test_every_algorithm_takes_the_eta_of_its_step(name: str, plugin) -> None:
    """Each step is one of a training with that eta alone. Negative control: eta without its factor."""
    plugin("adam")
    plan, options = checked({"kind": "factors", "values": VALUES}, STEPS), OPTIONS.get(name, {})
    scheduled = training(name, **options, schedule=plan, steps=STEPS)
    by_hand, constant = (training(name, **options, steps=STEPS) for _ in range(2))
    given = by_hand.dynamics
    list(trajectory.trajectory(scheduled, (4,)))
    for k in range(4):
        by_hand.dynamics = replace(given, eta=ETA * VALUES[k])
        list(trajectory.trajectory(by_hand, (k + 1,)))
    list(trajectory.trajectory(constant, (4,)))
    assert scheduled.dynamics.eta == ETA
    for m in range(M):
        assert_same(scheduled, m, network(by_hand, m), rtol=0)
        with pytest.raises(AssertionError):
            assert_same(scheduled, m, network(constant, m))


def test_a_scheduled_step_is_not_replayed() -> None:
    """A captured step would have one eta for all. Negative control: without a schedule it is replayed."""
    dynamics = training("gradient_descent").dynamics
    assert trajectory.replays(dynamics, 100, cuda=True)
    assert not trajectory.replays(replace(dynamics, schedule=checked({"kind": "linear", "to": 0}, 50)), 100, cuda=True)


WRONG = [
    ("{kind: cosin, to: 0.1}", "dynamics.schedule.kind='cosin': one of linear, cosine, step"),
    ("{to: 0.1}", "dynamics.schedule.kind=None: this setting is missing"),
    ("{kind: cosine}", "dynamics.schedule.to=None: this setting is missing"),
    ("{kind: cosine, to: -0.1}", "dynamics.schedule.to=-0.1: a number >= 0"),
    ("{kind: cosine, to: 0.1, form: 1}", "dynamics.schedule.form=1: no such setting"),
    ("[{kind: linear, to: 0.1},{kind: step, at: 3, by: 1}]", "dynamics.schedule[1].at=3: a list of rising step"),
    ("{kind: step, at: [50], by: 0.1}", "dynamics.schedule.at=[50]: a list of rising step numbers from 1 to 49"),
    ("{kind: warmup, start: 0, over: 51}", "dynamics.schedule.over=51: a whole number from 1 to dynamics.steps = 50"),
    ("{kind: factors, values: [1,0.5]}", "dynamics.schedule.values=[1, 0.5]: a list of 50 numbers >= 0"),
    ("{kind: exponential, by: 1e10}", "factors from 1 to inf: finite numbers >= 0 are right"),
    ("cosine", "dynamics.schedule='cosine': none, or {kind: NAME, ...}, or a list of these"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_a_wrong_schedule_is_named(given: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_one(["dynamics=momentum", "dynamics.eta=0.1", f"dynamics.schedule={given}"])
    assert message in str(error.value)


def test_an_automatic_eta_needs_factors_up_to_one() -> None:
    """Half of the stability bound times a factor above one may be beyond it."""
    growing = "dynamics.schedule={kind: exponential, by: 1.01}"
    with pytest.raises(
        SettingsError, match=r"dynamics\.eta='auto': a number > 0: with factors of dynamics\.schedule up to"
    ):
        read_one(["dynamics=nesterov", growing])
    assert extremes(read_one(["dynamics=nesterov", growing, "dynamics.eta=0.1"]).dynamics.schedule, 50)[1] > 1
    assert read_one(["dynamics=nesterov", "dynamics.schedule={kind: cosine, to: 0}"]).dynamics.schedule


def test_a_kind_can_be_added_and_its_factors_are_checked(registries: None) -> None:
    SCHEDULES.add(Schedule("below", "a factor below zero", lambda steps: (), lambda step, steps: -1.0))
    with pytest.raises(SettingsError, match="factors from -1 to -1: finite numbers >= 0"):
        checked({"kind": "below"}, STEPS)


def test_a_schedule_is_part_of_a_data_set(run, tmp_path) -> None:
    """It is kept in the settings and in the identity, none leaves no trace, and another one is refused by its name."""
    small = ["network.width=8", "network.depth=2", "dynamics=nesterov", "dynamics.eta=0.1", "dynamics.steps=4",
             "observables=training", "ensemble.networks=8", "ensemble.block=8"]  # fmt: skip
    plain = run(*small)
    assert "schedule" not in plain.manifest["identity"]["dynamics"]
    data = run(*small, "dynamics.schedule={kind: cosine, to: 0.1}", f"output={tmp_path}/cosine")
    for settings in (data.settings, data.manifest["identity"]):
        assert settings["dynamics"]["schedule"] == [{"kind": "cosine", "to": 0.1}]
    assert not data.table().equals(plain.table())
    more = [*small, "ensemble.networks=16", f"output={tmp_path}/cosine"]
    assert run(*more, "dynamics.schedule={kind: cosine, to: 0.1}").networks == 16
    with pytest.raises(StoreError, match=r"dynamics\.schedule"):
        run(*more, "dynamics.schedule={kind: cosine, to: 0.2}")
