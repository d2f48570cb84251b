"""Whether a few networks carry an estimate, so that its error bar cannot be believed.

An estimate's deviation in units of its jackknife error has the tails of a normal number only where no few blocks of
networks weigh much more than the others. Where the law of single networks has a heavy tail, as kernels have at large
L/n, most samples miss the networks that carry a moment: the estimate comes out low, and its error with it.

L-moments tell the shape of the pseudo-values by their bulk, so that a tail is seen in samples that missed its end.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
WORD = "tail-dominated"
SKEW, KURTOSIS = 0.2, 0.155  # of the lightest tails that lie too often: what `python -m benchmarks.tails` measures
NORMAL = 30 / np.pi * np.arctan(np.sqrt(2)) - 9  # L-kurtosis of a normal number
SQUARE = (2 * np.sqrt(3) - 3, 0.226497)  # L-skewness and L-kurtosis of the square of a normal number
NOISE = (0.1866, 0.0883)  # variance of the L-skewness and L-kurtosis of B normal numbers, times B
ERRORS = 3  # standard errors of both ratios by which normal numbers may go beyond
EVEN = 0.4  # below this part of the bound of the L-skewness tails are even: they widen errors, and errors do not lie


def shape(replicates: Array) -> tuple[Array, Array]:
    """L-skewness and L-kurtosis (k,) of the pseudo-values, from replicates (B, k), docs/theory.md (7.16).

    Those of normal numbers, 0 and NORMAL, where replicates are not finite or do not differ beyond rounding, as for
    numbers without a sampling error.
    """
    with np.errstate(invalid="ignore"):
        d = replicates.mean(axis=0) - replicates
    largest = np.abs(d).max(axis=0)
    spread = np.isfinite(largest) & (largest > 8 * np.finfo(np.float64).eps * np.abs(replicates).max(axis=0))
    d = np.sort(np.where(spread, d, 0.0) / np.where(spread, largest, 1.0), axis=0)
    B = len(d)
    below = np.arange(B)[:, None]
    first = below / (B - 1)
    second = first * (below - 1) / (B - 2)
    b0, b1, b2, b3 = ((w * d).mean(axis=0) for w in (1.0, first, second, second * (below - 2) / (B - 3)))
    l2, l3, l4 = 2 * b1 - b0, 6 * b2 - 6 * b1 + b0, 20 * b3 - 30 * b2 + 12 * b1 - b0
    skew = np.divide(l3, l2, out=np.zeros_like(l2), where=spread)
    return skew, np.divide(l4, l2, out=np.full_like(l2, NORMAL), where=spread)


def bounds(B: int, networks: int | None) -> tuple[float, float]:
    """The largest size of the L-skewness and the largest L-kurtosis of an estimate that is not tail-dominated.

    networks: how many are in the B blocks; None stands for many. A block of few networks has the shape of single
    networks, and variances of normal numbers are to pass: docs/theory.md (7.16).
    """
    part = 0.0 if networks is None else min(1.0, B / networks)
    skew = max(SKEW, SQUARE[0] * np.sqrt(part)) + ERRORS * np.sqrt(NOISE[0] / B)
    kurtosis = max(KURTOSIS, NORMAL + (SQUARE[1] - NORMAL) * part) + ERRORS * (1 + part) * np.sqrt(NOISE[1] / B)
    return float(skew), float(kurtosis)


def dominated(replicates: Array, networks: int | None = None) -> NDArray[np.bool_]:
    """Whether each of k estimates with replicates (B, k) is tail-dominated, docs/theory.md (7.16): its L-skewness is
    beyond its bound, or its L-kurtosis is, and tails are not even."""
    skew, kurtosis = shape(replicates)
    largest_skew, largest_kurtosis = bounds(len(replicates), networks)
    size = np.abs(skew) / largest_skew
    return (size > 1) | ((kurtosis > largest_kurtosis) & (size > EVEN))
