"""The data format: which rows and columns a data set has. Read by the analysis too; no torch here.

A row is one network at one layer and one step. Its columns are the sample tuples of each observable:
`g_0_1` the conditional kernel of samples 0 and 1, `H_0_0_0_1` the NTK of outputs 0 and 0 at samples 0
and 1. A column that a layer does not have is null there; NaN is a number that came out as NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement, product

import pyarrow as pa

from simulate.settings import Settings

FORMAT = 1
OK, NOT_FINITE = 0, 1  # status of a network at a step
MOST_COLUMNS = 20_000
KEYS = {
    "network": (pa.int64(), "address of the network in its ensemble"),
    "step": (pa.int64(), "steps of training done"),
    "layer": (pa.int32(), "layer l of the preactivations z(l), 1 to L"),
    "status": (pa.int8(), "0: all numbers finite; 1: this network has diverged at this step"),
}


@dataclass(frozen=True)
class Observable:
    """columns(D, outputs) -> index tuples; every_layer: at each chosen layer, or only at the output."""

    prefix: str
    every_layer: bool
    meaning: str
    tuples: Callable[[int, int], list[tuple[int, ...]]]

    def columns(self, samples: int, outputs: int) -> list[str]:
        return ["_".join([self.prefix, *map(str, t)]) if t else self.prefix for t in self.tuples(samples, outputs)]


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


def _moment(order: int) -> Callable[[int, int], list[tuple[int, ...]]]:
    return lambda D, outputs: list(combinations_with_replacement(range(D), order))


# An observable of the config may write several families of columns.
OBSERVABLES: dict[str, tuple[Observable, ...]] = {
    "kernel": (
        Observable(
            "g", True, "conditional kernel g_ab = C_b + (C_W/n) sum_j s_ja s_jb, PDLT ch. 4", lambda D, o: pairs(D)
        ),
    ),
    "moments": tuple(
        Observable(f"m{k}", True, f"mean over the layer's neurons of the product of {k} preactivations", _moment(k))
        for k in (1, 2, 3, 4)
    ),
    "outputs": (
        Observable("z", False, "output z_i;a of neuron i at sample a", lambda D, o: list(product(range(o), range(D)))),
    ),
    "ntk": (Observable("H", False, "neural tangent kernel H_ij;ab of the outputs, PDLT ch. 8", _ntk),),
    "dntk": (
        Observable("dH", False, "dH_i0i1i2;abc: z_i0;a differentiated along lambda grad z_i1;b and z_i2;c", _dntk),
    ),
    "ddntk": (
        Observable("ddI", False, "ddI_i0i1i2i3;abcd: z_i0;a differentiated along three gradients", _ddntk1),
        Observable("ddII", False, "ddII_i1i2i3i4;abcd: Hessians of z_i1;a and z_i2;b on two gradients", _ddntk2),
    ),
    "loss": (Observable("loss", False, "1/2 sum over train samples of (z - y)^2", lambda D, o: [()]),),
}


@dataclass(frozen=True)
class Layout:
    """Rows and columns of one data set, in order."""

    samples: int
    outputs: int
    depth: int
    layers: tuple[int, ...]
    kernel_layers: tuple[int, ...]
    steps: tuple[int, ...]
    record: tuple[str, ...]
    dtype: str

    def families(self) -> list[Observable]:
        return [family for name in self.record for family in OBSERVABLES[name]]

    def names(self, family: Observable) -> list[str]:
        return family.columns(self.samples, self.outputs)

    def column_count(self) -> int:
        return sum(len(self.names(f)) for f in self.families())

    def defined(self, family: Observable) -> list[bool]:
        """For each row layer, whether the family has numbers there."""
        at = self.kernel_layers if family.every_layer else (self.depth,)
        return [layer in at for layer in self.layers]

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
    families = [f for name in settings.observables.record for f in OBSERVABLES[name]]
    kernel_layers = settings.observables.layers if any(f.every_layer for f in families) else ()
    output = (settings.network.depth,) if any(not f.every_layer for f in families) else ()
    return Layout(
        samples,
        settings.network.outputs,
        settings.network.depth,
        tuple(sorted({*kernel_layers, *output})),
        kernel_layers,
        settings.observables.steps,
        settings.observables.record,
        settings.ensemble.dtype,
    )
