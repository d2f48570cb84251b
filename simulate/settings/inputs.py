"""Settings of inputs and targets: their source, number and length."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from simulate.settings.network import Activation, Initialization, Network, critical_point
from simulate.settings.reader import Reader, SettingsError, boolean, integer, is_list, nonempty, real

NORMALIZATIONS = ("none", "unit", "centered")
DRAWN = ("sphere", "gaussian", "teacher", "ray")  # sources that draw inputs of a chosen dimension
GIVEN = ("file", "arrays")  # sources whose rows are the user's own
SOURCES = ("digits", *DRAWN, *GIVEN)
RANGE = re.compile(r"(-?\d+)?:(-?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Inputs:
    """The source of the samples and how they are normalised.

    count: train samples, or all where none are trained on; None takes all rows. test: test samples. scale: factor of
    |x|^2 after the normalization. dimension: n_0 of sphere, gaussian, teacher and ray. squares: |x|^2 / n_0 of each
    sample of a ray. classes: the digits taken. teacher: width of the teacher. targets: the number of its outputs, or
    the names of the columns of y in a file or a frame (0: those named y or y_...).

    The others are settings of a file: path; test_path, a second file with the test rows; train_rows and test_rows, a
    range a:b or numbers; split, the column that says train or test; features, the names of the columns of x (None: all
    others); header, whether the first line of a csv file names its columns (None: it does unless it holds numbers);
    shuffle, whether the seed draws the order of the rows.
    """

    source: str
    count: int | None
    test: int
    seed: int
    normalization: str
    scale: float = 1.0
    dimension: int | None = None
    squares: tuple[float, ...] = ()
    classes: tuple[int, ...] = ()
    path: str | None = None
    teacher: int = 0
    targets: int | tuple[str, ...] = 0
    test_path: str | None = None
    train_rows: str | tuple[int, ...] | None = None
    test_rows: str | tuple[int, ...] | None = None
    split: str | None = None
    features: tuple[str, ...] | None = None
    header: bool | None = None
    shuffle: bool = True  # as the files of every data set were before this was a setting


def read_inputs(r: Reader, activation: Activation, initialization: Initialization, network: Network) -> Inputs:
    source = r.choice("source", SOURCES)
    common: dict[str, Any] = {
        "source": source,
        "count": None,
        "test": 0,
        "seed": 0,
        "normalization": r.choice("normalization", NORMALIZATIONS),
        "scale": r.get("scale", lambda v: v if v == "critical" else real(v, 0.0, True), "critical, or a number > 0"),
    }
    if source != "arrays":  # which bring their number and order
        all_rows = source in ("file", "ray") and r.raw("count") is None
        common["count"] = None if all_rows else r.integer("count", 1, 10_000)
        common["test"], common["seed"] = r.integer("test", 0, 10_000), r.integer("seed", 0)
    if common["scale"] == "critical":
        at = activation, initialization, network
        common["scale"] = _critical_scale(r, source, common["normalization"], *at)
    if source == "ray":

        def squares(value: Any) -> tuple[float, ...]:
            out = tuple(real(v, 0.0, strict=True) for v in value)
            if not out:
                raise ValueError
            return out

        common["squares"] = r.get("squares", squares, "the |x|^2 / n_0 of each sample, as [1.0,1.2]")
    if source in DRAWN:
        common["dimension"] = r.integer("dimension", 1, 10**7)
    if source == "teacher":
        common["teacher"], common["targets"] = r.integer("teacher", 1, 10**5), r.integer("targets", 1, 10**4)
    if source == "digits":

        def classes(value: Any) -> tuple[int, ...]:
            out = tuple(integer(v, 0, 9) for v in value)
            if len(set(out)) != len(out) or len(out) < 2:
                raise ValueError
            return out

        common["classes"] = r.get("classes", classes, "two or more different digits, as [0,1]")
    if source in GIVEN:
        targets, common["features"] = r.get("targets", _names, NAMES), r.get("features", _names, NAMES)
        if targets is not None:
            common["targets"] = targets
        if common["features"] == ():
            raise SettingsError(r.key("features"), [], NAMES)
        common["shuffle"] = False
    if source == "file":
        common |= _read_file(r)
    r.close()
    inputs = Inputs(**common)
    if source == "file":
        _refuse_contradictions(r, inputs)
    return inputs


NAMES = "null, or the names of columns as [a,b]"
ROWS = "null, a range of rows as 0:100 (in quotes in a file), or a list of different row numbers, counted from 0"


def _read_file(r: Reader) -> dict[str, Any]:
    """The settings that only a file has."""

    def or_none(check: Any) -> Any:
        return lambda value: None if value is None else check(value)

    return {
        "path": r.get("path", nonempty, "a .npy, .npz, .csv or .parquet file"),
        "test_path": r.get("test_path", or_none(nonempty), "null, or a file of the same columns with the test rows"),
        "train_rows": r.get("train_rows", or_none(_rows), ROWS),
        "test_rows": r.get("test_rows", or_none(_rows), ROWS),
        "split": r.get("split", or_none(nonempty), "null, or the name of the column that says train or test"),
        "header": r.get("header", lambda v: None if v == "auto" else boolean(v), "auto, true or false"),
        "shuffle": r.get("shuffle", boolean, "true or false"),
    }


def _names(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not is_list(value):
        raise ValueError
    names = tuple(str(v).strip() for v in value if isinstance(v, str | int) and not isinstance(v, bool))
    if len(names) != len(value) or len(set(names)) != len(names):
        raise ValueError
    return names


def _rows(value: Any) -> str | tuple[int, ...]:
    if isinstance(value, str):
        if not RANGE.fullmatch(value.strip()):
            raise ValueError
        return value.strip()
    if not is_list(value):
        raise ValueError
    rows = tuple(integer(v, 0) for v in value)
    if not rows or len(set(rows)) != len(rows):
        raise ValueError
    return rows


def _refuse_contradictions(r: Reader, inputs: Inputs) -> None:
    """SettingsError where two settings both say which rows of a file are for training or for testing."""
    if inputs.seed and not inputs.shuffle:
        right = "the rows of a file keep their order; inputs.shuffle=true lets the seed draw one"
        raise SettingsError(r.key("seed"), inputs.seed, right)
    by_row = inputs.train_rows is not None or inputs.test_rows is not None
    ways = {
        "train_rows" if inputs.train_rows is not None else "test_rows": by_row,
        "split": inputs.split is not None,
        "test_path": inputs.test_path is not None,
    }
    taken = [name for name, used in ways.items() if used]
    if len(taken) > 1:
        right = f"{r.key(taken[0])} already says which rows are for training and testing"
        raise SettingsError(r.key(taken[1]), getattr(inputs, taken[1]), right)
    for name in ("count", "test", "shuffle"):
        value = getattr(inputs, name)
        if taken and value and not (taken == ["test_path"] and name != "test"):
            right = f"{r.key(taken[0])} already says which rows are for training and testing; leave out one of the two"
            raise SettingsError(r.key(name), value, right)


def _critical_scale(
    r: Reader,
    source: str,
    normalization: str,
    activation: Activation,
    initialization: Initialization,
    network: Network,
) -> float:
    """|x|^2 / n_0 at which K(1) is the fixed point K* of a half-stable activation; 1 for other activations, for which
    no length is special."""
    if normalization == "none" and source != "sphere":
        raise SettingsError(
            r.key("scale"), "critical", "inputs.normalization=unit or centered gives samples one length"
        )
    try:
        tuned = critical_point(activation, network)
    except ValueError as error:
        raise SettingsError(r.key("scale"), "critical", str(error)) from None
    if (tuned.C_b, tuned.C_W) != (initialization.C_b, initialization.C_W):
        raise SettingsError(
            r.key("scale"), "critical", "there is a fixed point to scale to with initialization=critical"
        )
    return (tuned.K_star - tuned.C_b) / tuned.C_W if tuned.universality_class == "half-stable" else 1.0
