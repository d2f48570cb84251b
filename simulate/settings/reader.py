"""Reading of settings: one mapping, key by key, with one line for the first value that is wrong."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs import printable

EXACT = 2**53  # the largest float below which each whole number is one


class SettingsError(ValueError):
    """A setting that cannot be run; the message names it, its value, and what would be right."""

    def __init__(self, key: str, value: object, right: str):
        super().__init__(printable(f"{key}={value!r}: {right}" if key else right))


@dataclass(frozen=True)
class Option:
    """A setting of some records alone, such as `dynamics.NAME` of some algorithms. check(value) returns the value to
    keep (a number, text or list) and raises ValueError or TypeError for a wrong one. right: what would be right, in
    words."""

    name: str
    check: Callable[[Any], Any]
    right: str


class Reader:
    """Reads one mapping of the config; whatever is left unread is an unknown setting."""

    def __init__(self, config: Mapping[str, Any], prefix: str):
        if not isinstance(config, Mapping):
            raise SettingsError(prefix, config, "a group of settings, not a single value")
        self.config, self.prefix = config, prefix
        self.known: dict[str, None] = {}

    def key(self, name: str) -> str:
        return f"{self.prefix}.{name}" if self.prefix else name

    def raw(self, name: str) -> Any:
        self.known[name] = None
        if name not in self.config:
            raise SettingsError(self.key(name), None, "this setting is missing")
        return self.config[name]

    def get(self, name: str, check: Callable[[Any], Any], right: str) -> Any:
        value = self.raw(name)
        try:
            return check(value)
        except (TypeError, ValueError, OverflowError, AttributeError):
            raise SettingsError(self.key(name), value, right) from None

    def integer(self, name: str, low: int, high: int = 2**63 - 1) -> int:
        right = f"a whole number >= {low}" if high == 2**63 - 1 else f"a whole number from {low} to {high}"
        return self.get(name, lambda v: integer(v, low, high), right)

    def real(self, name: str, low: float = -math.inf, strict: bool = False) -> float:
        right = "a finite number" + (f" {'>' if strict else '>='} {low:g}" if low > -math.inf else "")
        return self.get(name, lambda v: real(v, low, strict), right)

    def choice(self, name: str, options: Sequence[str]) -> str:
        return self.get(name, lambda v: choice(v, options), f"one of {', '.join(options)}")

    def layerwise(self, name: str, depth: int) -> tuple[float, ...]:
        def check(value: Any) -> tuple[float, ...]:
            values = value if is_list(value) else [value] * depth
            if len(values) != depth:
                raise ValueError
            return tuple(real(v, 0.0) for v in values)

        return self.get(name, check, f"a number >= 0, or a list of {depth}, one for each layer")

    def close(self) -> None:
        for name in self.config:
            if name not in self.known:
                near = difflib.get_close_matches(str(name), self.known, 1)
                hint = f"did you mean {self.key(near[0])}?" if near else f"known here: {', '.join(self.known)}"
                raise SettingsError(self.key(str(name)), self.config[name], f"no such setting; {hint}")


def is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def integer(value: Any, low: int, high: int = 2**63 - 1) -> int:
    """The whole number, which may be written as 1e4. ValueError for anything else, and beyond the bounds."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError
    return value


def real(value: Any, low: float = -math.inf, strict: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    if value < low or (strict and value == low):
        raise ValueError
    return float(value)


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def choice(value: Any, options: Sequence[Any]) -> Any:
    if value not in options:
        raise ValueError
    return value


def nonempty(value: Any) -> str:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError
    return str(value)
