"""Files of inputs. They are read as data, whatever they hold."""

import csv
import itertools
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from simulate.inputs.rows import (
    LIKE_TARGET,
    NUMBER,
    Origin,
    Rows,
    Table,
    chosen,
    numbers,
    two_dimensional,
)
from simulate.inputs.sources import MOST_BYTES
from simulate.settings.inputs import Inputs
from simulate.settings.reader import SettingsError


def read(path: str, key: str, settings: Inputs) -> Rows:
    """All rows of a file. Raises SettingsError for one that cannot be read, or that may be read in two ways.

    A .npy file holds x, a .npz file x and, optionally, y. The columns of a .csv or .parquet file have names. key: the
    setting that names the file.
    """
    name, origin = Path(path), Origin(key, path)
    kind = name.suffix.lower()
    try:
        if kind not in _READERS:
            raise origin.error(f"a file that ends in {', '.join([*_READERS][:-1])} or {[*_READERS][-1]}")
        if name.exists() and (not name.is_file() or name.stat().st_size > MOST_BYTES):
            raise ValueError(f"not a plain file of at most {MOST_BYTES / 2**30:.0f} GiB")
        _refuse_settings(kind, settings)
        return _READERS[kind](name, origin, settings)
    except SettingsError:
        raise
    except OSError as error:
        raise origin.error(f"cannot be read: {error.strerror or str(error).splitlines()[0]}") from None
    except Exception as error:  # libraries answer broken files by errors of some twenty kinds
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise origin.error(f"cannot be read: {reason}") from None


def _refuse_settings(kind: str, settings: Inputs) -> None:
    """SettingsError for a setting that has no meaning for this kind of file."""
    for name in ("targets", "features", "split", "header"):
        value = getattr(settings, name)
        if value in (None, 0) or (name == "header" and kind == ".csv"):
            continue
        if kind == ".npy" or (kind == ".npz" and name != "targets") or name == "header":
            right = "only a .csv file has a header line" if name == "header" else f"columns of a {kind} have no names"
            raise SettingsError(f"inputs.{name}", value, right)


def _read_npy(path: Path, origin: Origin, settings: Inputs) -> Rows:
    # A mapped file is held against the size that its header promises before memory is taken.
    x = numbers(np.array(np.load(path, allow_pickle=False, mmap_mode="r")), origin)
    return Rows(origin, x, None)


def _read_npz(path: Path, origin: Origin, settings: Inputs) -> Rows:
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES / 2**30:.0f} GiB when unpacked")
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
        folded = {name.casefold(): name for name in names}
        if len(folded) < len(names):
            raise ValueError(f"of {', '.join(names)}, two differ in the case of letters alone")
        if "x" not in folded:
            raise ValueError(f"holds {', '.join(names)}; an array named x is needed")
        targets = _targets_of_npz(folded, origin, settings)
        x = numbers(archive[folded["x"]], origin)
        ys = [numbers(two_dimensional(archive[name]), origin, name) for name in targets]
    for name, y in zip(targets, ys, strict=True):
        if len(y) != len(x):
            raise origin.error(f"{len(x)} rows of x but {len(y)} of {name}")
    return Rows(
        origin,
        x,
        np.concatenate(ys, axis=1) if ys else None,
        unused=tuple(name for name in names if name not in (folded["x"], *targets)),
    )


def _targets_of_npz(folded: dict[str, str], origin: Origin, settings: Inputs) -> tuple[str, ...]:
    """The arrays that are targets. folded: the names of all by their small letters."""
    if not isinstance(settings.targets, tuple):
        like = next((name for fold, name in folded.items() if LIKE_TARGET.fullmatch(fold)), None)
        if like and "y" not in folded:
            right = f"inputs.targets=[{like}] makes it one, inputs.targets=[] leaves it out"
            raise origin.error(f"array {like!r} may hold targets: {right}")
        return (folded["y"],) if "y" in folded else ()
    for name in settings.targets:
        if name not in folded.values() or name == folded["x"]:
            right = f"no array {name!r} besides x; there are {', '.join(folded.values())}"
            raise SettingsError("inputs.targets", [*settings.targets], right)
    return settings.targets


def _read_csv(path: Path, origin: Origin, settings: Inputs) -> Rows:
    """A table of comma-separated numbers below a line of names. Lines that are blank are passed over."""
    lines, rows, begun = [], [], 1
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        for row in reader:
            if len(row) > 1 or any(cell.strip() for cell in row):
                lines.append(begun)
                rows.append(row)
            begun = reader.line_num + 1
    if not rows:
        raise ValueError("a header line and at least one row are needed")
    header = [name.strip() for name in rows[0]]
    if len(header) == 1 and (mark := next((mark for mark in ";\t" if mark in header[0]), None)):
        raise ValueError(f"its columns are separated by {'tabs' if mark != ';' else 'semicolons'}; commas are needed")
    named = settings.header
    if named is None:
        if number := next((name for name in header if _is_number(name)), None):
            right = "inputs.header=true takes this line as names of columns, inputs.header=false as the first row"
            raise ValueError(f"line {lines[0]} holds the number {number}, and may be a header or a row: {right}")
        named = True
    if not named:
        header = [str(k) for k in range(len(header))]
    else:
        lines, rows = lines[1:], rows[1:]
    if not rows:
        raise ValueError("a header line and at least one row are needed")
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(header):
            first = "names in the header" if named else "cells in the first row"
            raise ValueError(f"line {line} has {len(row)} cells, and there are {len(header)} {first}")
    if len(header) == 1 and (gap := next((b for a, b in itertools.pairwise(lines) if b != a + 1), None)):
        raise ValueError(f"the line before line {gap} is blank; a single column needs a number in each line")
    columns = [np.array(column, dtype=object) for column in zip(*rows, strict=True)]
    return chosen(Table(replace(origin, lines=lines), tuple(header), columns, text=True), settings)


def _is_number(text: str) -> bool:
    return NUMBER.fullmatch(text) is not None or text.casefold().lstrip("+-") in ("nan", "inf", "infinity")


def _read_parquet(path: Path, origin: Origin, settings: Inputs) -> Rows:
    with pq.ParquetFile(path) as file:
        rows, columns = file.metadata.num_rows, file.metadata.num_columns
        if 8 * rows * columns > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES / 2**30:.0f} GiB when unpacked")
        table = file.read()
    names = [name.strip() for name in table.column_names]
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    for k, name in enumerate(table.column_names):
        if name in index and settings.features is None:
            right = "leave it out of the file, or inputs.features=[...] names the columns of x"
            raise ValueError(f"column {k + 1} ({name!r}) is the index of a frame; {right}")
    return chosen(Table(origin, tuple(names), [column.to_numpy() for column in table.columns]), settings)


_READERS: dict[str, Callable[[Path, Origin, Inputs], Rows]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
