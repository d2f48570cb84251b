"""The manifest of a data set, which defines it and decides whether a run may write to it: DIR/dataset.json."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulate.observables.columns import OBSERVABLES
from simulate.settings import comparable
from simulate.settings.plugin import differences, recorded_plugins
from simulate.store import disk
from simulate.store.files import StoreError, sweep_up
from simulate.store.folders import COMMITS, NETWORKS, own_folder, set_aside
from simulate.store.layout import READABLE, Layout
from simulate.store.locks import Writer
from simulate.store.parts import committed, part_path, recorded_identity
from simulate.store.plain import read_plain
from simulate.store.readme import describe
from simulate.store.samples import SAMPLES, keep_samples
from simulate.store.schema import check_agreement, check_form, parsed

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
    """The manifest in `path`, or None where there is none, or a damaged one that can be made again.

    Raises StoreError where it is not the data set of `manifest`, or holds networks that `manifest` leaves out: networks
    may be added to a data set, but never taken away.
    """
    return _checked(path, manifest)[0]


def _checked(path: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """As `check`, and whether there is a damaged manifest."""
    try:
        recorded = read_manifest(path)
    except DamagedError as error:
        found = identities(path)
        if found - {digest(manifest["identity"])} or (error.there and not found):
            whose = "its parts were made with other settings" if found else "it has no part that tells its settings"
            raise StoreError(f"output={path}: {error.why}, and {whose}; choose another output") from None
        _check_range(path, manifest)
        return None, error.there
    old, wanted = comparable(recorded["identity"]), comparable(manifest["identity"])
    different = [*differences(recorded_plugins(old), recorded_plugins(wanted))]
    del old["plugins"], wanted["plugins"]
    different += [f"{key}={here!r}, not {now!r}" for key, here, now in _differences(old, wanted)]
    if different:
        raise StoreError(
            f"output={path}: it holds a data set made with {'; '.join(different)}. "
            "Choose another output, or the settings it was made with"
        )
    _check_range(path, manifest)
    return recorded, False


def _check_range(path: Path, manifest: dict[str, Any]) -> None:
    done = committed(path)
    if done and (done[0][0] < manifest["first"] or done[-1][1] > manifest["first"] + manifest["networks"]):
        raise StoreError(
            f"output={path}: it holds networks {done[0][0]} to {done[-1][1] - 1}, some of which "
            f"ensemble.first={manifest['first']} and ensemble.networks={manifest['networks']} would leave out"
        )


def create(writer: Writer, manifest: dict[str, Any], x: NDArray[Any], y: NDArray[Any] | None, train: int) -> list[str]:
    """Start the writer's data set, or continue it; returns lines that say what was mended.

    x: (D, n_0); y: (D, n_L) or None; train: the first so many samples are for training. Raises StoreError as `check`
    does, OSError where the disk fails.
    """
    path = writer.path
    (recorded, damaged), notes = _checked(path, manifest), []
    sweep_up(path)
    for folder in (path, own_folder(path, NETWORKS), own_folder(path, COMMITS)):
        disk.sync_folder(folder)  # names that a killed process has given, and that this run takes for committed
    if damaged:
        with contextlib.suppress(FileNotFoundError):  # another shard may do the same
            aside = set_aside(writer, path / MANIFEST)
            notes.append(f"{aside}: this manifest was damaged; set aside, and made again from the settings")
    kept = recorded or {"files": {}}
    continued = recorded is not None or bool(committed(path))
    entry, mended = keep_samples(writer, manifest | {"files": kept.get("files", {})}, (x, y, train), continued)
    whole = manifest | {key: kept[key] for key in ("versions", "device") if key in kept} | {"files": {SAMPLES: entry}}
    commands = [*kept.get("commands", []), *(c for c in manifest.get("commands", []))]
    whole["commands"] = [command for k, command in enumerate(commands) if command not in commands[:k]]
    if not continued:
        describe(writer, whole)
    text = json.dumps(whole, indent=1, sort_keys=True, allow_nan=False) + "\n"
    if disk.is_plain(path / MANIFEST) and disk.read(path / MANIFEST) == text.encode():
        disk.sync_folder(path)  # another shard may have given names to this file and others just now
    else:
        writer.commit(MANIFEST, lambda stream: stream.write(text.encode()))
    return notes + mended  # the other shards of a run find everything as it should be


def digest(identity: Mapping[str, Any]) -> str:
    """The SHA-256 of a data set's identity, which every part carries."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, allow_nan=False).encode()).hexdigest()


class DamagedError(StoreError):
    """The manifest is missing, unreadable or has not the form of one. why: which; there: whether there is a file."""

    def __init__(self, path: Path, why: str, there: bool):
        self.why, self.there = why, there
        cure = "repeat the simulation's command, which makes it again from the settings"
        super().__init__(f"{path}: {why}; {cure}" if committed(path) else f"{path}: not a data set ({why})")


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the data set in `path`.

    Raises DamagedError where there is none, StoreError where this version cannot read it, and OSError where it cannot
    be read now, which says nothing about it.
    """
    try:
        manifest = parsed(read_plain(path / MANIFEST, MOST_MANIFEST_BYTES))
        number = manifest.get("format") if isinstance(manifest, dict) else None
        if type(number) is int and number not in READABLE:
            raise StoreError(f"{path}: data format {number}, this version reads {', '.join(map(str, READABLE))}")
        check_form(manifest)
        layout = Layout.from_plain(manifest["layout"])
        check_observables(path, layout.record)
        check_agreement(manifest, layout)
    except FileNotFoundError as error:
        raise DamagedError(path, str(error), False) from None
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(path, f"{MANIFEST} is damaged: {error}", True) from None
    return manifest


def identities(path: Path) -> set[str]:
    """The digests of identities in the metadata of those parts that can be read."""
    found = set()
    for first, last in committed(path):
        name = part_path(path, first, last)
        if disk.is_plain(name):
            with contextlib.suppress(pa.ArrowException, ValueError), disk.open_for_reading(name) as stream:
                found.add(recorded_identity(pq.read_schema(stream)))
    return found


def check_observables(path: Path, record: Sequence[str]) -> None:
    """StoreError where the data set in `path` records an observable that is not known here: a plugin made it."""
    for name in record:
        if name not in OBSERVABLES:
            raise StoreError(
                f"{path}: observable {name!r} is not known here; name the file that adds it, as plugins=[my.py]"
            )
