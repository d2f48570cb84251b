"""One layer of the flow: its Gaussian expectations and the linear maps that recur in the recursions (theory.md 1.4)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.gaussian import Expectations


@dataclass(frozen=True)
class Layer:
    """Expectations at K(l); C_b, C_W and the rates of layer l + 1; rho = n_l / n_{l-1}."""

    expectations: Expectations
    C_b: float
    C_W: float
    lambda_b: float
    lambda_W: float
    rho: float

    def M(self, i: int, j: int) -> Array:
        """<s^(i)_a s^(j)_b>, (D, D)"""
        return self.expectations.tensor(i, j)

    def E(self, i: int, j: int, k: int, l: int) -> Array:
        """<s^(i)_a s^(j)_b s^(k)_c s^(l)_d>, (D, D, D, D)"""
        return self.expectations.tensor(i, j, k, l)

    def second(self, order: int, X: Array) -> Array:
        """sum_pq X_pq <d_p d_q (s^(order)_a s^(order)_b)> on the last two axes of X (symmetric); p, q are a or b."""
        k = order
        diagonal = np.einsum("...aa->...a", X)
        return (
            self.M(k + 2, k) * diagonal[..., :, None]
            + 2 * self.M(k + 1, k + 1) * X
            + self.M(k, k + 2) * diagonal[..., None, :]
        )

    def fourth(self, order: int, V: Array) -> Array:
        """sum_pqrs V_(pq)(rs) <d_p d_q d_r d_s (s^(order)_a s^(order)_b)>, (D, D)."""
        k = order
        aaaa = np.einsum("aaaa->a", V)
        aaab, aabb, abab = np.einsum("aaab->ab", V), np.einsum("aabb->ab", V), np.einsum("abab->ab", V)
        return (
            aaaa[:, None] * self.M(k + 4, k)
            + 4 * aaab * self.M(k + 3, k + 1)
            + (2 * aabb + 4 * abab) * self.M(k + 2, k + 2)
            + 4 * aaab.T * self.M(k + 1, k + 3)
            + aaaa[None, :] * self.M(k, k + 4)
        )

    def L(self, X: Array) -> Array:
        """L_ab[X], the first-order change of K' under K -> K + X, on the last two axes (1.4)."""
        return self.C_W / 2 * self.second(0, X)

    def Omega(self, Theta: Array) -> Array:
        """<Omega_ab> = lambda_W <s_a s_b> + C_W Theta_ab <s'_a s'_b> (2.4)."""
        return self.lambda_W * self.M(0, 0) + self.C_W * Theta * self.M(1, 1)

    def LO(self, Theta: Array, X: Array) -> Array:
        """LO_ab[X] = sum_pq X_pq <d_p d_q Omega_ab> on the last two axes, Theta inside Omega held fixed (2.9)."""
        return self.lambda_W * self.second(0, X) + self.C_W * Theta * self.second(1, X)

    @staticmethod
    def on_last(operator: Callable[[Array], Array], X: Array) -> Array:
        """A linear map of the last sample pair of X_(ab)(cd)."""
        return operator(X)

    @staticmethod
    def on_first(operator: Callable[[Array], Array], X: Array) -> Array:
        """A linear map of the first sample pair of X_(ab)(cd)."""
        return operator(X.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1)


Tensors = dict[str, Array]
