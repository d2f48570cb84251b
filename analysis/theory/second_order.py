"""The next order in 1/n of the kernel g of one input, docs/theory.md (17.1) and (17.2), for any activation."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.quadrature import mean1


@dataclass(frozen=True)
class NextOrder:
    """Coefficients of docs/theory.md (17.2) in layers l = 1..depth, one width n, each (depth,): E g = K + G1/n +
    G2/n^2, Var g = V/n + V2/n^2 and kappa_3(g) = W/n^2."""

    K: Array
    G1: Array
    G2: Array
    V: Array
    V2: Array
    W: Array


def next_order(activation: str | Activation, depth: int, C_b: float, C_W: float, K1: float) -> NextOrder:
    """G1, G2, V, V2 and W of layers 1..depth follow from docs/theory.md (17.2).

    One width in all layers, one input with kernel K1 in layer 1, any activation; G1, V and W are those of
    docs/theory.md (1.10) and (1.12). Raises ValueError for an unknown activation, a negative K1, or a depth below one.
    """
    s = named(activation)
    if depth < 1:
        raise ValueError(f"depth={depth}: one layer or more")
    if not K1 >= 0:
        raise ValueError(f"K1={K1}: a kernel, zero or larger")
    K, G1, G2, V, V2, W = K1, 0.0, 0.0, 0.0, 0.0, 0.0
    rows = [(K, G1, G2, V, V2, W)]
    for _ in range(depth - 1):
        F, v, t = _cumulants(s, C_W, K)
        G2, V2, W, G1, V = (
            F[1] * G2 + F[2] / 2 * (V2 + G1**2) + F[3] / 6 * (W + 3 * V * G1) + F[4] / 8 * V**2,
            v[1] * G1
            + v[2] / 2 * V
            + F[1] ** 2 * V2
            + 2 * F[1] * F[2] * G1 * V
            + F[1] * F[2] * W
            + (F[2] ** 2 / 2 + F[1] * F[3]) * V**2,
            t + 3 * F[1] * v[1] * V + F[1] ** 3 * W + 3 * F[1] ** 2 * F[2] * V**2,
            F[1] * G1 + F[2] / 2 * V,
            v[0] + F[1] ** 2 * V,
        )
        K = C_b + F[0]
        rows.append((K, G1, G2, V, V2, W))
    return NextOrder(*np.array(rows).T)


def derivative(f: Callable[[Array], Array], K: float, order: int) -> float:
    """The derivative d^k <f>_K / dK^k = <f He_2k(z/sqrt K)>/(2K)^k of docs/theory.md (17.1), which takes none of f."""
    coefficients = np.zeros(2 * order + 1)
    coefficients[-1] = 1.0
    root = np.sqrt(K)

    def weighted(z: Array) -> Array:
        return f(z) * np.polynomial.hermite_e.hermeval(z / root, coefficients)

    return mean1(weighted, K) / (2 * K) ** order


def half_fourth(s: Activation, z: Array, order: int = 0) -> Array:
    """A quarter of (f^2)'''' at z, the mean of which is d^2 <f^2>/dK^2 by docs/theory.md (17.1), where f is s or s' by
    order 0 or 1; s is smooth."""
    f, f1, f2, f3, f4 = (derivative(z) for derivative in s.derivatives[order : order + 5])
    return (f * f4 + 4 * f1 * f3 + 3 * f2**2) / 2


def _cumulants(s: Activation, C_W: float, K: float) -> tuple[list[float], list[float], float]:
    """F = C_W <s^2> with four derivatives in K, v = C_W^2 Var s^2 with two, and t = C_W^3 kappa_3(s^2)."""
    square, fourth, q3 = _averages(s, K)
    F = [C_W * value for value in square]
    q, dq, ddq = square[:3]
    v = [fourth[0] - q**2, fourth[1] - 2 * q * dq, fourth[2] - 2 * dq**2 - 2 * q * ddq]
    return F, [C_W**2 * value for value in v], C_W**3 * (q3 - 3 * q * fourth[0] + 2 * q**3)


def _averages(s: Activation, K: float) -> tuple[list[float], list[float], float]:
    """The mean <s^2> with four derivatives in K, <s^4> with two, and <s^6>.

    From its second derivative on, <s^2> is differentiated through (s^2)'''', <(s^2)''''> = 4 d^2 <s^2>/dK^2: at small K
    the Hermite sums over s^2 itself lose the digits that docs/theory.md (17.1) divides by (2K)^k.
    """
    if s.slopes is not None:
        A2, A4, A6 = ((s.slopes[0] ** k + s.slopes[1] ** k) / 2 for k in (2, 4, 6))
        return [A2 * K, A2, 0.0, 0.0, 0.0], [3 * A4 * K**2, 6 * A4 * K, 6 * A4], 15 * A6 * K**3
    f = s.derivatives[0]
    if K == 0:
        raise ValueError(f"activation={s.name}: K=0: derivatives in K are taken at K > 0")
    square = [derivative(lambda z: f(z) ** 2, K, k) for k in (0, 1)] + [
        derivative(lambda z: half_fourth(s, z), K, k) for k in (0, 1, 2)
    ]
    fourth = [derivative(lambda z: f(z) ** 4, K, k) for k in (0, 1, 2)]
    return square, fourth, mean1(lambda z: f(z) ** 6, K)
