"""The differentials of the NTK: P and Q of the dNTK, and R, S, T and U of the ddNTKs, docs/theory.md section 3.

Arrays are indexed in the order of the subscripts, T[a, c, d, b] = T_acdb and U[a, d, b, c] = U_adbc.
"""

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.layer import Layer, Tensors
from analysis.theory.tensors import recursion


def twice(F: Array, ga: Array, gc: Array, hb: Array, hd: Array) -> Array:
    """The sum over p and q of <d_p f_ac> <d_q h_bd> F_{p a q b}, which docs/theory.md (3.12) holds, is indexed
    [a, b, c, d]: p is a (with ga) or c (gc), q is b (hb) or d (hd)."""
    return (
        np.einsum("ac,bd,aabb->abcd", ga, hb, F)
        + np.einsum("ac,bd,aadb->abcd", ga, hd, F)
        + np.einsum("ac,bd,cabb->abcd", gc, hb, F)
        + np.einsum("ac,bd,cadb->abcd", gc, hd, F)
    )


def _source(here: Layer, Theta: Array) -> Array:
    """The source <s''_a s'_b s'_c s_d> Theta_ab Theta_ac is that of docs/theory.md (3.7) and (3.8)."""
    return np.einsum("abcd,ab,ac->abcd", here.E(2, 1, 1, 0), Theta, Theta)


@recursion("P", indices=4, orthogonal=True, needs=("Theta", "B"), smooth_only=True, units=(0, 2))
def _P(here: Layer, old: Tensors, new: Tensors) -> Array:
    """P_abcd of docs/theory.md (3.4) follows from docs/theory.md (3.7); for one input this is docs/theory.md (3.13)."""
    M11, M20 = here.M(1, 1), here.M(2, 0)
    flow = (
        np.einsum("bc,ad,abca->abcd", M11, M20, old["P"])
        + np.einsum("bc,ad,abcd->abcd", M11, M11, old["P"])
        + np.einsum("bc,ad,aabc->abcd", M11, M20, old["B"])
    )
    return here.C_W**2 * (_source(here, old["Theta"]) + here.rho * flow)


@recursion("Q", indices=4, orthogonal=True, needs=("Theta", "F"), same_layer=("F",), smooth_only=True, units=(0, 2))
def _Q(here: Layer, old: Tensors, new: Tensors) -> Array:
    """Q_abcd of docs/theory.md (3.4) follows from docs/theory.md (3.8), which holds F of both layers; for one input
    this is docs/theory.md (3.13). Orthogonal weights have the source of F of Gaussian ones, docs/theory.md (14.6)."""
    C_W, Theta, F = here.C_W, old["Theta"], old["F"]
    M11, M20, M31, M22 = here.M(1, 1), here.M(2, 0), here.M(3, 1), here.M(2, 2)
    flow = np.einsum("ab,cd,abcc->abcd", M11, M20, old["Q"]) + np.einsum("ab,cd,abcd->abcd", M11, M11, old["Q"])
    # sum_pq <d_p (s''_a s'_b)> <d_q (s'_c s_d)> F_paqc
    flow = flow + (
        np.einsum("ab,ab,cd,aacc->abcd", Theta, M31, M20, F)
        + np.einsum("ab,ab,cd,aadc->abcd", Theta, M31, M11, F)
        + np.einsum("ab,ab,cd,bacc->abcd", Theta, M22, M20, F)
        + np.einsum("ab,ab,cd,badc->abcd", Theta, M22, M11, F)
    )
    above = here.lambda_W / C_W * np.einsum("badc->abcd", new["F"])
    if here.orthogonal:  # two weights meet here, which lose nothing, and in F four
        above = above + here.lambda_W * C_W * np.einsum("bd,ac,ac->abcd", here.M(0, 0), M11, Theta)
    return C_W**2 * _source(here, Theta) + above + here.rho * C_W**2 * flow


@recursion("R", indices=4, orthogonal=True, needs=("Theta", "B", "P"), smooth_only=True, units=(-1, 3))
def _R(here: Layer, old: Tensors, new: Tensors) -> Array:
    """R_abcd of docs/theory.md (3.5) follows from docs/theory.md (3.9); for one input this is docs/theory.md (3.14)."""
    C_W, lW, Theta, B, P = here.C_W, here.lambda_W, old["Theta"], old["B"], old["P"]
    M11 = here.M(1, 1)
    source = lW * C_W * np.einsum("abcd,ac,ad->abcd", here.E(2, 0, 1, 1), Theta, Theta)
    source += C_W**2 * np.einsum("abcd,ab,ac,ad->abcd", here.E(3, 1, 1, 1), Theta, Theta, Theta)
    curved = lW * here.M(2, 0) + C_W * Theta * here.M(3, 1)
    straight = lW * M11 + C_W * Theta * here.M(2, 2)
    below = np.einsum("ab,cd,aacd->abcd", curved, M11, B) + np.einsum("ab,cd,acda->abcd", curved, M11, P)
    below += np.einsum("ab,cd,acdb->abcd", straight, M11, P)
    return source + here.rho * C_W * (below + C_W * np.einsum("cd,ab,abcd->abcd", M11, M11, old["R"]))


@recursion("S", indices=4, orthogonal=True, needs=("Theta", "B"), smooth_only=True, units=(-1, 3))
def _S(here: Layer, old: Tensors, new: Tensors) -> Array:
    """S_abcd of docs/theory.md (3.6) follows from docs/theory.md (3.10); for one input this is docs/theory.md
    (3.15)."""
    C_W, lW, Theta, M11 = here.C_W, here.lambda_W, old["Theta"], here.M(1, 1)
    source = lW * C_W * np.einsum("abcd,ac,bd->abcd", here.E(1, 1, 1, 1), Theta, Theta)
    source += C_W**2 * np.einsum("abcd,ab,ac,bd->abcd", here.E(2, 2, 1, 1), Theta, Theta, Theta)
    straight = lW * M11 + C_W * Theta * here.M(2, 2)
    below = np.einsum("ab,cd,abcd->abcd", straight, M11, old["B"])
    return source + here.rho * C_W * (below + C_W * np.einsum("ab,cd,abcd->abcd", M11, M11, old["S"]))


@recursion("U", indices=4, orthogonal=True, needs=("Theta",), smooth_only=True, units=(-1, 3))
def _U(here: Layer, old: Tensors, new: Tensors) -> Array:
    """U_adbc of docs/theory.md (3.6) follows from docs/theory.md (3.11); for one input this is docs/theory.md
    (3.15)."""
    Theta, M11 = old["Theta"], here.M(1, 1)
    source = np.einsum("abcd,ab,ac,bd->adbc", here.E(2, 2, 1, 1), Theta, Theta, Theta)
    return here.C_W**2 * (source + here.rho * np.einsum("ad,bc,adbc->adbc", M11, M11, old["U"]))


@recursion("T", indices=4, orthogonal=True, needs=("Theta", "F", "Q"), smooth_only=True, units=(-1, 3))
def _T(here: Layer, old: Tensors, new: Tensors) -> Array:
    """T_acdb of docs/theory.md (3.6) follows from docs/theory.md (3.12); for one input this is docs/theory.md (3.16).

    X, Y, Z and their sum are assembled as [a, b, c, d]; Ysym is Y with a <-> b and c <-> d exchanged.
    """
    C_W, lW, rho = here.C_W, here.lambda_W, here.rho
    Theta, F, Q, T = old["Theta"], old["F"], old["Q"], old["T"]
    M11, M20, M31, M22 = here.M(1, 1), here.M(2, 0), here.M(3, 1), here.M(2, 2)
    X = np.einsum("abcd,ab->abcd", here.E(1, 1, 0, 0), Theta) + rho * twice(F, M20, M11, M20, M11)
    slopes = np.einsum("bd,ac,bdaa->abcd", M11, M20, Q) + np.einsum("bd,ac,bdac->abcd", M11, M11, Q)
    Y = np.einsum("abcd,ab,bd->abcd", here.E(1, 2, 0, 1), Theta, Theta)
    Y += rho * (np.einsum("bd,abcd->abcd", Theta, twice(F, M20, M11, M31, M22)) + slopes)
    curves = np.einsum("ac,bd,abcd->abcd", Theta, Theta, twice(F, M31, M22, M31, M22))
    left = np.einsum("bd,ac,bd,acbb->abcd", Theta, M11, M31, Q) + np.einsum("bd,ac,bd,acbd->abcd", Theta, M11, M22, Q)
    right = np.einsum("ac,bd,ac,bdaa->abcd", Theta, M11, M31, Q) + np.einsum("ac,bd,ac,bdac->abcd", Theta, M11, M22, Q)
    Z = np.einsum("abcd,ab,ac,bd->abcd", here.E(2, 2, 1, 1), Theta, Theta, Theta)
    Z += rho * (np.einsum("ac,bd,acdb->abcd", M11, M11, T) + curves + left + right)
    out = lW**2 * X + lW * C_W * (Y + np.einsum("badc->abcd", Y)) + C_W**2 * Z
    return np.einsum("abcd->acdb", out)
