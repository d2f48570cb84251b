"""Reading of data sets, by the analysis and in notebooks."""

import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from simulate.observables.family import Family
from simulate.settings import with_defaults
from simulate.settings.reader import printable
from simulate.store import commits, disk
from simulate.store.files import StoreError
from simulate.store.folders import FOLDERS
from simulate.store.layout import KEYS, Layout
from simulate.store.manifest import MANIFEST, digest, read_manifest
from simulate.store.parts import committed, part_name, read_part, recorded_identity
from simulate.store.samples import SAMPLES, read_samples
from simulate.store.summary import in_short, to_json

KEEPING = "ensemble.keep=rows in another output draws the same networks and keeps their rows"


@dataclass(frozen=True, order=True)
class Piece:
    """Networks [low, high) of the part of networks [first, last) in the data set `path` with the digest `identity`."""

    low: int
    high: int
    path: Path
    first: int
    last: int
    identity: str

    def table(self, layout: Layout, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole part. StoreError where it is damaged."""
        try:
            table = read_part(self.path, layout, self.first, self.last, columns)
            if recorded_identity(table.schema) != self.identity:
                raise StoreError("belongs to another data set")
        except StoreError as error:
            raise StoreError(
                f"{self.path}: {part_name(self.first, self.last)} is damaged: it {error}; the simulation, run again, "
                "sets it aside and computes its networks again"
            ) from None
        return table


def pieces(held: Iterable[Piece]) -> tuple[Piece, ...]:
    """Pieces with each network once, by rising address."""
    chosen, covered = [], 0
    for piece in sorted(held):
        low = max(piece.low, covered)
        if low < piece.high:
            chosen.append(replace(piece, low=low))
            covered = piece.high
    return tuple(chosen)


def joined(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The ranges [first, last) with those that touch or overlap as one."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], high)
        else:
            out.append((low, high))
    return tuple(out)


def total(ranges: Iterable[tuple[int, int]]) -> int:
    """The number of networks in ranges, each counted once."""
    return sum(high - low for low, high in joined(ranges))


@dataclass(frozen=True, repr=False)
class DataSet:
    """A data set on disk, complete or not. Its methods raise StoreError where a file is damaged.

    chosen: what is read of the parts, which may lie in several folders (`simulate.store.copies`); if None, the parts
    that are there at each call.
    """

    path: Path
    manifest: dict[str, Any]
    chosen: tuple[Piece, ...] | None = None

    def parts(self) -> tuple[Piece, ...]:
        """The pieces of parts that hold its networks, by rising address."""
        if self.chosen is not None:
            return self.chosen
        identity = digest(self.manifest["identity"])
        return pieces(Piece(*part, self.path, *part, identity) for part in committed(self.path))

    def snapshot(self) -> "DataSet":
        """The data set with the parts that it has now, whatever a run adds from now on."""
        return replace(self, chosen=self.parts())

    def within(self, first: int, last: int) -> "DataSet":
        """The data set with those of its networks alone that are among [first, last)."""
        held = self.parts()
        start, end = bisect_right(held, first, key=lambda p: p.high), bisect_left(held, last, key=lambda p: p.low)
        cut = (replace(piece, low=max(piece.low, first), high=min(piece.high, last)) for piece in held[start:end])
        return replace(self, chosen=tuple(piece for piece in cut if piece.low < piece.high))

    @property
    def addresses(self) -> tuple[tuple[int, int], ...]:
        """The ranges of its networks."""
        return joined((piece.low, piece.high) for piece in self.parts())

    def computed(self) -> list[dict[str, Any]]:
        """What its networks were computed on, from the logs of commits: entries with `device` and `code`, both None
        where it is not known, and the number of `networks`."""
        logs = {(piece.path, piece.identity): None for piece in self.parts()}
        found = {key: commits.read(*key) for key in logs}
        counts: dict[str, int] = {}
        for piece in self.parts():
            lines = found[piece.path, piece.identity].get(part_name(piece.first, piece.last), [])
            made = {key: lines[-1].get(key) if lines else None for key in ("device", "code")}
            name = json.dumps(made, sort_keys=True)
            counts[name] = counts.get(name, 0) + piece.high - piece.low
        return [{**json.loads(name), "networks": count} for name, count in counts.items()]

    def timed(self) -> list[tuple[int, float]]:
        """The networks of each of its parts, and the seconds that one core or device took to compute them. Parts of
        which the logs of commits do not tell are left out."""
        found = {key: commits.read(*key) for key in {(piece.path, piece.identity) for piece in self.parts()}}
        lines = [
            line
            for piece in self.parts()
            for line in found[piece.path, piece.identity].get(part_name(piece.first, piece.last), [])[-1:]
        ]
        return [(line["networks"], line["seconds"]) for line in lines if type(line.get("seconds")) is float]

    @property
    def layout(self) -> Layout:
        return Layout.from_plain(self.manifest["layout"])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved settings as plain dicts; settings that are newer than the data set have their defaults."""
        return with_defaults(self.manifest["settings"])

    @property
    def networks(self) -> int:
        """The number of networks committed so far."""
        return sum(piece.high - piece.low for piece in self.parts())

    @property
    def complete(self) -> bool:
        return self.networks == self.manifest["networks"]

    def samples(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, int]:
        """The inputs x (D, n_0), the targets y (D, n_L) or None, and the number of train samples."""
        try:
            return read_samples(self.path, self.manifest)
        except StoreError as error:
            cure = "repeat the simulation's command, which makes it again from the settings"
            raise StoreError(f"{self.path / SAMPLES}: this file {error}; {cure}") from None

    def _table(self, columns: Sequence[str]) -> pa.Table:
        if not (held := self.parts()):
            raise StoreError(f"{self.path}: no networks yet")
        tables, layout = [], self.layout
        if not layout.keeps_rows:
            raise StoreError(f"{self.path}: rows were not kept (ensemble.keep=sums); {KEEPING}")
        cells = len(layout.steps) * len(layout.layers)
        for piece in held:
            table = piece.table(layout, columns)
            tables.append(table.slice((piece.low - piece.first) * cells, (piece.high - piece.low) * cells))
        return pa.concat_tables(tables)

    def family(self, prefix: str) -> Family:
        """The family of columns with this prefix. Raises StoreError where it was not recorded."""
        for family in self.layout.families():
            if family.prefix == prefix:
                return family
        raise StoreError(f"{self.path}: {prefix!r} was not recorded")

    def records(self, prefix: str) -> bool:
        """Whether the family of columns with this prefix was recorded."""
        return any(family.prefix == prefix for family in self.layout.families())

    def status(self) -> NDArray[np.int8]:
        """The status of each network at each step, (M, steps): 0 where all its numbers are finite."""
        rows = self._table(["status"])["status"].to_numpy()
        return rows.reshape(-1, len(self.layout.steps), len(self.layout.layers))[:, :, 0]

    def read(self, prefix: str) -> NDArray[Any]:
        """One family, (M, steps, layers, columns), in the stored precision, with networks in the order of addresses.

        Numbers are NaN where the family is not defined at a layer, or where a network has diverged. Raises StoreError
        where the family was not recorded.
        """
        layout = self.layout
        names = layout.names(self.family(prefix))
        table = self._table(names)
        shape = (-1, len(layout.steps), len(layout.layers))
        return np.stack([c.to_numpy().reshape(shape) for c in table.columns], axis=-1)

    def recorded(self) -> dict[str, list[str]]:
        """What `rows` takes as names: each column, and the prefix of each family with its columns."""
        families = {family.prefix: self.layout.names(family) for family in self.layout.families()}
        return {name: [name] for name in (*KEYS, *chain.from_iterable(families.values()))} | families

    def rows(self, columns: Sequence[str] | str | None = None) -> pa.Table:
        """The keys (network, step, layer, status) and `columns` of all rows, one for each network, step and layer.

        columns: names of columns (`g_0_1`) and prefixes of families (`g`), or None for all. StoreError for others.
        """
        if columns is None:
            return self._table(self.layout.arrow({}).names)
        recorded = self.recorded()
        wanted = [columns] if isinstance(columns, str) else list(columns)
        for name in wanted:
            if name not in recorded:
                prefixes = ", ".join(family.prefix for family in self.layout.families())
                raise StoreError(f"{self.path}: columns={name!r} was not recorded; there are {prefixes}")
        return self._table(list(dict.fromkeys((*KEYS, *chain.from_iterable(recorded[name] for name in wanted)))))

    def table(self, columns: Sequence[str] | str | None = None) -> Any:
        """`rows` as a pandas frame: 21 bytes for the keys, and 4 (float32) or 8 for each column of a row."""
        return self.rows(columns).to_pandas()

    def to_xarray(self, *prefixes: str) -> Any:
        """The families of columns with these prefixes, or all, as an xarray.Dataset with one variable each.

        Dimensions are network, step and layer, then those of the tensor: output_i, output_j, ... and sample_a,
        sample_b, ..., in full, so that `H.sel(output_i=0, output_j=0, sample_a=1, sample_b=0)` is a component whichever
        of the equal ones was recorded. A family that is recorded at the end alone (loss, taylor, linear) has no layer.
        A family of which `observables.tuples` chose some components is no full tensor: its last dimension,
        PREFIX_column, has the names of the columns. The coordinate `network` holds the addresses.

        A number is NaN where its network has diverged (`status` is 1) and at layers where its family is not recorded
        (`attrs["layers"]` has those where it is). A full tensor of k symmetric indices takes up to k! times the memory
        of its columns. Raises ImportError without xarray, and StoreError as `read` does.
        """
        from simulate.store import arrays  # late: xarray is optional

        families = [self.family(prefix) for prefix in prefixes] or self.layout.families()
        names = [name for family in families for name in self.layout.names(family)]
        attributes = {
            "settings": to_json(self.settings),
            "versions": to_json(self.manifest.get("versions", {})),
            "device": str(self.manifest.get("device", "")),
        }
        return arrays.labelled(self.layout, families, self._table([*KEYS, *names]), self.samples(), attributes)

    def __repr__(self) -> str:
        short = ", ".join(f"{name.rpartition('.')[2]}={value}" for name, value in in_short(self.settings).items())
        wanted = self.manifest["networks"]
        return f"DataSet({str(self.path)!r}: {self.networks:,} of {wanted:,} networks, {short})"

    def _repr_html_(self) -> str:
        """What a notebook shows: its number of networks and its main settings."""
        there = f"{self.networks:,} of {self.manifest['networks']:,}"
        lines = {"data set": printable(str(self.path)), "networks": there, **in_short(self.settings)}
        cells = (f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in lines.items())
        return f"<table>{''.join(cells)}</table>"


def open_data_set(path: str | Path) -> DataSet:
    """The data set in the folder `path`. Raises StoreError where there is none."""
    return DataSet(Path(path), read_manifest(Path(path)))


def find(root: str | Path) -> list[DataSet]:
    """The data set in the folder `root`, or all in folders below it.

    Raises StoreError where there is none, and where one of them has parts and no manifest.
    """
    root = Path(root)
    if is_data_set(root):
        return [open_data_set(root)]
    folders = [Path(folder) for folder, _, _ in os.walk(root)]
    found = [open_data_set(folder) for folder in sorted(folders) if is_data_set(folder)]
    if not found:
        raise StoreError(f"data={root}: no data set there")
    return found


def is_data_set(folder: Path) -> bool:
    """Whether a folder has a manifest, or parts, which are nothing without one."""
    return disk.status(folder / MANIFEST) is not None or (folder.name not in FOLDERS and bool(committed(folder)))
