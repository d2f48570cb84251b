"""Reading of data sets, by the analysis and in notebooks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulate.observables.family import Family
from simulate.settings import with_defaults
from simulate.store.files import StoreError
from simulate.store.layout import Layout
from simulate.store.manifest import MANIFEST, read_manifest
from simulate.store.parts import committed, part_name, read_part


@dataclass(frozen=True)
class DataSet:
    """A data set on disk, complete or not. Its methods raise StoreError where a file is damaged."""

    path: Path
    manifest: dict[str, Any]

    @property
    def layout(self) -> Layout:
        return Layout.from_plain(self.manifest["layout"])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved settings as plain dicts; settings that are newer than the data set have their defaults."""
        return with_defaults(self.manifest["settings"])

    @property
    def networks(self) -> int:
        """The number of networks committed so far."""
        return sum(high - low for low, high in committed(self.path))

    @property
    def complete(self) -> bool:
        return self.networks == self.manifest["networks"]

    def samples(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, int]:
        """The inputs x (D, n_0), the targets y (D, n_L) or None, and the number of train samples."""
        name, layout = self.path / "samples.parquet", self.layout
        try:
            with pq.ParquetFile(name) as file:
                if file.metadata.num_rows != layout.samples:
                    raise StoreError(f"{name}: {file.metadata.num_rows} samples, not {layout.samples}")
                table = file.read()
            x = [table[column].to_numpy() for column in table.column_names if column.startswith("x_")]
            y = [table[column].to_numpy() for column in table.column_names if column.startswith("y_")]
            train = int(np.sum(table["train"].to_numpy()))
            return np.stack(x, axis=1), np.stack(y, axis=1) if y else None, train
        except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
            raise StoreError(f"{name}: cannot be read ({str(error).splitlines()[0]})") from None

    def _table(self, columns: Sequence[str]) -> pa.Table:
        ranges = committed(self.path)
        if not ranges:
            raise StoreError(f"{self.path}: no networks yet")
        tables = []
        for part in ranges:
            try:
                tables.append(read_part(self.path, self.layout, *part, columns))
            except StoreError as error:
                raise StoreError(
                    f"{self.path}: {part_name(*part)} is damaged: it {error}; the simulation, run again, sets it aside "
                    "and computes its networks again"
                ) from None
        return pa.concat_tables(tables)

    def family(self, prefix: str) -> Family:
        """The family of columns with this prefix. Raises StoreError where it was not recorded."""
        for family in self.layout.families():
            if family.prefix == prefix:
                return family
        raise StoreError(f"{self.path}: {prefix!r} was not recorded")

    def records(self, prefix: str) -> bool:
        """Whether the family of columns with this prefix was recorded."""
        return any(family.prefix == prefix for family in self.layout.families())

    def status(self) -> NDArray[np.int8]:
        """The status of each network at each step, (M, steps): 0 where all its numbers are finite."""
        rows = self._table(["status"])["status"].to_numpy()
        return rows.reshape(-1, len(self.layout.steps), len(self.layout.layers))[:, :, 0]

    def read(self, prefix: str) -> NDArray[Any]:
        """One family, (M, steps, layers, columns), in the stored precision, with networks in the order of addresses.

        Numbers are NaN where the family is not defined at a layer, or where a network has diverged. Raises StoreError
        where the family was not recorded.
        """
        layout = self.layout
        names = layout.names(self.family(prefix))
        table = self._table(names)
        shape = (-1, len(layout.steps), len(layout.layers))
        return np.stack([c.to_numpy().reshape(shape) for c in table.columns], axis=-1)

    def table(self) -> Any:
        """All rows as a pandas frame, one row for each network, step and layer."""
        return self._table(self.layout.arrow({}).names).to_pandas()


def open_data_set(path: str | Path) -> DataSet:
    """The data set in the folder `path`. Raises StoreError where there is none."""
    return DataSet(Path(path), read_manifest(Path(path)))


def find(root: str | Path) -> list[DataSet]:
    """The data set in the folder `root`, or all in folders below it. Raises StoreError where there is none."""
    root = Path(root)
    if (root / MANIFEST).exists():
        return [open_data_set(root)]
    found = [open_data_set(name.parent) for name in sorted(root.glob(f"**/{MANIFEST}"))] if root.is_dir() else []
    if not found:
        raise StoreError(f"data={root}: no data set there")
    return found
