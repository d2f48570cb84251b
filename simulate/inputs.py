"""Inputs and targets of an ensemble: real digits, random directions, or a user's file."""

import csv
import importlib.util
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulate.settings.inputs import Inputs
from simulate.settings.reader import SettingsError

Array = NDArray[np.float64]
MOST_BYTES = 2**33  # upper bound on the size of inputs


@dataclass(frozen=True)
class Samples:
    """Inputs x (D, n_0) and targets y (D, n_L) or None. The first `train` of the D samples are for training."""

    x: Array
    y: Array | None
    train: int


def load(settings: Inputs) -> Samples:
    """The samples that the settings ask for. Raises SettingsError where they do not exist or cannot be read."""
    x, labels = _SOURCES[settings.source](settings)
    count = settings.count if settings.count is not None else len(x) - settings.test
    if count < 1 or count + settings.test > len(x):
        raise SettingsError(
            "inputs.count", count, f"inputs.count + inputs.test must lie between 1 and {len(x)}, the number of rows"
        )
    x, y = x[: count + settings.test], None if labels is None else labels[: count + settings.test]
    return Samples(_normalized(x, settings), y, count)


def _normalized(x: Array, settings: Inputs) -> Array:
    """Inputs with |x|^2 = n_0 scale for unit and centered, and with |x|^2 multiplied by the scale for none.

    For centered, the source has subtracted its mean already.
    """
    norm = np.sqrt((x**2).mean(axis=1, keepdims=True))
    zero = np.flatnonzero(norm[:, 0] == 0)
    if len(zero):
        raise SettingsError("inputs", settings.source, f"sample {zero[0]} is zero everywhere; remove that row")
    return math.sqrt(settings.scale) * (x if settings.normalization == "none" else x / norm)


def _centered(x: Array, settings: Inputs) -> Array:
    """The whole source less its mean, for centered."""
    return x - x.mean(axis=0) if settings.normalization == "centered" else x


def _digits_of_scikit_learn() -> tuple[Array, Array]:
    """Pixels (1797, 64) and digits (1797,) from scikit-learn's file: an import of the library takes a second."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    table = np.loadtxt(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return table[:, :-1], table[:, -1]


def _digits(settings: Inputs) -> tuple[Array, Array]:
    """scikit-learn's handwritten digits, 8 x 8, in an order that the seed draws and that takes the classes in turn.

    Targets are +1 and -1 for two classes, one-hot for more.
    """
    pixels, digit = _digits_of_scikit_learn()
    x = _centered(pixels, settings)
    rng = np.random.default_rng(settings.seed)
    piles = [rng.permutation(np.flatnonzero(digit == c)) for c in settings.classes]
    depth = min(map(len, piles))
    order = np.stack([pile[:depth] for pile in piles], axis=1).reshape(-1)
    label = np.tile(np.arange(len(piles)), depth)
    if len(piles) == 2:
        return x[order], np.asarray(1.0 - 2.0 * label[:, None], dtype=np.float64)
    one_hot: Array = np.eye(len(piles))
    return x[order], one_hot[label]


def _gaussian(settings: Inputs) -> tuple[Array, None]:
    """Inputs with independent standard normal entries."""
    assert settings.count is not None
    assert settings.dimension is not None
    shape = (settings.count + settings.test, settings.dimension)
    if 8 * math.prod(shape) > MOST_BYTES:
        right = f"{shape[0]} samples of this dimension are more than {MOST_BYTES / 2**30:.0f} GiB"
        raise SettingsError("inputs.dimension", settings.dimension, right)
    return np.random.default_rng(settings.seed).standard_normal(shape), None


def _sphere(settings: Inputs) -> tuple[Array, None]:
    """Inputs uniform on the sphere |x|^2 = n_0."""
    x, _ = _gaussian(settings)
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True)), None


def _teacher(settings: Inputs) -> tuple[Array, Array]:
    """Gaussian inputs, with the outputs of one tanh network of two layers as targets, scaled to variance one."""
    x, _ = _gaussian(settings)
    assert settings.dimension is not None
    rng = np.random.default_rng((settings.seed, 1))
    first = rng.standard_normal((settings.dimension, settings.teacher)) / math.sqrt(settings.dimension)
    second = rng.standard_normal((settings.teacher, settings.targets)) / math.sqrt(settings.teacher)
    hidden = np.tanh(x @ first)
    return x, hidden @ second / np.sqrt((hidden**2).mean())


def _ray(settings: Inputs) -> tuple[Array, None]:
    """Multiples of one random direction, whose kernels differ along it alone (parallel perturbations, PDLT ch. 5)."""
    assert settings.dimension is not None
    direction = np.random.default_rng(settings.seed).standard_normal((1, settings.dimension))
    return np.sqrt(np.array(settings.squares))[:, None] * direction / np.sqrt((direction**2).mean()), None


def _file(settings: Inputs) -> tuple[Array, Array | None]:
    """The rows of a user's file, in an order that the seed draws.

    A .npy file holds x; a .npz file holds x and, optionally, y; a .csv file has a header line, and its columns named y
    or y_... are targets, the others inputs.
    """
    path = Path(str(settings.path))
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > MOST_BYTES):
            raise ValueError(f"not a plain file of at most {MOST_BYTES / 2**30:.0f} GiB")
        x, y = _READERS[path.suffix.lower()](path)
    except KeyError:
        raise SettingsError("inputs.path", str(path), "a file that ends in .npy, .npz or .csv") from None
    except OSError as error:
        raise SettingsError("inputs.path", str(path), f"cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, MemoryError, OverflowError, csv.Error, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise SettingsError("inputs.path", str(path), f"cannot be read: {reason}") from None
    for name, table in (("x", x), ("y", y)):
        if table is None:
            continue
        if table.ndim != 2 or 0 in table.shape or not np.issubdtype(table.dtype, np.number):
            raise SettingsError(
                "inputs.path", str(path), f"{name} has shape {table.shape} of {table.dtype}, not numbers in rows"
            )
        if np.iscomplexobj(table) or not np.all(np.isfinite(table)):
            bad = np.argwhere(~np.isfinite(table) | np.iscomplex(table))[0]
            raise SettingsError("inputs.path", str(path), f"{name} row {bad[0]} column {bad[1]} is not a finite number")
    if y is not None and len(y) != len(x):
        raise SettingsError("inputs.path", str(path), f"{len(x)} rows of x but {len(y)} of y")
    x = _centered(np.asarray(x, dtype=np.float64), settings)
    order = np.random.default_rng(settings.seed).permutation(len(x))
    return x[order], None if y is None else np.asarray(y, dtype=np.float64)[order]


def _read_npy(path: Path) -> tuple[Array, None]:
    # A mapped file is held against the size that its header promises before memory is taken.
    return np.array(np.load(path, allow_pickle=False, mmap_mode="r")), None


def _read_npz(path: Path) -> tuple[Array, Array | None]:
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES / 2**30:.0f} GiB when unpacked")
    with np.load(path, allow_pickle=False) as archive:
        if "x" not in archive:
            raise ValueError(f"holds {', '.join(archive.files)}; an array named x is needed")
        y = archive.get("y")
        return archive["x"], y[:, None] if y is not None and y.ndim == 1 else y


def _read_csv(path: Path) -> tuple[Array, Array | None]:
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))
    if len(rows) < 2:
        raise ValueError("a header line and at least one row are needed")
    header, table = rows[0], np.array([[float(cell) for cell in row] for row in rows[1:]])
    targets = [k for k, name in enumerate(header) if name.strip() == "y" or name.strip().startswith("y_")]
    features = [k for k in range(len(header)) if k not in targets]
    return table[:, features], table[:, targets] if targets else None


_READERS = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
_SOURCES = {
    "digits": _digits,
    "gaussian": _gaussian,
    "teacher": _teacher,
    "sphere": _sphere,
    "ray": _ray,
    "file": _file,
}
