"""How kernels move in training: those of hidden layers at order 1/n, docs/theory.md (5.34) to (5.36), and the NTK of
networks with kinks at order n^-1/2, docs/theory.md (5.52)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are used

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.composite import tensor
from analysis.theory.differentials import twice
from analysis.theory.gaussian import Expectations
from analysis.theory.layer import Layer
from analysis.theory.recursion import Flow


@dataclass(frozen=True)
class Hidden:
    """The tensors p, r and s of docs/theory.md (5.34) of one hidden layer l, [a, b, c, d], at some layer M >= l."""

    p: Array
    r: Array
    s: Array


def kernel_movement(hidden: Hidden, first: Array, squares: Array, mixed: Array) -> Array:
    """n E[g(l)_ab(t) - g(l)_ab(0)] of the layer l whose tensors at layer L these are, docs/theory.md (5.36): (D, D).

    first, squares, mixed (N, N): the averages of docs/theory.md (5.28) that `Cumulants` holds, summed over outputs.
    """
    t = slice(None, len(first))
    moved = np.einsum("abjc,jc->ab", hidden.p[:, :, t, t], first)
    moved += np.einsum("abjk,jk->ab", hidden.r[:, :, t, t], squares) / 2
    return np.asarray(moved + np.einsum("abjk,jk->ab", hidden.s[:, :, t, t], mixed))


def hidden_tensors(
    flow: Flow,
    activation: str | Activation,
    C_b: float,
    C_W: float,
    lambda_W: Sequence[float],
    width_ratios: Sequence[float] | None = None,
    points: int | None = None,
) -> dict[int, Hidden]:
    """The tensors p, r and s of the kernels of layers 2 to L, carried up to layer L: docs/theory.md (5.34) and (5.35).

    lambda_W: of every layer. width_ratios: n_l / n_{l-1} for l = 1..L-1; None means one width. points: see `flow`.
    Raises ValueError for a flow without the tensors Theta, B, F, P and Q, and for a kinked activation.
    """
    s = named(activation)
    if s.kinked:
        raise ValueError(f"activation={s.name}: hidden kernels move as predicted for smooth activations only")
    started: dict[int, Hidden] = {}
    ratios = [1.0] * (len(flow.K) - 1) if width_ratios is None else width_ratios
    for below in range(len(flow.K) - 1):
        expectations = Expectations(s, flow.K[below], points)
        here = Layer(expectations, C_b, C_W, 0.0, float(lambda_W[below + 1]), float(ratios[below]))
        Theta, B, F, P, Q = (tensor(flow, name, below) for name in ("Theta", "B", "F", "P", "Q"))
        started = {layer: _carried(here, Theta, hidden) for layer, hidden in started.items()}
        started[below + 2] = _start(here, Theta, B, F, P, Q, tensor(flow, "F", below + 1))
    return started


def _start(here: Layer, Theta: Array, B: Array, F: Array, P: Array, Q: Array, F_above: Array) -> Hidden:
    """p, r and s of a layer at the layer itself, docs/theory.md (5.34). F_above: F of this layer; all else is of the
    layer below."""
    M11, M20 = here.M(1, 1), here.M(2, 0)
    p = np.einsum("dcba->abcd", F_above) + np.einsum("dcab->abcd", F_above)
    r = np.einsum("abcd,ac,ad->abcd", here.E(2, 0, 1, 1), Theta, Theta)
    r += np.einsum("abcd,ac,bd->abcd", here.E(1, 1, 1, 1), Theta, Theta)
    r += here.rho * (np.einsum("cd,ab,aacd->abcd", M11, M20, B) + np.einsum("cd,ab,acda->abcd", M11, M20, P))
    r += here.rho * (np.einsum("cd,ab,abcd->abcd", M11, M11, B) + np.einsum("cd,ab,acdb->abcd", M11, M11, P))
    s = np.einsum("cd,abcd,ac->abcd", Theta, here.E(1, 0, 2, 1), Theta)
    s += here.rho * np.einsum("cd,acbd->abcd", Theta, twice(F, M20, M11, here.M(3, 1), here.M(2, 2)))
    s += here.rho * (np.einsum("cd,ab,cdaa->abcd", M11, M20, Q) + np.einsum("cd,ab,cdab->abcd", M11, M11, Q))
    square = here.C_W**2
    return Hidden(p, square * (r + r.swapaxes(0, 1)), here.lambda_W / here.C_W * p + square * (s + s.swapaxes(0, 1)))


def _carried(here: Layer, Theta: Array, below: Hidden) -> Hidden:
    """p, r and s of a hidden layer one layer further up, docs/theory.md (5.35)."""
    M11 = here.M(1, 1)
    same = np.einsum("abcc->abc", below.p)
    p = here.rho * here.C_W * (np.einsum("cd,abc->abcd", here.M(2, 0), same) + M11 * below.p)
    bent = np.einsum("cd,abc->abcd", here.M(3, 1), same) + here.M(2, 2) * below.p
    s = here.lambda_W / here.C_W * p + here.rho * here.C_W * (Theta * bent + M11 * below.s)
    return Hidden(p, here.rho * here.C_W * M11 * below.r, s)


def kinked_movement(
    flow: Flow, activation: str | Activation, C_W: float, target: float, learnt: float
) -> tuple[float, float]:
    """sqrt(n) E[H(t) - H(0)] as n grows, and what it would be for slopes 1 and 0: docs/theory.md (5.52).

    flow: K and Theta of one input and two layers, C_W that of the second. target: of the input. learnt: the share
    1 - a_t of its error that is learnt at infinite width. The first is zero for smooth activations. Raises ValueError
    for other flows, and for slopes of which one is negative, at which neurons stay at the kink.
    """
    s = named(activation)
    if flow.Theta is None or flow.K.shape != (2, 1, 1):
        raise ValueError(f"flow: K and Theta of two layers and one input are needed, got K of shape {flow.K.shape}")
    (first, size), (Theta_1, Theta) = flow.K[:, 0, 0], flow.Theta[:, 0, 0]
    normal = target / math.sqrt(2 * size)
    error = math.sqrt(2 * size / math.pi) * math.exp(-(normal**2))  # E |z(0) - y|, with the next line
    error += target * float(scipy.special.erf(normal))
    of_unit = -(Theta_1**2) * C_W**1.5 * error * learnt / (Theta * math.pi * math.sqrt(first))
    if not s.kinked or s.slopes is None:
        return 0.0, of_unit
    plus, minus = s.slopes
    if min(plus, minus) < 0:
        raise ValueError(f"activation={s.name}: slopes >= 0 are needed, got {plus:g} and {minus:g}")
    return (plus + minus) * (plus - minus) ** 2 * of_unit, of_unit
