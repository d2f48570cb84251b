"""Part files: each holds the rows of a range of networks.

    DIR/networks/part-000000000000-000000004096.parquet   rows of networks [0, 4096)
    DIR/damaged/part-....parquet.damaged-1                a damaged part that was set aside

Nothing but parts lies in DIR/networks, so that any reader of parquet takes the folder as one table. In data sets of
format 1 parts lie in DIR itself; the run that continues one moves them. Pages carry checksums, which are verified when
they are read.
"""

import itertools
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulate.store import disk
from simulate.store.files import StoreError, make_folder, retried
from simulate.store.layout import KEYS, Layout
from simulate.store.locks import Writer

NETWORKS, DAMAGED = "networks", "damaged"  # folders of a data set
_PART = re.compile(r"part-(\d{12})-(\d{12})\.parquet")


def committed(path: Path) -> list[tuple[int, int]]:
    """The committed ranges [first, last) of networks, in order; empty where there is no folder."""
    found = (_PART.fullmatch(name) for folder in (path, path / NETWORKS) for name in _names(path, folder))
    return sorted({(int(m[1]), int(m[2])) for m in found if m})


def _names(path: Path, folder: Path) -> list[str]:
    """The names in a data set or a folder of it; none where a link stands in the folder's place."""
    return disk.names(folder) if folder == path or _is_folder(folder) else []


def _is_folder(path: Path) -> bool:
    """Whether there is a folder, and no link to one."""
    found = disk.status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def part_path(path: Path, first: int, last: int) -> Path:
    """Where the part of networks [first, last) lies, or will lie."""
    name = part_name(first, last)
    new, old = path / NETWORKS / name, path / name
    return old if not disk.status(new) and disk.status(old) else new


def gaps(done: list[tuple[int, int]], first: int, last: int) -> Iterator[tuple[int, int]]:
    """The ranges of [first, last) that no part holds; `done` are the ranges of the parts, in order."""
    start = first
    for low, high in done:
        if start < min(low, last):
            yield start, min(low, last)
        start = max(start, high)
    if start < last:
        yield start, last


def read_part(path: Path, layout: Layout, first: int, last: int, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of networks [first, last) in `columns`, or all; every page is held against its checksum.

    Raises StoreError where the file is not that part, and OSError or MemoryError where it cannot be read now, which
    says nothing about the part. Its metadata is checked before any page is read: a small file can claim any number of
    rows.
    """
    return retried(lambda: _read_part(path, layout, first, last, columns))


def _read_part(path: Path, layout: Layout, first: int, last: int, columns: Sequence[str] | None) -> pa.Table:
    name = part_path(path, first, last)
    rows = (last - first) * len(layout.steps) * len(layout.layers)
    try:
        if not disk.is_plain(name):
            raise StoreError("is not a plain file")
        with pq.ParquetFile(disk.source(name), page_checksum_verification=True) as file:
            metadata = file.metadata
            if not metadata.schema.to_arrow_schema().equals(layout.arrow({}), check_metadata=False):
                raise StoreError("has other columns")
            if metadata.num_rows != rows or metadata.num_row_groups > rows // 2**14 + 1:
                raise StoreError(f"has {metadata.num_rows} rows in {metadata.num_row_groups} groups, not {rows}")
            if sum(metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)) != rows:
                raise StoreError("has groups that do not make its rows")
            return file.read(None if columns is None else list(columns))
    except (OSError, pa.ArrowException, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system; those of parquet have no number
            raise
        raise StoreError(f"cannot be read ({(str(error) or type(error).__name__).splitlines()[0]})") from None


def damage(path: Path, layout: Layout, identity: str, first: int, last: int) -> str | None:
    """Why the part of networks [first, last) is damaged, as the end of a sentence about it, or None.

    identity: the digest of the data set's identity (`simulate.store.manifest.digest`).
    """
    try:
        table = read_part(path, layout, first, last)
    except StoreError as error:
        return str(error)
    recorded = (table.schema.metadata or {}).get(b"identity", b"").decode(errors="replace")
    if recorded != identity:
        return "belongs to another data set"
    S, L, M = len(layout.steps), len(layout.layers), last - first
    if not np.array_equal(table["network"].to_numpy(), np.repeat(np.arange(first, last), S * L)):
        return "holds other networks than its name says"
    if not np.array_equal(table["step"].to_numpy(), np.tile(np.repeat(layout.steps, L), M)):
        return "holds other steps than were recorded"
    if not np.array_equal(table["layer"].to_numpy(), np.tile(layout.layers, M * S)):
        return "holds other layers than were recorded"
    numbers = [table[name] for family in layout.families() for name in layout.names(family)]
    finite = np.ones(M * S * L, dtype=bool)
    for column in numbers:  # null stands for what is not defined at a layer
        finite &= np.isfinite(column.to_numpy()) | column.is_null().to_numpy()
    whole = np.repeat(finite.reshape(-1, L).all(axis=1), L)
    if not np.array_equal(table["status"].to_numpy(), np.where(whole, 0, 1)):
        return "has a status that its numbers do not have"
    return None


def set_aside(writer: Writer, name: Path) -> Path:
    """Move a damaged file of the writer's data set out of the way, and return its new path; nothing is deleted.

    StoreError where another process is the writer by now, FileNotFoundError where there is no such file any more.
    """
    folder = own_folder(writer.path, DAMAGED)
    candidates = (folder / f"{name.name}.damaged-{k}" for k in itertools.count(1))
    aside = next(candidate for candidate in candidates if not disk.status(candidate))
    _move(writer, name, aside)
    return aside


def aside(path: Path) -> list[str]:
    """The names of the files that were set aside, which data sets of format 1 have in DIR itself."""
    return sorted(name for folder in (path, path / DAMAGED) for name in _names(path, folder) if ".damaged-" in name)


def bring_home(writer: Writer, first: int, last: int) -> None:
    """Move a part of format 1 to the folder of parts. Raises as `set_aside` does."""
    now = part_path(writer.path, first, last)
    if now.parent == writer.path:
        _move(writer, now, own_folder(writer.path, NETWORKS) / now.name)


def _move(writer: Writer, old: Path, new: Path) -> None:
    with writer.fence():
        disk.replace(old, new)
    for folder in (new.parent, old.parent):
        disk.sync_folder(folder)


def own_folder(path: Path, name: str) -> Path:
    """The folder `name` of a data set, made if it is missing. StoreError where it is a link or a file."""
    folder = path / name
    if not _is_folder(folder):
        if disk.status(folder):
            raise StoreError(f"output={path}: {name} is not a folder; move it away")
        make_folder(folder)
    return folder


def part_name(first: int, last: int) -> str:
    """The name of the file that holds networks [first, last)."""
    return f"part-{first:012d}-{last:012d}.parquet"


def write_part(
    writer: Writer,
    layout: Layout,
    metadata: dict[str, str],
    first: int,
    values: Mapping[str, NDArray[Any]],
    status: NDArray[np.int8],
) -> None:
    """Commit the rows of networks first, ..., first + M - 1. OSError where the disk fails, StoreError where another
    process is the writer by now.

    values: for each family's prefix (M, steps, layers, columns), NaN where a network has diverged; status: (M, steps).
    metadata: key-value pairs of the file, with the data set's digest as "identity".
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
            # With from_pandas=False NaN stays a number; only the mask makes nulls.
            column = np.ascontiguousarray(block[..., k]).reshape(-1)
            arrays.append(pa.array(column, mask=absent if absent.any() else None, from_pandas=False))
    table = pa.Table.from_arrays(arrays, schema=layout.arrow(metadata))
    own_folder(writer.path, NETWORKS)
    writer.commit(
        f"{NETWORKS}/{part_name(first, first + M)}",
        lambda stream: pq.write_table(
            table,
            stream,
            compression="zstd",
            # Random mantissas do not compress, but exponents do once the bytes of numbers are split.
            use_dictionary=["step", "layer", "status"],
            column_encoding={"network": "DELTA_BINARY_PACKED"}
            | dict.fromkeys(table.column_names[len(KEYS) :], "BYTE_STREAM_SPLIT"),
            write_page_checksum=True,
        ),
    )
