"""The head of a data set with `ensemble.keep=sums`: the rows of the first networks, and the text that tells its sums.

    DIR/head/part-000000000000-000000001024.parquet   rows of networks [0, 1024), with the text in its metadata

They are the first of the seed, whichever networks the data set has. What a sum means is what the program makes of these
rows: the text has the sums over them, so that a later version of the program is held against it. All parts are added up
by one text, which is that of the run that was there first.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simulate.settings.ensemble import ROWS
from simulate.store import cells, commits, disk
from simulate.store.cells import Summed
from simulate.store.files import StoreError
from simulate.store.folders import HEAD, own_folder, set_aside
from simulate.store.layout import Layout
from simulate.store.locks import Writer
from simulate.store.manifest import digest
from simulate.store.parts import commit_table, committed, fault, part_name, part_path, rows_table
from simulate.store.sets import DataSet, Piece


class Head(NamedTuple):
    """The rows of networks 0, ..., M - 1: values by family prefix, (M, steps, layers, columns), and status (M, steps).
    plan: the text."""

    values: Mapping[str, NDArray[Any]]
    status: NDArray[np.int8]
    plan: str


def damage(path: Path, layout: Layout, identity: str) -> dict[str, str]:
    """The name of the head of a data set, and why it is damaged; nothing where it is whole. Nothing of a data set that
    keeps rows."""
    if layout.keeps_rows:
        return {}
    held = committed(path / HEAD)
    if not held:
        return {HEAD: "is missing"}
    name = f"{HEAD}/{part_name(*held[0])}"
    lines = commits.read(path, identity).get(name, [])
    why, _ = fault(path / HEAD, replace(layout, keep=ROWS), identity, *held[0], lines)
    return {name: why} if why else {}


def keep(writer: Writer, layout: Layout, identity: str, head: Head, made: Mapping[str, Any]) -> list[str]:
    """Make sure that the writer's data set has a head, which is this one where there is none, and return lines that say
    what was mended. Raises as `simulate.store.parts.write_part` does."""
    folder, notes = own_folder(writer.path, HEAD), []
    held = committed(folder)
    if held and (found := damage(writer.path, layout, identity)):
        for why in found.values():
            aside = set_aside(writer, part_path(folder, *held[0]))
            notes.append(f"{aside}: this head {why}; set aside, and made again")
        held = []
    if not held:
        rows = rows_table(
            replace(layout, keep=ROWS), {"identity": identity, "plan": head.plan}, 0, head.values, head.status
        )
        name = folder / part_name(0, len(head.status))
        with contextlib.suppress(FileExistsError):  # another shard may do the same
            commit_table(writer, name, rows, len(head.status), made, first=True)
    return notes


def settle(writer: Writer, first: int, last: int, plan: str) -> str:
    """Set a whole part aside that was not added up by this text. Returns what was said, or nothing."""
    name = part_path(writer.path, first, last)
    with disk.open_for_reading(name) as stream:
        if cells.entry(pq.read_schema(stream), "plan") == cells.told(plan):
            return ""
    return f"{set_aside(writer, name)}: this part was added up in another way than the head tells; set aside"


def head_of(data: DataSet) -> DataSet:
    """The rows of the first networks as a data set. StoreError where the head is missing or damaged."""
    identity = digest(data.manifest["identity"])
    for name, why in damage(data.path, data.layout, identity).items():
        raise StoreError(f"{data.path}: {name} {why}; the simulation, run again, makes it again")
    first, last = committed(data.path / HEAD)[0]
    manifest = data.manifest | {"layout": data.manifest["layout"] | {"keep": ROWS}}
    return replace(data, manifest=manifest, chosen=(Piece(first, last, data.path / HEAD, first, last, identity),))


def plan_of(head: DataSet) -> str:
    """The text of a head."""
    (piece,) = head.parts()
    return cells.entry(piece.table(head.layout, ["status"]).schema, "plan")


def summed(data: DataSet, plan: str) -> Iterator[Summed]:
    """What the networks of a data set add, part by part. StoreError where a part is damaged, shares networks with
    another folder, or was added up by another text than `plan`."""
    for piece in data.parts():
        name, table = f"{piece.path}: {part_name(piece.first, piece.last)}", piece.table(data.layout)
        if (piece.low, piece.high) != (piece.first, piece.last):
            raise StoreError(f"{name} shares networks with a part of another folder, and its sums cannot be divided")
        if why := cells.fault(table, piece.first, piece.last):
            raise StoreError(f"{name} {why}")
        if cells.entry(table.schema, "plan") != cells.told(plan):
            raise StoreError(f"{name} was added up in another way than the head of {data.path} tells")
        yield cells.summed_of(table)
