"""Data sets on disk: a manifest, the samples, and part files that appear whole or not at all.

    DIR/dataset.json                        what the data set is: settings, layout, versions
    DIR/samples.parquet                     inputs and targets
    DIR/part-000000000000-000000004096.parquet   rows of networks [0, 4096)
    DIR/part-....parquet.damaged-1          a part that was found damaged, set aside and computed again

A part is written under another name, flushed to the disk, and renamed: a kill at any moment leaves
either the part or nothing. Pages carry checksums, which reading verifies.
"""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulate.schema import FORMAT, KEYS, Layout, Observable

MANIFEST = "dataset.json"
_PART = re.compile(r"part-(\d{12})-(\d{12})\.parquet")


class StoreError(RuntimeError):
    """A data set that cannot be read, or that must not be written to."""


def _commit(path: Path, write: Any) -> None:
    """Write through a temporary file, flush, rename, and flush the folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sweep_up(path: Path) -> None:
    """Remove what killed processes had begun to write; a process that lives keeps its file."""
    for name in path.glob(".*.tmp"):
        pid = int(name.name.split(".")[-2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            name.unlink(missing_ok=True)
        except PermissionError:  # it lives, and is somebody else's
            continue


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
    _commit(path / MANIFEST, lambda to: to.write_text(text + "\n"))


def digest(identity: Mapping[str, Any]) -> str:
    """Of what a data set is; every part carries it."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def parts(path: Path) -> list[tuple[int, int]]:
    """The committed ranges [first, last) of networks."""
    found = (_PART.fullmatch(name.name) for name in path.iterdir()) if path.is_dir() else ()
    return sorted((int(m[1]), int(m[2])) for m in found if m)


def damage(path: Path, layout: Layout, identity: str, first: int, last: int) -> str | None:
    """What is wrong with the part of networks [first, last), every page read and held against its checksum; or None."""
    name = path / part_name(first, last)
    try:
        table = pq.read_table(name, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException, ValueError) as error:
        return f"cannot be read ({str(error).splitlines()[0]})"
    said = (table.schema.metadata or {}).get(b"identity", b"").decode()
    if said != identity:
        return "belongs to another data set"
    rows = len(layout.steps) * len(layout.layers)
    if not table.schema.equals(layout.arrow({}), check_metadata=False):
        return "has other columns"
    networks = table["network"].to_numpy()
    if not np.array_equal(networks, np.repeat(np.arange(first, last), rows)):
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
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not a data set ({error})") from None
    if manifest.get("format") != FORMAT:
        raise StoreError(f"{path}: data format {manifest.get('format')}, this version reads {FORMAT}")
    return manifest


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
        table = pq.read_table(self.path / "samples.parquet")
        x = [table[name].to_numpy() for name in table.column_names if name.startswith("x_")]
        y = [table[name].to_numpy() for name in table.column_names if name.startswith("y_")]
        return np.stack(x, axis=1), np.stack(y, axis=1) if y else None, int(np.sum(table["train"].to_numpy()))

    def _table(self, columns: Sequence[str]) -> pa.Table:
        names = [self.path / part_name(*part) for part in parts(self.path)]
        if not names:
            raise StoreError(f"{self.path}: no networks yet")
        try:
            tables = [
                pq.read_table(name, columns=list(columns), page_checksum_verification=True, partitioning=None)
                for name in names
            ]
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"{self.path}: a part file is damaged: {str(error).splitlines()[0]}; the simulation, run again, sets "
                "it aside and computes its networks again"
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
