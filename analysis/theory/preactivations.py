"""The kernel K, the vertex V, the metric correction G1 and the six-point function, docs/theory.md section 1."""

from collections.abc import Callable

import numpy as np

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.layer import FirstLayer, Layer, Tensors
from analysis.theory.quadrature import mean1
from analysis.theory.tensors import recursion


def _first_K(layer: FirstLayer) -> Array:
    """The kernel of layer 1 is the first half of docs/theory.md (1.1)."""
    x = layer.inputs
    return np.asarray(layer.C_b + layer.C_W * (x @ x.T) / x.shape[1])


@recursion("K", indices=2, orthogonal=True, first=_first_K)
def _K(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The kernel K of layer l + 1 follows from docs/theory.md (1.1), and that of a residual network from docs/theory.md
    (11.1)."""
    K = here.C_b + here.C_W * here.M(0, 0)
    return K + here.skip**2 * old["K"] if here.skip else K


def _first_V(layer: FirstLayer) -> Array:
    """V of layer 1 vanishes for Gaussian weights, and multiplies 1/n_0 for orthogonal ones, docs/theory.md (14.1)."""
    q = layer.C_W * (layer.inputs @ layer.inputs.T) / layer.inputs.shape[1]
    pairs = np.multiply.outer(q, q)
    mismatched: Array = np.einsum("acbd->abcd", pairs) + np.einsum("adbc->abcd", pairs)
    return -mismatched if layer.orthogonal else 0 * mismatched


@recursion("V", indices=4, orthogonal=True, units=(2, 0), first=_first_V)
def _V(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The four-point vertex V_(ab)(cd) of docs/theory.md (1.3) follows from docs/theory.md (1.5); for one input this is
    docs/theory.md (1.10). Orthogonal weights have the source of docs/theory.md (14.1)."""
    source = here.connected(0, 0, 0, 0)
    if here.orthogonal:
        pairs = np.multiply.outer(here.M(0, 0), here.M(0, 0))
        source = source - np.einsum("acbd->abcd", pairs) - np.einsum("adbc->abcd", pairs)
    return here.C_W**2 * source + here.rho * here.on_first(here.L, here.on_last(here.L, old["V"]))


@recursion("G1", indices=2, orthogonal=True, needs=("V",), units=(1, 0))
def _G1(here: Layer, old: Tensors, new: Tensors) -> Array:
    """The metric correction G1_ab of docs/theory.md (1.2) follows from docs/theory.md (1.6); for one input this is
    docs/theory.md (1.9) and (1.10)."""
    return here.rho * (here.L(old["G1"]) + here.C_W / 8 * here.fourth(0, old["V"]))


def six_point(activation: str | Activation, depth: int, C_b: float, C_W: float, K1: float) -> Array:
    """The six-point function W of layers 1..depth follows from docs/theory.md (1.12), shape (depth,).

    It holds for one width in all layers, one input with kernel K1 in layer 1, and any activation. W and V multiply
    1/n^2 and 1/n. W' = t + 3 m' v' V + m'^3 W + 3 m'^2 m'' V^2 with m' = chi_parallel, v(K) = C_W^2 Var s^2 and
    t = C_W^3 kappa_3(s^2); derivatives in K are half the mean of a second derivative in z. Raises ValueError for an
    unknown activation.
    """
    s = named(activation)
    K, V, W, out = K1, 0.0, 0.0, [0.0]
    for _ in range(depth - 1):
        q, q2, q3, dq, dq2, ddq = _moments(s, K)
        m1, m2 = C_W * dq, C_W * ddq
        slope = C_W**2 * (dq2 - 2 * q * dq)
        t = C_W**3 * (q3 - 3 * q * q2 + 2 * q**3)
        W = t + 3 * m1 * slope * V + m1**3 * W + 3 * m1**2 * m2 * V**2
        V = C_W**2 * (q2 - q**2) + m1**2 * V
        K = C_b + C_W * q
        out.append(W)
    return np.array(out)


def _moments(s: Activation, K: float) -> tuple[float, ...]:
    """These are <s^2>, <s^4>, <s^6>, d<s^2>/dK, d<s^4>/dK and d^2<s^2>/dK^2, of which docs/theory.md (1.12) is made."""
    if s.slopes is not None:
        A2, A4, A6 = ((s.slopes[0] ** k + s.slopes[1] ** k) / 2 for k in (2, 4, 6))
        return A2 * K, 3 * A4 * K**2, 15 * A6 * K**3, A2, 6 * A4 * K, 0.0
    f, f1, f2, f3, f4, _ = s.derivatives
    functions: tuple[Callable[[Array], Array], ...] = (
        lambda z: f(z) ** 2,
        lambda z: f(z) ** 4,
        lambda z: f(z) ** 6,
        lambda z: f1(z) ** 2 + f(z) * f2(z),
        lambda z: 6 * f(z) ** 2 * f1(z) ** 2 + 2 * f(z) ** 3 * f2(z),
        lambda z: (f(z) * f4(z) + 4 * f1(z) * f3(z) + 3 * f2(z) ** 2) / 2,
    )
    return tuple(mean1(g, K, 0.01) for g in functions)
