"""Gaussian expectations as sums over a fixed grid, and tensors of two layers, independent of `analysis.theory`.

In two layers every tensor of order 1/n is one expectation over a neuron of layer 1, which is Gaussian.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def expectation(function: Callable[[Array], Array], K: Array) -> Array:
    """<f(z)> of z ~ N(0, K) of one or two samples; f takes (D, points) and keeps the last axis."""
    root = np.linalg.cholesky(np.atleast_2d(K))
    grids = np.meshgrid(*[NODES] * len(root), indexing="ij")
    weights = np.prod(np.meshgrid(*[WEIGHTS] * len(root), indexing="ij"), axis=0).reshape(-1)
    z = root @ np.stack([grid.reshape(-1) for grid in grids])
    return np.asarray(np.sum(function(z) * weights, axis=-1))


def sin(order: int) -> Callable[[Array], Array]:
    """The derivative of the sine of this order."""
    return lambda z: np.sin(z + order * np.pi / 2)


def sines(K: Array, *orders: int) -> Array:
    """<s^(i)_a s^(j)_b ...> of s = sin at K, with an axis of samples for each order."""
    letters = "abcdefgh"[: len(orders)]
    terms = ",".join(f"{letter}z" for letter in letters)
    return expectation(lambda z: np.einsum(f"{terms}->{letters}z", *(sin(order)(z) for order in orders)), K)


class TwoLayers:
    """Tensors of layer 2 of networks of sines with C_b = 0: K and Theta of layer 1, C_W, and layer 2's rates."""

    def __init__(self, K: Array, Theta: Array, C_W: float, lambda_b: float, lambda_W: float):
        self.K1, self.Theta1, self.C_W, self.lambda_b, self.lambda_W = K, Theta, C_W, lambda_b, lambda_W

    def mean(self, *orders: int) -> Array:
        return sines(self.K1, *orders)

    @property
    def K(self) -> Array:
        """C_W <s_a s_b>"""
        return self.C_W * self.mean(0, 0)

    @property
    def Theta(self) -> Array:
        """lambda_b + lambda_W <s_a s_b> + C_W Theta_ab <s'_a s'_b>"""
        return self.lambda_b + self.lambda_W * self.mean(0, 0) + self.C_W * self.Theta1 * self.mean(1, 1)

    def _connected(self, first: Array, second: Array, joint: Array) -> Array:
        return joint - np.multiply.outer(first, second)

    @property
    def V(self) -> Array:
        """[a, b, c, d] = C_W^2 Cov(s_a s_b, s_c s_d)"""
        return self.C_W**2 * self._connected(self.mean(0, 0), self.mean(0, 0), self.mean(0, 0, 0, 0))

    @property
    def D(self) -> Array:
        """[a, b, c, d] = C_W Cov(s_a s_b, Omega_cd), Omega = lambda_W s s + C_W Theta s' s'"""
        omega = self.Theta - self.lambda_b
        joint = self.lambda_W * self.mean(0, 0, 0, 0) + self.C_W * self.Theta1 * self.mean(0, 0, 1, 1)
        return self.C_W * self._connected(self.mean(0, 0), omega, joint)

    @property
    def A(self) -> Array:
        """[a, b, c, d] = Cov(Omega_ab, Omega_cd)"""
        omega, T = self.Theta - self.lambda_b, self.Theta1
        mixed = self.lambda_W * self.C_W * T * self.mean(0, 0, 1, 1)
        joint = self.lambda_W**2 * self.mean(0, 0, 0, 0) + mixed + mixed.transpose(2, 3, 0, 1)
        joint = joint + self.C_W**2 * np.einsum("ab,cd,abcd->abcd", T, T, self.mean(1, 1, 1, 1))
        return self._connected(omega, omega, joint)

    @property
    def B(self) -> Array:
        """[a, b, c, d] = B_acbd = C_W^2 Theta_ab Theta_cd <s'_a s'_b s'_c s'_d>"""
        return self.C_W**2 * np.einsum("ab,cd,abcd->abcd", self.Theta1, self.Theta1, self.mean(1, 1, 1, 1))

    @property
    def F(self) -> Array:
        """[a, b, c, d] = F_acbd = C_W^2 Theta_cd <s_a s_b s'_c s'_d>"""
        return self.C_W**2 * self.Theta1 * self.mean(0, 0, 1, 1)

    @property
    def P(self) -> Array:
        """[a, b, c, d] = P_abcd"""
        T = self.Theta1
        return self.C_W**2 * np.einsum("abcd,ab,ac->abcd", self.mean(2, 1, 1, 0), T, T)

    @property
    def Q(self) -> Array:
        """[a, b, c, d] = Q_abcd"""
        return self.P + self.lambda_W * self.C_W * np.einsum("abcd,ac->abcd", self.mean(1, 0, 1, 0), self.Theta1)

    @property
    def R(self) -> Array:
        """[a, b, c, d] = R_abcd"""
        T = self.Theta1
        full = self.C_W**2 * np.einsum("abcd,ab,ac,ad->abcd", self.mean(3, 1, 1, 1), T, T, T)
        return full + self.lambda_W * self.C_W * np.einsum("abcd,ac,ad->abcd", self.mean(2, 0, 1, 1), T, T)

    @property
    def U(self) -> Array:
        """[a, b, c, d] = U_adbc"""
        T = self.Theta1
        return self.C_W**2 * np.einsum("abcd,ab,ac,bd->abcd", self.mean(2, 2, 1, 1), T, T, T)

    @property
    def S(self) -> Array:
        """[a, b, c, d] = S_abcd"""
        T = self.Theta1
        return self.U + self.lambda_W * self.C_W * np.einsum("abcd,ac,bd->abcd", self.mean(1, 1, 1, 1), T, T)

    @property
    def T(self) -> Array:
        """[a, b, c, d] = T_acdb"""
        T, rate = self.Theta1, self.lambda_W
        straight = rate**2 * np.einsum("abcd,ab->abcd", self.mean(1, 1, 0, 0), T)
        bent = rate * self.C_W * np.einsum("abcd,ab,bd->abcd", self.mean(1, 2, 0, 1), T, T)
        return straight + bent + bent.transpose(1, 0, 3, 2) + self.U
