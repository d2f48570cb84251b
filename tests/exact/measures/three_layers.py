"""Three layers of networks of which the chain has closed forms: a linear one, whose chain is polynomial, and sines.

The formulas are those of docs/theory.md (17.10), (17.11) and (17.16), written out for layers 2 and 3.
"""

import numpy as np

from tests.exact.measures.rows import Array

GRAM = np.array([[1.0, 0.3], [0.3, 0.8]])
N1, N2 = 8, 12
C_W, LAMBDA_B, LAMBDA_W = 1.3, (0.3, 0.5, 0.4), (0.7, 0.9, 1.1)
K1, THETA1 = C_W * GRAM.diagonal(), LAMBDA_B[0] + LAMBDA_W[0] * GRAM.diagonal()


def linear_means(layer: int, state: Array) -> Array:
    """E (g, h, y, b) of layer `layer` + 1 of a linear network, docs/theory.md (17.11)."""
    g, h, y, b, _ = state
    own = 1 / (N1, N2)[layer - 1]
    return np.stack([
        C_W * g,
        LAMBDA_B[layer] + LAMBDA_W[layer] * g + C_W * h,
        C_W**2 * (own * (h * g + 2 * y) + (1 - own) * y),
        C_W**2 * (own * (h**2 + 2 * b) + (1 - own) * b),
    ])  # fmt: skip


def linear_covariance(layer: int, state: Array) -> Array:
    """The covariance of g and h of layer `layer` + 1 of a linear network, docs/theory.md (17.11)."""
    g, _, y, b, _ = state
    rate, n = LAMBDA_W[layer], (N1, N2)[layer - 1]
    gh = C_W * (2 * rate * g**2 + 2 * C_W * y)
    hh = 2 * rate**2 * g**2 + 4 * rate * C_W * y + 2 * C_W**2 * b
    return np.stack([np.stack([2 * C_W**2 * g**2, gh]), np.stack([gh, hh])]) / n


class Linear:
    """Increments and covariances of one sample of a linear network, and the response of layer 3 to layer 2."""

    def __init__(self, states: Array):
        one, two, three = states
        self.three = three
        self.center = linear_means(1, one)[:, 0]
        self.m2, self.m3 = two[:4] - linear_means(1, one), three[:4] - linear_means(2, two)
        self.C2, self.C3 = linear_covariance(1, one), linear_covariance(2, two)
        g, h = self.center[:2]
        own, rate = 1 / N2, LAMBDA_W[2]
        self.P = np.array([
            [C_W, 0, 0, 0],
            [rate, C_W, 0, 0],
            C_W**2 * np.array([h * own, g * own, 1 + own, 0]),
            C_W**2 * np.array([0, 2 * h * own, 0, 1 + own]),
        ])  # fmt: skip

    def mean(self, place: int, square: Array) -> float:
        """The mean of y or b less its control; `square` is its second-order part."""
        return float((self.three[place] - self.m3[place] - self.P[place] @ self.m2 - square).mean())

    def covariance(self, first: int, second: int) -> float:
        controls = self.m3[:2] + self.P[:2, :2] @ self.m2[:2]
        rest = self.three[:2] - controls
        known = self.C3 + np.einsum("ij,jkm,lk->ilm", self.P[:2, :2], self.C2, self.P[:2, :2])
        g, rate, (dg, _, dy, db) = self.center[0], LAMBDA_W[2], self.m2  # the answer of C3 to layer 2 has mean zero
        gg, gh = 4 * C_W**2 * g * dg, 4 * C_W * rate * g * dg + 2 * C_W**2 * dy
        hh = 4 * rate**2 * g * dg + 4 * rate * C_W * dy + 2 * C_W**2 * db
        known = known - np.array([[gg, gh], [gh, hh]]) / N2
        parts = [(controls[first], rest[second]), (rest[first], controls[second]), (rest[first], rest[second])]
        return float(known[first, second].mean() + sum(np.cov(*part)[0, 1] for part in parts))


class Flow:
    """Tensors of layers 2 and 3 of a linear network, docs/theory.md (2.12) to (2.15), for both samples."""

    def __init__(self) -> None:
        rho = N2 / N1
        self.K = [K1, C_W * K1, C_W**2 * K1]
        Theta2 = LAMBDA_B[1] + LAMBDA_W[1] * K1 + C_W * THETA1
        Theta3 = LAMBDA_B[2] + LAMBDA_W[2] * self.K[1] + C_W * Theta2
        self.Theta = [THETA1, Theta2, Theta3]
        self.V = [0 * K1, 2 * C_W**2 * K1**2]
        self.F = [0 * K1, C_W**2 * K1 * THETA1]
        self.B = [0 * K1, C_W**2 * THETA1**2]
        D2, A2 = 2 * C_W * LAMBDA_W[1] * K1**2, 2 * LAMBDA_W[1] ** 2 * K1**2
        r = LAMBDA_W[2]
        self.F.append(C_W**2 * (self.K[1] * Theta2 + rho * self.F[1]))
        self.B.append(C_W**2 * (Theta2**2 + rho * self.B[1]))
        self.D3 = 2 * C_W * r * self.K[1] ** 2 + rho * (C_W * r * self.V[1] + C_W**2 * D2)
        self.A3 = 2 * r**2 * self.K[1] ** 2 + rho * (r**2 * self.V[1] + 2 * C_W * r * D2 + C_W**2 * A2)


def sines(g: Array | float) -> tuple[Array, ...]:
    """<s^2>, <s'^2>, <s^2 s'^2>, <s^4> and <s'^4> of s = sin."""
    two, eight = np.exp(-2 * np.asarray(g)), np.exp(-8 * np.asarray(g))
    return (1 - two) / 2, (1 + two) / 2, (1 - eight) / 8, (3 - 4 * two + eight) / 8, (3 + 4 * two + eight) / 8


def sine_square(state: Array) -> Array:
    """The mean of s'_k^4 H_kk^2, docs/theory.md (17.10)."""
    g, h, y, b, w = state
    two, eight, q = np.exp(-2 * g), np.exp(-8 * g), sines(g)[4]
    return np.asarray(h**2 * q + 2 * b * q - (4 * h * y + 8 * w) * (two + eight) + 4 * y**2 * (2 * two + 8 * eight))


def sine_means(layer: int, state: Array) -> Array:
    """What `linear_means` is for a linear network."""
    g, h, y, b, w = state
    (S, e, R, *_), two, own = sines(g), np.exp(-2 * g), 1 / (N1, N2)[layer - 1]
    distinct = b * e**2 - 4 * e * two * w + 4 * two**2 * y**2
    return np.stack([
        C_W * S,
        LAMBDA_B[layer] + LAMBDA_W[layer] * S + C_W * (h * e - 2 * y * two),
        C_W**2 * (own * (h * R + 2 * y * np.exp(-8 * g)) + (1 - own) * y * two**2),
        C_W**2 * (own * sine_square(state) + (1 - own) * distinct),
    ])  # fmt: skip


def sine_covariance(layer: int, state: Array) -> Array:
    """What `linear_covariance` is for a linear network."""
    g, h, y, _, _ = state
    S, e, R, Q4, _ = sines(g)
    slope, spread, rate = h * e - 2 * y * np.exp(-2 * g), Q4 - S**2, LAMBDA_W[layer]
    mixed = h * R + 2 * y * np.exp(-8 * g) - S * slope
    gh = C_W * (rate * spread + C_W * mixed)
    hh = rate**2 * spread + 2 * rate * C_W * mixed + C_W**2 * (sine_square(state) - slope**2)
    return np.stack([np.stack([C_W**2 * spread, gh]), np.stack([gh, hh])]) / (N1, N2)[layer - 1]


class Sines:
    """What `Linear` holds, for one sample of a network of sines; second: the part of second order of h's control."""

    def __init__(self, states: Array):
        one, two, self.three = states
        self.center = sine_means(1, one)[:, 0]
        self.m2, self.m3 = two[:4] - sine_means(1, one), self.three[:4] - sine_means(2, two)
        self.C2, self.C3 = sine_covariance(1, one), sine_covariance(2, two)
        g, h, y, _ = self.center
        small, rate = np.exp(-2 * g), LAMBDA_W[2]
        self.P = np.array([
            [C_W * small, 0, 0, 0],
            [small * (rate + C_W * (4 * y - h)), C_W * sines(g)[1], -2 * C_W * small, 0],
        ])  # fmt: skip
        bends = np.array([-2 * C_W * small, small * (-2 * rate + C_W * (2 * h - 8 * y))])
        self.second = bends[:, None] / 2 * (self.m2[0] ** 2 - self.C2[0, 0])
        self.second[1] -= C_W * small * (self.m2[0] * self.m2[1] - self.C2[0, 1])

    def covariance(self, first: int, second: int) -> float:
        below, P = self.P[:, :2] @ self.m2[:2], self.P[:, :2]
        controls = self.m3[:2] + below
        rest = self.three[:2] - controls
        step, center = 1e-5, np.append(self.center, 0.0)
        slopes = [sine_covariance(2, center + d) - sine_covariance(2, center - d) for d in step * np.eye(5)[:4]]
        answer = np.einsum("kij,km->ijm", np.array(slopes) / (2 * step), self.m2)
        others = self.P[:, 2:] @ self.m2[2:] + self.second
        products = self.m3[:2, None] * others[None]
        known = self.C3 + np.einsum("ij,jkm,lk->ilm", P, self.C2, P) - answer - products - products.transpose(1, 0, 2)
        parts = [(controls[first], rest[second]), (rest[first], controls[second]), (rest[first], rest[second])]
        return float(known[first, second].mean() + sum(np.cov(*part)[0, 1] for part in parts))
