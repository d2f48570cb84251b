"""Gaussian expectations <f>_K of products of one neuron's activations at several inputs.

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
from collections.abc import Callable, Sequence

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
    """The whitened step at which expectations of products of four s, or two derivatives, have converged.

    One dimension is enough: with several inputs no axis comes closer to a singularity of s than the
    axis of the largest variance does.
    """

    def probes(step: float) -> Array:
        xi, weight = trapezoid(step)
        d = [f(math.sqrt(variance) * xi) for f in s.derivatives]
        products = [d[0] ** 4, d[0] * d[4], d[1] * d[3], d[2] ** 2, d[1] ** 2 * d[0] ** 2]
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


# ------------------------------------------------------------------- two inputs, with derivatives


def pair_moments(s: Activation, K: Array) -> Array:
    """M[i, j, a, b] = <s^(i)(z_a) s^(j)(z_b)>_K for i + j = 0, 2, 4, shape (5, 5, D, D); NaN elsewhere.

    Delta functions of a kink are kept: M[2, 0] means the Gaussian average of (a_plus - a_minus) delta(z_a)
    s(z_b). On the diagonal of a kinked activation single entries of order 4 diverge; they are stored as 0,
    which makes the one sum right that the recursions take there, the fourth derivative of s^2 (theory.md 4.2).
    """
    D = len(K)
    out = np.full((5, 5, D, D), np.nan)
    if s.kinked:
        for a, b in itertools.product(range(D), repeat=2):
            out[:, :, a, b] = _kinked_pair(s, K[a, a], K[a, b], K[b, b], a == b)
        return out
    if D == 0 or K.diagonal().max() <= 0:
        value = np.array([float(f(np.zeros(1))[0]) for f in s.derivatives])
        out[:] = (value[:, None] * value)[:, :, None, None]
        return out
    top = float(K.diagonal().max())
    step = calibrate_step(s, top)
    for a in range(D):
        for b in range(a + 1):
            table = _smooth_pair(s, K[np.ix_([a, b], [a, b])], top, step, a == b)
            out[:, :, a, b], out[:, :, b, a] = table, table.T
    return out


def _smooth_pair(s: Activation, K: Array, top: float, step: float, same: bool) -> Array:
    out = np.full((5, 5), np.nan)
    if same:
        scale = math.sqrt(K[0, 0])
        xi, weight = trapezoid(min(0.5, step * math.sqrt(top) / scale) if scale else 0.5)
        d = [f(scale * xi) for f in s.derivatives]
        for i, j in itertools.product(range(5), repeat=2):
            if i + j in (0, 2, 4):
                out[i, j] = weight @ (d[i] * d[j])
        return out
    C, order = pivoted_cholesky(K)
    C = np.hstack([C, np.zeros((2, 2 - C.shape[1]))])
    steps = [min(0.5, step * math.sqrt(top) / max(r, 1e-150)) for r in np.abs(C).max(axis=0)]
    (x1, w1), (x2, w2) = trapezoid(steps[0]), trapezoid(steps[1])
    first = [f(C[0, 0] * x1) for f in s.derivatives]
    second = [f(C[1, 0] * x1[:, None] + C[1, 1] * x2) @ w2 for f in s.derivatives]
    for i, j in itertools.product(range(5), repeat=2):
        if i + j in (0, 2, 4):
            out[i, j] = w1 @ (first[i] * second[j])
    return out if order == [0, 1] else out.T


def _kinked_pair(s: Activation, Kaa: float, Kab: float, Kbb: float, same: bool) -> Array:
    """Closed forms: s = m z + d |z|/2 with m the mean slope and d the jump, so
    <s_a s_b> = m^2 K_ab + (d^2/4) <|z_a||z_b|>; derivatives by d/dK (each d_p d_q f is 2 df/dK_pq,
    or df/dK_ab off the diagonal)."""
    assert s.slopes is not None
    plus, minus = s.slopes
    m, d = (plus + minus) / 2, plus - minus
    M = np.full((5, 5), np.nan)
    i4 = [(4, 0), (3, 1), (2, 2), (1, 3), (0, 4)]
    if same:
        A2 = (plus**2 + minus**2) / 2
        M[0, 0], M[1, 1], M[2, 0], M[0, 2] = A2 * Kaa, A2, 0.0, 0.0
        for i, j in i4:
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
    return M


# ------------------------------------------------------------------- four activations


def four_point(s: Activation, K: Array) -> Array:
    """<s_a s_b s_c s_d>_K, shape (D, D, D, D). Cost: one k-dimensional integral per k <= 4 distinct inputs."""
    D = len(K)
    out = np.empty((D, D, D, D))
    top = float(K.diagonal().max())
    step = 0.5 if s.kinked or top <= 0 else calibrate_step(s, top)
    for size in range(1, min(D, 4) + 1):
        for support in itertools.combinations(range(D), size):
            block = K[np.ix_(support, support)]
            powers = [p for p in itertools.product(range(1, 5), repeat=size) if sum(p) == 4]
            values = _kinked_products(s, block, powers) if s.kinked else _smooth_products(s, block, powers, top, step)
            for power, value in zip(powers, values, strict=True):
                index = [a for a, p in zip(support, power, strict=True) for _ in range(p)]
                for permuted in set(itertools.permutations(index)):
                    out[permuted] = value
    return out


def _smooth_products(
    s: Activation, K: Array, powers: Sequence[tuple[int, ...]], top: float, step: float
) -> list[float]:
    C, order = pivoted_cholesky(K)
    size, rank = C.shape
    if rank == 0:
        return [float(s(np.zeros(1))[0] ** 4)] * len(powers)
    axes = [trapezoid(h) for h in axis_steps(C, top, step)]

    def inner(level: int, partial: dict[int, Array], power: tuple[int, ...]) -> Array:
        """Average over axes level, level + 1, ...; partial[k] is z_k from the outer axes, k >= level."""
        xi, weight = axes[level]
        z = {k: partial[k][..., None] + C[k, level] * xi for k in range(level, size)}
        last = level == rank - 1
        product = s(z[level]) ** power[order[level]]
        for k in range(level + 1, size) if last else ():  # inputs that are combinations of the others
            product = product * s(z[k]) ** power[order[k]]
        return (product if last else product * inner(level + 1, z, power)) @ weight

    if rank == 1:
        return [float(inner(0, {k: np.zeros(()) for k in range(size)}, p)) for p in powers]
    out = []
    for power in powers:
        # One outer node at a time keeps the memory at N^3 numbers for four inputs.
        total = 0.0
        for x, w in zip(*axes[0], strict=True):
            z = {k: np.array(C[k, 0] * x) for k in range(size)}
            total += w * float(s(z[0]) ** power[order[0]] * inner(1, z, power))
        out.append(total)
    return out


def _kinked_products(s: Activation, K: Array, powers: Sequence[tuple[int, ...]]) -> list[float]:
    C, order = pivoted_cholesky(K)
    ordered = [[p[k] for k in order] for p in powers]
    return [_sectors(s, C, p) if C.shape[1] <= 2 else _panels(s, C, p) for p in ordered]


def _sectors(s: Activation, C: Array, power: list[int]) -> float:
    """Rank at most two: the radius gives E r^4 = 8, the angle an integral over sectors without kinks."""
    C = np.hstack([C, np.zeros((len(C), 2 - C.shape[1]))])
    breaks = sorted({math.atan2(-c[0], c[1]) % math.pi for c in C if c.any()})
    breaks = [b + turn for turn in (0.0, math.pi) for b in breaks]
    breaks.append(breaks[0] + 2 * math.pi)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    total = 0.0
    for low, high in itertools.pairwise(breaks):
        theta = (low + high) / 2 + (high - low) / 2 * nodes
        z = C @ np.stack([np.cos(theta), np.sin(theta)])
        product = np.prod([s(z[k]) ** p for k, p in enumerate(power)], axis=0)
        total += (high - low) / 2 * float(weights @ product)
    return 8.0 * total / (2 * math.pi)


def _panels(s: Activation, C: Array, power: list[int], panel: int = PANEL) -> float:
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
            return _half_line_mean(s, partial[level], C[level, level], power[level])
        ending = range(level, size) if last else range(level, level + 1)
        xi, weight = axis([-partial[k] / C[k, level] for k in ending if C[k, level]])
        z = {k: partial[k][..., None] + C[k, level] * xi for k in range(level, size)}
        product = weight
        for k in ending:
            product = product * s(z[k]) ** power[k]
        return (product if last else product * inner(level + 1, z)).sum(axis=-1)

    return float(inner(0, {k: np.zeros(()) for k in range(size)}))


def _half_line_mean(s: Activation, mean: Array, spread: float, power: int) -> Array:
    """E s(mean + spread xi)^power for power 1 or 2, in closed form."""
    assert s.slopes is not None
    plus, minus = (slope**power for slope in s.slopes)
    t = mean / spread
    density = np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)
    if power == 1:
        up = mean * ndtr(t) + spread * density
        return plus * up + minus * (mean - up)
    up = (mean**2 + spread**2) * ndtr(t) + mean * spread * density
    return plus * up + minus * (mean**2 + spread**2 - up)
