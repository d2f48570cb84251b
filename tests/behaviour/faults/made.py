"""The data set that the processes make, which costs as little time as it can."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from simulate.api import read_one
from simulate.running.prepare import prepare

NETWORKS, PART = 20, 4
PATH = Path("/disk/outputs/set")
SETTINGS = ["network.width=2", "network.depth=1", f"ensemble.networks={NETWORKS}", "ensemble.block=4",
            "observables=kernel", "output=nowhere", "workers=1", "ensemble.device=cpu"]  # fmt: skip


class Parquet:
    """pyarrow.parquet that writes each table and reads each content only once."""

    written: dict[Any, bytes] = {}  # noqa: RUF012
    read: dict[bytes, "Parquet.ParquetFile"] = {}  # noqa: RUF012

    @staticmethod
    def write_table(table: pa.Table, stream: Any, **options: Any) -> None:
        key = table["network"][0].as_py(), table["network"][-1].as_py()
        if key not in Parquet.written:
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, **options)
            Parquet.written[key] = sink.getvalue().to_pybytes()
        stream.write(Parquet.written[key])

    class ParquetFile:
        def __init__(self, content: bytes, **options: Any):
            if content in Parquet.read:
                self.__dict__ = Parquet.read[content].__dict__
                return
            with pq.ParquetFile(pa.BufferReader(content), **options) as file:
                self.metadata, self.table = file.metadata, file.read()
            Parquet.read[content] = self

        def read(self, columns: list[str] | None) -> pa.Table:
            return self.table if columns is None else self.table.select(columns)

        def __enter__(self) -> "Parquet.ParquetFile":
            return self

        def __exit__(self, *error: object) -> None:
            pass


class Made:
    """The data set that the processes make: that of a small network, with addresses in the place of kernels."""

    def __init__(self) -> None:
        job = prepare(read_one(SETTINGS))
        self.manifest, self.digest, self.layout = job.manifest(), job.digest(), job.layout
        for key in ("columns", "versions"):  # of no use here, and slow to write
            del self.manifest[key]
        self.samples = job.samples.x, job.samples.y, job.samples.train
        self.text: dict[str, str] = {}

    def dumps(self, plain: Any, **options: Any) -> str:
        """json.dumps that writes the manifest only once."""
        if plain is not self.manifest:
            return json.dumps(plain, **options)
        key = repr(options)
        if key not in self.text:
            self.text[key] = json.dumps(plain, **options)
        return self.text[key]
