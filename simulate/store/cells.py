"""Sums in place of rows, as a part of a data set with `ensemble.keep=sums` holds them: a row of its table is a cell.

A cell is an aligned range of addresses, whose number is a power of two, so that larger cells are made of smaller ones.
Columns: `cell`, its number; `networks`, how many of its networks are finite; `sums`, over these. The metadata of the
file hold the networks of a cell, and the digest of the text that tells what each sum is (`simulate.store.head`).
"""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from simulate.store.columns import column

NAMES = ["cell", "networks", "sums"]


class Summed(NamedTuple):
    """size: networks of a cell. cells, counts: (c,) the number of each cell, which rise, and of its finite networks;
    sums: (c, k) over these."""

    size: int
    cells: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: NDArray[np.float64]


def told(plan: str) -> str:
    """The digest of the text that tells what each sum is."""
    return hashlib.sha256(plan.encode()).hexdigest()


def table_of(summed: Summed, plan: str, metadata: Mapping[str, str]) -> pa.Table:
    """The table of a part. plan: the text that tells what each sum is."""
    sums = pa.FixedSizeListArray.from_arrays(column(summed.sums.reshape(-1)), summed.sums.shape[1])
    columns = [column(summed.cells), column(summed.counts), sums]
    whole = {**metadata, "size": str(summed.size), "plan": told(plan)}
    return pa.table(dict(zip(NAMES, columns, strict=True))).replace_schema_metadata(whole)


def entry(schema: pa.Schema, key: str) -> str:
    """An entry of the metadata of a table, empty where there is none."""
    return str((schema.metadata or {}).get(key.encode(), b"").decode(errors="replace"))


def is_table(schema: pa.Schema) -> bool:
    """Whether a schema is that of a part of sums."""
    if schema.names != NAMES or not pa.types.is_fixed_size_list(kind := schema.types[2]):
        return False
    return [*schema.types[:2], kind.value_type] == [pa.int64(), pa.int64(), pa.float64()]


def summed_of(table: pa.Table) -> Summed:
    """What a table holds. ValueError where its metadata have no size of cells."""
    joined = table.combine_chunks()
    cells, counts = (joined[name].to_numpy() for name in NAMES[:2])
    width = table.schema.field(NAMES[2]).type.list_size
    flat = joined[NAMES[2]].combine_chunks()
    numbers = flat.chunk(0) if isinstance(flat, pa.ChunkedArray) else flat
    sums = numbers.flatten().to_numpy() if len(table) else np.empty(0)
    return Summed(int(entry(table.schema, "size")), cells, counts, sums.reshape(-1, width))


def fault(table: pa.Table, first: int, last: int) -> str | None:
    """Why a table cannot be that of networks [first, last), as the end of a sentence about it, or None."""
    try:
        size, cells, counts, _ = summed_of(table)
    except ValueError:
        return "does not tell the size of its cells"
    most = np.minimum((cells + 1) * size, last) - np.maximum(cells * size, first)
    if (np.diff(cells) <= 0).any() or (counts < 1).any() or (counts > most).any():
        return "holds other networks than its name says"
    return None
