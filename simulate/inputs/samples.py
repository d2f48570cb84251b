"""The samples of an ensemble: inputs, targets, and how many of them are for training."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simulate.inputs.arrays import rows_of
from simulate.inputs.files import read
from simulate.inputs.rows import Array, Rows, divided, listed
from simulate.inputs.sources import DRAW, centered
from simulate.settings import Settings
from simulate.settings.inputs import GIVEN, Inputs
from simulate.settings.reader import SettingsError, printable
from simulate.system import counted

Given = tuple[Any, Any]  # what Python gives: inputs and test


@dataclass(frozen=True)
class Samples:
    """Inputs x (D, n_0) and targets y (D, n_L) or None. The first `train` of the D samples are for training.

    names: what the user calls each row of his own, empty for other sources. words: one line that says what was taken as
    x and y, empty for other sources.
    """

    x: Array
    y: Array | None
    train: int
    names: tuple[str, ...] = ()
    words: str = ""

    def name(self, k: int) -> str:
        return self.names[k] if self.names else f"sample {k}"


def load(settings: Inputs, given: Given | None = None) -> Samples:
    """The samples that the settings ask for. given: the arrays of inputs=arrays, as (inputs, test).

    Raises SettingsError where they do not exist, cannot be read, or cannot be normalised.
    """
    if settings.source in GIVEN:
        return _of_user(settings, given)
    x, y = DRAW[settings.source](settings)
    count = settings.count if settings.count is not None else len(x) - settings.test
    if count < 1 or count + settings.test > len(x):
        raise SettingsError(
            "inputs.count", count, f"inputs.count + inputs.test must lie between 1 and {len(x)}, the number of rows"
        )
    x, y = x[: count + settings.test], None if y is None else y[: count + settings.test]
    return Samples(_normalized(x, settings, lambda k: f"sample {k}"), y, count)


def scaled(samples: Samples, settings: Settings) -> Samples:
    """The samples with targets n^(s/2) y, which train a network as outputs n^(-s/2) z and a rate n^s eta would, for
    s = `dynamics.width_scaling` and n the width of the last hidden layer (docs/theory.md (15.2)).

    SettingsError for other losses than the MSE, which alone makes the two the same, and without a hidden layer.
    """
    s, loss, widths = settings.dynamics.width_scaling, settings.dynamics.loss, settings.network.widths
    if not s or samples.y is None:
        return samples
    if loss != "mse" or not widths:
        why = f"dynamics.loss={loss}: targets are scaled for mse" if widths else "network.depth=1: no width to scale by"
        raise SettingsError("dynamics.width_scaling", s, f"0 with {why}")
    return replace(samples, y=widths[-1] ** (s / 2) * samples.y)


def resolved(settings: Inputs, samples: Samples) -> Inputs:
    """The settings with the numbers of train and test rows, which are known from the user's rows alone. Data sets of
    shuffled files, as all were once, have them as they were set."""
    if settings.source not in GIVEN or settings.shuffle:
        return settings
    return replace(settings, count=samples.train, test=len(samples.x) - samples.train)


def _of_user(settings: Inputs, given: Given | None) -> Samples:
    """The rows of a file or of arrays, and of the second one that holds the test rows if there is one."""
    if settings.source == "arrays":
        if given is None or given[0] is None:
            raise SettingsError("inputs", "arrays", "arrays are given in Python, as simulate.run(..., inputs=(x, y))")
        rows = rows_of(given[0], "inputs", settings)
        others = None if given[1] is None else rows_of(given[1], "test", settings)
    else:
        rows = read(str(settings.path), "inputs.path", settings)
        others = None if settings.test_path is None else read(settings.test_path, "inputs.test_path", settings)
    if others is not None:
        _refuse_different(rows, others)
    train, test = divided(rows, settings)
    unused = len(rows.x) - len(train) - len(test)
    x, y = rows.x, rows.y
    names = {k: f"{rows.origin.row(k)} of {rows.origin.value}" for k in map(int, (*train, *test))}
    if others is not None:
        test = np.arange(len(x), len(x) + len(others.x))
        names |= {int(k): f"{others.origin.row(int(k) - len(x))} of {others.origin.value}" for k in test}
        x = np.concatenate([x, others.x])
        y = None if y is None or others.y is None else np.concatenate([y, others.y])
    order = np.concatenate([train, test])
    called = tuple(names[int(k)] for k in order)
    with np.errstate(over="ignore", invalid="ignore"):
        x = _normalized(centered(x, settings)[order], settings, lambda k: called[k])
    words = _in_words(rows, settings, len(train), len(test), unused)
    return Samples(x, None if y is None else y[order], len(train), called, words)


def _refuse_different(rows: Rows, others: Rows) -> None:
    """SettingsError where train and test rows do not have the same columns in the same order."""
    pairs = (
        ("x", rows.x, others.x, rows.names_x, others.names_x),
        ("y", rows.y, others.y, rows.names_y, others.names_y),
    )
    for what, table, other, names, other_names in pairs:
        sizes = [0 if values is None else values.shape[1] for values in (table, other)]
        if sizes[0] != sizes[1]:
            raise others.origin.error(f"{sizes[1]} columns of {what}, and the train rows have {sizes[0]}")
        if names and other_names and names != other_names:
            right = f"its columns of {what} are {listed(other_names)}, those of the train rows {listed(names)}"
            raise others.origin.error(right)


def _in_words(rows: Rows, settings: Inputs, train: int, test: int, unused: int) -> str:
    """One line: what was taken as x and y, how many rows, how they are normalised, and what was left."""
    shown = (("x", rows.x, rows.names_x), ("y", rows.y, rows.names_y))
    said = [
        f"{what} = {listed(names) if names or table is None else counted(table.shape[1], 'column')}"
        for what, table, names in shown
    ]
    said.append(f"{train:,} train and {test:,} test rows" + " in an order drawn by the seed" * settings.shuffle)
    how = [f"normalization={settings.normalization}"] if settings.normalization != "none" else []
    how += [f"scale={settings.scale:g}"] if settings.scale != 1 else []
    said.append(", ".join(how) or "as they are")
    left = [f"columns {listed(rows.unused)}"] if rows.unused else []
    left += [counted(unused, "row")] if unused else []
    said += [f"not used: {' and '.join(left)}"] if left else []
    return printable(f"inputs={rows.origin.value}: {'; '.join(said)}")


def _normalized(x: Array, settings: Inputs, name: Callable[[int], str]) -> Array:
    """Inputs with |x|^2 = n_0 scale for unit and centered, and with |x|^2 multiplied by the scale for none.

    For centered, the source has subtracted its mean already. name: what row k is called.
    """
    if settings.normalization != "none":
        # By a power of two, which changes no bit, so that no square overflows or vanishes.
        x = np.ldexp(x, -np.frexp(np.abs(x).max(axis=1, keepdims=True))[1])
        norm = np.sqrt((x**2).mean(axis=1, keepdims=True))
        if len(zero := np.flatnonzero(norm[:, 0] == 0)):
            right = f"{name(int(zero[0]))} is zero everywhere and has no direction; remove it, or normalize by none"
            raise SettingsError("inputs.normalization", settings.normalization, right)
        x = x / norm
    x = math.sqrt(settings.scale) * x
    if len(bad := np.flatnonzero(~np.isfinite(x).all(axis=1))):
        key = "normalization" if settings.scale == 1 else "scale"
        right = f"{name(int(bad[0]))} is beyond the range of float64 then; use smaller units"
        raise SettingsError(f"inputs.{key}", getattr(settings, key), right)
    return x


def check_first_kernel(samples: Samples, settings: Settings) -> None:
    """SettingsError where K(1) = C_b + C_W |x|^2 / n_0 of a sample is zero, or no normal number of the precision.

    At K = 0 all preactivations vanish; beyond the range, rows would be full of zeros or infinities.
    """
    C_b, C_W, dtype = settings.initialization.C_b, settings.initialization.C_W, settings.ensemble.dtype
    with np.errstate(over="ignore", under="ignore"):
        K = C_b + C_W * (samples.x**2).mean(axis=1)
        largest = np.abs(samples.x).max(axis=1)
    for k in np.flatnonzero((K == 0) & (largest == 0)):
        right = f"{samples.name(int(k))} is zero everywhere, where K(1) = C_b; remove it, or choose C_b > 0"
        raise SettingsError("initialization.C_b", C_b, right)
    limits = np.finfo(dtype)
    inside = (limits.tiny <= K) & (limits.max >= K) & (limits.max >= largest)
    for k in np.flatnonzero(~inside):
        other = "use other units, inputs.scale" + ", or ensemble.dtype=float64" * (dtype == "float32")
        right = f"{samples.name(int(k))} has K(1) = {K[k]:.3g}, beyond the range of {dtype}: {other}"
        raise SettingsError("inputs", settings.inputs.source, right)
