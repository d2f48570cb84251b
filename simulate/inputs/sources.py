"""Sources of inputs that the program has or draws."""

import importlib.util
import math
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulate.settings.inputs import Inputs
from simulate.settings.reader import SettingsError

Array = NDArray[np.float64]
MOST_BYTES = 2**33  # upper bound on the size of inputs


def centered(x: Array, settings: Inputs) -> Array:
    """The whole source less its mean, for centered."""
    return x - x.mean(axis=0) if settings.normalization == "centered" else x


@cache
def _digits_of_scikit_learn() -> tuple[Array, Array]:
    """Pixels (1797, 64) and digits (1797,), read-only, from scikit-learn's file: an import of the library takes a
    second."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    table = np.loadtxt(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    table.flags.writeable = False
    return table[:, :-1], table[:, -1]


def _digits(settings: Inputs) -> tuple[Array, Array]:
    """scikit-learn's handwritten digits, 8 x 8, in an order that the seed draws and that takes the classes in turn.

    Targets are +1 and -1 for two classes, one-hot for more.
    """
    pixels, digit = _digits_of_scikit_learn()
    x = centered(pixels, settings)
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
    assert isinstance(settings.targets, int)
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


DRAW = {"digits": _digits, "gaussian": _gaussian, "teacher": _teacher, "sphere": _sphere, "ray": _ray}
