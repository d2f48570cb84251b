"""The data format: which rows and columns a data set has. Read by the analysis too; no torch here.

A row is one network at one layer and one step. Its columns are the sample tuples of each observable:
`g_0_1` the conditional kernel of samples 0 and 1, `H_0_0_0_1` the NTK of outputs 0 and 0 at samples 0
and 1. A column that a layer does not have is null there; NaN is a number that came out as NaN.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from math import comb

import pyarrow as pa

from simulate.settings import Settings, SettingsError

FORMAT = 1
OK, NOT_FINITE = 0, 1  # status of a network at a step
MOST_COLUMNS = 20_000
MOST_LISTED = 5_000_000  # index tuples of a family from which some are chosen
KEYS = {
    "network": (pa.int64(), "address of the network in its ensemble"),
    "step": (pa.int64(), "steps of training done"),
    "layer": (pa.int32(), "layer l of the preactivations z(l), 1 to L"),
    "status": (pa.int8(), "0: all numbers finite; 1: this network has diverged at this step"),
}


@dataclass(frozen=True)
class Observable:
    """where: at the chosen `layers`, at the `output_layers`, or at the `end`. tuples(D, outputs) -> index tuples;
    count(D, outputs): how many, which may be more than could be listed."""

    prefix: str
    where: str
    meaning: str
    tuples: Callable[[int, int], list[tuple[int, ...]]]
    count: Callable[[int, int], int]


def pairs(D: int) -> list[tuple[int, ...]]:
    return list(combinations_with_replacement(range(D), 2))


def _ntk(D: int, outputs: int) -> list[tuple[int, ...]]:
    """(i, j, a, b), one of each pair H_ij;ab = H_ji;ba."""
    rows = list(product(range(outputs), range(D)))
    return [(i, j, a, b) for (i, a), (j, b) in combinations_with_replacement(rows, 2)]


# The same for the differentials, which are symmetric under permutations of (output, sample) of their directions;
# column names list outputs first, then samples, as the subscripts of docs/theory.md do.
def _joined(*rows: tuple[int, int]) -> tuple[int, ...]:
    return (*(i for i, _ in rows), *(a for _, a in rows))


def _outputs(D: int, outputs: int) -> list[tuple[int, int]]:
    return [(i, a) for i in range(outputs) for a in range(D)]


def _dntk(D: int, outputs: int) -> list[tuple[int, ...]]:
    rows = _outputs(D, outputs)
    return [_joined(p, q, k) for p in rows for q, k in combinations_with_replacement(rows, 2)]


def _ddntk1(D: int, outputs: int) -> list[tuple[int, ...]]:
    rows = _outputs(D, outputs)
    return [_joined(p, *others) for p in rows for others in combinations_with_replacement(rows, 3)]


def _ddntk2(D: int, outputs: int) -> list[tuple[int, ...]]:
    """Symmetric under exchange of the two Hessians with their directions."""
    rows = _outputs(D, outputs)
    return [_joined(p, q, k, m) for (p, k), (q, m) in combinations_with_replacement(list(product(rows, rows)), 2)]


def _moments(order: int) -> Callable[[int, int], int]:
    return lambda D, outputs: comb(D + order - 1, order)


def _moment(order: int) -> Callable[[int, int], list[tuple[int, ...]]]:
    return lambda D, outputs: list(combinations_with_replacement(range(D), order))


# An observable of the config may write several families of columns.
OBSERVABLES: dict[str, tuple[Observable, ...]] = {
    "kernel": (
        Observable(
            "g",
            "layers",
            "conditional kernel g_ab = C_b + (C_W/n) sum_j s_ja s_jb, PDLT ch. 4",
            lambda D, o: pairs(D),
            lambda D, o: comb(D + 1, 2),
        ),
    ),
    "moments": tuple(
        Observable(
            f"m{k}",
            "layers",
            f"mean over the layer's neurons of the product of {k} preactivations",
            _moment(k),
            _moments(k),
        )
        for k in (1, 2, 3, 4)
    ),
    "outputs": (
        Observable(
            "z",
            "output_layers",
            "output z_i;a of neuron i at sample a",
            lambda D, o: list(product(range(o), range(D))),
            lambda D, o: o * D,
        ),
    ),
    "ntk": (
        Observable(
            "H",
            "output_layers",
            "neural tangent kernel H_ij;ab of the outputs, PDLT ch. 8",
            _ntk,
            lambda D, o: comb(o * D + 1, 2),
        ),
    ),
    "dntk": (
        Observable(
            "dH",
            "output_layers",
            "dH_i0i1i2;abc: z_i0;a differentiated along lambda grad z_i1;b and z_i2;c",
            _dntk,
            lambda D, o: o * D * comb(o * D + 1, 2),
        ),
    ),
    "ddntk": (
        Observable(
            "ddI",
            "output_layers",
            "ddI_i0i1i2i3;abcd: z_i0;a differentiated along three gradients",
            _ddntk1,
            lambda D, o: o * D * comb(o * D + 2, 3),
        ),
        Observable(
            "ddII",
            "output_layers",
            "ddII_i1i2i3i4;abcd: Hessians of z_i1;a and z_i2;b on two gradients",
            _ddntk2,
            lambda D, o: comb((o * D) ** 2 + 1, 2),
        ),
    ),
    "fourth": (
        Observable(
            "d4",
            "output_layers",
            "fourth derivative of z_i;a along lambda grad z_i;a",
            lambda D, o: list(product(range(o), range(D))),
            lambda D, o: o * D,
        ),
    ),
    "loss": (Observable("loss", "end", "the loss of the train samples, summed", lambda D, o: [()], lambda D, o: 1),),
    "moved": (
        Observable(
            "moved",
            "layers",
            "distance that a layer's weights have moved, over their size at step 0",
            lambda D, o: [()],
            lambda D, o: 1,
        ),
    ),
    "taylor": (
        Observable(
            "taylor",
            "end",
            "output z_i;a of the Taylor model of order k, trained beside the network (columns k, i, a)",
            lambda D, o: list(product((1, 2, 3), range(o), range(D))),
            lambda D, o: 3 * o * D,
        ),
    ),
}


@dataclass(frozen=True)
class Layout:
    """Rows and columns of one data set, in order."""

    samples: int
    outputs: int
    depth: int
    layers: tuple[int, ...]  # that have rows
    kernel_layers: tuple[int, ...]
    output_layers: tuple[int, ...]
    steps: tuple[int, ...]
    record: tuple[str, ...]
    tuples: Mapping[str, Sequence[Sequence[int]]]  # chosen samples of the observables that do not have all
    dtype: str

    def families(self) -> list[Observable]:
        return [family for name in self.record for family in OBSERVABLES[name]]

    def kept(self, family: Observable) -> list[int] | None:
        """Which of the family's index tuples are columns; None for all."""
        (name,) = (name for name, families in OBSERVABLES.items() if family in families)
        if name not in self.tuples:
            return None
        chosen = {tuple(one) for one in self.tuples[name]}
        every = family.tuples(self.samples, self.outputs)
        return [k for k, index in enumerate(every) if tuple(sorted(index[len(index) // 2 :])) in chosen]

    def indices(self, family: Observable) -> list[tuple[int, ...]]:
        """The index tuple of each column: outputs first, then samples."""
        every, kept = family.tuples(self.samples, self.outputs), self.kept(family)
        return every if kept is None else [every[k] for k in kept]

    def names(self, family: Observable) -> list[str]:
        return ["_".join([family.prefix, *map(str, index)]) for index in self.indices(family)]

    def column_count(self) -> int:
        """SettingsError where there are too many to choose from."""
        total = 0
        for name in self.record:
            for family in OBSERVABLES[name]:
                every = family.count(self.samples, self.outputs)
                if name in self.tuples and every > MOST_LISTED:
                    right = (
                        f"{every:,} of {self.samples} samples to choose from; at most {MOST_LISTED:,}: fewer samples"
                    )
                    raise SettingsError("observables.tuples", name, right)
                total += len(self.names(family)) if name in self.tuples else every
        return total

    def defined(self, family: Observable) -> list[bool]:
        """For each row layer, whether the family has numbers there."""
        where = {"layers": self.kernel_layers, "output_layers": self.output_layers, "end": (self.depth,)}
        return [layer in where[family.where] for layer in self.layers]

    def row_bytes(self) -> int:
        """Bytes of one network's rows, before compression."""
        cells = len(self.steps) * len(self.layers)
        return cells * (21 + self.column_count() * (4 if self.dtype == "float32" else 8))

    def arrow(self, metadata: dict[str, str]) -> pa.Schema:
        fields = [pa.field(n, t, False, {"unit": "count", "meaning": m}) for n, (t, m) in KEYS.items()]
        number = pa.float32() if self.dtype == "float32" else pa.float64()
        for family in self.families():
            describe = {"unit": "dimensionless", "meaning": family.meaning}
            fields += [pa.field(name, number, True, describe) for name in self.names(family)]
        return pa.schema(fields, metadata={"nearly_gaussian_format": str(FORMAT), **metadata})


def layout(settings: Settings, samples: int) -> Layout:
    """Raises SettingsError where a chosen tuple names a sample that there is not."""
    o, depth = settings.observables, settings.network.depth
    for name, chosen in o.tuples.items():
        if name not in o.record:
            raise SettingsError("observables.tuples", name, f"not recorded: observables.record={list(o.record)}")
        if max(map(max, chosen)) >= samples:
            raise SettingsError("observables.tuples", [list(one) for one in chosen], f"there are {samples} samples")
    families = [f for name in o.record for f in OBSERVABLES[name]]
    at = {"layers": o.layers, "output_layers": o.output_layers, "end": (depth,)}
    there = {where: at[where] if any(f.where == where for f in families) else () for where in at}
    return Layout(
        samples,
        settings.network.outputs,
        depth,
        tuple(sorted({layer for layers in there.values() for layer in layers})),
        there["layers"],
        there["output_layers"],
        o.steps,
        o.record,
        o.tuples,
        settings.ensemble.dtype,
    )
