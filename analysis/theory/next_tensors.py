"""The next order of the kernel for any number of inputs, docs/theory.md (17.3): G2, V2 and the six-point function W.

Capital indices of docs/theory.md (17.3) are pairs of samples here, two axes each.
"""

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.kernel_derivatives import KernelDerivatives, kernel_derivatives
from analysis.theory.layer import Layer, Tensors
from analysis.theory.tensors import recursion

NEXT = ("G2", "V2", "W")  # the tensors that order=2 of `flow` adds
outer = np.multiply.outer


def _both(X: Array) -> Array:
    """X_AB + X_BA"""
    return X + X.transpose(2, 3, 0, 1)


def _three(X: Array) -> Array:
    """X_ABC plus the two in which B or C takes the place of A, of an X that is symmetric in B and C."""
    return X + X.transpose(2, 3, 0, 1, 4, 5) + X.transpose(2, 3, 4, 5, 0, 1)


def _onto_last(d: KernelDerivatives, X: Array) -> Array:
    """F_A,C acts on the last pair of X."""
    return d.pair(1, X)


def _onto_first(d: KernelDerivatives, X: Array) -> Array:
    """F_A,C acts on the first pair of X, whose place it keeps."""
    return np.moveaxis(d.pair(1, np.moveaxis(X, (0, 1), (-2, -1))), (-2, -1), (0, 1))


def _covariance(here: Layer, d: KernelDerivatives, order: int, X: Array) -> Array:
    """The derivative v_AB,C X_C, or v_AB,CD X_CD, of the covariance of s_a s_b and s_c s_d, (..., D, D, D, D)."""
    F = here.M(0, 0)
    mean = d.pair(order, X)[..., None, None] * F
    split = mean + np.moveaxis(mean, (-4, -3), (-2, -1))
    if order == 2:  # both derivatives act on one of the two means, or one on each
        each = d.pair(1, np.moveaxis(d.pair(1, X), (-2, -1), (-4, -3)))
        split = split + 2 * each
    return d.four(order, X) - split


@recursion("W", indices=6, needs=("V",))
def _W(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The third cumulant W of the kernel follows from docs/theory.md (17.3); for one input this is docs/theory.md
    (1.12)."""
    d, C, V, rho = kernel_derivatives(here.expectations, "W"), here.C_W, old["V"], here.rho
    carried = C * _onto_last(d, V)  # [D, A]: V_DE F_A,E
    slope = C**3 * _onto_first(d, _covariance(here, d, 1, V))
    bent = C * d.pair(2, np.einsum("degh,ijkl->ghkldeij", carried, carried))  # [B, C, A] of A, B, C
    W = old["W"]
    for _ in range(3):
        W = np.moveaxis(C * d.pair(1, W), (-2, -1), (0, 1))
    first = C**3 * d.third()
    return first + rho * _three(slope) + rho**2 * (W + _three(bent.transpose(4, 5, 0, 1, 2, 3)))


@recursion("V2", indices=4, needs=("V", "G1", "W"))
def _V2(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The covariance of the kernel at order 1/n^2 follows from docs/theory.md (17.3); for one input this is
    docs/theory.md (17.2)."""
    d, C, V, G1, rho = kernel_derivatives(here.expectations, "V2"), here.C_W, old["V"], old["G1"], here.rho
    carried = C * _onto_last(d, V)  # [D, B]
    drift = C**2 * (_covariance(here, d, 1, G1) + _covariance(here, d, 2, V) / 2)
    straight = C**2 * _onto_first(d, _onto_last(d, old["V2"]))
    # F_A,CD F_B,EG V_CE V_DG: the first map leaves [E, G, A], the second [A, B].
    twice = C**2 * d.pair(2, np.moveaxis(d.pair(2, np.einsum("cdef,ghij->efijcdgh", V, V)), (-2, -1), (0, 1)))
    skew = C * d.pair(2, np.moveaxis(outer(G1, carried), (4, 5), (0, 1)))  # [B, A]
    six = C**2 * d.pair(2, np.moveaxis(d.pair(1, old["W"]), (-2, -1), (0, 1))) / 2
    third = C * d.pair(3, np.moveaxis(outer(V, carried), (6, 7), (0, 1))) / 2
    return rho * drift + rho**2 * (straight + twice / 2 + _both(skew + six + third))


@recursion("G2", indices=2, needs=("V", "G1", "V2", "W"))
def _G2(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The mean kernel at order 1/n^2 follows from docs/theory.md (17.3); for one input this is docs/theory.md
    (17.2)."""
    d, V, G1 = kernel_derivatives(here.expectations, "G2"), old["V"], old["G1"]
    total = d.pair(1, old["G2"]) + d.pair(2, old["V2"] + outer(G1, G1)) / 2
    total = total + d.pair(3, old["W"] + 3 * outer(G1, V)) / 6 + d.pair(4, outer(V, V)) / 8
    return here.C_W * here.rho**2 * total
