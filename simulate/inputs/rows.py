"""Rows of a user: numbers with names, and which of them are for training and for testing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulate.settings.inputs import Inputs
from simulate.settings.reader import SettingsError

Array = NDArray[np.float64]
Index = NDArray[np.intp]
SHOWN = 6  # names of columns up to which all of them are printed
EXACT = 2**53  # size up to which every whole number is a float64
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)  # float() also takes 1_0 and nan
# Names of what is a target in many files. The columns y and y_... are targets, the case of letters aside.
LIKE_TARGET = re.compile(r"y\W.*|y\d+|labels?|targets?|class(es)?")
UNNAMED = re.compile(r"|Unnamed: \d+|__index_level_\d+__")  # what pandas calls an index that it wrote or read


@dataclass(frozen=True)
class Origin:
    """Where rows come from: the setting and the value that errors name, and the lines of a csv file."""

    key: str
    value: str
    lines: Sequence[int] | None = None

    def error(self, right: str) -> SettingsError:
        return SettingsError(self.key, self.value, right)

    def row(self, k: int) -> str:
        """What the user calls row k: the line of a csv file, or its number."""
        return f"row {k} (counted from 0)" if self.lines is None else f"line {self.lines[k]}"


@dataclass(frozen=True)
class Rows:
    """Rows in the order of the user. x: (D, n_0). y: (D, n_L) or None. trains: (D,), for a column that says so.

    names_x, names_y: the columns that were taken; empty where they have no names. unused: those that were not taken.
    """

    origin: Origin
    x: Array
    y: Array | None
    names_x: tuple[str, ...] = ()
    names_y: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    trains: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Table:
    """Columns (D,) with their names. text: whether they hold texts that stand for numbers, as those of a csv do."""

    origin: Origin
    names: tuple[str, ...]
    columns: Sequence[NDArray[Any]]
    text: bool = False

    def numbers(self, names: Sequence[str]) -> Array:
        """The columns of these names, (D, number of names) float64. SettingsError for a cell that is no number."""
        found = []
        for name in names:
            column = self.columns[self.names.index(name)]
            if self.text:
                for k, cell in enumerate(column):
                    if not NUMBER.fullmatch(cell):
                        holds = f"holds {cell!r}, which is not a number" if cell.strip() else "is empty"
                        raise self.origin.error(f"{self.origin.row(k)}, column {name!r} {holds}{self._hint(name)}")
                column = np.array([float(cell) for cell in column])
            found.append(numbers(column[:, None], self.origin, f"column {name!r}"))
        return np.concatenate(found, axis=1)

    def _hint(self, name: str) -> str:
        """What to do about a column without numbers."""
        words = {str(cell).strip().casefold() for cell in self.columns[self.names.index(name)]}
        return f"; inputs.split={name} takes it for the split" if words <= {"train", "test"} else ""


def numbers(values: NDArray[Any], origin: Origin, what: str = "x") -> Array:
    """A table of numbers (D, columns) as float64. SettingsError where it is none, or a number is not finite."""
    if values.ndim != 2 or 0 in values.shape or not np.issubdtype(values.dtype, np.number):
        right = "; rows are needed, as of reshape(-1, 1)" if values.ndim < 2 else ""
        raise origin.error(f"{what} has shape {values.shape} of {values.dtype}, not numbers in rows{right}")
    if np.iscomplexobj(values):
        raise origin.error(f"{what} holds complex numbers; give real ones, as {what}.real")

    def cell(bad: NDArray[np.bool_]) -> str:
        row, column = np.argwhere(bad)[0]
        return f"{what}: {origin.row(int(row))}" + f", column {column}" * (values.shape[1] > 1)

    with np.errstate(over="ignore"):
        table = np.asarray(values, dtype=np.float64)
    if np.issubdtype(values.dtype, np.integer) and (inexact := (values > EXACT) | (values < -EXACT)).any():
        raise origin.error(f"{cell(inexact)} holds a whole number beyond 2^53, which float64 would round")
    if not (finite := np.isfinite(table)).all():
        raise origin.error(f"{cell(~finite)} is not a finite number")
    return table


def two_dimensional(y: NDArray[Any]) -> NDArray[Any]:
    """Targets of one component may be given without an axis for it."""
    return y[:, None] if y.ndim == 1 else y


def is_target(name: str) -> bool:
    """Whether a column is a target where no setting says so."""
    folded = name.casefold()
    return folded == "y" or folded.startswith("y_")


def chosen(table: Table, settings: Inputs) -> Rows:
    """Inputs, targets and split of a table, by the names of its columns. SettingsError for a name that is missing,
    doubled, or may mean something else than what would be done."""
    names, origin = table.names, table.origin
    if doubled := next((name for k, name in enumerate(names) if name and name in names[:k]), None):
        raise origin.error(f"two columns are named {doubled!r}; rename one")
    for key in ("targets", "features", "split"):
        value = getattr(settings, key)
        for name in (value,) if isinstance(value, str) else value or ():
            if name not in names:
                shown = [*value] if isinstance(value, tuple) else value
                raise SettingsError(f"inputs.{key}", shown, f"no column {name!r}; there are {listed(names)}")
    asked = settings.targets if isinstance(settings.targets, tuple) else None
    rest = [name for name in names if name != settings.split]
    targets = tuple(name for name in rest if is_target(name)) if asked is None else asked
    if settings.features is None:
        features = tuple(name for name in rest if name not in targets)
        choose = "inputs.features=[...] names the columns of x"
        unnamed = next((name for name in features if UNNAMED.fullmatch(name)), None)
        if unnamed is not None:
            number = names.index(unnamed) + 1
            index = f"column {number} ({unnamed!r}) has no name of its own; if it is an index, leave it out of the file"
            raise origin.error(f"{index}, or {choose}")
        like = next((name for name in features if LIKE_TARGET.fullmatch(name.casefold())), None)
        if like and asked is None:
            raise origin.error(f"column {like!r} may be a target: inputs.targets=[{like}] makes it one, and {choose}")
    else:
        features = settings.features
        if asked is None:
            targets = tuple(name for name in targets if name not in features)
    for key, value in (("features", features), ("targets", targets)):
        if settings.split in value or (key == "targets" and set(features) & set(targets)):
            raise SettingsError(f"inputs.{key}", [*value], "a column is for one purpose: x, y or the split")
    if not features:
        raise origin.error("all columns are targets, none is left for x")
    return Rows(
        origin,
        table.numbers(features),
        table.numbers(targets) if targets else None,
        features,
        targets,
        tuple(name for name in rest if name not in (*features, *targets)),
        _trains(table, settings.split) if settings.split else None,
    )


def _trains(table: Table, split: str) -> NDArray[np.bool_]:
    """Whether each row is for training, from the column that says train or test."""
    words = [str(cell).strip().casefold() for cell in table.columns[table.names.index(split)]]
    for k, word in enumerate(words):
        if word not in ("train", "test"):
            right = f"train or test in each row; {table.origin.row(k)} of {table.origin.value} says {word!r}"
            raise SettingsError("inputs.split", split, right)
    return np.array([word == "train" for word in words])


def divided(rows: Rows, settings: Inputs) -> tuple[Index, Index]:
    """The rows for training and those for testing. Both are in the order of the file, unless the settings shuffle it or
    list rows in another."""
    D = len(rows.x)
    if rows.trains is not None:
        train, test = np.flatnonzero(rows.trains), np.flatnonzero(~rows.trains)
        if not len(train):
            raise SettingsError("inputs.split", settings.split, "no row says train")
        return train, test
    if settings.train_rows is not None or settings.test_rows is not None:
        test = _numbered("test_rows", settings.test_rows, D)
        others = np.setdiff1d(np.arange(D), test)
        train = others if settings.train_rows is None else _numbered("train_rows", settings.train_rows, D)
        if len(both := np.intersect1d(train, test)):
            raise SettingsError("inputs.test_rows", settings.test_rows, f"row {both[0]} is a train row, too")
        if not len(train):
            raise SettingsError("inputs.test_rows", settings.test_rows, f"none of {D} rows is left for training")
        return train, test
    order = np.random.default_rng(settings.seed).permutation(D) if settings.shuffle else np.arange(D)
    count = D - settings.test if settings.count is None else settings.count
    if count < 1 or count + settings.test > D:
        key, value = ("test", settings.test) if settings.count is None else ("count", settings.count)
        right = f"inputs.count + inputs.test must lie between 1 and {D}, the number of rows, with a train row at least"
        raise SettingsError(f"inputs.{key}", value, right)
    return order[:count], order[count : count + settings.test]


def _numbered(name: str, wanted: str | tuple[int, ...] | None, D: int) -> Index:
    """The rows that a setting names, of D. SettingsError for rows that are not there."""
    if wanted is None:
        return np.arange(0)
    if isinstance(wanted, str):
        low, high = (int(end) if end else default for end, default in zip(wanted.split(":"), (0, D), strict=True))
        low, high = low + D * (low < 0), high + D * (high < 0)
        if not 0 <= low < high <= D:
            raise SettingsError(f"inputs.{name}", wanted, f"rows between 0 and {D}, the number of rows, one at least")
        return np.arange(low, high)
    if max(wanted) >= D:
        raise SettingsError(f"inputs.{name}", [*wanted], f"there are {D} rows, numbered from 0 to {D - 1}")
    return np.array(wanted)


def listed(names: Sequence[str]) -> str:
    """Names of columns in words; of many, the first and the last."""
    if len(names) <= SHOWN:
        return ", ".join(names) or "none"
    return f"{', '.join(names[: SHOWN // 2])}, ..., {names[-1]} ({len(names)} columns)"
