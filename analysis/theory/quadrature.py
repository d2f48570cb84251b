"""Trapezoidal rule on whitened axes z = C xi, for smooth activations.

For integrands analytic in a strip it converges geometrically in 1/step, where Gauss-Hermite for tanh gains one digit
per fivefold nodes, docs/theory.md section 8. The step is found once per kernel, in one dimension at the largest
variance, and is longer on an axis that moves z less.
"""

import math
from collections.abc import Callable

import numpy as np

from analysis.theory.activations import Activation, Array

REACH = 9.0  # half-range of a whitened axis; the Gaussian weight beyond it, times z^4, is below 1e-13


def pivoted_cholesky(K: Array) -> tuple[Array, list[int]]:
    """The factor (C, order) with K[order][:, order] = C C^T that whitens the Gaussian of docs/theory.md section 0.

    C is lower triangular, (D, rank), with the largest variance first. K may be semidefinite: directions with less than
    1e-14 of the largest variance are dropped.
    """
    D = len(K)
    rest, order, columns = K.copy(), list(range(D)), []
    for j in range(D):
        pivot = max(range(j, D), key=lambda k: rest[order[k], order[k]])
        if rest[order[pivot], order[pivot]] <= 1e-14 * max(K.max(), 1e-300):
            break
        order[j], order[pivot] = order[pivot], order[j]
        column = rest[:, order[j]] / math.sqrt(rest[order[j], order[j]])
        column[order[:j]] = 0.0  # these rows are exhausted, and rounding must stay out of the triangle
        columns.append(column)
        rest = rest - np.outer(column, column)
    C = np.stack(columns, axis=1) if columns else np.zeros((D, 0))
    return C[order], order


def trapezoid(step: float) -> tuple[Array, Array]:
    """Nodes and weights (N,) of the trapezoidal rule of docs/theory.md section 8 for a standard normal density."""
    count = math.ceil(REACH / step)
    xi = np.linspace(-REACH, REACH, 2 * count + 1)
    weight = np.exp(-(xi**2) / 2)
    return xi, weight / weight.sum()


def mean1(f: Callable[[Array], Array], K: float, step: float = 0.02) -> float:
    """The mean <f(z)> for one z of variance K and smooth f, docs/theory.md section 0."""
    xi, weight = trapezoid(step)
    return float(weight @ f(math.sqrt(K) * xi))


def calibrate_step(s: Activation, variance: float) -> float:
    """The whitened step at which products of two to four derivatives have converged, docs/theory.md section 8.

    One dimension is enough: with several inputs no axis comes closer to a singularity of s than the axis of the
    largest variance does.
    """

    def probes(step: float) -> Array:
        xi, weight = trapezoid(step)
        d = [f(math.sqrt(variance) * xi) for f in s.derivatives]
        products = [d[0] ** 4, d[0] * d[4], d[1] * d[5], d[2] * d[4], d[3] ** 2]
        products += [d[0] ** 2 * d[1] ** 2, d[1] ** 4, d[3] * d[1] ** 3, d[2] ** 2 * d[1] ** 2]
        return np.array([[weight @ p, weight @ np.abs(p)] for p in products])

    step, old = 0.5, probes(0.5)
    while step > 1e-3:
        step /= 1.25
        new = probes(step)
        if np.all(np.abs(new[:, 0] - old[:, 0]) <= 1e-13 * new[:, 1] + 1e-300):
            return step
        old = new
    return step


def axis_steps(C: Array, variance: float, step: float) -> list[float]:
    """The step of each axis of z = C xi is the calibrated one, docs/theory.md section 8, or longer where the axis moves
    z less."""
    reach = np.abs(C).max(axis=0) / math.sqrt(variance)
    return [min(0.5, step / r) for r in reach]


class Grid:
    """Trapezoidal grid for a set of distinct inputs, docs/theory.md section 8.

    z = C xi with C lower triangular and the widest input first. Axis k is summed after z_k has been formed, so that z_k
    lives on k + 1 axes and only the last on all of them.
    """

    def __init__(self, s: Activation, K: Array, top: float, step: float):
        self.s = s
        self.C, self.order = pivoted_cholesky(K)
        self.size, self.rank = self.C.shape
        self.axes = [trapezoid(h) for h in axis_steps(self.C, top, step)] if self.rank else []
        self.values: dict[tuple[int, int], Array] = {}
        self.inner: dict[tuple[tuple[int, ...], ...], Array] = {}

    def mean(self, orders: list[tuple[int, ...]]) -> float:
        """The mean <prod_k prod_{o in orders[k]} s^(o)(z_k)>, where orders[k] belongs to input k."""
        by_level = [orders[k] for k in self.order]
        if self.rank == 0:
            return float(np.prod([self.s.derivatives[o](np.zeros(1))[0] for carried in orders for o in carried]))
        total = self._innermost(tuple(by_level[self.rank - 1 :]))
        for level in reversed(range(self.rank - 1)):
            for order in by_level[level]:
                total = total * self._value(level, order)
            total = total @ self.axes[level][1]
        return float(total)

    def _z(self, k: int, level: int, outer: slice | int = slice(None)) -> Array:
        """The values of z_k live on axes 0..level; `outer` picks nodes of axis 0."""
        z = np.zeros(())
        for axis in range(level + 1):
            xi = self.axes[axis][0][outer] if axis == 0 else self.axes[axis][0]
            z = z[..., None] + self.C[k, axis] * xi if np.ndim(xi) else z + self.C[k, axis] * xi
        return z

    def _value(self, level: int, order: int) -> Array:
        if (level, order) not in self.values:
            self.values[level, order] = self.s.derivatives[order](self._z(level, level))
        return self.values[level, order]

    def _innermost(self, orders: tuple[tuple[int, ...], ...]) -> Array:
        """The last axis is averaged over the input that ends there and those that are combinations of the others."""
        if orders in self.inner:
            return self.inner[orders]
        last = self.rank - 1
        weight = self.axes[last][1]
        if last == 0:
            product = np.ones_like(weight)
            for k, carried in enumerate(orders):
                for order in carried:
                    product = product * self.s.derivatives[order](self._z(k, 0))
            self.inner[orders] = np.asarray(product @ weight)
            return self.inner[orders]
        # With four inputs every single order is needed in the end: one pass over the grid gives them all.
        together = [orders]
        if self.rank == self.size == 4:
            together = [((order,),) for order in range(4)]
        out = {functions: np.empty([len(xi) for xi, _ in self.axes[:last]]) for functions in together}
        # One node of the first axis at a time keeps the memory at N^(rank - 1) numbers.
        for node in range(len(self.axes[0][0])):
            z = [self._z(k, last, node) for k in range(last, self.size)]
            known: dict[tuple[int, int], Array] = {}
            for functions in together:
                product = np.ones(())
                for k, carried in enumerate(functions):
                    for order in carried:
                        if (k, order) not in known:
                            known[k, order] = self.s.derivatives[order](z[k])
                        product = product * known[k, order]
                out[functions][node] = product @ weight
        self.inner |= out
        return self.inner[orders]
