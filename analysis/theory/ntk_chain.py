"""The exact chain of one input's kernel and NTK from layer to layer, docs/theory.md (17.9) to (17.11) and (17.16).

A state (g, h, y, b, w) holds the conditional means of z_i^2, H_ii, z_i z_j H_ij, H_ij^2 and z_i H_ij H_jk z_k at one
layer, given the layers below, for different neurons i, j and k. Given the state of layer l, the means of g, h, y and b
of layer l + 1, and the covariances of g and h, are functions of the state, exactly at every width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from analysis.theory.activations import Activation, Array
from analysis.theory.log_table import LogTable, tabulated
from analysis.theory.quadrature import WIDE, calibrate_step, graded, trapezoid

DEGREES = (16, 32, 64, 128, 256)  # of the polynomials in log g, tried in turn
TAIL = 1e-12  # size of the last coefficients, relative to the largest, at which a polynomial has converged
SHIFT = 1e-3  # step of the differences in units of the state


@dataclass(frozen=True)
class Averages:
    """Means over z ~ N(0, g) of the functions of one neuron in docs/theory.md (17.11), each with the shape of g; d and
    dd are first and second derivatives in g."""

    S: Array  # <s^2>
    p: Array  # d<s^2>/dg
    e: Array  # <s'^2>
    de: Array
    R: Array  # <s^2 s'^2>
    dR: Array
    q: Array  # <s'^4>
    dq: Array
    ddq: Array
    Q4: Array  # <s^4>


ORDERS = np.array([0, 1, 0, 1, 0, 1, 0, 1, 2, 0])  # of the derivative in g, for each field of `Averages`


class Neuron:
    """The averages of docs/theory.md (17.11) as functions of g, by quadrature.

    top: the largest g that it will be asked for. Derivatives in g are Hermite moments, docs/theory.md (1.7) and (1.9),
    with an error of about 1e-16/(2g)^k for the k-th. ValueError where an average does not converge.
    """

    def __init__(self, s: Activation, top: float):
        self.s = s
        if s.slopes is not None:
            return
        if s.sine and top > WIDE:
            raise ValueError(f"{s.name}: averages at g={top:.3g} are not tabulated; at most {WIDE:g}")
        step, is_graded = calibrate_step(s, top)
        self.xi, weight = graded(step, [(np.zeros(()), 1 / np.sqrt(top))]) if is_graded else trapezoid(step)
        self.hermite = np.stack([weight, weight * (self.xi**2 - 1), weight * (self.xi**4 - 6 * self.xi**2 + 3)])

    def __call__(self, g: Array) -> Averages:
        """The averages at each g > 0, of any shape."""
        if self.s.slopes is not None:
            A2, A4 = ((abs(self.s.slopes[0]) ** k + abs(self.s.slopes[1]) ** k) / 2 for k in (2, 4))
            one, zero = np.ones_like(g), np.zeros_like(g)
            return Averages(A2 * g, A2 * one, A2 * one, zero, A4 * g, A4 * one, A4 * one, zero, zero, 3 * A4 * g**2)
        z = np.sqrt(g)[..., None] * self.xi
        s2, slope2 = (f(z) ** 2 for f in self.s.derivatives[:2])
        means = [f @ self.hermite.T for f in (s2, slope2, s2 * slope2, slope2**2, s2**2)]
        S, e, R, q, Q4 = ([mean[..., k] / (2 * g) ** k for k in range(3)] for mean in means)
        return Averages(S[0], S[1], e[0], e[1], R[0], R[1], q[0], q[1], q[2], Q4[0])


class Table:
    """The averages of docs/theory.md (17.11) for many g, as Chebyshev polynomials in log g from `low` to `high`.

    Scale-invariant activations have closed forms and need no table. ValueError where polynomials do not converge to
    TAIL, but for the rounding errors of `Neuron`.
    """

    def __init__(self, s: Activation, low: float, high: float):
        self.neuron = Neuron(s, high)
        self.table: LogTable | None = None
        if s.slopes is not None:
            return
        rounding = 1e-14 / (2 * low) ** ORDERS

        def converged(coefficients: Array) -> bool:
            size = np.abs(coefficients)
            return bool(np.all(size[-4:].max(axis=0) <= TAIL * size.max(axis=0) + rounding))

        self.table = tabulated(self._averages, low, high, DEGREES, converged)
        if self.table is None:
            raise ValueError(
                f"{s.name}: averages from g={low:.3g} to {high:.3g} do not converge as polynomials in log g"
            )

    def _averages(self, g: Array) -> Array:
        """The averages at each g (N,), (N, fields)."""
        averages = self.neuron(g)
        return np.stack([getattr(averages, field.name) for field in fields(Averages)], axis=-1)

    def __call__(self, g: Array) -> Averages:
        """The averages at each g (M,). ValueError for g outside of the table."""
        return self.neuron(g) if self.table is None else Averages(*np.ascontiguousarray(self.table(g).T))


@dataclass(frozen=True)
class Step:
    """From layer l, with n neurons, to layer l + 1, with these rates and variances: docs/theory.md section 0."""

    C_b: float
    C_W: float
    lambda_b: float
    lambda_W: float
    n: int

    def means(self, at: Averages, state: Array) -> Array:
        """E (g', h', y', b') given the state (5, ...) of the layer below, (4, ...): docs/theory.md (17.11), exact."""
        _, h, y, b, w = state
        own, C_W = 1 / self.n, self.C_W
        g_next = self.C_b + C_W * at.S
        h_next = self.lambda_b + self.lambda_W * at.S + C_W * (h * at.e + 2 * y * at.de)
        y_next = C_W**2 * (own * (h * at.R + 2 * y * at.dR) + (1 - own) * y * at.p**2)
        distinct = b * at.e**2 + 4 * at.e * at.de * w + 4 * at.de**2 * y**2
        b_next = C_W**2 * (own * _square(at, state) + (1 - own) * distinct)
        return np.stack([g_next, h_next, y_next, b_next])

    def covariance(self, at: Averages, state: Array) -> Array:
        """n times the covariance of (g', h') given the state (5, ...) of the layer below, (2, 2, ...): docs/theory.md
        (17.11), exact."""
        _, h, y, _, _ = state
        slope = h * at.e + 2 * y * at.de  # E s'^2 H_kk
        s_s = at.Q4 - at.S**2
        s_slope = h * at.R + 2 * y * at.dR - at.S * slope
        slope_slope = _square(at, state) - slope**2
        C_W, rate = self.C_W, self.lambda_W
        gh = C_W * (rate * s_s + C_W * s_slope)
        hh = rate**2 * s_s + 2 * rate * C_W * s_slope + C_W**2 * slope_slope
        return np.stack([np.stack([C_W**2 * s_s, gh]), np.stack([gh, hh])])


def _square(at: Averages, state: Array) -> Array:
    """The mean of s'_k^4 H_kk^2 given the layers below, from docs/theory.md (17.10)."""
    _, h, y, b, w = state
    return h**2 * at.q + 4 * h * y * at.dq + 2 * b * at.q + 8 * w * at.dq + 4 * y**2 * at.ddq


@dataclass(frozen=True)
class Response:
    """How the top layer's state answers to that of a layer l below or at the top: the coefficients of docs/theory.md
    (17.16).

    center (4,): the state of layer l on the orbit. gradient (4, 4), curvature (4, 4, 4): derivatives of (g, h, y, b) of
    the top layer in those of layer l. spread (2, 2, 4): the gradient of the covariance of g and h that the layers above
    l contribute.
    """

    center: Array
    gradient: Array
    curvature: Array
    spread: Array


def orbit(neuron: Neuron, steps: Sequence[Step], first: Array) -> list[Array]:
    """The states (4,) of layers 1, 2, ... that follow from the state of layer 1 by the means of docs/theory.md (17.11)
    alone, without w, which is of order 1/n^2."""
    out = [first]
    for step in steps:
        out.append(step.means(neuron(out[-1][0]), _without_w(out[-1])))
    return out


def _without_w(state: Array) -> Array:
    """(4, ...) -> (5, ...)"""
    return np.concatenate([state, np.zeros_like(state[:1])])


def responses(neuron: Neuron, steps: Sequence[Step], states: Sequence[Array], top: int) -> list[Response]:
    """The responses of layer `top` to layers 2 to `top`, for the controls of docs/theory.md (17.16).

    Differences of the iterated means give them. An error of a coefficient costs noise and makes no bias. steps: from
    layer 1 on. states: those of `orbit`.
    """
    found = [Response(states[top - 1], np.eye(4), np.zeros((4, 4, 4)), np.zeros((2, 2, 4)))]
    for layer in range(top - 1, 1, -1):
        center, above = states[layer - 1], steps[layer - 1 : top - 1]
        gradients = [response.gradient[:2, :2] for response in found]

        def iterated(
            state: Array, above: Sequence[Step] = above, P: Sequence[Array] = gradients
        ) -> tuple[Array, Array]:
            """The state of the top layer, and the covariance of its g and h that the layers on the way contribute."""
            total = np.zeros((2, 2, *state.shape[1:]))
            for step, gradient in zip(above, P, strict=True):
                at, full = neuron(state[0]), _without_w(state)
                total += np.einsum("ij,jk...,lk->il...", gradient, step.covariance(at, full) / step.n, gradient)
                state = step.means(at, full)
            return state, total

        scale = SHIFT * np.array([center[0], center[1], center[0] * center[1], center[1] ** 2])
        shifts = np.diag(scale)
        signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
        pairs = shifts[:, :, None, None] * signs[:, 0] + shifts[:, None, :, None] * signs[:, 1]
        values, _ = iterated(center[:, None, None, None] + pairs)
        curvature = values @ np.array([1, -1, -1, 1]) / (4 * np.outer(scale, scale))
        ends, spreads = iterated(center[:, None, None] + shifts[:, :, None] * np.array([1, -1]))
        first = [(end[..., 0] - end[..., 1]) / (2 * scale) for end in (ends, spreads)]
        found.insert(0, Response(center, first[0], curvature, first[1]))
    return found
