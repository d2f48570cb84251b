"""Sums over networks, of rows that are there at once or are given in ranges, one after another.

An estimator is a function of sums over blocks of networks, and adds up functions of rows less a shift: rounding acts on
the size of fluctuations, not on that of their mean. Where rows outgrow memory a `Walk` gives a measure one range of
networks after another. Its estimators then add up what they see, and what they return is not known (NaN) until all
networks were seen. When the measure is run once more they return what the sums of all say.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
AT_A_TIME = 2**16  # rows whose summands are held together
Key = tuple[str, int]  # the scope of a sum, and its place among those of the scope


@dataclass(frozen=True)
class Bins:
    """Summands (M, k) of rows x (M, 1): whether x lies in each of k bins between rising edges. Their sums are counts,
    which are exact: such rows have no shift."""

    edges: Array

    def counts(self, x: Array, edges: NDArray[np.intp]) -> Array:
        """The sums (B, k) over rows [edges_b, edges_b+1) of each block."""
        B, k = len(edges) - 1, len(self.edges) - 1
        place, block = np.searchsorted(self.edges, x[:, 0], side="right") - 1, np.repeat(np.arange(B), np.diff(edges))
        inside = (place >= 0) & (place < k)
        return np.bincount((block * k + place)[inside], minlength=B * k).reshape(B, k).astype(np.float64)


Of = Callable[[Array], Array] | Bins  # summands (M, k) of rows less their shift (M, C)


class UnfinishedError(Exception):
    """Rows cannot be made from what is not known before all networks were seen. No error: the walk begins again."""


class NotStreamedError(RuntimeError):
    """A measure that needs the rows of all networks at once."""


@dataclass(frozen=True)
class Sums:
    """Sums (B, k) over the networks of each block, the numbers (B, 1) of those networks, and the shift (C,) of rows.
    One block of NaN stands for what is not known yet."""

    sums: Array
    counts: Array
    shift: Array

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.counts).all())

    @property
    def total(self) -> Array:
        """(1, k)"""
        return self.sums.sum(axis=0, keepdims=True)

    @property
    def networks(self) -> Array:
        """Their number (1, 1)."""
        return self.counts.sum(axis=0, keepdims=True)

    @property
    def number(self) -> int | None:
        """Of all networks, where it is known."""
        return int(self.networks.item()) if self.known else None

    @property
    def rest(self) -> Array:
        """The sums (B, k) over all networks outside each block."""
        return self.total - self.sums

    @property
    def kept(self) -> Array:
        """The numbers (B, 1) of networks outside each block."""
        return self.networks - self.counts


def shift_of(x: Array, of: Of) -> Array:
    """The shift (C,) of rows x (M, C) where these are all: their mean."""
    return np.zeros(1) if isinstance(of, Bins) else np.asarray(x.mean(axis=0, dtype=np.float64))


def in_blocks(x: Array, shift: Array, of: Of, edges: NDArray[np.intp]) -> Array:
    """The sums (B, k) of `of` of x (M, C) less its shift over rows [edges_b, edges_b+1) of each block, none empty."""
    if isinstance(of, Bins):
        return of.counts(x, edges)
    B = len(edges) - 1
    step, found = max(1, AT_A_TIME * B // max(len(x), 1)), []
    for low in range(0, B, step):
        part = edges[low : low + step + 1]
        found.append(np.add.reduceat(of(x[part[0] : part[-1]] - shift), part[:-1] - part[0], axis=0))
    return np.concatenate(found)


@dataclass
class Walk:
    """What estimators do with the rows of one range of networks.

    cells: (rows,) the cell of each of its finite networks, which rise. shifts: of each sum, by key; learns: whether new
    ones are taken from the rows. known: sums and extremes over all networks. sums: (cells, k) of this range; extremes:
    (2, k) of it. used: the scopes that were entered within each outermost one.
    """

    cells: NDArray[np.int64]
    shifts: dict[Key, Array]
    known: Mapping[Key, Sums | Array]
    learns: bool = False
    sums: dict[Key, Array] = field(default_factory=dict)
    extremes: dict[Key, Array] = field(default_factory=dict)
    used: dict[str, set[str]] = field(default_factory=dict)
    _scopes: list[tuple[str, Iterator[int]]] = field(default_factory=list)

    @property
    def starts(self) -> NDArray[np.intp]:
        """The first row of each cell that has some."""
        return np.flatnonzero(np.diff(self.cells, prepend=-1))

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Sums within have keys of this name."""
        self._scopes.append((name, itertools.count()))
        self.used.setdefault(self._scopes[0][0], set()).add(name)
        try:
            yield
        finally:
            self._scopes.pop()

    @property
    def new(self) -> set[Key]:
        """What was asked for and is not known."""
        return {*self.sums, *self.extremes}

    def among(self, name: str, keys: set[Key]) -> bool:
        """Whether any of these keys is of a scope that was entered within the outermost one of this name."""
        return any(scope in self.used.get(name, ()) for scope, _ in keys)

    def _key(self) -> Key:
        name, places = self._scopes[-1]
        return name, next(places)

    def add(self, x: Array, of: Of) -> Sums:
        """The sums of x over all networks if they are known, and else NaN, when those of the range are entered."""
        key = self._key()
        found = self.known.get(key)
        if isinstance(found, Sums):
            return found
        if len(x) != len(self.cells):
            raise NotStreamedError(f"{key}: {len(x)} rows of {len(self.cells)} networks")
        if key not in self.shifts:
            if not self.learns:
                raise NotStreamedError(f"{key}: the first networks did not ask for this sum")
            mean = shift_of(x, of)
            self.shifts[key] = np.where(np.isfinite(mean), mean, 0.0)
        if key not in self.sums:  # a scope may be entered again, where the one before did not come to its end
            self.sums[key] = self._of_cells(x, self.shifts[key], of)
        width = self.sums[key].shape[1]
        return Sums(np.full((1, width), np.nan), np.full((1, 1), np.nan), self.shifts[key])

    def _of_cells(self, x: Array, shift: Array, of: Of) -> Array:
        """The sums (cells, k) of x over each cell that has rows."""
        return in_blocks(x, shift, of, np.append(self.starts, len(x)))

    def ends(self, columns: Sequence[Array]) -> Array:
        """The least and the largest (2, k) of each of k arrays of numbers of all networks."""
        key = self._key()
        found = self.known.get(key)
        if isinstance(found, np.ndarray):
            return found
        self.extremes[key] = ends(columns)
        raise UnfinishedError


def ends(columns: Sequence[Array]) -> Array:
    """The least and the largest (2, k) of each of k arrays: inf and -inf where one is empty."""
    return np.array([[x.min(initial=np.inf) for x in columns], [x.max(initial=-np.inf) for x in columns]])


WALK: ContextVar[Walk | None] = ContextVar("walk", default=None)


@contextmanager
def walking(walk: Walk) -> Iterator[None]:
    """Estimators within see a range of networks."""
    token = WALK.set(walk)
    try:
        yield
    finally:
        WALK.reset(token)


@contextmanager
def scope(name: str) -> Iterator[None]:
    """The sums within belong together, whoever asks for them first."""
    walk = WALK.get()
    if walk is None:
        yield
        return
    with walk.scope(name):
        yield
