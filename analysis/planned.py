"""A data set that is planned: a claim is checked against it before anything is drawn, and its networks are measured
as they are drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.estimators import Array
from simulate.observables.columns import Family
from simulate.store.files import StoreError
from simulate.store.layout import Layout


@dataclass(frozen=True)
class Planned:
    """A data set that is not made yet, with the attributes of `DataSet` by which a claim is checked, without rows.

    settings: those that its manifest will hold. given: x (D, n_0), y (D, n_L) or None, the number of train samples.
    """

    path: Path
    settings: dict[str, Any]
    layout: Layout
    given: tuple[Array, Array | None, int]

    @property
    def networks(self) -> int:
        return int(self.settings["ensemble"]["networks"])

    @property
    def addresses(self) -> tuple[tuple[int, int], ...]:
        first = self.settings["ensemble"]["first"]
        return ((first, first + self.networks),)

    def samples(self) -> tuple[Array, Array | None, int]:
        return self.given

    def family(self, prefix: str) -> Family:
        return next(family for family in self.layout.families() if family.prefix == prefix)

    def records(self, prefix: str) -> bool:
        return any(family.prefix == prefix for family in self.layout.families())

    def status(self) -> NDArray[np.int8]:
        raise StoreError(f"{self.path}: no networks yet")

    def read(self, prefix: str) -> NDArray[Any]:
        raise StoreError(f"{self.path}: no networks yet")


@dataclass(frozen=True)
class Drawn(Planned):
    """Networks first, ..., first + M - 1 of a planned data set, whose rows are in memory. values: by family prefix, (M,
    steps, layers, columns); states: (M, steps) the status of each."""

    first: int
    values: Mapping[str, NDArray[Any]]
    states: NDArray[np.int8]

    @property
    def networks(self) -> int:
        return len(self.states)

    @property
    def addresses(self) -> tuple[tuple[int, int], ...]:
        return ((self.first, self.first + self.networks),)

    def within(self, first: int, last: int) -> "Drawn":
        """Those of its networks alone that are among [first, last)."""
        low, high = max(first - self.first, 0), max(last - self.first, 0)
        values = {prefix: of_family[low:high] for prefix, of_family in self.values.items()}
        return replace(self, first=self.first + low, values=values, states=self.states[low:high])

    def status(self) -> NDArray[np.int8]:
        return self.states

    def read(self, prefix: str) -> NDArray[Any]:
        return self.values[prefix]
