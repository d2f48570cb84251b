"""The manifest and the samples of a data set: what it is, and whether a run may write to it.

DIR/dataset.json       what the data set is: settings, layout, versions
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
from simulate.settings import with_defaults
from simulate.settings.plugin import differences, recorded_plugins
from simulate.store.files import StoreError, commit, sweep_up
from simulate.store.layout import FORMAT, MOST_COLUMNS, Layout
from simulate.store.parts import committed

MANIFEST = "dataset.json"
MOST_TEXT = 2**26  # bytes of a manifest that is read


def _differences(a: Any, b: Any, path: str = "") -> Iterable[tuple[str, Any, Any]]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            yield from _differences(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif a != b:
        yield path, a, b


def check(path: Path, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The identity of the data set in `path` as its manifest holds it, or None where there is no data set.

    Raises StoreError where it is not this one, or where it has networks that this one leaves out: networks may be
    added to a data set, none taken away.
    """
    if not (path / MANIFEST).exists():
        return None
    recorded: dict[str, Any] = read_manifest(path)["identity"]
    old, wanted = with_defaults(recorded), with_defaults(manifest["identity"])
    different = [*differences(recorded_plugins(old), recorded_plugins(wanted))]
    del old["plugins"], wanted["plugins"]
    different += [f"{key}={here!r}, not {now!r}" for key, here, now in _differences(old, wanted)]
    if different:
        raise StoreError(
            f"output={path}: it holds a data set made with {'; '.join(different)}. "
            "Choose another output, or the settings it was made with"
        )
    there = committed(path)
    if there and (there[0][0] < manifest["first"] or there[-1][1] > manifest["first"] + manifest["networks"]):
        raise StoreError(
            f"output={path}: it holds networks {there[0][0]} to {there[-1][1] - 1}, some of which "
            f"ensemble.first={manifest['first']} and ensemble.networks={manifest['networks']} would leave out"
        )
    return recorded


def create(path: Path, manifest: dict[str, Any], x: NDArray[Any], y: NDArray[Any] | None, train: int) -> None:
    """Start a data set, or continue the one that is there; StoreError as `check`."""
    check(path, manifest)
    path.mkdir(parents=True, exist_ok=True)
    sweep_up(path)
    if not (path / MANIFEST).exists():
        table = {"sample": np.arange(len(x)), "train": np.arange(len(x)) < train}
        table |= {f"x_{k}": column for k, column in enumerate(x.T)}
        table |= {f"y_{k}": column for k, column in enumerate(y.T)} if y is not None else {}
        commit(path / "samples.parquet", lambda to: pq.write_table(pa.table(table), to))
    text = json.dumps(manifest, indent=1, sort_keys=True)
    if (path / MANIFEST).exists() and (path / MANIFEST).read_text() == text + "\n":
        return  # as each of a thousand shards finds it
    commit(path / MANIFEST, lambda to: to.write((text + "\n").encode()))


def digest(identity: Mapping[str, Any]) -> str:
    """Of what a data set is; every part carries it."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


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
        for key in ("identity", "settings"):
            recorded_plugins(manifest[key])
        _check_layout(path, Layout.from_plain(manifest["layout"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path}: not a data set ({error})") from None
    return manifest


def check_observables(path: Path, record: Sequence[str]) -> None:
    """StoreError where the data set in `path` records an observable that is not known here: a plugin made it."""
    for name in record:
        if name not in OBSERVABLES:
            raise StoreError(
                f"{path}: observable {name!r} is not known here; name the file that adds it, as plugins=[my.py]"
            )


def _check_layout(path: Path, layout: Layout) -> None:
    """ValueError, KeyError or TypeError for one that `layout_of` would not make; StoreError as `check_observables`."""
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


# What a manifest must have.
KINDS = {"identity": dict, "settings": dict, "layout": dict, "first": int, "networks": int}
