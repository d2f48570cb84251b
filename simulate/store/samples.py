"""The samples of a data set: DIR/samples.parquet, with the columns sample, train, x_0.., y_0.."""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulate.store import disk
from simulate.store.columns import column
from simulate.store.files import StoreError, retried
from simulate.store.folders import set_aside
from simulate.store.locks import Writer
from simulate.store.plain import Hashed, sha256

SAMPLES = "samples.parquet"
Given = tuple[NDArray[Any], NDArray[Any] | None, int]  # x (D, n_0), y (D, n_L) or None, the number of train samples


class MissingError(StoreError):
    """There is no file of samples."""


def samples_digest(x: NDArray[Any], y: NDArray[Any] | None) -> str:
    """The SHA-256 of inputs and targets, which is part of a data set's identity."""
    content = np.ascontiguousarray(x).tobytes() + (b"" if y is None else np.ascontiguousarray(y).tobytes())
    return hashlib.sha256(content).hexdigest()


def read_samples(path: Path, manifest: Mapping[str, Any]) -> Given:
    """The samples of the data set in `path`. StoreError, whose text is the end of a sentence about the file, where they
    are not those of the manifest; OSError where they cannot be read now."""
    name, wanted = path / SAMPLES, manifest["layout"]["samples"]
    recorded, identity = manifest.get("files", {}).get(SAMPLES), manifest["identity"].get("samples")
    try:
        digest, size = sha256(name)
    except FileNotFoundError:
        raise MissingError("is missing") from None
    except ValueError as error:
        raise StoreError(f"is {error}") from None
    if recorded and (digest, size) != (recorded["sha256"], recorded["bytes"]):
        raise StoreError(f"differs from its digest in the manifest, {recorded['sha256'][:8]}")
    inputs, targets, train = retried(lambda: _read(name, wanted))
    if identity and samples_digest(inputs, targets) != identity:
        raise StoreError("holds other samples than the data set's identity names")
    if not np.array_equal(train, np.arange(wanted) < np.sum(train)):
        raise StoreError("does not begin with its train samples")
    return inputs, targets, int(np.sum(train))


def _read(name: Path, wanted: int) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any]]:
    """x, y, and whether each sample is for training. Raises as `read_samples` does."""
    try:
        with disk.open_for_reading(name) as stream, pq.ParquetFile(stream) as file:
            if file.metadata.num_rows != wanted:
                raise StoreError(f"has {file.metadata.num_rows} samples, not {wanted}")
            table = file.read()
        x = [table[column].to_numpy() for column in table.column_names if column.startswith("x_")]
        y = [table[column].to_numpy() for column in table.column_names if column.startswith("y_")]
        return np.stack(x, axis=1), np.stack(y, axis=1) if y else None, table["train"].to_numpy()
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise StoreError(f"cannot be read ({(str(error) or type(error).__name__).splitlines()[0]})") from None


def samples_damage(path: Path, manifest: Mapping[str, Any]) -> str | None:
    """Why the samples are damaged, as the end of a sentence about the file, or None."""
    try:
        read_samples(path, manifest)
    except StoreError as error:
        return str(error)
    return None


def keep_samples(writer: Writer, manifest: Mapping[str, Any], given: Given, continued: bool) -> tuple[Any, list[str]]:
    """Make sure that the samples of the writer's data set are `given`: returns the manifest's entry about the file, and
    lines that say what was mended. continued: whether the data set was there before."""
    name, notes, whole = writer.path / SAMPLES, [], False
    try:
        whole = read_samples(writer.path, manifest)[2] == given[2]
        why = "marks other samples for training"
    except MissingError:
        whole, why = False, ""
        notes += [f"{name}: it was missing; made again from the settings"] if continued else []
    except StoreError as error:
        why = str(error)
    if not whole and why:
        with contextlib.suppress(FileNotFoundError):  # another shard may do the same
            notes.append(f"{set_aside(writer, name)}: this file {why}; set aside, and made again from the settings")
    if not whole:
        x, y, train = given
        columns = {"sample": np.arange(len(x)), "train": np.arange(len(x)) < train}
        columns |= {f"x_{k}": of_input for k, of_input in enumerate(x.T)}
        columns |= {f"y_{k}": of_target for k, of_target in enumerate(y.T)} if y is not None else {}
        table = pa.table({name: column(values) for name, values in columns.items()})
        hashed = Hashed()
        writer.commit(SAMPLES, lambda stream: pq.write_table(table, hashed.around(stream)))
    digest, size = sha256(name) if whole else hashed.digest()
    return {"sha256": digest, "bytes": size, "rows": len(given[0])}, notes
