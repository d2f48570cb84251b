"""Part files: the rows of a range of networks, in a folder beside the manifest.

    DIR/part-000000000000-000000004096.parquet   rows of networks [0, 4096)
    DIR/part-....parquet.damaged-1               a part that was found damaged, set aside and computed again

Pages carry checksums, which reading verifies.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulate.store.files import StoreError, commit
from simulate.store.layout import KEYS, Layout

_PART = re.compile(r"part-(\d{12})-(\d{12})\.parquet")


def committed(path: Path) -> list[tuple[int, int]]:
    """The committed ranges [first, last) of networks."""
    found = (_PART.fullmatch(name.name) for name in path.iterdir()) if path.is_dir() else ()
    return sorted((int(m[1]), int(m[2])) for m in found if m)


def gaps(done: list[tuple[int, int]], first: int, last: int) -> Iterator[tuple[int, int]]:
    """The ranges of [first, last) that no part holds."""
    at = first
    for low, high in done:
        if at < min(low, last):
            yield at, min(low, last)
        at = max(at, high)
    if at < last:
        yield at, last


def read_part(path: Path, layout: Layout, first: int, last: int, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of networks [first, last), every page held against its checksum; StoreError where it is not that.

    What the file says of itself is looked at before any of its pages: a small file can claim any number of rows.
    """
    name = path / part_name(first, last)
    rows = (last - first) * len(layout.steps) * len(layout.layers)
    try:
        if name.is_symlink() or not name.is_file():
            raise StoreError("is not a plain file")
        with pq.ParquetFile(name, page_checksum_verification=True) as file:
            said = file.metadata
            if not said.schema.to_arrow_schema().equals(layout.arrow({}), check_metadata=False):
                raise StoreError("has other columns")
            if said.num_rows != rows or said.num_row_groups > rows // 2**14 + 1:
                raise StoreError(f"has {said.num_rows} rows in {said.num_row_groups} groups, not {rows}")
            if sum(said.row_group(k).num_rows for k in range(said.num_row_groups)) != rows:
                raise StoreError("has groups that do not make its rows")
            return file.read(None if columns is None else list(columns))
    except (OSError, pa.ArrowException, ValueError, MemoryError) as error:
        raise StoreError(f"cannot be read ({(str(error) or type(error).__name__).splitlines()[0]})") from None


def damage(path: Path, layout: Layout, identity: str, first: int, last: int) -> str | None:
    """What is wrong with the part of networks [first, last), or None."""
    try:
        table = read_part(path, layout, first, last)
    except StoreError as error:
        return str(error)
    said = (table.schema.metadata or {}).get(b"identity", b"").decode(errors="replace")
    if said != identity:
        return "belongs to another data set"
    rows = len(layout.steps) * len(layout.layers)
    if not np.array_equal(table["network"].to_numpy(), np.repeat(np.arange(first, last), rows)):
        return "holds other networks than its name says"
    return None


def set_aside(path: Path, first: int, last: int) -> Path:
    """Rename a damaged part, so that it counts as missing; nothing is deleted."""
    name = path / part_name(first, last)
    free = next(k for k in itertools.count(1) if not name.with_name(f"{name.name}.damaged-{k}").exists())
    return name.rename(name.with_name(f"{name.name}.damaged-{free}"))


def part_name(first: int, last: int) -> str:
    return f"part-{first:012d}-{last:012d}.parquet"


def write_part(
    path: Path,
    layout: Layout,
    metadata: dict[str, str],
    first: int,
    values: Mapping[str, NDArray[Any]],
    status: NDArray[np.int8],
) -> None:
    """Commit the rows of networks first, first + 1, ...

    values: family prefix -> (M, steps, layers, columns); status: (M, steps).
    """
    M, S, Lr = len(status), len(layout.steps), len(layout.layers)
    shape = (M, S, Lr)
    columns: list[NDArray[Any]] = [
        np.broadcast_to(np.arange(first, first + M, dtype=np.int64)[:, None, None], shape),
        np.broadcast_to(np.asarray(layout.steps, dtype=np.int64)[:, None], shape),
        np.broadcast_to(np.asarray(layout.layers, dtype=np.int32), shape),
        np.broadcast_to(status[:, :, None], shape),
    ]
    arrays = [pa.array(column.reshape(-1)) for column in columns]
    for family in layout.families():
        absent = ~np.broadcast_to(layout.defined(family), shape).reshape(-1)
        block = values[family.prefix]
        for k in range(block.shape[-1]):
            # from_pandas=False keeps NaN a number; only the mask makes nulls.
            column = np.ascontiguousarray(block[..., k]).reshape(-1)
            arrays.append(pa.array(column, mask=absent if absent.any() else None, from_pandas=False))
    table = pa.Table.from_arrays(arrays, schema=layout.arrow(metadata))
    commit(
        path / part_name(first, first + M),
        lambda to: pq.write_table(
            table,
            to,
            compression="zstd",
            # Random mantissas do not compress, but their exponents do once the bytes are split.
            use_dictionary=["step", "layer", "status"],
            column_encoding={"network": "DELTA_BINARY_PACKED"}
            | dict.fromkeys(table.column_names[len(KEYS) :], "BYTE_STREAM_SPLIT"),
            write_page_checksum=True,
        ),
    )
