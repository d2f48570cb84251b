"""Observables: the families of columns that each writes, what it needs and what it costs. No torch here.

An index tuple names outputs first, then samples, as the subscripts of docs/theory.md do: H_ij;ab is (i, j, a, b).
The order of columns is written here and nowhere else: components are picked by the index tuples of a family.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from math import comb

from simulate.registry import Registry

Index = tuple[int, ...]
Row = int | tuple[int, int]  # a sample a, or an output and a sample (i, a)


@dataclass(frozen=True)
class Family:
    """The columns PREFIX_i_j_a_b of one tensor.

    where: at the chosen `layers`, at the `output_layers`, or at the `end`, which is layer L.
    slots: how many indices the tensor has; of: whether an index is a "sample" or an "output" (i, a).
    symmetry: groups of slots that may be exchanged with each other; components that this makes equal have one column.
    labels: values of an index that comes first, if there is one.
    """

    prefix: str
    where: str
    meaning: str
    slots: int = 0
    of: str = "sample"
    symmetry: tuple[tuple[int, ...], ...] = ()
    labels: tuple[int, ...] = ()

    def _rows(self, D: int, outputs: int) -> list[Row]:
        return list(range(D)) if self.of == "sample" else list(product(range(outputs), range(D)))

    def _free(self) -> list[int]:
        bound = {slot for group in self.symmetry for slot in group}
        return [slot for slot in range(self.slots) if slot not in bound]

    def _index(self, rows: tuple[Row, ...]) -> Index:
        pairs = [row for row in rows if isinstance(row, tuple)]
        if not pairs:
            return tuple(row for row in rows if isinstance(row, int))
        return (*(i for i, _ in pairs), *(a for _, a in pairs))

    def indices(self, D: int, outputs: int) -> list[Index]:
        """The index tuple of each column for D samples and n_L outputs, in order."""
        rows, free, found = self._rows(D, outputs), self._free(), []
        size = len(self.symmetry[0]) if self.symmetry else 0
        groups = list(product(rows, repeat=size))
        for fixed in product(rows, repeat=len(free)):
            for chosen in combinations_with_replacement(groups, len(self.symmetry)):
                filled = dict(zip(free, fixed, strict=True))
                for slots, group in zip(self.symmetry, chosen, strict=True):
                    filled |= dict(zip(slots, group, strict=True))
                found.append(self._index(tuple(filled[slot] for slot in range(self.slots))))
        return [(label, *index) for label in self.labels for index in found] if self.labels else found

    def count(self, D: int, outputs: int) -> int:
        """How many columns those are, which may be more than could be listed."""
        rows = D if self.of == "sample" else outputs * D
        size, groups = (len(self.symmetry[0]) if self.symmetry else 0), len(self.symmetry)
        symmetric = comb(rows**size + groups - 1, groups) if groups else 1
        return max(1, len(self.labels)) * rows ** len(self._free()) * symmetric

    def canonical(self, *rows: Row) -> Index:
        """The index tuple of the column that holds a component, given by one row a slot."""
        filled = list(rows)
        groups = sorted([tuple(rows[slot] for slot in slots) for slots in self.symmetry])
        for slots, group in zip(self.symmetry, groups, strict=True):
            for slot, row in zip(slots, group, strict=True):
                filled[slot] = row
        return self._index(tuple(filled))

    def samples(self, index: Index) -> Index:
        """The samples that an index tuple names."""
        return index[len(index) - self.slots :]

    def positions(self, indices: list[Index], D: int, outputs: int) -> list[int]:
        """Where the components lie in the whole tensor, flattened: first the label, then a row a slot, where the row
        of (i, a) is i D + a."""
        rows, shift = (D if self.of == "sample" else outputs * D), int(bool(self.labels))
        found = []
        for index in indices:
            place = self.labels.index(index[0]) if self.labels else 0
            for slot in range(self.slots):
                sample = index[len(index) - self.slots + slot]
                place = place * rows + (sample if self.of == "sample" else index[shift + slot] * D + sample)
            found.append(place)
        return found


def _nothing(D: int, outputs: int) -> int:
    return 0


@dataclass(frozen=True)
class Observable:
    """What `observables.record` can name.

    needs: names of conditions (`simulate.settings.observables.NEEDS`): "weights", which the law sampler does not have;
    "training"; "taylor", an algorithm and a loss that Taylor models follow.
    choosable: samples in a component, where `observables.tuples` may choose some; 0 where it may not.
    pulled(D, outputs): vectors or tangents pulled back through the network for each recorded step and output layer;
    pulled_once: before training. tangents: the order in the n_L D directions of the largest tensor of tangents that is
    held. copies: tensors as large as the parameters that are held.
    """

    name: str
    families: tuple[Family, ...]
    needs: tuple[str, ...] = ()
    choosable: int = 0
    pulled: Callable[[int, int], int] = _nothing
    pulled_once: Callable[[int, int], int] = _nothing
    tangents: int = 0
    copies: int = 0


OBSERVABLES: Registry[Observable] = Registry("observable")
PAIR = ((0,), (1,))
WEIGHTS, TRAINED = ("weights",), ("weights", "training")

OBSERVABLES.add(
    Observable(
        "kernel",
        (
            Family(
                "g",
                "layers",
                "conditional kernel g_ab = C_b + (C_W/n) sum_j s_ja s_jb, PDLT ch. 4",
                2,
                symmetry=PAIR,
            ),
        ),
    )
)
OBSERVABLES.add(
    Observable(
        "moments",
        tuple(
            Family(
                f"m{k}",
                "layers",
                f"mean over the layer's neurons of the product of {k} preactivations",
                k,
                symmetry=tuple((slot,) for slot in range(k)),
            )
            for k in (1, 2, 3, 4)
        ),
    )
)
OBSERVABLES.add(
    Observable("outputs", (Family("z", "output_layers", "output z_i;a of neuron i at sample a", 1, of="output"),))
)
OBSERVABLES.add(
    Observable(
        "ntk",
        (
            Family(
                "H",
                "output_layers",
                "neural tangent kernel H_ij;ab of the outputs, PDLT ch. 8",
                2,
                of="output",
                symmetry=PAIR,
            ),
        ),
        choosable=2,
        pulled=lambda D, outputs: outputs * D,
    )
)
OBSERVABLES.add(
    Observable(
        "dntk",
        (
            Family(
                "dH",
                "output_layers",
                "dH_i0i1i2;abc: z_i0;a differentiated along lambda grad z_i1;b and z_i2;c",
                3,
                of="output",
                symmetry=((1,), (2,)),
            ),
        ),
        needs=WEIGHTS,
        choosable=3,
        pulled=lambda D, outputs: 4 * (outputs * D) ** 2,
        tangents=2,
    )
)
OBSERVABLES.add(
    Observable(
        "ddntk",
        (
            Family(
                "ddI",
                "output_layers",
                "ddI_i0i1i2i3;abcd: z_i0;a differentiated along three gradients",
                4,
                of="output",
                symmetry=((1,), (2,), (3,)),
            ),
            Family(
                "ddII",
                "output_layers",
                "ddII_i1i2i3i4;abcd: Hessians of z_i1;a and z_i2;b on two gradients",
                4,
                of="output",
                symmetry=((0, 2), (1, 3)),  # the two Hessians, each with its direction
            ),
        ),
        needs=WEIGHTS,
        choosable=4,
        pulled=lambda D, outputs: 4 * (outputs * D) ** 3,
        tangents=3,
    )
)
OBSERVABLES.add(
    Observable(
        "fourth",
        (Family("d4", "output_layers", "fourth derivative of z_i;a along lambda grad z_i;a", 1, of="output"),),
        needs=WEIGHTS,
        pulled=lambda D, outputs: 8 * D,
    )
)
OBSERVABLES.add(
    Observable("loss", (Family("loss", "end", "the loss of the train samples, summed"),), needs=TRAINED),
)
OBSERVABLES.add(
    Observable(
        "moved",
        (Family("moved", "layers", "distance that a layer's weights have moved, over their size at step 0"),),
        needs=TRAINED,
        copies=1,
    )
)
OBSERVABLES.add(
    Observable(
        "taylor",
        (
            Family(
                "taylor",
                "end",
                "output z_i;a of the Taylor model of order k, trained beside the network (columns k, i, a)",
                1,
                of="output",
                labels=(1, 2, 3),
            ),
        ),
        needs=(*TRAINED, "taylor"),
        pulled_once=lambda D, outputs: 4 * (outputs * D) ** 3,
        tangents=3,
    )
)


def recorded(names: tuple[str, ...]) -> list[Observable]:
    """The observables of these names."""
    return [OBSERVABLES[name] for name in names]
