"""Data sets on disk: a manifest, the samples, and part files that appear whole or not at all.

    DIR/dataset.json                        what the data set is: settings, layout, versions
    DIR/samples.parquet                     inputs and targets
    DIR/part-000000000000-000000004096.parquet   rows of networks [0, 4096)
    DIR/part-....parquet.damaged-1          a part that was found damaged, set aside and computed again

A part is written under another name, flushed to the disk, and renamed: a kill at any moment leaves
either the part or nothing. Pages carry checksums, which reading verifies.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulate.schema import FORMAT, KEYS, MOST_COLUMNS, Layout, Observable
from simulate.settings import printable

MANIFEST = "dataset.json"
_PART = re.compile(r"part-(\d{12})-(\d{12})\.parquet")
_TEMPORARY = re.compile(r"\..*\.([^.]*)\.(\d+)\.tmp")
A_DAY = 86400.0
MOST_TEXT = 2**26  # bytes of a manifest that is read


class StoreError(RuntimeError):
    """A data set that cannot be read, or that must not be written to; one line."""

    def __init__(self, text: str):
        super().__init__(printable(text))


def _commit(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write through a temporary file, flush, rename, and flush the folder. Never through a link that lies there."""
    temporary = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _host() -> str:
    return socket.gethostname().replace(".", "-")


def _sweep_up(path: Path) -> None:
    """Remove what killed processes had begun to write. A process that lives keeps its file; of those on other machines
    it is not known, and theirs are kept for a day."""
    for name in path.glob(".*.tmp"):
        if not (match := _TEMPORARY.fullmatch(name.name)):
            continue
        with contextlib.suppress(FileNotFoundError):  # removed by its owner, or by somebody else's sweep
            if match[1] == _host():
                dead = not _lives(int(match[2]))
            else:
                dead = time.time() - name.lstat().st_mtime > A_DAY
            if dead:
                name.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _differences(a: Any, b: Any, path: str = "") -> Iterable[tuple[str, Any, Any]]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            yield from _differences(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif a != b:
        yield path, a, b


def check(path: Path, manifest: dict[str, Any]) -> None:
    """Raises StoreError where `path` holds a data set that is not this one, or networks that this one leaves out.

    Networks may be added to a data set, none taken away.
    """
    if not (path / MANIFEST).exists():
        return
    old, wanted = read_manifest(path)["identity"], json.loads(json.dumps(manifest["identity"]))
    different = [f"{key}={here!r}, not {now!r}" for key, here, now in _differences(old, wanted)]
    if different:
        raise StoreError(
            f"output={path}: it holds a data set made with {'; '.join(different)}. "
            "Choose another output, or the settings it was made with"
        )
    there = parts(path)
    if there and (there[0][0] < manifest["first"] or there[-1][1] > manifest["first"] + manifest["networks"]):
        raise StoreError(
            f"output={path}: it holds networks {there[0][0]} to {there[-1][1] - 1}, some of which "
            f"ensemble.first={manifest['first']} and ensemble.networks={manifest['networks']} would leave out"
        )


def create(path: Path, manifest: dict[str, Any], x: NDArray[Any], y: NDArray[Any] | None, train: int) -> None:
    """Start a data set, or continue the one that is there; StoreError as `check`."""
    check(path, manifest)
    path.mkdir(parents=True, exist_ok=True)
    _sweep_up(path)
    if not (path / MANIFEST).exists():
        table = {"sample": np.arange(len(x)), "train": np.arange(len(x)) < train}
        table |= {f"x_{k}": column for k, column in enumerate(x.T)}
        table |= {f"y_{k}": column for k, column in enumerate(y.T)} if y is not None else {}
        _commit(path / "samples.parquet", lambda to: pq.write_table(pa.table(table), to))
    text = json.dumps(manifest, indent=1, sort_keys=True)
    if (path / MANIFEST).exists() and (path / MANIFEST).read_text() == text + "\n":
        return  # as each of a thousand shards finds it
    _commit(path / MANIFEST, lambda to: to.write((text + "\n").encode()))


def digest(identity: Mapping[str, Any]) -> str:
    """Of what a data set is; every part carries it."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def parts(path: Path) -> list[tuple[int, int]]:
    """The committed ranges [first, last) of networks."""
    found = (_PART.fullmatch(name.name) for name in path.iterdir()) if path.is_dir() else ()
    return sorted((int(m[1]), int(m[2])) for m in found if m)


def _read_part(path: Path, layout: Layout, first: int, last: int, columns: Sequence[str] | None = None) -> pa.Table:
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
        table = _read_part(path, layout, first, last)
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
    _commit(
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


def read_manifest(path: Path) -> dict[str, Any]:
    """Raises StoreError for whatever is not the manifest of a data set."""
    name = path / MANIFEST
    try:
        if name.stat().st_size > MOST_TEXT:
            raise ValueError(f"{MANIFEST} has more than {MOST_TEXT} bytes")
        manifest = json.loads(name.read_text())
        if not isinstance(manifest, dict):
            raise ValueError(f"{MANIFEST} is not a mapping")
        if manifest.get("format") != FORMAT:
            raise StoreError(f"{path}: data format {manifest.get('format')!r}, this version reads {FORMAT}")
        for key, kind in KINDS.items():
            if not isinstance(manifest.get(key), kind) or isinstance(manifest.get(key), bool):
                raise ValueError(f"{key} is missing, or not what it should be")
        _check_layout(DataSet(path, manifest).layout)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: not a data set ({error})") from None
    return manifest


def _check_layout(layout: Layout) -> None:
    """ValueError, KeyError or TypeError for one that `schema.layout` would not make."""
    for name in ("samples", "outputs", "depth"):
        if type(getattr(layout, name)) is not int or getattr(layout, name) < 1:
            raise ValueError(f"layout.{name}={getattr(layout, name)!r}")
    for name in ("layers", "kernel_layers", "output_layers", "steps"):
        values = getattr(layout, name)
        if not isinstance(values, tuple) or any(type(v) is not int for v in values) or sorted(set(values)) != [*values]:
            raise ValueError(f"layout.{name}={values!r}")
    if not isinstance(layout.record, tuple) or layout.dtype not in ("float32", "float64"):
        raise ValueError(f"layout.record={layout.record!r}, layout.dtype={layout.dtype!r}")
    if layout.column_count() > MOST_COLUMNS:
        raise ValueError(f"more than {MOST_COLUMNS} columns")
    layout.arrow({})


# What a manifest must have.
KINDS = {"identity": dict, "settings": dict, "layout": dict, "first": int, "networks": int}


@dataclass(frozen=True)
class DataSet:
    """A data set on disk. `networks` are those committed so far."""

    path: Path
    manifest: dict[str, Any]

    @property
    def layout(self) -> Layout:
        raw = self.manifest["layout"]
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in raw.items()}
        return Layout(**plain)

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved settings, as plain dicts."""
        return self.manifest["settings"]

    @property
    def networks(self) -> int:
        return sum(high - low for low, high in parts(self.path))

    @property
    def complete(self) -> bool:
        return self.networks == self.manifest["networks"]

    def samples(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, int]:
        """x (D, n_0), y (D, n_L) or None, and the number of train samples."""
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
        every = parts(self.path)
        if not every:
            raise StoreError(f"{self.path}: no networks yet")
        tables = []
        for part in every:
            try:
                tables.append(_read_part(self.path, self.layout, *part, columns))
            except StoreError as error:
                raise StoreError(
                    f"{self.path}: {part_name(*part)} is damaged: it {error}; the simulation, run again, sets it aside "
                    "and computes its networks again"
                ) from None
        return pa.concat_tables(tables)

    def family(self, prefix: str) -> Observable:
        for family in self.layout.families():
            if family.prefix == prefix:
                return family
        raise StoreError(f"{self.path}: {prefix!r} was not recorded")

    def records(self, prefix: str) -> bool:
        return any(family.prefix == prefix for family in self.layout.families())

    def status(self) -> NDArray[np.int8]:
        """(M, steps); 0 where all is finite."""
        rows = self._table(["status"])["status"].to_numpy()
        return rows.reshape(-1, len(self.layout.steps), len(self.layout.layers))[:, :, 0]

    def read(self, prefix: str) -> NDArray[Any]:
        """One family: (M, steps, layers, columns) in the stored precision, networks in the order of their address.

        NaN where the family is not defined at a layer, or where a network has diverged.
        """
        layout = self.layout
        names = layout.names(self.family(prefix))
        table = self._table(names)
        shape = (-1, len(layout.steps), len(layout.layers))
        return np.stack([c.to_numpy().reshape(shape) for c in table.columns], axis=-1)

    def table(self) -> Any:
        """All rows as a pandas frame, one per network, step and layer."""
        return self._table(self.layout.arrow({}).names).to_pandas()


def open_data_set(path: str | Path) -> DataSet:
    return DataSet(Path(path), read_manifest(Path(path)))


def find(root: str | Path) -> list[DataSet]:
    """Every data set in `root`: itself, or those in the folders below it."""
    root = Path(root)
    if (root / MANIFEST).exists():
        return [open_data_set(root)]
    found = [open_data_set(name.parent) for name in sorted(root.glob(f"**/{MANIFEST}"))] if root.is_dir() else []
    if not found:
        raise StoreError(f"data={root}: no data set there")
    return found
