"""Part files: each holds the rows of a range of networks.

    DIR/networks/part-000000000000-000000004096.parquet   rows of networks [0, 4096)

With `ensemble.keep=sums` a part has sums in their place (`simulate.store.cells`), and is else as others are.
In data sets of format 1 parts lie in DIR itself; the run that continues one moves them. Pages carry checksums, which
are verified when they are read, and the log of commits holds a digest of each part.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulate.store import cells, commits, disk
from simulate.store.columns import column
from simulate.store.files import StoreError, commit, retried
from simulate.store.folders import NETWORKS, move, names, own_folder, set_aside
from simulate.store.layout import KEYS, Layout
from simulate.store.locks import Writer
from simulate.store.plain import Hashed, sha256

NOWHERE: Mapping[str, Any] = {"device": None, "code": None}

_PART = re.compile(r"part-(\d{12})-(\d{12})\.parquet")


def committed(path: Path) -> list[tuple[int, int]]:
    """The committed ranges [first, last) of networks, in order; empty where there is no folder."""
    found = (_PART.fullmatch(name) for folder in ("", NETWORKS) for name in names(path, folder))
    return sorted({(int(m[1]), int(m[2])) for m in found if m})


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
    summed = not layout.keeps_rows
    most = (last - first) * (1 if summed else len(layout.steps) * len(layout.layers))
    try:
        if not disk.is_plain(name):
            raise StoreError("is not a plain file")
        with pq.ParquetFile(disk.source(name), page_checksum_verification=True) as file:
            metadata = file.metadata
            there = file.schema_arrow if summed else metadata.schema.to_arrow_schema()
            if not (cells.is_table(there) if summed else there.equals(layout.arrow({}), check_metadata=False)):
                raise StoreError("has other columns")
            rows = min(metadata.num_rows, most) if summed else most
            if metadata.num_rows != rows or metadata.num_row_groups > rows // 2**14 + 1:
                raise StoreError(f"has {metadata.num_rows} rows in {metadata.num_row_groups} groups, not {rows}")
            if sum(metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)) != rows:
                raise StoreError("has groups that do not make its rows")
            return file.read(None if columns is None else list(columns))
    except (OSError, pa.ArrowException, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system; those of parquet have no number
            raise
        raise StoreError(f"cannot be read ({(str(error) or type(error).__name__).splitlines()[0]})") from None


def recorded_identity(schema: pa.Schema) -> str:
    """The digest of the identity in the metadata of a part, empty where there is none."""
    return cells.entry(schema, "identity")


def damage(path: Path, layout: Layout, identity: str, first: int, last: int) -> str | None:
    """Why the part of networks [first, last) is damaged, as the end of a sentence about it, or None.

    identity: the digest of the data set's identity (`simulate.store.manifest.digest`).
    """
    try:
        table = read_part(path, layout, first, last)
    except StoreError as error:
        return str(error)
    if recorded_identity(table.schema) != identity:
        return "belongs to another data set"
    if not layout.keeps_rows:
        return cells.fault(table, first, last)
    S, L, M = len(layout.steps), len(layout.layers), last - first
    if not np.array_equal(table["network"].to_numpy(), np.repeat(np.arange(first, last), S * L)):
        return "holds other networks than its name says"
    if not np.array_equal(table["step"].to_numpy(), np.tile(np.repeat(layout.steps, L), M)):
        return "holds other steps than were recorded"
    if not np.array_equal(table["layer"].to_numpy(), np.tile(layout.layers, M * S)):
        return "holds other layers than were recorded"
    numbers = [table[name] for family in layout.families() for name in layout.names(family)]
    finite = np.ones(M * S * L, dtype=bool)
    for read in numbers:  # null stands for what is not defined at a layer
        finite &= np.isfinite(read.to_numpy()) | read.is_null().to_numpy()
    whole = np.repeat(finite.reshape(-1, L).all(axis=1), L)
    if not np.array_equal(table["status"].to_numpy(), np.where(whole, 0, 1)):
        return "has a status that its numbers do not have"
    return None


def settle(writer: Writer, layout: Layout, identity: str, first: int, last: int, lines: list[commits.Line]) -> str:
    """Check a part of the writer's data set that is there: set it aside where it is damaged, and say so; else enter it
    into the log and move it to its folder, where it is not yet. Returns what was said, or nothing.

    lines: those of the log about the part. Raises as `simulate.store.folders.move` does.
    """
    name = part_path(writer.path, first, last)
    why, fits = fault(writer.path, layout, identity, first, last, lines)
    if why:
        aside = set_aside(writer, name)
        return f"{aside}: this part {why}; set aside, its networks are computed again"
    if not fits:
        rows = (last - first) * len(layout.steps) * len(layout.layers)
        adopted = {"device": None, "code": None, "adopted": True}
        commits.append(writer, commits.line(name.name, identity, sha256(name), rows, last - first, adopted))
    if name.parent == writer.path:
        move(writer, name, own_folder(writer.path, NETWORKS) / name.name)
    return ""


def fault(
    path: Path, layout: Layout, identity: str, first: int, last: int, lines: list[commits.Line]
) -> tuple[str | None, bool]:
    """Why the part of networks [first, last) is damaged, as the end of a sentence about it, or None; and whether a line
    of the log names its digest. A part without lines is read, and held against all that it must be."""
    if not lines:
        return damage(path, layout, identity, first, last), False
    try:
        digest = sha256(part_path(path, first, last))
    except ValueError as error:
        return f"is {error}", False
    fits = commits.fitting(lines, digest) is not None
    return None if fits else "differs from its digest in the log of commits", fits


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
    made: Mapping[str, Any] = NOWHERE,
) -> None:
    """Commit the rows of networks first, ..., first + M - 1, with a line in the log. OSError where the disk fails,
    StoreError where another process is the writer by now.

    values: for each family's prefix (M, steps, layers, columns), NaN where a network has diverged; status: (M, steps).
    metadata: key-value pairs of the file, with the data set's digest as "identity". made: the device and the code that
    computed the rows, and the seconds that it took.
    """
    name = own_folder(writer.path, NETWORKS) / part_name(first, first + len(status))
    commit_table(writer, name, rows_table(layout, metadata, first, values, status), len(status), made)


def write_sums(
    writer: Writer,
    metadata: Mapping[str, str],
    first: int,
    last: int,
    summed: cells.Summed,
    plan: str,
    made: Mapping[str, Any] = NOWHERE,
) -> None:
    """Commit sums over networks [first, last) in the place of their rows, as `write_part` does. plan: the text that
    tells what each sum is."""
    name = own_folder(writer.path, NETWORKS) / part_name(first, last)
    commit_table(writer, name, cells.table_of(summed, plan, metadata), last - first, made)


def rows_table(
    layout: Layout,
    metadata: dict[str, str],
    first: int,
    values: Mapping[str, NDArray[Any]],
    status: NDArray[np.int8],
) -> pa.Table:
    """The rows of networks first, ..., first + M - 1; arguments as those of `write_part`."""
    M, S, Lr = len(status), len(layout.steps), len(layout.layers)
    shape = (M, S, Lr)
    keys: list[NDArray[Any]] = [
        np.broadcast_to(np.arange(first, first + M, dtype=np.int64)[:, None, None], shape),
        np.broadcast_to(np.asarray(layout.steps, dtype=np.int64)[:, None], shape),
        np.broadcast_to(np.asarray(layout.layers, dtype=np.int32), shape),
        np.broadcast_to(status[:, :, None], shape),
    ]
    arrays = [column(key.reshape(-1)) for key in keys]
    for family in layout.families():
        absent = ~np.broadcast_to(layout.defined(family), shape).reshape(-1)
        block = values[family.prefix]
        for k in range(block.shape[-1]):
            arrays.append(column(np.ascontiguousarray(block[..., k]).reshape(-1), absent if absent.any() else None))
    return pa.Table.from_arrays(arrays, schema=layout.arrow(metadata))


def commit_table(
    writer: Writer, name: Path, table: pa.Table, networks: int, made: Mapping[str, Any], first: bool = False
) -> None:
    """Commit a table as the file `name` of the writer's data set, with a line in the log. networks: how many it is
    about; first: whether FileExistsError is raised where there is one by now. Raises as `write_part` does."""
    hashed, rows = Hashed(), "layer" in table.column_names
    # Random mantissas do not compress, but exponents do once the bytes of numbers are split.
    encoding = {"network": "DELTA_BINARY_PACKED"} | dict.fromkeys(table.column_names[len(KEYS) :], "BYTE_STREAM_SPLIT")

    def write(stream: IO[bytes]) -> None:
        pq.write_table(
            table,
            hashed.around(stream),
            compression="zstd",
            use_dictionary=["step", "layer", "status"] if rows else False,
            column_encoding=encoding if rows else None,
            write_page_checksum=True,
        )

    @contextmanager
    def entered() -> Iterator[None]:
        about = name.relative_to(writer.path).as_posix().removeprefix(f"{NETWORKS}/")
        identity = recorded_identity(table.schema)
        with writer.turn:  # a process has one log
            commits.append(writer, commits.line(about, identity, hashed.digest(), table.num_rows, networks, made))
            with writer.fence(alone=first):
                if first and disk.status(name):
                    raise FileExistsError(name)
                yield

    commit(name, write, entered, writer.path)
