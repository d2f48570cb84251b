"""One layer of the flow: its Gaussian expectations, and the linear maps that recur in the recursions.

Section 0 of docs/theory.md fixes the letters; the maps are docs/theory.md (1.4), (2.4) and (2.9).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.gaussian import Expectations

Tensors = dict[str, Array]
PAIRS = (("aaaa", "a"), ("aaab", "ab"), ("aabb", "ab"), ("abab", "ab"))  # elements of V with two samples


@dataclass(frozen=True)
class FirstLayer:
    """The givens of layer 1, docs/theory.md section 0: distinct inputs (D, n_0), C_b, C_W and the rates.
    orthogonal: whether weights are, docs/theory.md (14.1)."""

    inputs: Array
    C_b: float
    C_W: float
    lambda_b: float
    lambda_W: float
    orthogonal: bool = False


@dataclass(frozen=True)
class Layer:
    """The givens of a step from layer l to l + 1, docs/theory.md section 0: expectations at K(l), C_b, C_W and the
    rates of layer l + 1, and the width ratio rho = n_l / n_{l-1}. skip: gamma of a residual network, docs/theory.md
    (11.1). orthogonal: whether weights are those of docs/theory.md (14.1)."""

    expectations: Expectations
    C_b: float
    C_W: float
    lambda_b: float
    lambda_W: float
    rho: float
    skip: float = 0.0
    orthogonal: bool = False

    def M(self, i: int, j: int) -> Array:
        """The expectation <s^(i)_a s^(j)_b> at K(l), docs/theory.md section 0, is (D, D)."""
        return self.expectations.tensor(i, j)

    def E(self, i: int, j: int, k: int, l: int) -> Array:
        """The expectation <s^(i)_a s^(j)_b s^(k)_c s^(l)_d> at K(l), docs/theory.md section 0, is (D, D, D, D)."""
        return self.expectations.tensor(i, j, k, l)

    def connected(self, i: int, j: int, k: int, l: int) -> Array:
        """The covariance of s^(i)_a s^(j)_b and s^(k)_c s^(l)_d at K(l), docs/theory.md section 0, is (D, D, D, D)."""
        return self.expectations.connected(i, j, k, l)

    def second(self, order: int, X: Array) -> Array:
        """The contraction sum_pq X_pq <d_p d_q (s^(order)_a s^(order)_b)> of docs/theory.md (1.4).

        It acts on the last two axes of X, which is symmetric in them; p and q are a or b.
        """
        k = order
        diagonal = np.einsum("...aa->...a", X)
        return (
            self.M(k + 2, k) * diagonal[..., :, None]
            + 2 * self.M(k + 1, k + 1) * X
            + self.M(k, k + 2) * diagonal[..., None, :]
        )

    def fourth(self, order: int, V: Array) -> Array:
        """The contraction sum_pqrs V_(pq)(rs) <d_p d_q d_r d_s (s^(order)_a s^(order)_b)> of docs/theory.md (1.6) and
        (2.11) has shape (D, D)."""
        elements = (np.einsum(f"{samples}->{out}", V) for samples, out in PAIRS)
        return self.fourth_of_pairs(order, *elements)

    def fourth_of_pairs(self, order: int, aaaa: Array, aaab: Array, aabb: Array, abab: Array) -> Array:
        """The contraction of `fourth`, docs/theory.md (1.6), from the elements of V that have two samples: (D,) and
        three times (D, D), by their sample indices."""
        k = order
        return (
            aaaa[:, None] * self.M(k + 4, k)
            + 4 * aaab * self.M(k + 3, k + 1)
            + (2 * aabb + 4 * abab) * self.M(k + 2, k + 2)
            + 4 * aaab.T * self.M(k + 1, k + 3)
            + aaaa[None, :] * self.M(k, k + 4)
        )

    def L(self, X: Array) -> Array:
        """L_ab[X] of docs/theory.md (1.4), the first-order change of K' under K -> K + X, acts on the last two axes."""
        return self.C_W / 2 * self.second(0, X)

    def slopes(self) -> Array:
        """The mean <d_p (s_a s'_c)> of docs/theory.md (2.8), (D, D, D) with p last, which is a or c."""
        own = np.eye(self.expectations.D)
        return np.einsum("ac,ap->acp", self.M(1, 1), own) + np.einsum("ac,cp->acp", self.M(0, 2), own)

    def Omega(self, Theta: Array) -> Array:
        """The mean <Omega_ab> = lambda_W <s_a s_b> + C_W Theta_ab <s'_a s'_b> of docs/theory.md (2.4)."""
        return self.lambda_W * self.M(0, 0) + self.C_W * Theta * self.M(1, 1)

    def LO(self, Theta: Array, X: Array) -> Array:
        """LO_ab[X] = sum_pq X_pq <d_p d_q Omega_ab> of docs/theory.md (2.9) acts on the last two axes of X.

        Theta inside Omega is held fixed.
        """
        return self.lambda_W * self.second(0, X) + self.C_W * Theta * self.second(1, X)

    @staticmethod
    def on_last(operator: Callable[[Array], Array], X: Array) -> Array:
        """A linear map acts on the last sample pair of X_(ab)(cd), as L_cd does in docs/theory.md (1.5)."""
        return operator(X)

    @staticmethod
    def on_first(operator: Callable[[Array], Array], X: Array) -> Array:
        """A linear map acts on the first sample pair of X_(ab)(cd), as L_ab does in docs/theory.md (1.5), whatever axes
        come after it."""
        return np.moveaxis(operator(np.moveaxis(X, (0, 1), (-2, -1))), (-2, -1), (0, 1))
