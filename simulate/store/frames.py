"""One frame of several data sets, with their settings as columns."""

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from simulate.store.files import StoreError
from simulate.store.sets import DataSet, find
from simulate.store.summary import flat

SHOWN = ("network.width", "network.widths", "network.depth", "activation.name")  # columns of all frames that have them
# Settings that do not tell data sets apart: they do not decide the rows, or can be read off them.
LEFT_OUT = ("claim", "output", "workers", "observables", "ensemble.networks", "ensemble.first")


class DataSets(list[DataSet]):
    """The data sets of a sweep: a list of them, of which a notebook shows what differs."""

    def table(self, columns: Sequence[str] | str | None = None, settings: Sequence[str] | str | None = None) -> Any:
        """The rows of all, as one pandas frame: `simulate.table`."""
        return table(self, columns, settings)

    def _repr_html_(self) -> str:
        """What a notebook shows: a row for each, with its networks and the settings in which they differ."""
        if not self:
            return "<p>no data sets</p>"
        shown: dict[str, list[Any]] = {"data set": _names(self), "networks": [f"{data.networks:,}" for data in self]}
        shown |= _settings([flat(data.settings) for data in self], None)
        head = "".join(f"<th>{escape(name)}</th>" for name in shown)
        rows = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in zip(*shown.values(), strict=True)]
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in (head, *rows))}</table>"


def table(
    folder: str | Path | Iterable[DataSet],
    columns: Sequence[str] | str | None = None,
    settings: Sequence[str] | str | None = None,
) -> Any:
    """The rows of the data set in `folder`, of all data sets below it, or of a list of data sets, as one pandas frame.

    Its columns are `data_set`, the folder of a row's data set relative to `folder`; settings by dotted names, such as
    `network.width`; network, step, layer, status; and `columns`. These are names of columns (`g_0_1`) or prefixes of
    families (`g`), and all that were recorded if None. A column that another data set recorded is NaN.
    settings: dotted names, as dataset.json nests them, or `network.width` where all hidden layers have one width. If
    None, they are the width, the depth and the activation, and every setting in which the data sets differ. Text is
    categorical, and numbers are numbers.

    A row takes 21 bytes for its keys, 1 to 4 for a text and 8 for a number among the settings, and 4 (float32) or 8 for
    each of `columns`; three times as much is needed while the frame is made. Raises StoreError where there is no data
    set, no networks yet, or no such column or setting.
    """
    given = find(folder) if isinstance(folder, str | Path) else list(folder)
    sets = [data for data in (found.snapshot() for found in given) if data.networks]
    if not sets:
        raise StoreError(f"data={folder}: no networks yet")
    names_of_sets = _names(sets, folder if isinstance(folder, str | Path) else None)
    chosen = _settings([flat(data.settings) for data in sets], settings)
    names = _columns(sets, columns)
    labels = {"data_set": names_of_sets, **chosen}
    kinds = {name: _array(values) for name, values in labels.items()}
    tables = []
    for k, data in enumerate(sets):
        rows = data.rows(names[k])
        repeated = {name: array.take(pa.array(np.full(len(rows), k))) for name, array in kinds.items()}
        tables.append(pa.table({**repeated, **dict(zip(rows.column_names, rows.columns, strict=True))}))
    return pa.concat_tables(tables, promote_options="permissive").to_pandas()


def _names(sets: Sequence[DataSet], folder: str | Path | None = None) -> list[str]:
    """The folder of each data set, relative to `folder` or to the deepest folder that holds all of them."""
    parents = [data.path.absolute().parent for data in sets]
    root = Path(os.path.commonpath(parents)) if folder is None else Path(folder).absolute()
    return [data.path.absolute().relative_to(root).as_posix() for data in sets]


def _settings(sets: list[dict[str, Any]], wanted: Sequence[str] | str | None) -> dict[str, list[Any]]:
    """The values of the settings that the frame shows, by name, one for each data set."""
    known = dict.fromkeys(name for settings in sets for name in settings)
    if wanted is None:
        differ = [name for name in known if len({json.dumps(settings.get(name)) for settings in sets}) > 1]
        apart = [name for name in differ if not any(f"{name}.".startswith(f"{key}.") for key in LEFT_OUT)]
        wanted = list(dict.fromkeys((*(name for name in SHOWN if name in known), *apart)))
    wanted = [wanted] if isinstance(wanted, str) else wanted
    for name in wanted:
        if name not in known:
            raise StoreError(f"settings={name!r}: no data set has this setting; there are {', '.join(known)}")
    return {name: [settings.get(name) for settings in sets] for name in wanted}


def _columns(sets: Sequence[DataSet], wanted: Sequence[str] | str | None) -> list[list[str] | None]:
    """The columns to read of each data set; None stands for all. StoreError for a name that none of them has."""
    if wanted is None:
        return [None] * len(sets)
    wanted = [wanted] if isinstance(wanted, str) else list(wanted)
    recorded = [data.recorded() for data in sets]
    for name in wanted:
        if not any(name in columns for columns in recorded):
            prefixes = dict.fromkeys(family.prefix for data in sets for family in data.layout.families())
            raise StoreError(f"columns={name!r}: no data set recorded it; there are {', '.join(prefixes)}")
    return [[name for name in wanted if name in columns] for columns in recorded]


def _array(values: Sequence[Any]) -> pa.Array:
    """The values of a setting: numbers as they are, text as categories, and mixtures as categories of JSON texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or kinds == {bool}:
        with contextlib.suppress(OverflowError, pa.ArrowInvalid):  # whole numbers that no column of numbers holds
            return pa.array(values, pa.float64() if float in kinds else None)
    texts = [value if value is None or kinds == {str} else json.dumps(value) for value in values]
    return pa.array(texts, pa.string()).dictionary_encode()
