"""Inputs and targets that are given in Python: arrays of numpy, tensors of torch, frames of pandas, lists."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulate.inputs.rows import Origin, Rows, Table, chosen, numbers, two_dimensional
from simulate.settings.inputs import Inputs
from simulate.settings.reader import SettingsError


def rows_of(given: Any, key: str, settings: Inputs) -> Rows:
    """The rows of x, of the pair (x, y), or of a frame, whose columns have names as those of a file.

    key: the argument, for errors. Raises SettingsError for what is not numbers in rows.
    """
    origin = Origin(key, "arrays")
    if isinstance(given, tuple) and len(given) != 2:
        raise origin.error(f"x, or the pair (x, y); not {len(given)} of them")
    x, y = given if isinstance(given, tuple) else (given, None)
    if y is None and _columns(x):
        names = tuple(str(name).strip() for name in x.columns)
        columns = [_array(x[name], origin, str(name)) for name in x.columns] if len(set(names)) == len(names) else []
        return chosen(Table(origin, names, columns), settings)
    for name in ("targets", "features"):
        if (value := getattr(settings, name)) not in (None, 0):
            raise SettingsError(f"inputs.{name}", [*value], "only a frame that is given alone has columns to choose")
    table = numbers(_array(x, origin, "x"), origin)
    if y is None:
        return Rows(origin, table, None, _columns(x))
    if _indexed(x) and _indexed(y) and not x.index.equals(y.index):
        raise origin.error("the indexes of the frames x and y differ; reset_index(drop=True) takes rows by their order")
    targets = numbers(two_dimensional(_array(y, origin, "y")), origin, "y")
    if len(targets) != len(table):
        raise origin.error(f"{len(table)} rows of x but {len(targets)} of y")
    return Rows(origin, table, targets, _columns(x), _columns(y))


def _columns(value: Any) -> tuple[str, ...]:
    """The names of the columns of a frame; nothing for anything else."""
    return tuple(map(str, value.columns)) if hasattr(value, "columns") and hasattr(value, "to_numpy") else ()


def _indexed(value: Any) -> bool:
    return hasattr(value, "index") and hasattr(value, "to_numpy")


def _array(value: Any, origin: Origin, what: str) -> NDArray[Any]:
    """The value as an array of numpy. SettingsError where it cannot be one, or hides entries."""
    try:
        if hasattr(value, "detach"):  # a tensor of torch, which this module does not import
            value = value.detach().cpu().resolve_conj()
            value = value.double() if value.is_floating_point() else value
            return np.asarray(value.numpy())
        if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
            raise origin.error(f"{what} has entries that are masked")
        return np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value)
    except (ValueError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
        if isinstance(error, SettingsError):
            raise
        raise origin.error(f"{what} is not an array: {(str(error) or type(error).__name__).splitlines()[0]}") from None
