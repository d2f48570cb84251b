"""A data set that is planned: a claim is checked against it before anything is drawn."""

from dataclasses import dataclass
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
