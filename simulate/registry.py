"""Records of one kind by name, from which every list of names is computed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar


class Named(Protocol):
    @property
    def name(self) -> str: ...


Record = TypeVar("Record", bound=Named)
Function = TypeVar("Function", bound=Callable[..., Any])


class Registry(dict[str, Record]):
    """The records of a kind (activation, observable, ...) by their names, in the order in which they were added.

    rows: whether a record can decide the rows of a data set, so that the plugin that adds one is part of its identity.
    Launchers and measures of the analysis cannot. origin: by name, the module whose import added the record.
    """

    def __init__(self, kind: str, rows: bool = True):
        super().__init__()
        self.kind, self.rows = kind, rows
        self.origin: dict[str, str] = {}
        REGISTRIES.append(self)

    def add(self, record: Record) -> Record:
        """Enter a record; ValueError where its name is taken."""
        if record.name in self:
            raise ValueError(f"{self.kind} {record.name!r} is there already; choose another name")
        self[record.name] = record
        self.origin[record.name] = _importing()
        return record


def implements(records: Registry[Any], functions: dict[str, Function], name: str) -> Callable[[Function], Function]:
    """A decorator that enters the function of the record of that name. ValueError where there is no such record, or
    where the record has its function already."""
    if name not in records:
        raise ValueError(f"no {records.kind} {name!r} is registered; add its record first")

    def register(function: Function) -> Function:
        if name in functions:
            raise ValueError(f"{records.kind} {name!r} has its function already; choose another name")
        functions[name] = function
        return function

    return register


REGISTRIES: list[Registry[Any]] = []  # all registries of this process


def _importing() -> str:
    """The name of the module that is being imported, whichever function of the package adds its record."""
    frame = sys._getframe(2)
    while frame.f_code.co_name != "<module>" and frame.f_back:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))
