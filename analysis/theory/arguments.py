"""Numbers that `analysis.theory.flow` takes, one for all layers or one for each, docs/theory.md section 0."""

import numpy as np
from numpy.typing import ArrayLike

from analysis.theory.activations import Array


def layerwise(name: str, value: ArrayLike, depth: int) -> Array:
    """One number for each of the layers 1 .. L, docs/theory.md section 0, (L,). ValueError for others than these."""
    return _spread(name, value, depth, "layers")


def stepwise(name: str, value: ArrayLike, depth: int) -> Array:
    """One number for each of the steps between layers, docs/theory.md section 11, (L - 1,). ValueError for others."""
    return _spread(name, value, depth - 1, "steps between layers")


def _spread(name: str, value: ArrayLike, count: int, of: str) -> Array:
    out = np.asarray(value, dtype=np.float64)
    if out.ndim > 1 or (out.ndim and len(out) != count) or not np.all(np.isfinite(out)) or np.any(out < 0):
        raise ValueError(f"{name}={value!r}: a number >= 0, or one for each of the {count} {of}")
    return np.broadcast_to(out, (count,))
