"""The data format: the rows and columns of a data set. The analysis reads it, too, so nothing here needs torch.

A row is one network at one layer and one step. Its columns are the index tuples of each observable: `g_0_1` is the
conditional kernel of samples 0 and 1, `H_0_0_0_1` the NTK of outputs 0 and 0 at samples 0 and 1. A column is null at a
layer that does not have it; NaN is a number that came out as NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from simulate.observables.columns import Observable, recorded
from simulate.observables.family import Family, Index
from simulate.settings import Settings
from simulate.settings.ensemble import ROWS, SUMS
from simulate.settings.reader import SettingsError

FORMAT = 2  # 1 had all files in one folder
READABLE = (1, 2)
OK, NOT_FINITE = 0, 1  # status of a network at a step
MOST_COLUMNS = 20_000  # upper bound on the columns of a data set
MOST_LISTED = 5_000_000  # upper bound on the index tuples of a family of which some are chosen
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
    layers: tuple[int, ...]  # the layers that have rows
    kernel_layers: tuple[int, ...]
    output_layers: tuple[int, ...]
    steps: tuple[int, ...]
    record: tuple[str, ...]
    tuples: Mapping[str, Sequence[Sequence[int]]]  # the chosen samples of observables that do not record all
    dtype: str
    noises: int = 0  # variances of targets, of each of which a family by noise has columns
    keep: str = ROWS  # or sums, which parts have in the place of rows

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Layout:
        """The layout that a manifest holds as lists and mappings."""
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()}
        return cls(**fields)

    @property
    def keeps_rows(self) -> bool:
        return self.keep != SUMS

    def observables(self) -> list[Observable]:
        return [observable.of_noises(self.noises) for observable in recorded(self.record)]

    def families(self) -> list[Family]:
        return [family for observable in self.observables() for family in observable.families]

    def indices(self, family: Family) -> list[Index]:
        """The index tuple of each column: outputs first, then samples."""
        (name,) = (observable.name for observable in self.observables() if family in observable.families)
        chosen = tuple(tuple(samples) for samples in self.tuples[name]) if name in self.tuples else None
        return list(family.indices(self.samples, self.outputs, chosen))

    def names(self, family: Family) -> list[str]:
        """The name of each column of the family, such as `g_0_1`."""
        return ["_".join([family.prefix, *map(str, index)]) for index in self.indices(family)]

    def column_count(self) -> int:
        """The number of columns. Raises SettingsError where there are too many index tuples to choose from."""
        total = 0
        for observable in self.observables():
            for family in observable.families:
                count, chosen = family.count(self.samples, self.outputs), observable.name in self.tuples
                if chosen and count > MOST_LISTED:
                    right = (
                        f"{count:,} of {self.samples} samples to choose from; at most {MOST_LISTED:,}: fewer samples"
                    )
                    raise SettingsError("observables.tuples", observable.name, right)
                total += len(self.indices(family)) if chosen else count
        return total

    def defined(self, family: Family) -> list[bool]:
        """For each row layer, whether the family has numbers there."""
        where = {"layers": self.kernel_layers, "output_layers": self.output_layers, "end": (self.depth,)}
        return [layer in where[family.where] for layer in self.layers]

    def row_bytes(self) -> int:
        """Bytes of one network's rows, before compression."""
        cells = len(self.steps) * len(self.layers)
        return cells * (21 + self.column_count() * (4 if self.dtype == "float32" else 8))

    def arrow(self, metadata: dict[str, str]) -> pa.Schema:
        """The schema of part files, with `metadata` and the number of the format."""
        fields = [pa.field(n, t, False, {"unit": "count", "meaning": m}) for n, (t, m) in KEYS.items()]
        number = pa.float32() if self.dtype == "float32" else pa.float64()
        for family in self.families():
            describe = {"unit": "dimensionless", "meaning": family.meaning}
            fields += [pa.field(name, number, True, describe) for name in self.names(family)]
        return pa.schema(fields, metadata={"nearly_gaussian_format": str(FORMAT), **metadata})


def layout_of(settings: Settings, samples: int) -> Layout:
    """The layout that the settings ask for. Raises SettingsError where a chosen tuple needs more samples."""
    o, depth = settings.observables, settings.network.depth
    for name, chosen in o.tuples.items():
        if name not in o.record:
            raise SettingsError("observables.tuples", name, f"not recorded: observables.record={list(o.record)}")
        if max(map(max, chosen)) >= samples:
            raise SettingsError("observables.tuples", [list(entry) for entry in chosen], f"there are {samples} samples")
    families = [family for observable in recorded(o.record) for family in observable.families]
    at = {"layers": o.layers, "output_layers": o.output_layers, "end": (depth,)}
    layers_of = {where: at[where] if any(f.where == where for f in families) else () for where in at}
    return Layout(
        samples,
        settings.network.outputs,
        depth,
        tuple(sorted({layer for layers in layers_of.values() for layer in layers})),
        layers_of["layers"],
        layers_of["output_layers"],
        o.steps,
        o.record,
        o.tuples,
        settings.ensemble.dtype,
        len(o.noises),
        settings.ensemble.keep,
    )
