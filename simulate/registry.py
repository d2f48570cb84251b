"""Records of one kind by name, from which every list of names is computed."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar


class Named(Protocol):
    @property
    def name(self) -> str: ...


Record = TypeVar("Record", bound=Named)
Function = TypeVar("Function", bound=Callable[..., Any])


class Registry(dict[str, Record]):
    """The records of a kind (activation, observable, ...) by their names, in the order in which they were added."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def add(self, record: Record) -> Record:
        """Enter a record; ValueError where its name is taken."""
        if record.name in self:
            raise ValueError(f"{self.kind} {record.name!r} is there already; choose another name")
        self[record.name] = record
        return record


def implements(records: Registry[Any], functions: dict[str, Function], name: str) -> Callable[[Function], Function]:
    """A decorator that enters the function of the record of that name; ValueError where there is no such record, or
    where it has its function already."""
    if name not in records:
        raise ValueError(f"no {records.kind} {name!r} is registered; add its record first")

    def register(function: Function) -> Function:
        if name in functions:
            raise ValueError(f"{records.kind} {name!r} has its function already; choose another name")
        functions[name] = function
        return function

    return register
