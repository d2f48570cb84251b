"""Whether a few networks carry an estimate, so that its error bar cannot be believed.

An estimate's deviation in units of its jackknife error has the tails of a normal number only where no few blocks of
networks weigh much more than the others. Where the law of single networks has a heavy tail, as kernels have at large
L/n, most samples miss the networks that carry a moment: the estimate comes out low, and its error with it.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
WORD = "tail-dominated"
SKEW, LEAN = 0.3, 0.35  # bounds of docs/theory.md (7.10), chosen by what `python -m benchmarks.tails` measures
SQUARE_SKEW, SQUARE_LEAN = 2 * np.sqrt(3) - 3, np.sqrt(8)  # L-skewness and skewness of a squared normal number
MARGIN = 1.3  # by which few networks may exceed what squares of normal numbers show on average


def deviations(replicates: Array) -> Array:
    """The deviations (B, k) of the pseudo-values from their means, in units of the largest, from replicates (B, k).

    Zero where they are not finite or do not exceed rounding, as for numbers without a sampling error.
    """
    with np.errstate(invalid="ignore"):
        d = replicates.mean(axis=0) - replicates
    largest = np.abs(d).max(axis=0)
    spread = np.isfinite(largest) & (largest > 8 * np.finfo(np.float64).eps * np.abs(replicates).max(axis=0))
    return np.where(spread, d, 0.0) / np.where(spread, largest, 1.0)


def skew(replicates: Array) -> Array:
    """The L-skewness (k,) of the pseudo-values, docs/theory.md (7.10): l_3 / l_2 of their first three L-moments.

    It lies between -1 and 1, and tells the shape of the bulk, whether or not the sample holds the networks of the tail.
    """
    d = np.sort(deviations(replicates), axis=0)
    B, below = len(d), np.arange(len(d))[:, None]
    b0, b1, b2 = d.mean(axis=0), (below * d).mean(axis=0) / (B - 1), (below * (below - 1) * d).mean(axis=0)
    b2 = b2 / ((B - 1) * (B - 2))
    scale = 2 * b1 - b0
    return np.divide(6 * b2 - 6 * b1 + b0, scale, out=np.zeros_like(scale), where=scale > 0)


def lean(replicates: Array) -> Array:
    """The lean (k,) of the pseudo-values, docs/theory.md (7.10): sum d^3 / (sum d^2)^(3/2).

    It lies between -1 and 1, and comes near to one where a single block outweighs all others.
    """
    d = deviations(replicates)
    square = (d**2).sum(axis=0)
    return np.divide((d**3).sum(axis=0), square**1.5, out=np.zeros_like(square), where=square > 0)


def bounds(B: int, networks: int | None) -> tuple[float, float]:
    """The largest size of skew and of lean of an estimate that is not tail-dominated, docs/theory.md (7.10)."""
    if networks is None:
        return SKEW, LEAN
    # A block of few networks is skewed by the law of single networks, and variances of normal numbers are to pass.
    return max(SKEW, MARGIN * SQUARE_SKEW * np.sqrt(B / networks)), max(LEAN, MARGIN * SQUARE_LEAN / np.sqrt(networks))


def dominated(replicates: Array, networks: int | None = None) -> NDArray[np.bool_]:
    """Whether each of k estimates with replicates (B, k) is tail-dominated: beyond its bounds, to either side.

    networks: how many there are in all blocks; None, where it is not known, stands for many.
    """
    largest_skew, largest_lean = bounds(len(replicates), networks)
    return (np.abs(skew(replicates)) > largest_skew) | (np.abs(lean(replicates)) > largest_lean)
