"""Schedules of eta: factors that multiply it at each step of training, whatever the algorithm. No torch here.

The built-in ones have the factors of schedulers of torch.optim.lr_scheduler, with the number of steps of the run where
those need one. Steps count from 0, as those schedulers count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulate.registry import Registry
from simulate.settings.reader import Option, Reader, SettingsError, integer, is_list, real

Plan = tuple[Mapping[str, Any], ...]  # schedules whose factors multiply, each with its kind and its options


@dataclass(frozen=True)
class Schedule:
    """A kind of schedule: `dynamics.schedule={kind: NAME, OPTION: value}`.

    meaning: the factor in one line. options(steps): its options in a run of so many steps.
    factor(step, steps, **options): the factor of eta in a step, counted from 0, of a run of so many steps.
    """

    name: str
    meaning: str
    options: Callable[[int], tuple[Option, ...]]
    factor: Callable[..., float]


SCHEDULES: Registry[Schedule] = Registry("schedule")


def _share(name: str) -> Option:
    return Option(name, lambda v: real(v, 0.0), "a number >= 0, the share of eta")


def _rising(value: Any, steps: int) -> list[int]:
    numbers = [integer(v, 1, steps - 1) for v in value]
    if not numbers or sorted(set(numbers)) != numbers:
        raise ValueError
    return numbers


def _one_each(value: Any, steps: int) -> list[float]:
    if not is_list(value) or len(value) != steps:
        raise ValueError
    return [real(v, 0.0) for v in value]


SCHEDULES.add(
    Schedule(
        "linear",
        "from 1 down to the share `to`, which would be reached after the last step (torch's LinearLR)",
        lambda steps: (_share("to"),),
        lambda step, steps, to: 1 + (to - 1) * step / steps,
    )
)
SCHEDULES.add(
    Schedule(
        "cosine",
        "from 1 to the share `to` along half a cosine (torch's CosineAnnealingLR)",
        lambda steps: (_share("to"),),
        lambda step, steps, to: to + (1 - to) * (1 + math.cos(math.pi * step / steps)) / 2,
    )
)
SCHEDULES.add(
    Schedule(
        "step",
        "multiplied by `by` at each of the steps `at` (torch's MultiStepLR)",
        lambda steps: (
            Option("at", lambda v: _rising(v, steps), f"a list of rising step numbers from 1 to {steps - 1}"),
            Option("by", lambda v: real(v, 0.0), "a number >= 0"),
        ),
        lambda step, steps, at, by: by ** sum(number <= step for number in at),
    )
)
SCHEDULES.add(
    Schedule(
        "exponential",
        "multiplied by `by` at each step (torch's ExponentialLR)",
        lambda steps: (Option("by", lambda v: real(v, 0.0, strict=True), "a number > 0"),),
        lambda step, steps, by: by**step,
    )
)
SCHEDULES.add(
    Schedule(
        "warmup",
        "from the share `start` up to 1 over the first `over` steps (torch's LinearLR)",
        lambda steps: (
            _share("start"),
            Option("over", lambda v: integer(v, 1, steps), f"a whole number from 1 to dynamics.steps = {steps}"),
        ),
        lambda step, steps, start, over: start + (1 - start) * min(step / over, 1.0),
    )
)
SCHEDULES.add(
    Schedule(
        "factors",
        "the factors `values`, one for each step (torch's LambdaLR)",
        lambda steps: (
            Option("values", lambda v: _one_each(v, steps), f"a list of {steps} numbers >= 0, one for each step"),
        ),
        lambda step, steps, values: values[step],
    )
)


def checked(given: Any, steps: int, key: str = "dynamics.schedule") -> Plan:
    """The schedules of a run of so many steps from what is given: none, a mapping, or mappings whose factors multiply.

    Schedules that leave eta as it is at every step are none. Raises SettingsError, which names `key`, for a wrong
    setting and for factors that are negative or not finite.
    """
    if isinstance(given, str) and given == "none":
        return ()
    entries = list(given) if is_list(given) else [given]
    keys = [f"{key}[{k}]" for k in range(len(entries))] if is_list(given) else [key]
    plan = tuple(_entry(entry, steps, name) for entry, name in zip(entries, keys, strict=True))
    low, high = extremes(plan, steps)
    if not 0 <= low <= high < math.inf:
        raise SettingsError(key, given, f"factors from {low:.4g} to {high:.4g}: finite numbers >= 0 are right")
    return plan if (low, high) != (1, 1) else ()


def _entry(given: Any, steps: int, key: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        right = f"none, or {{kind: NAME, ...}}, or a list of these; known kinds: {', '.join(SCHEDULES)}"
        raise SettingsError(key, given, right)
    r = Reader(given, key)
    kind = r.choice("kind", tuple(SCHEDULES))
    options = {option.name: r.get(option.name, option.check, option.right) for option in SCHEDULES[kind].options(steps)}
    r.close()
    return {"kind": kind, **options}


def factor(plan: Plan, step: int, steps: int) -> float:
    """What multiplies eta in a step, counted from 0, of a run of so many steps."""
    product = 1.0
    for entry in plan:
        options = {name: value for name, value in entry.items() if name != "kind"}
        product *= SCHEDULES[entry["kind"]].factor(step, steps, **options)
    return product


def extremes(plan: Plan, steps: int) -> tuple[float, float]:
    """The smallest and the largest factor of a run of so many steps."""
    if not plan:
        return 1.0, 1.0
    low, high = math.inf, -math.inf
    for step in range(steps):
        try:
            value = factor(plan, step, steps)
        except OverflowError:
            value = math.inf
        low, high = min(low, value), math.nan if math.isnan(value) else max(high, value)
    return low, high


def etas(eta: float, given: Sequence[Mapping[str, Any]], steps: int) -> list[float]:
    """eta of each step of a run of so many steps.

    given: the schedules, as a manifest has them. Raises SettingsError for schedules that this program does not know.
    """
    plan = checked(given, steps)
    return [eta * factor(plan, step, steps) for step in range(steps)] if plan else [eta] * steps
