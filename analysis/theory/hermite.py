"""Gaussian means and Hermite coefficients of functions of one z ~ N(0, K), docs/theory.md (11.4), smooth or with a kink
at zero.

The rule is Gauss and Legendre's on panels that end at zero, where kinks are. Means with a Hermite polynomial of order q
have a density that falls as exp(-x^2/4) only, beyond twice the root of q; REACH is for this one.
"""

import math
from collections.abc import Callable

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.quadrature import legendre

REACH = 13.0  # exp(-REACH^2 / 4) is below 1e-18
PANEL = 0.25  # the longest panel, on which Hermite functions of order 2000 make less than four waves
NODES = 16  # of a panel


def rule(K: float, nodes: int = NODES) -> tuple[Array, Array]:
    """Nodes x and weights of means over a standard normal x = z / sqrt(K), docs/theory.md section 0: shape (N,) each.

    A function that changes over z of order one changes over x of order 1/sqrt(K). Panels near zero are as short, and
    double in length from there on.
    """
    edges, length = [0.0], min(PANEL, PANEL / math.sqrt(max(K, 1.0)))
    while edges[-1] < REACH:
        edges += [edges[-1] + length]
        length = min(PANEL, max(length, edges[-1] / 8))
    low, high = np.array(edges[:-1]), np.array(edges[1:])
    points, weights = legendre(nodes)
    half = (high - low)[:, None] / 2
    x = ((low + high)[:, None] / 2 + half * points).ravel()
    w = (half * weights).ravel() * np.exp(-(x**2) / 2)
    return np.concatenate([-x[::-1], x]), np.concatenate([w[::-1], w]) / (2 * w.sum())


def polynomials(x: Array, count: int) -> Array:
    """He_q(x) / sqrt(q!) of docs/theory.md (11.4) for q = 0 .. count - 1, shape (count, N)."""
    h = np.empty((max(count, 2), len(x)))
    h[0], h[1] = 1.0, x
    for q in range(1, count - 1):
        h[q + 1] = (x * h[q] - math.sqrt(q) * h[q - 1]) / math.sqrt(q + 1)
    return h[:count]


class Means:
    """Means over z ~ N(0, K), docs/theory.md section 0, of functions given by their values at the nodes `z` (N,)."""

    def __init__(self, K: float, count: int):
        self.K = K
        x, self.weights = rule(K)
        self.z = math.sqrt(K) * x
        self._weighted = polynomials(x, count) * self.weights

    def mean(self, values: Array) -> float:
        """<f>, docs/theory.md section 0."""
        return float(self.weights @ values)

    def covariance(self, first: Array, second: Array) -> float:
        """<f; h> = <f h> - <f><h> of docs/theory.md section 11, without the cancellation of its two terms."""
        return self.mean((first - self.mean(first)) * (second - self.mean(second)))

    def coefficients(self, values: Array) -> Array:
        """K^(q/2) <f^(q)> / sqrt(q!) of docs/theory.md (11.4), shape (count,)."""
        return np.asarray(self._weighted @ values)

    def derivative(self, coefficients: Array, order: int) -> float:
        """<f^(order)> from the coefficients of f, docs/theory.md (11.4)."""
        return float(coefficients[order]) * math.sqrt(math.factorial(order)) / self.K ** (order / 2)


def check(functions: tuple[Callable[[Array], Array], ...], K: float) -> None:
    """ValueError where means of the squares of these functions are not known to 1e-9 of them, docs/theory.md
    section 0: a rule with fewer nodes has other ones."""
    (x, fine), (y, coarse) = rule(K), rule(K, NODES - 4)
    for f in functions:
        for power in (2, 4):
            more, fewer = fine @ f(math.sqrt(K) * x) ** power, coarse @ f(math.sqrt(K) * y) ** power
            if not abs(more - fewer) <= 1e-9 * abs(more):
                raise ValueError(f"averages at a kernel of {K:g} do not converge: {fewer:.12g} and {more:.12g}")
