"""How the NTK and the kernels of hidden layers move in training at order 1/n: docs/theory.md (5.24) and (5.33) to
(5.36).

One output, one width, and the loss 1/2 sum (z - y)^2; the first N of D samples are trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stages import Stage, stages
from analysis.theory import nearly_kernel
from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.differentials import twice
from analysis.theory.gaussian import Expectations
from analysis.theory.layer import Layer
from analysis.theory.linear_training import Eta, each_eta
from analysis.theory.nearly_kernel import last, paired, tensor, triple
from analysis.theory.recursion import Flow

TENSORS = (*nearly_kernel.TENSORS, "F")  # `flow` has to be asked for these
ALGORITHMS = ("gradient_descent", "momentum", "nesterov", "gradient_flow")


@dataclass(frozen=True)
class Path:
    """What training sums up until a step at infinite width, with e = z - y of N train samples and e0 = e(0).

    first: alpha (N, N) of docs/theory.md (5.28): a_j = alpha_jm e0_m is what the step sizes times -e_j sum up to.
    squares: <a_j a_k>. mixed: <b_jk>, where b_jk sums -e_j a_k.
    """

    first: Array
    squares: Array
    mixed: Array


def path(flow: Flow, targets: Array, eta: Eta, steps: int, algorithm: str, momentum: float = 0.0) -> Path:
    """The path of training of docs/theory.md (5.24) at infinite width, averaged over z(0) as docs/theory.md (5.28) and
    (5.33) say.

    targets: (N, 1). eta: of every step, or of each. momentum: of the algorithms that have one. Raises ValueError for
    another algorithm, for more than one output, or for a flow without K and Theta.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm={algorithm!r}: known are {', '.join(ALGORITHMS)}")
    N, outputs = targets.shape
    if outputs != 1:
        raise ValueError(f"targets: {outputs} outputs; the movement is known for one")
    values, vectors = np.linalg.eigh(last(flow, "Theta")[:N, :N])
    etas = each_eta(eta, steps)
    if algorithm == "gradient_flow":
        a, b = _of_flow(values, float(etas.sum()))
    else:
        a, b = _of_steps(values, etas, stages(algorithm, momentum))
    spread = vectors.T @ (last(flow, "K")[:N, :N] + targets @ targets.T) @ vectors  # <e0 e0> in the eigenbasis
    return Path(
        (vectors * a) @ vectors.T,
        vectors @ (np.outer(a, a) * spread) @ vectors.T,
        vectors @ (b * spread) @ vectors.T,
    )


def _of_steps(values: Array, etas: Array, of_step: Sequence[Stage]) -> tuple[Array, Array]:
    """The recursion of docs/theory.md (5.24) along the eigenvectors of the NTK: a (N,) and b (N, N) over e0."""
    N = len(values)
    a, b, speed_a, speed_b = np.zeros(N), np.zeros((N, N)), np.zeros(N), np.zeros((N, N))
    for eta in etas:
        for stage in of_step:
            ahead = a - eta * stage.look * speed_a
            e = 1 + values * ahead
            speed_a, speed_b = stage.keep * speed_a + e, stage.keep * speed_b + np.outer(e, ahead)
            a, b = a - eta * stage.move * speed_a, b - eta * stage.move * speed_b
    return a, b


def _of_flow(values: Array, time: float) -> tuple[Array, Array]:
    """The integrals of docs/theory.md (5.24): e = exp(-v t), a = -(1 - e)/v, and b sums -e a."""
    p, q = values[:, None], values[None, :]
    a = np.expm1(-values * time) / values
    b = (-np.expm1(-p * time) / p + np.expm1(-(p + q) * time) / (p + q)) / q
    return a, np.asarray(b)


def ntk_movement(flow: Flow, way: Path) -> Array:
    """n E[H_ab(t) - H_ab(0)] of one output, docs/theory.md (5.33): (D, D).

    Raises ValueError for a flow without the tensors P to U.
    """
    t = slice(None, len(way.first))
    P, Q, R, S, T, U = (last(flow, name) for name in "PQRSTU")
    slopes = (P + Q + Q.transpose(0, 2, 1, 3))[:, :, t, t]  # n E dH_abk z_c
    I, II = triple(R), paired(S, T, U)  # n E ddI and n E ddII of one output
    one = np.einsum("abkc,kc->ab", slopes, way.first)
    one += np.einsum("akbl,kl->ab", II[:, t, :, t], way.mixed)
    one += np.einsum("abkl,kl->ab", I[:, :, t, t], way.squares) / 2
    two = np.einsum("abkl,kl->ab", II[:, :, t, t], way.squares)
    return np.asarray(one + one.T + two)


# ------------------------------------------------------------------------------------------- hidden kernels


@dataclass(frozen=True)
class Hidden:
    """The tensors p, r and s of docs/theory.md (5.34) of one hidden layer l, [a, b, c, d], at some layer M >= l."""

    p: Array
    r: Array
    s: Array


def kernel_movement(hidden: Hidden, way: Path) -> Array:
    """n E[g(l)_ab(t) - g(l)_ab(0)] of the layer l whose tensors at layer L these are, docs/theory.md (5.36): (D, D)."""
    t = slice(None, len(way.first))
    moved = np.einsum("abjc,jc->ab", hidden.p[:, :, t, t], way.first)
    moved += np.einsum("abjk,jk->ab", hidden.r[:, :, t, t], way.squares) / 2
    return np.asarray(moved + np.einsum("abjk,jk->ab", hidden.s[:, :, t, t], way.mixed))


def hidden_tensors(
    flow: Flow, activation: str | Activation, C_b: float, C_W: float, lambda_W: Sequence[float]
) -> dict[int, Hidden]:
    """The tensors p, r and s of the kernels of layers 2 to L, carried up to layer L: docs/theory.md (5.34) and (5.35).

    lambda_W: of every layer. Raises ValueError for a flow without the tensors Theta, B, F, P and Q, and for a kinked
    activation.
    """
    s = named(activation)
    if s.kinked:
        raise ValueError(f"activation={s.name}: hidden kernels move as predicted for smooth activations only")
    started: dict[int, Hidden] = {}
    for below in range(len(flow.K) - 1):
        here = Layer(Expectations(s, flow.K[below]), C_b, C_W, 0.0, float(lambda_W[below + 1]), 1.0)
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
    r += np.einsum("cd,ab,aacd->abcd", M11, M20, B) + np.einsum("cd,ab,acda->abcd", M11, M20, P)
    r += np.einsum("cd,ab,abcd->abcd", M11, M11, B) + np.einsum("cd,ab,acdb->abcd", M11, M11, P)
    s = np.einsum("cd,abcd,ac->abcd", Theta, here.E(1, 0, 2, 1), Theta)
    s += np.einsum("cd,acbd->abcd", Theta, twice(F, M20, M11, here.M(3, 1), here.M(2, 2)))
    s += np.einsum("cd,ab,cdaa->abcd", M11, M20, Q) + np.einsum("cd,ab,cdab->abcd", M11, M11, Q)
    square = here.C_W**2
    return Hidden(p, square * (r + r.swapaxes(0, 1)), here.lambda_W / here.C_W * p + square * (s + s.swapaxes(0, 1)))


def _carried(here: Layer, Theta: Array, below: Hidden) -> Hidden:
    """p, r and s of a hidden layer one layer further up, docs/theory.md (5.35)."""
    M11 = here.M(1, 1)
    same = np.einsum("abcc->abc", below.p)
    p = here.C_W * (np.einsum("cd,abc->abcd", here.M(2, 0), same) + M11 * below.p)
    bent = np.einsum("cd,abc->abcd", here.M(3, 1), same) + here.M(2, 2) * below.p
    s = here.lambda_W / here.C_W * p + here.C_W * (Theta * bent + M11 * below.s)
    return Hidden(p, here.C_W * M11 * below.r, s)
