"""Gaussian expectations <f>_K of products of one neuron's activations and their derivatives at several inputs.

Smooth activations: trapezoidal rule on whitened axes z = C xi. For integrands analytic in a strip it
converges geometrically in 1/step, where Gauss-Hermite for tanh gains one digit per fivefold nodes.
The step is found once per kernel by halving, in one dimension at the largest variance, and stretched
on each axis by how little that axis moves z.

Scale-invariant activations with a kink: closed forms for one and two inputs (arc-cosine kernels and
their derivatives); for three and four, nested Gauss-Legendre panels that break where each z changes
sign, with the last axis done in closed form.

Inputs are assumed distinct (`analysis.theory.flow` removes repetitions before it comes here).
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr

from analysis.theory.activations import Activation, Array

REACH = 9.0  # whitened half-range: the Gaussian weight beyond it, times z^4, is below 1e-13
PANEL = 64  # Gauss-Legendre nodes on each side of a kink


def pivoted_cholesky(K: Array) -> tuple[Array, list[int]]:
    """(C, order) with K[order][:, order] = C C^T, C lower triangular (D, rank), largest variance first.

    Survives semidefinite K: directions with less than 1e-14 of the largest variance are dropped.
    """
    D = len(K)
    rest, order, columns = K.copy(), list(range(D)), []
    for j in range(D):
        pivot = max(range(j, D), key=lambda k: rest[order[k], order[k]])
        if rest[order[pivot], order[pivot]] <= 1e-14 * max(K.max(), 1e-300):
            break
        order[j], order[pivot] = order[pivot], order[j]
        column = rest[:, order[j]] / math.sqrt(rest[order[j], order[j]])
        column[order[:j]] = 0.0  # already exhausted; keep rounding out of the triangle
        columns.append(column)
        rest = rest - np.outer(column, column)
    C = np.stack(columns, axis=1) if columns else np.zeros((D, 0))
    return C[order], order


def trapezoid(step: float) -> tuple[Array, Array]:
    """Nodes and weights (N,) for the standard normal density on [-REACH, REACH]."""
    count = math.ceil(REACH / step)
    xi = np.linspace(-REACH, REACH, 2 * count + 1)
    weight = np.exp(-(xi**2) / 2)
    return xi, weight / weight.sum()


def mean1(f: Callable[[Array], Array], K: float, step: float = 0.02) -> float:
    """<f(z)> for one z of variance K (smooth f)."""
    xi, weight = trapezoid(step)
    return float(weight @ f(math.sqrt(K) * xi))


def calibrate_step(s: Activation, variance: float) -> float:
    """The whitened step at which expectations of products of two to four derivatives have converged.

    One dimension is enough: with several inputs no axis comes closer to a singularity of s than the
    axis of the largest variance does.
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
    """A step for each axis of z = C xi: the calibrated one, stretched where the axis moves z less."""
    reach = np.abs(C).max(axis=0) / math.sqrt(variance)
    return [min(0.5, step / r) for r in reach]


Factor = tuple[int, int]  # (sample, order of the derivative of s)
Key = tuple[tuple[int, tuple[int, ...]], ...]  # for each sample of a product, the orders it carries


class Expectations:
    """Means of products of derivatives of s at a kernel K (D, D), each computed once.

    `tensor(0, 0, 1, 1)[a, b, c, d]` is <s_a s_b s'_c s'_d>; two to four factors. Derivatives of a kinked activation
    from the second on are distributions: `tensor` gives their Gaussian averages for pairs, and refuses them in
    products of three or four factors.
    """

    def __init__(self, s: Activation, K: Array):
        self.s, self.K, self.D = s, K, len(K)
        self.top = float(K.diagonal().max(initial=0.0))
        self.step = 0.5 if s.kinked or self.top <= 0 else calibrate_step(s, self.top)
        self.cache: dict[Key, float] = {}
        self.grids: dict[tuple[int, ...], _Grid] = {}

    def tensor(self, *orders: int) -> Array:
        """<s^(orders[0])_a s^(orders[1])_b ...>, shape (D,) * len(orders)."""
        if self.s.kinked and len(orders) == 2:
            return self._kinked_pairs(*orders)
        out = np.empty((self.D,) * len(orders))
        for samples in itertools.product(range(self.D), repeat=len(orders)):
            carried: dict[int, list[int]] = {}
            for sample, order in zip(samples, orders, strict=True):
                carried.setdefault(sample, []).append(order)
            key = tuple((k, tuple(sorted(v))) for k, v in sorted(carried.items()))
            if key not in self.cache:
                self.cache[key] = self._mean(key)
            out[samples] = self.cache[key]
        return out

    def _mean(self, key: Key) -> float:
        support = tuple(sample for sample, _ in key)
        if support not in self.grids:
            block = self.K[np.ix_(support, support)]
            self.grids[support] = _Grid(self.s, block, self.top, self.step)
        orders = [carried for _, carried in key]
        return _kinked_mean(self.s, self.grids[support], orders) if self.s.kinked else self.grids[support].mean(orders)

    def _kinked_pairs(self, i: int, j: int) -> Array:
        if (i + j) % 2:
            raise ValueError(f"odd order {i + j} of a kinked activation is not needed and not given")
        K = self.K
        rows = [
            [_kinked_pair(self.s, K[a, a], K[a, b], K[b, b], a == b)[i, j] for b in range(self.D)]
            for a in range(self.D)
        ]
        return np.array(rows)


class _Grid:
    """Trapezoidal grid for a set of distinct inputs: z = C xi with C lower triangular, the widest input first.

    Axis k is summed after z_k has been formed, so that z_k lives on k + 1 axes and only the last on all of them.
    """

    def __init__(self, s: Activation, K: Array, top: float, step: float):
        self.s = s
        self.C, self.order = pivoted_cholesky(K)
        self.size, self.rank = self.C.shape
        self.axes = [trapezoid(h) for h in axis_steps(self.C, top, step)] if self.rank else []
        self.values: dict[tuple[int, int], Array] = {}
        self.inner: dict[tuple[tuple[int, ...], ...], Array] = {}

    def mean(self, orders: list[tuple[int, ...]]) -> float:
        """<prod_k prod_{o in orders[k]} s^(o)(z_k)>; orders by input."""
        by_level = [orders[k] for k in self.order]
        if self.rank == 0:
            return float(np.prod([self.s.derivatives[o](np.zeros(1))[0] for own in orders for o in own]))
        total = self._innermost(tuple(by_level[self.rank - 1 :]))
        for level in reversed(range(self.rank - 1)):
            for order in by_level[level]:
                total = total * self._value(level, order)
            total = total @ self.axes[level][1]
        return float(total)

    def _z(self, k: int, level: int, outer: slice | int = slice(None)) -> Array:
        """z_k on axes 0..level; `outer` picks nodes of axis 0."""
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
        """The last axis averaged, over the input that ends there and those that are combinations of the others."""
        if orders in self.inner:
            return self.inner[orders]
        last = self.rank - 1
        weight = self.axes[last][1]
        if last == 0:
            product = np.ones_like(weight)
            for k, own in enumerate(orders):
                for order in own:
                    product = product * self.s.derivatives[order](self._z(k, 0))
            self.inner[orders] = np.asarray(product @ weight)
            return self.inner[orders]
        # With four inputs every single order is wanted sooner or later: one pass over the grid gives them all.
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


# ------------------------------------------------------------------- kinked activations


def _kinked_pair(s: Activation, Kaa: float, Kab: float, Kbb: float, same: bool) -> Array:
    """Closed forms: s = m z + d |z|/2 with m the mean slope and d the jump, so
    <s_a s_b> = m^2 K_ab + (d^2/4) <|z_a||z_b|>; derivatives by d/dK (each d_p d_q f is 2 df/dK_pq,
    or df/dK_ab off the diagonal)."""
    assert s.slopes is not None
    plus, minus = s.slopes
    m, d = (plus + minus) / 2, plus - minus
    M = np.full((6, 6), np.nan)
    if same:
        A2 = (plus**2 + minus**2) / 2
        M[0, 0], M[1, 1], M[2, 0], M[0, 2] = A2 * Kaa, A2, 0.0, 0.0
        for i, j in itertools.product(range(6), repeat=2):
            if i + j in (4, 6):
                M[i, j] = 0.0
        return M
    root = math.sqrt(max(Kaa * Kbb - Kab**2, 0.0))
    angle = math.atan2(Kab, root)  # arcsin of the correlation, well conditioned near +-1
    c = d**2 / (2 * math.pi)
    M[0, 0] = m**2 * Kab + c * (root + Kab * angle)
    M[1, 1] = m**2 + c * angle
    M[2, 0], M[0, 2] = c * root / Kaa, c * root / Kbb
    if root == 0.0:  # parallel inputs: the fourth derivatives diverge, and who needs them says so
        return M
    M[2, 2] = c / root
    M[3, 1], M[1, 3] = -c * Kab / (Kaa * root), -c * Kab / (Kbb * root)
    M[4, 0] = c * (Kbb / (Kaa * root) - 2 * root / Kaa**2)
    M[0, 4] = c * (Kaa / (Kbb * root) - 2 * root / Kbb**2)
    # Fourth derivatives of s'_a s'_b: second derivatives in K of <s'_a s'_b> = m^2 + c angle.
    M[3, 3] = c * Kab / root**3
    M[4, 2], M[2, 4] = -c * Kbb / root**3, -c * Kaa / root**3
    M[5, 1] = 4 * c * (Kab / (2 * Kaa**2 * root) + Kab * Kbb / (4 * Kaa * root**3))
    M[1, 5] = 4 * c * (Kab / (2 * Kbb**2 * root) + Kab * Kaa / (4 * Kbb * root**3))
    return M


def _kinked_mean(s: Activation, grid: _Grid, orders: list[tuple[int, ...]]) -> float:
    """Products of s and s' only: on each side of zero a factor is slope^count z^degree."""
    if any(order > 1 for own in orders for order in own):
        raise ValueError(f"{s.name}: its second derivative is a delta function; products of more than two have none")
    factors = [(len(orders[k]), orders[k].count(0)) for k in grid.order]
    return _sectors(s, grid.C, factors) if grid.rank <= 2 else _panels(s, grid.C, factors)


def _factor(s: Activation, z: Array, factor: tuple[int, int]) -> Array:
    """s'^(count - degree) s^degree at z."""
    assert s.slopes is not None
    count, degree = factor
    return np.where(z > 0, s.slopes[0] ** count, s.slopes[1] ** count) * z**degree


def _sectors(s: Activation, C: Array, factors: list[tuple[int, int]]) -> float:
    """Rank at most two: the radius in closed form, E r^d = d!!; the angle by sectors without kinks."""
    C = np.hstack([C, np.zeros((len(C), 2 - C.shape[1]))])
    breaks = sorted({math.atan2(-c[0], c[1]) % math.pi for c in C if c.any()})
    breaks = [b + turn for turn in (0.0, math.pi) for b in breaks]
    breaks.append(breaks[0] + 2 * math.pi)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    total = 0.0
    for low, high in itertools.pairwise(breaks):
        theta = (low + high) / 2 + (high - low) / 2 * nodes
        z = C @ np.stack([np.cos(theta), np.sin(theta)])
        product = np.prod([_factor(s, z[k], f) for k, f in enumerate(factors)], axis=0)
        total += (high - low) / 2 * float(weights @ product)
    degree = sum(d for _, d in factors)
    if degree % 2:
        raise ValueError("odd degrees are not needed and not given")
    return math.prod(range(degree, 0, -2)) * total / (2 * math.pi)


def _panels(s: Activation, C: Array, factors: list[tuple[int, int]], panel: int = PANEL) -> float:
    """Rank three or four: nested panels, broken where the inputs that end on an axis change sign."""
    size, rank = C.shape
    nodes, weights = np.polynomial.legendre.leggauss(panel)

    def axis(breaks: list[Array]) -> tuple[Array, Array]:
        """Nodes and Gaussian weights, shape (..., panel * (len(breaks) + 1))."""
        edges = np.sort(np.clip(np.stack(breaks, axis=-1), -REACH, REACH), axis=-1)
        end = np.full((*edges.shape[:-1], 1), REACH)
        edges = np.concatenate([-end, edges, end], axis=-1)
        half = np.diff(edges, axis=-1)[..., None] / 2
        xi = (edges[..., :-1, None] + half * (nodes + 1)).reshape(*edges.shape[:-1], -1)
        weight = (half * weights).reshape(xi.shape) * np.exp(-(xi**2) / 2) / math.sqrt(2 * math.pi)
        return xi, weight

    def inner(level: int, partial: dict[int, Array]) -> Array:
        """Average over axes level, level + 1, ...; partial[k] is z_k from the outer axes, k >= level."""
        last = level == rank - 1
        if last and rank == size:
            return _half_line_mean(s, partial[level], C[level, level], factors[level])
        ending = range(level, size) if last else range(level, level + 1)
        xi, weight = axis([-partial[k] / C[k, level] for k in ending if C[k, level]])
        z = {k: partial[k][..., None] + C[k, level] * xi for k in range(level, size)}
        product = weight
        for k in ending:
            product = product * _factor(s, z[k], factors[k])
        return (product if last else product * inner(level + 1, z)).sum(axis=-1)

    return float(inner(0, {k: np.zeros(()) for k in range(size)}))


def _half_line_mean(s: Activation, mean: Array, spread: float, factor: tuple[int, int]) -> Array:
    """E of a factor at mean + spread xi, for degree 0, 1 or 2, in closed form."""
    assert s.slopes is not None
    count, degree = factor
    plus, minus = s.slopes[0] ** count, s.slopes[1] ** count
    t = mean / spread
    density = np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
    if degree == 0:
        whole, up = np.ones_like(t), ndtr(t)
    elif degree == 1:
        whole, up = mean, mean * ndtr(t) + spread * density
    else:
        whole, up = mean**2 + spread**2, (mean**2 + spread**2) * ndtr(t) + mean * spread * density
    return plus * up + minus * (whole - up)
