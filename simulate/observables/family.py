"""A family of columns: the stored components of one tensor, in order. No torch here.

An index tuple names outputs first, then samples, as the subscripts of docs/theory.md do: H_ij;ab is (i, j, a, b).
The order of columns is written here and nowhere else: components are picked by the index tuples of a family.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations_with_replacement, product
from math import comb

Index = tuple[int, ...]
Row = int | tuple[int, int]  # a sample a, or an output and a sample (i, a)
PLACES = ("layers", "output_layers", "end")
RESERVED = ("network", "step", "layer", "status")  # columns that every data set has


@dataclass(frozen=True)
class Family:
    """The columns PREFIX_i_j_a_b of one tensor. ValueError for a record that contradicts itself.

    prefix: letters and digits. where: at the chosen `layers`, at the `output_layers`, or at the `end`, which is layer
    L. meaning: one line for the metadata of the columns.
    slots: how many indices the tensor has; of: whether an index is a "sample" or an "output" (i, a), which not every
    one of the `layers` is wide enough for.
    symmetry: groups of slots that may be exchanged with each other; components that this makes equal have one column.
    labels: values of an index that comes first, if there is one. by_noise: whether it is the place of a variance in
    `observables.noises`, of which a data set has its own.
    """

    prefix: str
    where: str
    meaning: str
    slots: int = 0
    of: str = "sample"
    symmetry: tuple[tuple[int, ...], ...] = ()
    labels: tuple[int, ...] = ()
    by_noise: bool = False

    def __post_init__(self) -> None:
        bound = list(chain.from_iterable(self.symmetry))
        for wrong, right in (
            (not re.fullmatch("[A-Za-z][A-Za-z0-9]*", self.prefix), "a prefix is a letter, then letters and digits"),
            (self.prefix in RESERVED, "every data set has a column of this name"),
            (self.where not in PLACES, f"where={self.where!r}: one of {', '.join(PLACES)}"),
            (self.of not in ("sample", "output"), f"of={self.of!r}: sample or output"),
            (self.of == "output" and self.where == "layers", "of='output' needs where='output_layers' or 'end'"),
            (len(set(bound)) < len(bound) or not set(bound) <= set(range(self.slots)), "symmetry: each slot once"),
            (len({len(group) for group in self.symmetry}) > 1, "symmetry: groups of one size"),
        ):
            if wrong:
                raise ValueError(f"column {self.prefix!r}: {right}")

    def rows(self, D: int, outputs: int) -> int:
        """The number of values that an index takes."""
        return D if self.of == "sample" else outputs * D

    def size(self, D: int, outputs: int) -> int:
        """The number of components of the whole tensor."""
        return max(1, len(self.labels)) * self.rows(D, outputs) ** self.slots

    def _free(self) -> list[int]:
        bound = set(chain.from_iterable(self.symmetry))
        return [slot for slot in range(self.slots) if slot not in bound]

    def _group_size(self) -> int:
        return len(self.symmetry[0]) if self.symmetry else 0

    def indices(self, D: int, outputs: int, chosen: tuple[Index, ...] | None = None) -> tuple[Index, ...]:
        """The index tuple of each column for D samples and n_L outputs, in order. chosen: only those of these samples,
        each in rising order."""
        return _indices(self, D, outputs, chosen)

    def count(self, D: int, outputs: int) -> int:
        """The number of columns, which may be more than could be listed."""
        rows, groups = self.rows(D, outputs), len(self.symmetry)
        symmetric = comb(rows ** self._group_size() + groups - 1, groups) if groups else 1
        return max(1, len(self.labels)) * rows ** len(self._free()) * symmetric

    def canonical(self, *rows: Row) -> Index:
        """The index tuple of the column that holds a component, given by one row a slot (less the label)."""
        filled = list(rows)
        groups = sorted([tuple(rows[slot] for slot in slots) for slots in self.symmetry])
        for slots, group in zip(self.symmetry, groups, strict=True):
            for slot, row in zip(slots, group, strict=True):
                filled[slot] = row
        pairs = [row for row in filled if isinstance(row, tuple)]
        if self.of == "sample":
            return tuple(row for row in filled if isinstance(row, int))
        return (*(i for i, _ in pairs), *(a for _, a in pairs))

    def samples(self, index: Index) -> Index:
        """The samples that an index tuple names."""
        return index[len(index) - self.slots :]

    def positions(self, indices: Iterable[Index], D: int, outputs: int) -> list[int]:
        """Where the components lie in the whole tensor, flattened: first the label, then a row a slot, where the row
        of (i, a) is i D + a."""
        rows, shift = self.rows(D, outputs), int(bool(self.labels))
        found = []
        for index in indices:
            place = self.labels.index(index[0]) if self.labels else 0
            for slot in range(self.slots):
                sample = index[len(index) - self.slots + slot]
                place = place * rows + (sample if self.of == "sample" else index[shift + slot] * D + sample)
            found.append(place)
        return found


@lru_cache(maxsize=64)
def _indices(family: Family, D: int, outputs: int, chosen: tuple[Index, ...] | None) -> tuple[Index, ...]:
    """The index tuples in rising order of the free slots, then of the groups, no group smaller than the one before."""
    rows, free = range(family.rows(D, outputs)), family._free()
    groups = list(product(rows, repeat=family._group_size()))
    filled = [*free, *chain.from_iterable(family.symmetry)]  # the slots in the order in which they are filled
    place = [filled.index(slot) for slot in range(family.slots)]
    arranged = (
        (*fixed, *chain.from_iterable(exchanged))
        for fixed in product(rows, repeat=len(free))
        for exchanged in combinations_with_replacement(groups, len(family.symmetry))
    )
    in_slots = arranged if place == sorted(place) else (tuple([row[k] for k in place]) for row in arranged)
    if family.of == "output":
        output, sample = [row // D for row in rows], [row % D for row in rows]
        listed = ((*[output[r] for r in row], *[sample[r] for r in row]) for row in in_slots)
    else:
        listed = in_slots
    if chosen is not None:
        wanted = set(chosen)
        listed = (index for index in listed if tuple(sorted(family.samples(index))) in wanted)
    found = tuple(listed)
    return tuple((label, *index) for label in family.labels for index in found) if family.labels else found
