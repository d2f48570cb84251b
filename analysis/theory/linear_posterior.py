"""The exact posterior of deep linear networks with one output at any width, docs/theory.md (16.18).

Read from the output down, the vector that maps inputs to the output is Gaussian given one number
G = prod_l chi2_{n_l}/n_l. So the evidence and the predictions are averages over G of those of a Gaussian process
with kernel G K. No expansion in 1/n is made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are used
from numpy.typing import ArrayLike

from analysis.theory.activations import Array

STEP, REACH = 1 / 40, 14.0  # of the grid of log G, in standard deviations of the widest factor and of G


@dataclass(frozen=True)
class DeepLinear:
    """The exact posterior: log p(y), the mean (D,) and the covariance (D, D) of the output, and the mean of G."""

    log_evidence: float
    mean: Array
    covariance: Array
    scale: float


def deep_linear(K: ArrayLike, targets: ArrayLike, noise: float, widths: Sequence[int]) -> DeepLinear:
    """The exact posterior of a deep linear network without biases and with one output, docs/theory.md (16.18).

    K: (D, D), the kernel of the last layer at infinite width, train samples first. targets: (N,) or (N, 1). noise: the
    variance >= 0 of a target. widths: n_1..n_{L-1}. Raises ValueError for other shapes, widths below 1, and a kernel
    of the train samples that is not positive definite.
    """
    kernel, y = np.asarray(K, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    N = len(y)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or y.ndim != 1 or not 1 <= N <= len(kernel):
        raise ValueError(f"K, targets: shapes {kernel.shape}, {y.shape}: (D, D) and (N,) with 1 to D train samples")
    if not (math.isfinite(noise) and noise >= 0) or any(n < 1 for n in widths):
        raise ValueError(f"noise={noise!r}, widths={list(widths)}: a variance >= 0, and one neuron or more a layer")
    values, vectors = np.linalg.eigh(kernel[:N, :N])
    if not values[0] > 0:
        raise ValueError(f"K: its smallest eigenvalue on train samples is {values[0]:.2g}, and it has to be positive")
    log_G, log_density = _law(widths)
    G = np.exp(log_G)[:, None]
    spread = G * values + noise  # (nodes, N), eigenvalues of G K + noise
    turned = vectors.T @ y
    log_p = -0.5 * (turned**2 / spread + np.log(2 * math.pi * spread)).sum(axis=1) + log_density
    total = float(scipy.special.logsumexp(log_p))
    weight = np.exp(log_p - total)
    onto = kernel[:, :N] @ vectors  # (D, N)
    means = (G * turned / spread) @ onto.T  # (nodes, D)
    mean = weight @ means
    apart = means - mean
    # G K - G^2 onto (G values + noise)^-1 onto^T, averaged, and the covariance of the means.
    within = (weight @ G[:, 0]) * kernel - (onto * (weight @ (G**2 / spread))) @ onto.T
    covariance = within + (apart * weight[:, None]).T @ apart
    return DeepLinear(total, mean, covariance, float(weight @ G[:, 0]))


def _law(widths: Sequence[int]) -> tuple[Array, Array]:
    """Nodes of log G and the logarithms of their probabilities, by the trapezoidal rule, docs/theory.md (16.18).

    The density of log chi2_n/n is analytic, so that sums over a grid are right to rounding, and the law of log G is
    their convolution.
    """
    if not widths:
        return np.zeros(1), np.zeros(1)
    deviations = [math.sqrt(2 / n) + 2 / n for n in widths]
    step = STEP * min(deviations)
    nodes, log_density = np.zeros(1), np.zeros(1)
    for n, deviation in zip(widths, deviations, strict=True):
        half = math.ceil(REACH * max(deviation, math.hypot(*deviations) / 2) / step)
        t = step * np.arange(-half * (4 if n < 8 else 1), half + 1)
        one = n / 2 * (t + math.log(n / 2) - np.exp(t)) - scipy.special.gammaln(n / 2) + math.log(step)
        density = np.convolve(np.exp(log_density), np.exp(one))
        nodes = nodes[0] + t[0] + step * np.arange(len(density))
        kept = density > 0
        nodes, log_density = nodes[kept], np.log(density[kept])
    return nodes, log_density
