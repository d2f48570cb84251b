"""Functions of one neuron at two inputs in Hermite polynomials of two variables, for docs/theory.md (11.6).

The two preactivations are z = C x, with x two standard normals. A function is given by its means with the products
He_k1(x_1) He_k2(x_2) / sqrt(k1! k2!), order k1 + k2 after order, so that `count` orders are count (count + 1) / 2 = T
numbers. Between two pairs of inputs, or two layers, each order keeps to itself.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analysis.theory.activations import Activation, Array
from analysis.theory.hermite import polynomials, rule
from analysis.theory.special import ndtr

SINGULAR = 1e-14  # a smaller share of the second input's variance is rounding error


@lru_cache
def degrees(count: int) -> NDArray[np.intp]:
    """k1 and k2 of the polynomials of docs/theory.md (11.6), (2, count (count + 1) / 2)."""
    return np.array([(k1, k - k1) for k in range(count) for k1 in range(k + 1)]).T


def orders(T: int) -> NDArray[np.intp]:
    """k1 + k2 of T coefficients of docs/theory.md (11.6), (T,)."""
    return np.asarray(degrees(math.isqrt(2 * T)).sum(axis=0))


class Plane:
    """The Gaussian of two inputs, which may be one twice, with the kernel K (2, 2): docs/theory.md (11.6)."""

    def __init__(self, K: Array):
        first = math.sqrt(K[0, 0])
        rest = K[1, 1] - K[0, 1] ** 2 / K[0, 0]
        self.C = np.array([[first, 0.0], [K[0, 1] / first, math.sqrt(rest) if rest > SINGULAR * K[1, 1] else 0.0]])
        self.singular = self.C[1, 1] == 0.0
        self.inverse = np.linalg.pinv(self.C)

    def products(self, s: Activation, count: int) -> dict[tuple[int, int], Array]:
        """The coefficients of s^(i) of the first input times s^(j) of the second one, i and j from 0 to 1, by (i, j),
        for docs/theory.md (11.6)."""
        (top, _), (share, rest) = self.C
        finest = (share / rest) ** 2 if s.kinked and rest else 0.0
        x, weight = rule(max(top**2, finest))
        outer = polynomials(x, count) * weight
        inner = [self._inner(s, order, share * x, count) for order in range(2)]
        k1, k2 = degrees(count)
        return {(i, j): ((outer * s.derivatives[i](top * x)) @ inner[j])[k1, k2] for i in range(2) for j in range(2)}

    def _inner(self, s: Activation, order: int, mean: Array, count: int) -> Array:
        """Means over x_2 of s^(order)(mean + C_22 x_2) He_k(x_2) / sqrt(k!), (N, count)."""
        rest = self.C[1, 1]
        if not rest:
            return s.derivatives[order](mean)[:, None] * (np.arange(count) == 0)
        if s.kinked:
            return _of_kink(s, order, mean, rest, count)
        x, weight = rule(rest**2)
        return np.asarray(s.derivatives[order](mean[:, None] + rest * x) @ (polynomials(x, count) * weight).T)

    def slope(self, f: Array, slot: int) -> Array:
        """The coefficients (..., T) of the derivative of a function in its first or second input, docs/theory.md
        (11.6), but for the highest order; in both of one input that fills them, half of it each."""
        out = np.zeros_like(f)
        count = math.isqrt(2 * f.shape[-1])
        k = degrees(count - 1)
        above = (k.sum(axis=0) + 1) * (k.sum(axis=0) + 2) // 2 + k[0]  # where (k1, k2 + 1) stands; next (k1 + 1, k2)
        for axis, place in ((0, above + 1), (1, above)):
            out[..., : k.shape[1]] += self.inverse[axis, slot] * np.sqrt(k[axis] + 1) * f[..., place]
        return out


def _of_kink(s: Activation, order: int, mean: Array, spread: float, count: int) -> Array:
    """Means of s^(order)(mean + spread x) He_k(x) / sqrt(k!) for a kinked s, (N, count): s' is a step at x = t, of
    which higher orders have the Hermite functions at t."""
    assert s.slopes is not None
    (plus, minus), t = s.slopes, -mean / spread
    jump, k = plus - minus, np.arange(2, count)
    at_kink = polynomials(t, count).T * np.exp(-(t**2) / 2)[:, None] / math.sqrt(2 * math.pi)
    above = ndtr(-t)
    slope = np.empty((len(t), count))
    slope[:, 0] = minus + jump * above
    slope[:, 1:] = jump * at_kink[:, :-1] / np.sqrt(np.arange(1, count))
    if order == 1:
        return slope
    value = np.empty_like(slope)
    value[:, 0] = minus * mean + jump * (mean * above + spread * at_kink[:, 0])
    value[:, 1] = spread * slope[:, 0]
    value[:, 2:] = spread * slope[:, 1:-1] / np.sqrt(k)
    return value


def carried(R: Array, X: Array) -> Array:
    """Coefficients (..., T) at other variables than those x of X, whose means given x are R x, R (2, 2): order k of
    docs/theory.md (11.6) is acted on by the k-th symmetric power of R.

    Each power is a mean over the ways to take one factor off it, which does not enlarge errors where R shrinks vectors.
    """
    out, power, start = np.empty_like(X), np.ones((1, 1)), 0
    for k in range(math.isqrt(2 * X.shape[-1])):
        if k:
            up, down = np.sqrt(np.arange(1, k + 1)), np.sqrt(np.arange(k, 0, -1))  # a factor x_1 more, or x_2
            grown = np.zeros((k + 1, k + 1))
            grown[1:, 1:] += R[0, 0] * up[:, None] * power * up
            grown[1:, :-1] += R[0, 1] * up[:, None] * power * down
            grown[:-1, 1:] += R[1, 0] * down[:, None] * power * up
            grown[:-1, :-1] += R[1, 1] * down[:, None] * power * down
            power = grown / k
        end = start + k + 1
        out[..., start:end] = X[..., start:end] @ power.T
        start = end
    return out
