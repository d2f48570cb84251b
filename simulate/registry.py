"""Records of one kind by name, from which every list of names is computed."""

from typing import Protocol, TypeVar


class Named(Protocol):
    @property
    def name(self) -> str: ...


Record = TypeVar("Record", bound=Named)


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
