"""Trapezoidal rule on whitened axes z = C xi, for smooth activations.

For integrands analytic in a strip it converges geometrically in 1/step, where Gauss-Hermite for tanh gains one digit
per fivefold nodes, docs/theory.md section 8. The step is found once per kernel, in one dimension at the largest
variance, and is longer on an axis that moves z less. Where the variance is so large that s changes on a small part of
the axis, nodes are graded: dense where an input passes zero, and sparse elsewhere.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from analysis.theory.activations import Activation, Array

REACH = 9.0  # half-range of a whitened axis; the Gaussian weight beyond it, times z^4, is below 1e-13
GRADED = 0.01  # uniform steps shorter than this are replaced by graded nodes
FINEST = 0.03  # shortest graded step
FINE = 20  # entries of a table of means for each trapezoidal step; a spline of fifth order errs by 1e-13
TOGETHER = 2**16  # so many values of a product are held in memory
WIDE = 30.0  # means over one z of a larger variance use graded nodes
Functions = Sequence[Callable[[Array], Array]]
Axis = tuple[Array, Array]  # nodes and weights, (..., N); leading axes are nodes of the axes before


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


@lru_cache(maxsize=64)
def trapezoid(step: float) -> Axis:
    """Nodes and weights (N,), read-only, of the trapezoidal rule of docs/theory.md section 8 for a standard normal
    density."""
    count = math.ceil(REACH / step)
    xi = np.linspace(-REACH, REACH, 2 * count + 1)
    weight = np.exp(-(xi**2) / 2)
    return read_only(xi, weight / weight.sum())


@lru_cache
def legendre(count: int) -> Axis:
    """Nodes and weights (count,), read-only, of Gauss-Legendre quadrature on [-1, 1], docs/theory.md section 8."""
    return read_only(*np.polynomial.legendre.leggauss(count))


def read_only(first: Array, second: Array) -> Axis:
    """The two arrays of docs/theory.md section 8, which everybody who asks for them shares."""
    first.flags.writeable = second.flags.writeable = False
    return first, second


def mean1(f: Callable[[Array], Array], K: float, step: float = 0.02) -> float:
    """The mean <f(z)> for one z of variance K and smooth f, docs/theory.md section 0."""
    xi, weight = trapezoid(step) if K < WIDE else graded(0.05, [(np.zeros(()), 1 / math.sqrt(K))])
    return float(weight @ f(math.sqrt(K) * xi))


def graded(step: float, places: list[tuple[Array, float]]) -> Axis:
    """Nodes and weights (..., N) of the trapezoidal rule in t, docs/theory.md section 8, for a standard normal density.

    t(xi) = (xi + sum_p asinh((xi - c_p) / w_p)) / step has a node at every whole number: their distance is at most
    `step`, and at most step w_p at c_p. places: (c_p, w_p), where c_p has the shape of the leading axes.
    """
    shape = np.broadcast_shapes(*(np.shape(center) for center, _ in places)) if places else ()
    centers = [(np.broadcast_to(center, shape)[..., None], width) for center, width in places]

    def t(xi: Array) -> Array:
        return np.asarray((xi + sum(np.arcsinh((xi - c) / w) for c, w in centers)) / step)

    def slope(xi: Array) -> Array:
        return np.asarray((1 + sum(1 / np.hypot(w, xi - c) for c, w in centers)) / step)

    low, high = (t(np.full((*shape, 1), end)) for end in (-REACH, REACH))
    count = math.ceil(float((high - low).max())) + 1
    wanted = low + (high - low) * np.linspace(0, 1, count)
    left, right = np.full(wanted.shape, -REACH), np.full(wanted.shape, REACH)
    for _ in range(60):  # bisection: t rises, and is far from a straight line
        middle = (left + right) / 2
        below = t(middle) < wanted
        left, right = np.where(below, middle, left), np.where(below, right, middle)
    xi = (left + right) / 2
    weight = np.exp(-(xi**2) / 2) / slope(xi)
    return xi, weight / weight.sum(axis=-1, keepdims=True)


@lru_cache(maxsize=4096)  # flows at other rates or widths pass the same kernels
def calibrate_step(s: Activation, variance: float, finest: float = GRADED) -> tuple[float, bool]:
    """The whitened step at which products of two to four derivatives have converged, docs/theory.md section 8, and
    whether nodes are graded, as they are where uniform steps would be shorter than `finest`.

    One dimension is enough: with several inputs no axis comes closer to a singularity of s than the axis of the
    largest variance does. Raises ValueError where they do not converge or overflow.
    """
    root = math.sqrt(variance)
    if s.sine and variance > WIDE:
        return 0.5, True  # `sine_mean` needs no step
    for is_graded, shortest, tolerance in ((False, finest, 1e-13), (True, FINEST, 1e-11)):
        place = [(np.zeros(()), 1 / root)]
        step, old = 0.5, None
        while step > shortest:
            new = _probes(s, root, graded(step, place) if is_graded else trapezoid(step))
            if not np.all(np.isfinite(new)):
                raise ValueError(f"{s.name}: averages at K={variance:.3g} are beyond float64's range")
            if old is not None and np.all(np.abs(new[:, 0] - old[:, 0]) <= tolerance * new[:, 1] + 1e-300):
                return (1.25 * step if is_graded else step), is_graded  # the coarser of two equal graded rules
            step, old = step / 1.25, new
    raise ValueError(f"{s.name}: Gaussian averages at K={variance:.3g} do not converge")


def _probes(s: Activation, root: float, axis: Axis) -> Array:
    """Means of products of derivatives and of their sizes at z = root xi, (9, 2)."""
    xi, weight = axis
    d = [f(root * xi) for f in s.derivatives]
    products = [d[0] ** 4, d[0] * d[4], d[1] * d[5], d[2] * d[4], d[3] ** 2]
    products += [d[0] ** 2 * d[1] ** 2, d[1] ** 4, d[3] * d[1] ** 3, d[2] ** 2 * d[1] ** 2]
    return np.array([[weight @ p, weight @ np.abs(p)] for p in products])


def axis_steps(C: Array, variance: float, step: float) -> list[float]:
    """The step of each axis of z = C xi is the calibrated one, docs/theory.md section 8, or longer where the axis moves
    z less."""
    reach = np.abs(C).max(axis=0) / math.sqrt(variance)
    return [min(0.5, step / r) for r in reach]


def sine_mean(K: Array, orders: list[tuple[int, ...]]) -> float:
    """The mean <prod_k prod_{o in orders[k]} sin(z_k + o pi/2)>, docs/theory.md section 0, in closed form.

    A product of sines is a sum of exponentials e^{i v.z}, each of mean e^{-v.K.v/2}.
    """
    factors = [(k, order) for k, carried in enumerate(orders) for order in carried]
    total = 0j
    for signs in itertools.product((1, -1), repeat=len(factors)):
        v, phase = np.zeros(len(K)), 0
        for sign, (k, order) in zip(signs, factors, strict=True):
            v[k] += sign
            phase += sign * order
        total += math.prod(signs) * 1j ** (phase % 4) * math.exp(-float(v @ K @ v) / 2)
    return float((total / (2j) ** len(factors)).real)


class Grid:
    """Trapezoidal grid for a set of distinct inputs, docs/theory.md section 8.

    z = C xi with C lower triangular and the widest input first. Axis k is summed after z_k has been formed, so that z_k
    lives on k + 1 axes and only the last on all of them.
    """

    def __init__(self, functions: Functions, K: Array, top: float, step: float, is_graded: bool = False):
        self.functions = functions
        self.C, self.order = pivoted_cholesky(K)
        self.size, self.rank = self.C.shape
        self.axes: list[Axis] = []
        self.spacing = step * math.sqrt(max(top, 0.0)) / FINE
        if self.rank > 2 and is_graded:
            raise ValueError(f"Gaussian averages over {self.rank} inputs at K={top:.3g}: two are possible at such K")
        if self.rank and is_graded:
            for axis in range(self.rank):
                self.axes.append(graded(step, self._places(axis)))
        elif self.rank:
            self.axes = [trapezoid(h) for h in axis_steps(self.C, top, step)]
        self.values: dict[tuple[int, int], Array] = {}
        self.inner: dict[tuple[tuple[int, ...], ...], Array] = {}

    def mean(self, orders: list[tuple[int, ...]]) -> float:
        """The mean <prod_k prod_{o in orders[k]} functions[o](z_k)>, where orders[k] belongs to input k."""
        by_level = [orders[k] for k in self.order]
        if self.rank == 0:
            return float(np.prod([self.functions[o](np.zeros(1))[0] for carried in orders for o in carried]))
        total = self._innermost(tuple(by_level[self.rank - 1 :]))
        for level in reversed(range(self.rank - 1)):
            for order in by_level[level]:
                total = total * self._value(level, order)
            total = (total * self.axes[level][1]).sum(axis=-1)
        return float(total)

    def _places(self, axis: int) -> list[tuple[Array, float]]:
        """Where on an axis inputs pass zero, given the axes before it, and over what length s changes there: z of order
        one, or the spread of what the axes after it add."""
        places = []
        for k in range(axis, self.size):
            here, after = abs(self.C[k, axis]), float((self.C[k, axis + 1 :] ** 2).sum())
            if here and (width := math.sqrt(1 + after) / here) < 1:
                before = self._z(k, axis - 1) if axis else np.zeros(())
                places.append((-before / self.C[k, axis], width))
        return places

    def _z(self, k: int, level: int, outer: slice | int = slice(None)) -> Array:
        """The values of z_k live on axes 0..level; `outer` picks nodes of axis 0."""
        z = np.zeros(())
        for axis in range(level + 1):
            xi = self.axes[axis][0]
            xi = xi[outer] if axis == 0 or xi.ndim > 1 else xi
            z = z[..., None] + self.C[k, axis] * xi if axis or np.ndim(xi) else z + self.C[k, axis] * xi
        return z

    def _value(self, level: int, order: int) -> Array:
        if (level, order) not in self.values:
            self.values[level, order] = self.functions[order](self._z(level, level))
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
                    if (k, order) not in self.values:
                        self.values[k, order] = self.functions[order](self._z(k, 0))
                    product = product * self.values[k, order]
            self.inner[orders] = np.asarray(product @ weight)
            return self.inner[orders]
        if self.rank == self.size > 2 and self.axes[last][0].ndim == 1:
            self.inner[orders] = self._smoothed(orders[0])
            return self.inner[orders]
        out = np.empty([xi.shape[-1] for xi, _ in self.axes[:last]])
        # A few nodes of the first axis at a time keep the memory near that of N^(rank - 1) numbers.
        first = len(self.axes[0][0])
        together = max(1, TOGETHER * first // (out.size * weight.shape[-1]))
        for node in range(0, first, together):
            some = slice(node, node + together)
            product = np.ones(())
            for k, carried in zip(range(last, self.size), orders, strict=True):
                z = self._z(k, last, some)
                for order in carried:
                    product = product * self.functions[order](z)
            out[some] = (product * (weight[some] if weight.ndim > 1 else weight)).sum(axis=-1)
        self.inner[orders] = out
        return out

    def _smoothed(self, carried: tuple[int, ...]) -> Array:
        """The mean over the last axis where one input ends there, (N, ..., N) on the axes before it.

        It is a function of one number, the share of the axes before in z: a spline through a fine table of it takes
        the place of N^rank values of s.
        """
        from scipy.interpolate import make_interp_spline  # late: it takes a while, and the simulation needs one axis

        last = self.rank - 1
        xi, weight = self.axes[last]
        reach = float(REACH * np.abs(self.C[last, :last]).sum())
        table = np.linspace(-reach, reach, 2 * math.ceil(reach / self.spacing) + 11)
        z = table[:, None] + self.C[last, last] * xi
        product = np.ones(())
        for order in carried:
            product = product * self.functions[order](z)
        smoothed = make_interp_spline(table, product @ weight, k=5)
        return np.stack([smoothed(self._z(last, last - 1, node)) for node in range(len(self.axes[0][0]))])
