"""The data format: which rows and columns a data set has. Read by the analysis too; no torch here.

A row is one network at one layer and one step. Its columns are the sample tuples of each observable:
`g_0_1` the conditional kernel of samples 0 and 1, `H_0_0_0_1` the NTK of outputs 0 and 0 at samples 0
and 1. A column that a layer does not have is null there; NaN is a number that came out as NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from simulate.observables.columns import OBSERVABLES, Observable
from simulate.settings import Settings
from simulate.settings.reader import SettingsError

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

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Layout:
        """The layout that a manifest holds as lists and mappings."""
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()}
        return cls(**fields)

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


def layout_of(settings: Settings, samples: int) -> Layout:
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
