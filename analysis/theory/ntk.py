"""The neural tangent kernel: Theta, B, F, D, A and Theta1, docs/theory.md section 2."""

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.layer import FirstLayer, Layer, Tensors
from analysis.theory.tensors import recursion


def _first_Theta(layer: FirstLayer) -> Array:
    """The NTK of layer 1 is the same in every network, docs/theory.md (2.1)."""
    x = layer.inputs
    return np.asarray(layer.lambda_b + layer.lambda_W * (x @ x.T) / x.shape[1])


@recursion("Theta", indices=2, orthogonal=True, first=_first_Theta)
def _Theta(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The frozen NTK Theta_ab follows from docs/theory.md (2.3), and that of a residual network from docs/theory.md
    (11.1)."""
    Theta = here.lambda_b + here.lambda_W * here.M(0, 0) + here.C_W * here.M(1, 1) * old["Theta"]
    return Theta + here.skip**2 * old["Theta"] if here.skip else Theta


@recursion("B", indices=4, orthogonal=True, needs=("Theta",), units=(0, 2))
def _B(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The NTK's variance B_acbd of docs/theory.md (2.5) follows from docs/theory.md (2.7); for one input this is
    docs/theory.md (2.12). Orthogonal weights take off the product of two means, docs/theory.md (14.1)."""
    Theta, M11, mean = old["Theta"], here.M(1, 1), here.connected if here.orthogonal else here.E
    source = np.einsum("abcd,ab,cd->acbd", mean(1, 1, 1, 1), Theta, Theta)
    return here.C_W**2 * (source + here.rho * np.einsum("ac,bd,acbd->acbd", M11, M11, old["B"]))


@recursion("F", indices=4, orthogonal=True, needs=("Theta",), units=(1, 1))
def _F(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The covariance F_acbd of NTK and preactivations, docs/theory.md (2.6), follows from docs/theory.md (2.8); for one
    input this is docs/theory.md (2.13). Orthogonal weights take off the product of two means, docs/theory.md (14.1)."""
    mean = here.connected if here.orthogonal else here.E
    flow = np.einsum("acp,bdq,pcqd->acbd", here.slopes(), here.slopes(), old["F"], optimize=True)
    return here.C_W**2 * (np.einsum("abcd,cd->acbd", mean(0, 0, 1, 1), old["Theta"]) + here.rho * flow)


@recursion("D", indices=4, orthogonal=True, needs=("Theta", "V"), units=(1, 1))
def _D(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The covariance D_abcd of NTK and preactivations, docs/theory.md (2.6), follows from docs/theory.md (2.9); for one
    input this is docs/theory.md (2.14)."""
    Theta, C_W, M11 = old["Theta"], here.C_W, here.M(1, 1)
    source = C_W * (here.lambda_W * here.connected(0, 0, 0, 0) + C_W * here.connected(0, 0, 1, 1) * Theta)
    flow = here.on_first(here.L, here.on_last(lambda X: here.LO(Theta, X), old["V"])) / 2
    return source + here.rho * (flow + C_W * M11 * here.on_first(here.L, old["D"]))


def covariance_of_Omega(here: Layer, Theta: Array) -> Array:
    """The source <Omega_ab; Omega_cd> of docs/theory.md (2.10), (D, D, D, D)."""
    C_W, crossed = here.C_W, here.connected(0, 0, 1, 1) * Theta
    return (
        here.lambda_W**2 * here.connected(0, 0, 0, 0)
        + here.lambda_W * C_W * (crossed + crossed.transpose(2, 3, 0, 1))
        + C_W**2 * np.einsum("ab,cd,abcd->abcd", Theta, Theta, here.connected(1, 1, 1, 1))
    )


@recursion("A", indices=4, orthogonal=True, needs=("Theta", "V", "D"), units=(0, 2))
def _A(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The NTK's covariance A_(ab)(cd) of docs/theory.md (2.5) follows from docs/theory.md (2.10); for one input this is
    docs/theory.md (2.15)."""
    Theta, C_W, M11 = old["Theta"], here.C_W, here.M(1, 1)

    def LO(X: Array) -> Array:
        return here.LO(Theta, X)

    cross = M11 * here.on_first(LO, old["D"])
    flow = (
        here.on_first(LO, here.on_last(LO, old["V"])) / 4
        + C_W**2 * np.einsum("ab,cd,abcd->abcd", M11, M11, old["A"])
        + C_W / 2 * (cross + cross.transpose(2, 3, 0, 1))
    )
    return covariance_of_Omega(here, Theta) + here.rho * flow


def mixed(here: Layer, D: Array, F: Array) -> Array:
    """What D and F add to Theta1 / C_W in docs/theory.md (2.11): the sum over p and q of (1/2) D_pqab + F_paqb times
    <d_p d_q s'_a s'_b>, (D, D)."""
    total = (
        here.M(3, 1) * (np.einsum("aaab->ab", D) + np.einsum("aaab->ab", F) + np.einsum("abaa->ab", F))
        + here.M(2, 2) * (np.einsum("abab->ab", D) + np.einsum("aabb->ab", F) + np.einsum("abba->ab", F))
        + here.M(2, 2) * (np.einsum("baab->ab", D) + np.einsum("baab->ab", F) + np.einsum("bbaa->ab", F))
        + here.M(1, 3) * (np.einsum("bbab->ab", D) + np.einsum("babb->ab", F) + np.einsum("bbba->ab", F))
    )
    return total / 2


@recursion("Theta1", indices=2, orthogonal=True, needs=("Theta", "G1", "V", "D", "F"), same_layer=("G1",), units=(0, 1))
def _Theta1(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The NTK's mean at the next order, Theta1_ab, follows from docs/theory.md (2.11), which holds G1 of both layers;
    for one input this is docs/theory.md (2.16)."""
    Theta, D, F, C_W = old["Theta"], old["D"], old["F"], here.C_W
    slopes = here.second(1, old["G1"]) / 2 + here.fourth(1, old["V"]) / 8
    return here.lambda_W / C_W * new["G1"] + here.rho * C_W * (
        here.M(1, 1) * old["Theta1"] + Theta * slopes + mixed(here, D, F)
    )
