"""Derivatives of Gaussian averages with respect to the kernel, docs/theory.md (17.1), contracted with tensors.

Smooth activations take derivatives of s as far as these are known, and Hermite polynomials for the rest. Kinked ones
take Hermite polynomials alone, on nodes that are exact for functions that are scale-invariant between the kinks.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.polynomial.hermite_e import hermeval

from analysis.theory.activations import Activation, Array
from analysis.theory.gaussian import Expectations, gaussian_points
from analysis.theory.quadrature import Grid, legendre, sine_mean

MOST = 4  # distinct inputs of which products of six factors are averaged by quadrature
CLOSEST = 0.99  # correlation of two inputs up to which kinked averages keep eight digits of eight derivatives
RADII = 8  # of a Gauss-Laguerre rule in the square of the radius, exact up to a product of degree 30
ANGLES = 24  # Gauss-Legendre nodes between two kinks
ANGLE_SHIFTS = (0.0, math.pi)


class KernelDerivatives(Protocol):
    """Sums over sample indices of derivatives of averages at one kernel, docs/theory.md (17.1).

    With A = (ab), a <= b, the sum over capital indices of X_A d/dg_A is (1/2) sum_pq X_pq d_p d_q over all samples.
    """

    def pair(self, order: int, X: Array) -> Array:
        """The sum (1/2)^order X_{p1..p2k} <d_p1 .. d_p2k (s_a s_b)> over the last 2 order axes of X, (..., D, D)."""

    def four(self, order: int, X: Array) -> Array:
        """The same of s_a s_b s_c s_d for orders 0 to 2, (..., D, D, D, D)."""

    def third(self) -> Array:
        """The third cumulant of s_a s_b, s_c s_d and s_e s_f, (D,) * 6."""


def kernel_derivatives(expectations: Expectations, name: str) -> KernelDerivatives:
    """Those of docs/theory.md (17.1) at the kernel of these expectations; `name` is the tensor that needs them.

    Raises ValueError for a kernel of zero, and for kinked activations at inputs that are nearly parallel.
    """
    s, K = expectations.s, expectations.K
    if not K.diagonal().min() > 0:
        raise ValueError(f"inputs: K=0 at one; {name} takes derivatives in K at K > 0")
    if not s.kinked:
        return _Smooth(expectations)
    if len(K) == 2 and abs(near := float(K[0, 1] / math.sqrt(K[0, 0] * K[1, 1]))) > CLOSEST:
        raise ValueError(
            f"inputs: a correlation of {near:.6f} between two; {name} of {s.name} is known up to {CLOSEST}, since its "
            "kinks meet at parallel inputs"
        )
    return _Kinked(s, K)


def refuse_unknown(s: Activation, D: int, points: int | None) -> None:
    """Raises ValueError for activations, numbers D of distinct inputs and points at which the derivatives and third
    cumulants of docs/theory.md (17.3) are not known."""
    if s.kinked and points is not None:
        raise ValueError(f"points={points}: the next order of {s.name} is known without them")
    if s.kinked and D > 2:
        raise ValueError(f"inputs: {D} distinct ones; the next order of {s.name} is known for one or two")
    if D > MOST and points is None:
        raise ValueError(
            f"inputs: {D} distinct ones; W averages products of six factors, by quadrature at {MOST} inputs at most; "
            "give points"
        )


def third_at_points(s: Activation, K: Array, pairs: Sequence[tuple[int, ...]], points: int) -> Array:
    """The third cumulant of s_a s_b of p sample pairs over so many quasi-random points, a power of two, (p, p, p),
    docs/theory.md (17.3). s may have kinks."""
    z, (a, b) = s(gaussian_points(K, points)), np.transpose(pairs)
    f = z[:, a] * z[:, b]
    f -= f.mean(axis=0)
    return np.asarray(np.einsum("mA,mB,mC->ABC", f, f, f, optimize=True) / len(f))


def _third_cumulant(products: Array, pairs: Array, means: Array) -> Array:
    """The third cumulant of three f_ab = s_a s_b from their means, those of two and those of three."""
    mixed = np.multiply.outer(pairs, means)  # <f_ab f_cd> <f_ef>
    both = mixed + mixed.transpose(0, 1, 4, 5, 2, 3) + mixed.transpose(4, 5, 0, 1, 2, 3)
    return np.asarray(products - both + 2 * np.multiply.outer(np.multiply.outer(means, means), means))


class _Smooth:
    """Derivatives act on each factor on its own: a sum over the factors that d_p1 .. d_p2k meet."""

    def __init__(self, expectations: Expectations):
        self.e, self.D = expectations, expectations.D
        self.known = len(expectations.s.derivatives) - 1
        powers = tuple((lambda z, q=q: z**q * expectations.s.derivatives[-1](z)) for q in range(1, self.known + 1))
        self.functions = (*expectations.s.derivatives, *powers)
        self.grids: dict[tuple[int, ...], Grid] = {}

    def pair(self, order: int, X: Array) -> Array:
        M = [self._M(2 * order - j, j) for j in range(2 * order + 1)]
        factors: tuple[Any, ...] = np.ix_(range(self.D), range(self.D))
        total = np.zeros((*X.shape[: X.ndim - 2 * order], self.D, self.D))
        for hit in itertools.product(range(2), repeat=2 * order):
            total += X[(..., *(factors[k] for k in hit))] * M[sum(hit)]
        return total / 2**order

    def four(self, order: int, X: Array) -> Array:
        factors: tuple[Any, ...] = np.ix_(*[range(self.D)] * 4)
        total = np.zeros((*X.shape[: X.ndim - 2 * order], *[self.D] * 4))
        for hit in itertools.product(range(4), repeat=2 * order):
            value = X[(..., *(factors[k] for k in hit))] if hit else X[..., None, None, None, None]
            total += value * self.e.tensor(*(hit.count(k) for k in range(4)))
        return total / 2**order

    def third(self) -> Array:
        if self.e.points is not None:
            pairs = list(np.ndindex(self.D, self.D))
            return third_at_points(self.e.s, self.e.K, pairs, self.e.points).reshape((self.D,) * 6)
        return _third_cumulant(self.e.tensor(*[0] * 6), self.e.tensor(0, 0, 0, 0), self.e.tensor(0, 0))

    def _M(self, i: int, j: int) -> Array:
        """The mean <s^(i)_a s^(j)_b> at any orders i and j of which one is known, (D, D)."""
        if i < j:
            return self._M(j, i).T
        if i <= self.known:
            return self.e.tensor(i, j)
        return np.array([[self._beyond(i, j, a, b) for b in range(self.D)] for a in range(self.D)])

    def _beyond(self, i: int, j: int, a: int, b: int) -> float:
        """The mean <s^(i)_a s^(j)_b> of i = k + m, where k derivatives are known.

        With h = E[s^(j)_b | z_a], integrating m times by parts gives <s^(k) (z/K_aa - d)^m h>, and each derivative of h
        is one of s_b times K_ab/K_aa. This needs no inverse of K, so that a and b may be close or the same.
        """
        K, m = self.e.K, i - self.known
        if self.e.s.sine:
            same: list[tuple[int, ...]] = [(i, j)] if a == b else [(i,), (j,)]
            return sine_mean(K[np.ix_((a, b), (a, b))] if a != b else K[a : a + 1, a : a + 1], same)
        root, share = math.sqrt(K[a, a]), float(K[a, b] / K[a, a])
        total = 0.0
        for q in range(m + 1):  # He_q(z/root)/root^q times (-share d_b)^(m-q)
            hermite = np.polynomial.hermite_e.herme2poly([0.0] * q + [1.0])
            mean = sum(float(c) * self._mean(a, p, b, j + m - q) / root ** (q + p) for p, c in enumerate(hermite) if c)
            total += math.comb(m, q) * (-share) ** (m - q) * mean
        return total

    def _mean(self, a: int, power: int, b: int, order: int) -> float:
        """The mean <z_a^power s^(k)_a s^(order)_b>, where k derivatives are known."""
        support = (a,) if a == b else (min(a, b), max(a, b))
        if support not in self.grids:
            block = self.e.K[np.ix_(support, support)]
            self.grids[support] = Grid(self.functions, block, self.e.top, self.e.step, self.e.graded)
        first = self.known + power
        orders: list[tuple[int, ...]] = (
            [(first, order)] if a == b else [(first,), (order,)] if a < b else [(order,), (first,)]
        )
        return self.grids[support].mean(orders)


class _Kinked:
    """Averages of products of s and Hermite polynomials of whitened z = C xi, on nodes that are exact for them."""

    def __init__(self, s: Activation, K: Array):
        self.D = len(K)
        C = np.asarray(np.linalg.cholesky(K), dtype=np.float64)
        self.xi, self.weight = _nodes(C)
        self.inverse = np.linalg.inv(C)
        self.s = s(self.xi @ C.T)
        self.f = np.einsum("ma,mb->mab", self.s, self.s)
        self.ff = np.einsum("mab,mcd->mabcd", self.f, self.f)

    def pair(self, order: int, X: Array) -> Array:
        return self._mean(order, X, self.f)

    def four(self, order: int, X: Array) -> Array:
        return self._mean(order, X, self.ff)

    def third(self) -> Array:
        products = np.einsum("m,mabcd,mef->abcdef", self.weight, self.ff, self.f)
        pairs, means = (np.tensordot(self.weight, f, axes=1) for f in (self.ff, self.f))
        return _third_cumulant(products, pairs, means)

    def _mean(self, order: int, X: Array, f: Array) -> Array:
        """Each axis of X is turned to whitened coordinates, where d_i d_j .. is a product of Hermite polynomials."""
        lead = X.shape[: X.ndim - 2 * order]
        for _ in range(2 * order):  # a turned axis goes to the front of the 2 order last ones
            X = np.moveaxis(np.tensordot(X, self.inverse, axes=(-1, 1)), -1, len(lead))
        polynomials = np.ones((len(self.xi), *[self.D] * (2 * order)))
        for place in itertools.product(range(self.D), repeat=2 * order):
            for axis in range(self.D):
                at: tuple[Any, ...] = (slice(None), *place)
                polynomials[at] *= hermeval(self.xi[:, axis], [0.0] * place.count(axis) + [1.0])
        bent = np.tensordot(X, polynomials, axes=(range(len(lead), X.ndim), range(1, 1 + 2 * order)))
        return np.asarray(np.tensordot(bent * self.weight, f, axes=1) / 2**order)


def _nodes(C: Array) -> tuple[Array, Array]:
    """Nodes (m, D) and weights (m,) of averages over standard normal xi of functions that are a power of |xi| times a
    trigonometric polynomial of the angle between the lines on which an input z = C xi passes zero; D is 1 or 2."""
    from scipy.special import roots_genlaguerre  # late: it takes a while

    halves, radial = roots_genlaguerre(RADII, len(C) / 2 - 1)  # of |xi|^2 / 2
    radii, radial = np.sqrt(2 * halves), radial / radial.sum()
    if len(C) == 1:
        directions, angular = np.array([[1.0], [-1.0]]), np.full(2, 0.5)
    else:
        lines = sorted(math.atan2(-c[0], c[1]) % math.pi for c in C)
        breaks = [line + shift for shift in ANGLE_SHIFTS for line in lines]
        nodes, weights = legendre(ANGLES)
        parts = list(itertools.pairwise([*breaks, breaks[0] + 2 * math.pi]))
        theta = np.concatenate([(low + high) / 2 + (high - low) / 2 * nodes for low, high in parts])
        angular = np.concatenate([(high - low) / (4 * math.pi) * weights for low, high in parts])
        directions = np.stack([np.cos(theta), np.sin(theta)], axis=1)
    xi = (radii[:, None, None] * directions).reshape(-1, len(C))
    return xi, np.multiply.outer(radial, angular).reshape(-1)
