"""The manifest and the samples of a data set: they define it, and decide whether a run may write to it.

DIR/dataset.json       identity, settings, layout, versions
DIR/samples.parquet    inputs and targets
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulate.observables.columns import OBSERVABLES
from simulate.settings import comparable
from simulate.settings.plugin import differences, recorded_plugins
from simulate.store import disk
from simulate.store.files import StoreError, retried, sweep_up
from simulate.store.layout import MOST_COLUMNS, READABLE, Layout
from simulate.store.locks import Writer
from simulate.store.parts import NETWORKS, committed, own_folder

MANIFEST = "dataset.json"
MOST_MANIFEST_BYTES = 2**26  # upper bound on the size of a manifest; a larger file is refused unread


def _differences(a: Any, b: Any, path: str = "") -> Iterable[tuple[str, Any, Any]]:
    """The entries in which two nested mappings differ, as (key.key, value in a, value in b)."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            yield from _differences(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif a != b:
        yield path, a, b


def check(path: Path, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The identity that the manifest in `path` holds, or None where there is no data set.

    Raises StoreError where it is not the data set of `manifest`, or holds networks that `manifest` leaves out: networks
    may be added to a data set, but never taken away.
    """
    if not disk.exists(path / MANIFEST):
        return None
    recorded: dict[str, Any] = read_manifest(path)["identity"]
    old, wanted = comparable(recorded), comparable(manifest["identity"])
    different = [*differences(recorded_plugins(old), recorded_plugins(wanted))]
    del old["plugins"], wanted["plugins"]
    different += [f"{key}={here!r}, not {now!r}" for key, here, now in _differences(old, wanted)]
    if different:
        raise StoreError(
            f"output={path}: it holds a data set made with {'; '.join(different)}. "
            "Choose another output, or the settings it was made with"
        )
    done = committed(path)
    if done and (done[0][0] < manifest["first"] or done[-1][1] > manifest["first"] + manifest["networks"]):
        raise StoreError(
            f"output={path}: it holds networks {done[0][0]} to {done[-1][1] - 1}, some of which "
            f"ensemble.first={manifest['first']} and ensemble.networks={manifest['networks']} would leave out"
        )
    return recorded


def create(writer: Writer, manifest: dict[str, Any], x: NDArray[Any], y: NDArray[Any] | None, train: int) -> None:
    """Start the writer's data set, or continue it. Raises StoreError as `check` does, OSError where the disk fails.

    x: (D, n_0); y: (D, n_L) or None; train: the first so many samples are for training.
    """
    path = writer.path
    check(path, manifest)
    sweep_up(path)
    for folder in (path, own_folder(path, NETWORKS)):
        disk.sync_folder(folder)  # names that a killed process has given, and that this run takes for committed
    if not disk.exists(path / MANIFEST):
        table = {"sample": np.arange(len(x)), "train": np.arange(len(x)) < train}
        table |= {f"x_{k}": column for k, column in enumerate(x.T)}
        table |= {f"y_{k}": column for k, column in enumerate(y.T)} if y is not None else {}
        writer.commit("samples.parquet", lambda stream: pq.write_table(pa.table(table), stream))
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False)
    if disk.exists(path / MANIFEST) and disk.read(path / MANIFEST) == (text + "\n").encode():
        return  # the other shards of a run find it as it should be
    writer.commit(MANIFEST, lambda stream: stream.write((text + "\n").encode()))


def digest(identity: Mapping[str, Any]) -> str:
    """The SHA-256 of a data set's identity, which every part carries."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, allow_nan=False).encode()).hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the data set in `path`. Raises StoreError for a file that is not one, and OSError where it cannot
    be read now, which says nothing about it."""
    try:
        manifest = json.loads(retried(lambda: _content(path / MANIFEST)))
        if not isinstance(manifest, dict):
            raise ValueError(f"{MANIFEST} is not a mapping")
        if manifest.get("format") not in READABLE:
            raise StoreError(f"{path}: data format {manifest.get('format')!r}, this version reads {READABLE}")
        for key, kind in REQUIRED.items():
            if not isinstance(manifest.get(key), kind) or isinstance(manifest.get(key), bool):
                raise ValueError(f"{key} is missing, or not what it should be")
        for key in ("identity", "settings"):
            recorded_plugins(manifest[key])
        _check_layout(path, Layout.from_plain(manifest["layout"]))
    except OSError as error:
        if not isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            raise
        raise StoreError(f"{path}: not a data set ({error})") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: not a data set ({error})") from None
    return manifest


def _content(name: Path) -> bytes:
    if disk.size(name) > MOST_MANIFEST_BYTES:
        raise ValueError(f"{MANIFEST} has more than {MOST_MANIFEST_BYTES} bytes")
    return disk.read(name)


def check_observables(path: Path, record: Sequence[str]) -> None:
    """StoreError where the data set in `path` records an observable that is not known here: a plugin made it."""
    for name in record:
        if name not in OBSERVABLES:
            raise StoreError(
                f"{path}: observable {name!r} is not known here; name the file that adds it, as plugins=[my.py]"
            )


def _check_layout(path: Path, layout: Layout) -> None:
    """Raises ValueError, KeyError or TypeError for a layout that `simulate.store.layout.layout_of` would not make, and
    StoreError as `check_observables`."""
    for name in ("samples", "outputs", "depth"):
        if type(getattr(layout, name)) is not int or getattr(layout, name) < 1:
            raise ValueError(f"layout.{name}={getattr(layout, name)!r}")
    for name in ("layers", "kernel_layers", "output_layers", "steps"):
        values = getattr(layout, name)
        if not isinstance(values, tuple) or any(type(v) is not int for v in values) or sorted(set(values)) != [*values]:
            raise ValueError(f"layout.{name}={values!r}")
    if not isinstance(layout.record, tuple) or layout.dtype not in ("float32", "float64"):
        raise ValueError(f"layout.record={layout.record!r}, layout.dtype={layout.dtype!r}")
    check_observables(path, layout.record)
    if layout.column_count() > MOST_COLUMNS:
        raise ValueError(f"more than {MOST_COLUMNS} columns")
    layout.arrow({})


# REQUIRED: keys that a manifest must have, and the types of their values.
REQUIRED = {"identity": dict, "settings": dict, "layout": dict, "first": int, "networks": int}
