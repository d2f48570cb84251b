"""Records of one kind by name, from which every list of names is computed."""

import sys
from typing import Any, Protocol, TypeVar


class Named(Protocol):
    @property
    def name(self) -> str: ...


Record = TypeVar("Record", bound=Named)


class Registry(dict[str, Record]):
    """The records of a kind (activation, observable, ...) by their names, in the order in which they were added.

    rows: whether a record can decide the rows of a data set, so that whoever adds one is part of its identity; a
    launcher or a measure of the analysis cannot. origin: by name, the module whose import added the record.
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


REGISTRIES: list[Registry[Any]] = []  # every one of this process


def _importing() -> str:
    """The name of the module that is being imported, whichever function of the package adds its record."""
    frame = sys._getframe(2)
    while frame.f_code.co_name != "<module>" and frame.f_back:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))
