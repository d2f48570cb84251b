"""The data set that the processes make, which costs as little time as it can."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from simulate.api import read_one
from simulate.running.prepare import prepare
from simulate.store import head, manifest, parts, readme, samples
from simulate.store.cells import Summed

NETWORKS, PART, CELL = 20, 4, 2  # all, and those of a part and of a cell of sums
PATH = Path("/disk/outputs/set")
SETTINGS = ["network.width=2", "network.depth=1", "inputs=gaussian", "inputs.dimension=1",
            f"ensemble.networks={NETWORKS}", "ensemble.block=4", "observables=kernel", "output=nowhere",
            "workers=1", "ensemble.device=cpu"]  # fmt: skip


T = TypeVar("T")


def remembered(function: Callable[..., T]) -> Callable[..., T]:
    """A function of what its arguments' reprs tell, which computes each result only once. Errors are not kept."""
    results: dict[str, T] = {}

    def call(*arguments: Any, **options: Any) -> T:
        key = repr((arguments, options))
        if key not in results:
            results[key] = function(*arguments, **options)
        return results[key]

    return call


class Parquet:
    """pyarrow.parquet that writes each table and reads each content only once.

    written: by the name of a table's first column, and its first and last entry.
    """

    written: dict[tuple[str, int, int], bytes] = {}  # noqa: RUF012
    read: dict[bytes, "Parquet.ParquetFile"] = {}  # noqa: RUF012

    @staticmethod
    def write_table(table: pa.Table, stream: Any, **options: Any) -> None:
        key = table.column_names[0], table[0][0].as_py(), table[0][-1].as_py()
        if key not in Parquet.written:
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, **options)
            Parquet.written[key] = sink.getvalue().to_pybytes()
        stream.write(Parquet.written[key])

    @staticmethod
    def read_schema(stream: Any) -> pa.Schema:
        return Parquet.ParquetFile(stream).schema_arrow

    class ParquetFile:
        def __init__(self, source: Any, **options: Any):
            content = source if isinstance(source, bytes) else source.read()
            if content in Parquet.read:
                self.__dict__ = Parquet.read[content].__dict__
                return
            with pq.ParquetFile(pa.BufferReader(content), **options) as file:
                self.metadata, self.schema_arrow, self.table = file.metadata, file.schema_arrow, file.read()
            Parquet.read[content] = self

        def read(self, columns: list[str] | None = None) -> pa.Table:
            return self.table if columns is None else self.table.select(columns)

        def __enter__(self) -> "Parquet.ParquetFile":
            return self

        def __exit__(self, *error: object) -> None:
            pass


class Made:
    """The data set that the processes make: that of a small network, with addresses in the place of kernels. summed:
    the same with sums in the place of rows; head: what such a data set begins with."""

    def __init__(self, keep: str = "rows") -> None:
        settings = read_one(SETTINGS)
        job = prepare(replace(settings, ensemble=replace(settings.ensemble, keep=keep)))
        self.summed = Made("sums") if keep == "rows" else None
        self.manifest, self.digest, self.layout = job.manifest(), job.digest(), job.layout
        for key in ("columns", "versions"):  # of no use here, and slow to write
            del self.manifest[key]
        self.head = head.Head(*self.rows(0, CELL), "the plan")
        self.samples = job.samples.x, job.samples.y, job.samples.train
        self.pure: list[tuple[Any, str, Any]] = [
            (parts, "pq", Parquet),
            (head, "pq", Parquet),
            (samples, "pq", Parquet),
            (manifest, "json", SimpleNamespace(**vars(json) | {"dumps": remembered(json.dumps)})),
            (manifest, "check_form", remembered(manifest.check_form)),
            (manifest, "check_agreement", remembered(manifest.check_agreement)),
            (readme, "readme", remembered(readme.readme)),
        ]

    def rows(self, first: int, last: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.int8]]:
        """Values and status of networks [first, last)."""
        shape = last - first, len(self.layout.steps), len(self.layout.layers)
        addresses = np.arange(first, last, dtype=self.layout.dtype)[:, None, None, None]
        families = self.layout.families()
        values = {f.prefix: np.broadcast_to(addresses, (*shape, len(self.layout.indices(f)))) for f in families}
        return values, np.zeros(shape[:2], np.int8)

    def sums(self, first: int, last: int) -> Summed:
        """Sums of networks [first, last)."""
        cells = np.arange(first // CELL, last // CELL)
        return Summed(CELL, cells, np.full(len(cells), CELL), cells[:, None].astype(float))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let the store do only once what depends on nothing that a machine can change."""
        for module, name, value in self.pure:
            patch.setattr(module, name, value)
