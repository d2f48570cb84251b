"""Mutual information between neurons of one layer, and the aspect ratio at which its expansion has a maximum.

Neurons of a layer are independent N(0, g) given the kernel g of one input, so that all that is needed is the law of g,
as nodes and weights or as a sample of networks: docs/theory.md (13.1) to (13.4).
"""

import math

import numpy as np
import scipy  # its parts are imported when they are used

from analysis.theory.activations import Array

STEP = 0.1  # of log |z|, in which the trapezoidal rule converges exponentially
BELOW, ABOVE = 1e-16, 40.0  # probability that is cut off at small |z|^m, and the exponent -|z|^2/2g at large |z|
RESOLUTION = 100  # cells of log g in one standard deviation: they widen its variance by a part of 2e-5


def entropy(g: Array, weight: Array, m: int) -> float:
    """The entropy S_m of m neurons of one layer, docs/theory.md (13.1).

    g, weight: (k,) nodes and weights of the law of g. Raises ValueError for m below 1, and for g that is not positive.
    """
    return float(entropies(g, np.asarray(weight)[None], m)[0])


def entropies(g: Array, weights: Array, m: int) -> Array:
    """The entropy S_m under each of several weightings of the same nodes, (B, k) -> (B,), docs/theory.md (13.1).

    Raises ValueError as `entropy`.
    """
    g, weights = np.asarray(g, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if m < 1:
        raise ValueError(f"m={m}: one neuron or more")
    if not (g > 0).all() or not np.isfinite(g).all():
        raise ValueError("g: finite numbers above 0, because dead neurons have no density")
    weights = weights / weights.sum(axis=1, keepdims=True)
    log_g = np.log(g)
    low, high = log_g.min() / 2 + math.log(BELOW) / m, log_g.max() / 2 + math.log(2 * (ABOVE + m)) / 2
    log_v = np.arange(low, high, STEP)
    # Relative to a Gaussian of the largest g, exponents stay within range.
    exponents = -np.exp(2 * log_v[:, None] - log_g) / 2 - m / 2 * (np.log(2 * math.pi) + log_g)
    density = np.exp(exponents) @ weights.T  # (radii, B)
    # The logarithm of the area of the unit sphere.
    sphere = math.log(2) + m / 2 * math.log(math.pi) - float(scipy.special.gammaln(m / 2))
    measure = STEP * np.exp(sphere + m * log_v)
    surprise = np.log(density, where=density > 0, out=np.zeros_like(density))
    values: Array = -measure @ (density * surprise)
    return values


def mutual_information(g: Array, weight: Array, m1: int, m2: int) -> float:
    """The mutual information of m1 and m2 other neurons of one layer, docs/theory.md (13.1).

    Arguments and errors are those of `entropy`. It needs no estimate of a density, and has no bias but that of the
    weights: a sample of N networks is biased by O(1/N).
    """
    return entropy(g, weight, m1) + entropy(g, weight, m2) - entropy(g, weight, m1 + m2)


def informations(g: Array, m1: int, m2: int, blocks: int) -> Array:
    """The mutual information of docs/theory.md (13.1) in a sample of networks, and in it without one block of networks
    at a time, (1 + blocks,), from which a jackknife makes an error.

    g: (M,) kernels of the networks. They are shared out among cells of log g, which widen its variance by 2e-5.
    Raises ValueError as `entropy`, and for fewer networks than blocks.
    """
    g = np.asarray(g, dtype=np.float64)
    if len(g) < blocks or blocks < 2:
        raise ValueError(f"{len(g)} networks in {blocks} blocks: two blocks or more, of a network or more each")
    if not (g > 0).all() or not np.isfinite(g).all():
        raise ValueError("g: finite numbers above 0, because dead neurons have no density")
    log_g = np.log(g)
    spread = float(log_g.std())
    if spread == 0:
        return np.zeros(1 + blocks)
    place = (log_g - log_g.min()) / (spread / RESOLUTION)
    cell = np.minimum(place.astype(int), int(place.max()))
    upper, count = place - cell, int(cell.max()) + 2
    block = np.arange(len(g)) * blocks // len(g)
    shares = np.zeros((blocks, count))
    np.add.at(shares, (block, cell), 1 - upper)
    np.add.at(shares, (block, cell + 1), upper)
    weights = np.concatenate([shares.sum(axis=0)[None], shares.sum(axis=0) - shares])
    used = weights[0] > 0
    nodes = np.exp(log_g.min() + np.arange(count)[used] * spread / RESOLUTION)
    one, other, both = (entropies(nodes, weights[:, used], m) for m in (m1, m2, m1 + m2))
    return one + other - both


def expansion(mu2: float, m1: int, m2: int) -> float:
    """The mutual information to third order in mu2 = Var g/(E g)^2, docs/theory.md (13.2).

    It is m1 m2 (mu2^2/8) (1 - (20 + 3 (m1 + m2)) mu2/6), and negative from mu2 = 6/(20 + 3 (m1 + m2)) on.
    """
    return m1 * m2 * mu2**2 / 8 * (1 - (20 + 3 * (m1 + m2)) * mu2 / 6)


def optimal_ratio(nu: float, neurons: int, next_order: float = 0.0) -> float:
    """The aspect ratio r* at which the expansion of the mutual information to third order in r has its maximum:
    docs/theory.md (6.8) and (13.2), with mu2 = nu r.

    neurons: m1 + m2, two or more, because one neuron shares no information; else ValueError. next_order: the
    coefficient c in mu2 = nu r + c (nu r)^2, which the book leaves out: 1/2 for scale-invariant activations and 3/10
    for the class K* = 0, docs/theory.md (13.3). The mutual information itself has no maximum
    there, docs/theory.md (13.4).
    """
    if neurons < 2:
        raise ValueError(f"neurons={neurons}: two or more, because one neuron shares no information")
    return 4 / ((20 + 3 * neurons - 12 * next_order) * nu)
