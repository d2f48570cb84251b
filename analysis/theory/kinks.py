"""Gaussian averages of scale-invariant activations with a kink, docs/theory.md (4.2).

One and two inputs have closed forms (arc-cosine kernels and their derivatives); three and four go by nested
Gauss-Legendre panels that break where each z changes sign, with the last axis in closed form.
"""

import itertools
import math

import numpy as np

from analysis.theory.activations import Activation, Array
from analysis.theory.quadrature import REACH, Grid, legendre
from analysis.theory.special import ndtr

PANEL_NODES = 64  # Gauss-Legendre nodes on each side of a kink
TOGETHER = 8  # nodes of the first axis of which all others are held at a time
CLOSE = 0.99  # correlation from which averages over three and four inputs are held against more nodes
FINER = (96, 144, 216)  # nodes that are tried in turn until two agree
TOLERANCE = 1e-6  # relative difference at which two of them agree


def kinked_pair(s: Activation, Kaa: float, Kab: float, Kbb: float, same: bool) -> Array:
    """The means <s^(i)_a s^(j)_b> of two inputs in closed form, (6, 6), NaN where they diverge or are not needed.

    s = m z + d |z|/2 with m the mean slope and d the jump, so <s_a s_b> = m^2 K_ab + (d^2/4) <|z_a||z_b|>. Derivatives
    follow by d/dK, as docs/theory.md (1.4) defines them: each d_p d_q f is 2 df/dK_pq, or df/dK_ab off the diagonal.
    """
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
    if root == 0.0:  # the inputs are parallel: fourth derivatives diverge and stay NaN, which `flow` refuses
        return M
    M[2, 2] = c / root
    M[3, 1], M[1, 3] = -c * Kab / (Kaa * root), -c * Kab / (Kbb * root)
    M[4, 0] = c * (Kbb / (Kaa * root) - 2 * root / Kaa**2)
    M[0, 4] = c * (Kaa / (Kbb * root) - 2 * root / Kbb**2)
    # Fourth derivatives of s'_a s'_b are second derivatives in K of <s'_a s'_b> = m^2 + c angle.
    M[3, 3] = c * Kab / root**3
    M[4, 2], M[2, 4] = -c * Kbb / root**3, -c * Kaa / root**3
    M[5, 1] = 4 * c * (Kab / (2 * Kaa**2 * root) + Kab * Kbb / (4 * Kaa * root**3))
    M[1, 5] = 4 * c * (Kab / (2 * Kbb**2 * root) + Kab * Kaa / (4 * Kbb * root**3))
    return M


def kinked_mean(s: Activation, grid: Grid, orders: list[tuple[int, ...]]) -> float:
    """The mean of a product of s and s' at up to four inputs, docs/theory.md section 0.

    On each side of zero a factor is slope^count z^degree. Raises ValueError for higher derivatives.
    """
    if any(order > 1 for carried in orders for order in carried):
        raise ValueError(f"{s.name}: its second derivative is a delta function; products of more than two have none")
    factors = [(len(orders[k]), orders[k].count(0)) for k in grid.order]
    if grid.rank <= 2:
        return _sectors(s, grid.C, factors)
    value = _panels(s, grid.C, factors)
    if (nearest := _nearest(grid.C)) <= CLOSE:
        return value
    for panel in FINER:
        coarser, value = value, _panels(s, grid.C, factors, panel)
        if abs(value - coarser) <= TOLERANCE * abs(value):
            return value
    raise ValueError(
        f"{s.name}: averages over {grid.size} inputs, two of which have a correlation of {nearest:.6f}, do not "
        f"converge to {TOLERANCE:g}"
    )


def _nearest(C: Array) -> float:
    """The largest size of a correlation between two inputs z = C xi."""
    unit = C / np.linalg.norm(C, axis=1, keepdims=True)
    return float(np.abs(np.triu(unit @ unit.T, 1)).max())


def _factor(s: Activation, z: Array, factor: tuple[int, int]) -> Array:
    """A factor is s'^(count - degree) s^degree at z."""
    assert s.slopes is not None
    count, degree = factor
    return np.where(z > 0, s.slopes[0] ** count, s.slopes[1] ** count) * z**degree


def _sectors(s: Activation, C: Array, factors: list[tuple[int, int]]) -> float:
    """The mean at rank at most two: the radius has a closed form, E r^d = d!!, the angle goes by smooth sectors."""
    C = np.hstack([C, np.zeros((len(C), 2 - C.shape[1]))])
    breaks = sorted({math.atan2(-c[0], c[1]) % math.pi for c in C if c.any()})
    breaks = [b + turn for turn in (0.0, math.pi) for b in breaks]
    breaks.append(breaks[0] + 2 * math.pi)
    nodes, weights = legendre(24)
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


def _panels(s: Activation, C: Array, factors: list[tuple[int, int]], panel: int = PANEL_NODES) -> float:
    """The mean at rank three or four by nested panels, broken where the inputs that end on an axis change sign."""
    size, rank = C.shape
    nodes, weights = legendre(panel)

    def axis(breaks: list[Array]) -> tuple[Array, Array]:
        """Nodes and Gaussian weights have shape (..., panel * (len(breaks) + 1))."""
        edges = np.sort(np.clip(np.stack(breaks, axis=-1), -REACH, REACH), axis=-1)
        end = np.full((*edges.shape[:-1], 1), REACH)
        edges = np.concatenate([-end, edges, end], axis=-1)
        half = np.diff(edges, axis=-1)[..., None] / 2
        xi = (edges[..., :-1, None] + half * (nodes + 1)).reshape(*edges.shape[:-1], -1)
        weight = (half * weights).reshape(xi.shape) * np.exp(-(xi**2) / 2) / math.sqrt(2 * math.pi)
        return xi, weight

    def inner(level: int, partial: dict[int, Array]) -> Array:
        """The average over axes level, level + 1, ...; partial[k] is z_k from the outer axes, k >= level."""
        last = level == rank - 1
        if last and rank == size:
            return _half_line_mean(s, partial[level], C[level, level], factors[level])
        ending = range(level, size) if last else range(level, level + 1)
        xi, weight = axis([-partial[k] / C[k, level] for k in ending if C[k, level]])
        z = {k: partial[k][..., None] + C[k, level] * xi for k in range(level, size)}
        product = weight
        for k in ending:
            product = product * _factor(s, z[k], factors[k])
        if last:
            return product.sum(axis=-1)
        if level:
            return (product * inner(level + 1, z)).sum(axis=-1)
        parts = range(0, len(xi), TOGETHER)  # what is held at a time fits into a cache
        rest = [inner(1, {k: values[node : node + TOGETHER] for k, values in z.items()}) for node in parts]
        return (product * np.concatenate(rest)).sum(axis=-1)

    return float(inner(0, {k: np.zeros(()) for k in range(size)}))


def _half_line_mean(s: Activation, mean: Array, spread: float, factor: tuple[int, int]) -> Array:
    """The mean of a factor at mean + spread xi has a closed form for degree 0, 1 and 2."""
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
