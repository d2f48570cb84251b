"""Sums of a claim's tests over networks whose rows are on a device: a test is run on them as on arrays, and what it
adds up is formed where they are (`simulate.numerics.rows`). The sums alone come to the host.

All rows are there, since no shape may depend on which networks are finite; those of the others add nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from analysis.estimators import Array
from analysis.points import Point
from analysis.sums import Bins, Key, NotStreamedError, Of, Walk
from analysis.walks import Found, Run, Work, by_walk, ended_of

# The second and third are raised where a test does with rows what they cannot do on a device.
UNABLE = (NotStreamedError, TypeError, AttributeError)


class Rows(Protocol):
    """What is asked of rows (M, ...) on a device beyond what tests ask of arrays."""

    def in_cells(self, finite: "Rows", first: int, size: int) -> "Rows":
        """The sums of rows (M, k) over the finite networks of each cell, (c, k)."""

    def numpy(self) -> NDArray[Any]:
        """The numbers on the host, which waits for them."""


class OnDevice(Point):
    """A point whose rows are on a device."""

    @property
    def finite(self) -> Any:
        """An index of all rows: the host does not know which networks are finite."""
        return ...


@dataclass(kw_only=True)
class DeviceWalk(Walk):
    """A walk over networks whose rows are on a device. finite: (M,) bool there; first: the address of the first
    network; size: networks of a cell."""

    finite: Rows
    first: int
    size: int

    def _of_cells(self, x: Array, shift: Array, of: Of) -> Array:
        if isinstance(of, Bins):
            raise NotStreamedError("numbers are counted in bins on the host")
        return self._summed(of(x - shift))

    def _summed(self, rows: Array) -> Array:
        return cast(Array, cast(Rows, rows).in_cells(self.finite, self.first, self.size))

    def counts(self) -> Array:
        """The number (c, 1) of finite networks of each cell."""
        return self._summed(cast(Array, self.finite)[:, None].astype(np.float64))


@dataclass(frozen=True)
class Formed:
    """What networks add, on the device. sums: (c, 1 + k) the number of finite networks of each cell, and the sums over
    them; cells: (c,) the number of each; widths: by key, the number of its sums. ended: runs that ended with an error;
    left: those whose sums the host has to form."""

    sums: Rows
    cells: NDArray[np.int64]
    widths: Mapping[Key, int]
    ended: frozenset[Run]
    left: tuple[Run, ...]

    def found(self) -> Found:
        """The same on the host, which waits for it, without cells that have no finite network."""
        table = self.sums.numpy()
        some = table[:, 0] > 0
        counts, *sums = np.split(table[some], np.cumsum([1, *self.widths.values()])[:-1], axis=1)
        return Found(self.cells[some], counts[:, 0], dict(zip(self.widths, sums, strict=True)), {}, self.ended, {})


def formed(work: Work, finite: Rows, widths: Mapping[Key, int], ended: frozenset[Run]) -> Formed:
    """Form the sums of a work on the device. A run is left to the host where it asks for sums of other widths there, or
    ends in another way than `ended` has it.

    finite: (M,) bool on the device."""
    ((first, last),) = work.point.addresses[1]
    cells = np.arange(first, last) // work.cell
    walk = DeviceWalk(cells, dict(work.shifts), {}, finite=finite, first=first, size=work.cell)
    outcomes, _ = by_walk(walk, work, UNABLE)
    there, ends = {key: sums.shape[1] for key, sums in walk.sums.items()}, ended_of(outcomes)
    other = {key for key in {*there, *widths} if there.get(key) != widths.get(key)}
    left = [r for r in work.runs if r not in outcomes or r in ends ^ ended or walk.among(repr(r), other)]
    sums = np.concatenate([walk.counts(), *walk.sums.values()], axis=1)
    return Formed(cast(Rows, sums), np.unique(cells), there, ends, tuple(left))
