"""One training run at infinite width, and what it answers to all that differs at order 1/n: docs/theory.md (5.24),
(5.25) and (5.28).

Everything is a map on the initial errors e0 = z(0) - y of the train samples, because the loss is 1/2 sum (z - y)^2.
Joint indices are those of `composite`: i runs over P, all other letters over the P_t train ones.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analysis.stages import Stage
from analysis.theory.activations import Array
from analysis.theory.composite import Initial
from analysis.theory.path import along


class State(NamedTuple):
    """Sums over the steps made, docs/theory.md (5.24) and (5.28), and the answers of the sum a of errors to sources.

    alpha: a_j = alpha[j, m] e0_m. beta: b_jk = beta[j, k, m, n] e0_m e0_n. cubic: I_{jikl} c_jkl + II_{jkil} d_jkl as
    [i, m, n, p]. The change of a_k under a source that is [i, ...] in z_i: shift [k, m, i, j] for one unit of H_ij,
    twice [k, m] for two fluctuations of H, bent [k, m, n, c] for dH, curved [k, m, n, p] for ddI and ddII.
    """

    alpha: Array
    beta: Array
    cubic: Array
    shift: Array
    twice: Array
    bent: Array
    curved: Array


@dataclass(frozen=True)
class Responses:
    """What the outputs after some step answer, docs/theory.md (5.28); i is any joint index, m, n and p are train ones.

    A [i, c]: z_i(t) = A z(0) + a constant, c any. a [k, m]: alpha. b [j, k, m, n]: beta. shift [k, m, j, l]: see
    `State`. two [i, m]: l2. q [i, m, n, c] and s [i, m, n, p]: symmetric in m, n and p.
    """

    Theta: Array  # (P, P_t)
    train: Array  # (P_t,) the train indices
    A: Array
    a: Array
    b: Array
    shift: Array
    two: Array
    q: Array
    s: Array

    def moved(self, h: Array) -> Array:
        """l[h] of docs/theory.md (5.28), [..., i, m], for changes h [..., i, j] of H, i and j any."""
        to_train = h[..., self.train]
        inside = np.tensordot(to_train[..., self.train, :], self.shift, axes=([-2, -1], [2, 3]))  # [..., k, m]
        return to_train @ self.a + self.Theta @ inside


def responses(
    start: Initial,
    train: Array,
    etas: Array,
    steps: Sequence[int],
    stages: Sequence[Stage],
    weights: Callable[[int], Array] | None = None,
) -> Iterator[Responses]:
    """The responses after each of the steps, which ascend, docs/theory.md (5.28).

    train: the joint indices of the train samples, (P_t,). etas: of each step. weights: how much each train
    index counts in the loss of a step, (P_t,); None for the full batch. The cost of a step grows as P P_t^5, and the
    memory as P P_t^3.
    """
    run = _Run(start, train)

    def gradient(x: Sequence[Array], step: int) -> State:
        return run.gradient(State(*x), np.ones(len(train)) if weights is None else weights(step))

    return (run.observed(State(*x)) for x in along(run.zero(), gradient, etas, steps, stages))


class _Run:
    """The tensors of a run, with the axes over train indices cut out."""

    def __init__(self, start: Initial, train: Array) -> None:
        """start: of all joint indices. train: those that are trained on."""
        t = train
        self.train, self.P, self.P_t = t, len(start.K), len(t)
        self.Theta = start.Theta[:, t]
        self.kH = start.kH[:, t][:, :, t][:, :, :, t]  # [i, j, k, l]
        self.I_first = start.I[t][:, :, t][:, :, :, t].transpose(1, 0, 2, 3)  # I_{jikl} as [i, j, k, l]
        self.I_straight = start.I[:, t][:, :, t][:, :, :, t]  # I_{ijkl}
        self.II_first = start.II[t][:, t][:, :, :, t].transpose(2, 0, 1, 3)  # II_{jkil} as [i, j, k, l]
        self.II_straight = start.II[:, t][:, :, t][:, :, :, t].transpose(0, 2, 1, 3)  # II_{ikjl} as [i, j, k, l]
        self.kd_first = start.kd[t][:, :, t].transpose(1, 3, 0, 2)  # kd_{jik,c} as [i, c, j, k]
        self.kd_straight = start.kd[:, t][:, :, t].transpose(0, 3, 1, 2)  # kd_{ijk,c} as [i, c, j, k]

    def zero(self) -> State:
        """The state before the first step."""
        P, N = self.P, self.P_t
        two, four = np.zeros((N, N)), np.zeros((N, N, N, N))
        return State(two, four, np.zeros((P, N, N, N)), four, two, np.zeros((N, N, N, P)), four)

    def sources(self, x: State) -> tuple[Array, Array, Array]:
        """What is added to z_i at fixed sums a by two fluctuations of H [i, m], by dH [i, m, n, c], and by ddI and
        ddII [i, m, n, p], docs/theory.md (5.28)."""
        a, b = x.alpha, x.beta
        two = np.tensordot(self.kH, x.shift, axes=([1, 2, 3], [0, 2, 3]))
        bent = np.tensordot(self.kd_first, b, axes=2) + _along(self.kd_straight, a, a) / 2  # [i, c, m, n]
        II_b = np.tensordot(self.II_straight, b, axes=2)  # [i, j, n, p]
        curved = x.cubic + _along(self.I_straight, a, a, a) / 6 + np.einsum("ijnp,jm->imnp", II_b, a)
        return two, bent.transpose(0, 2, 3, 1), curved

    def gradient(self, x: State, weight: Array) -> State:
        """The increments G of docs/theory.md (5.24) and those of the responses; weight: of each train index."""
        a, b, N = x.alpha, x.beta, self.P_t
        Theta = self.Theta[self.train]
        e = weight[:, None] * (np.eye(N) + Theta @ a)  # e_j = e[j, m] e0_m
        two, bent, curved = (source[self.train] for source in self.sources(x))
        II_b = np.tensordot(self.II_first, b, axes=2)  # [i, j, n, p]

        def driven(change: Array, source: Array) -> Array:
            """A source moves outputs, and these move the sum of errors further."""
            errors = np.tensordot(Theta, change, axes=1) + source
            return np.asarray(weight.reshape(-1, *[1] * (errors.ndim - 1)) * errors)

        return State(
            alpha=e,
            beta=np.einsum("jm,kn->jkmn", e, a),
            cubic=_along(self.I_first, e, a, a) / 2 + np.einsum("ijnp,jm->imnp", II_b, e),
            shift=driven(x.shift, np.einsum("ki,jm->kmij", np.eye(N), a)),
            twice=driven(x.twice, two),
            bent=driven(x.bent, bent),
            curved=driven(x.curved, curved),
        )

    def observed(self, x: State) -> Responses:
        """What the outputs answer where the sums are these."""
        two, bent, curved = self.sources(x)
        A = np.eye(self.P)
        A[:, self.train] += self.Theta @ x.alpha
        q = np.tensordot(self.Theta, x.bent, axes=1) + bent
        s = np.tensordot(self.Theta, x.curved, axes=1) + curved
        s = (s + s.transpose(0, 2, 3, 1) + s.transpose(0, 3, 1, 2)) / 3
        return Responses(
            Theta=self.Theta,
            train=self.train,
            A=A,
            a=x.alpha,
            b=x.beta,
            shift=x.shift,
            two=self.Theta @ x.twice + two,
            q=(q + q.swapaxes(1, 2)) / 2,
            s=(s + s.swapaxes(2, 3)) / 2,
        )


def _along(tensor: Array, *maps: Array) -> Array:
    """Each of the last axes of the tensor is contracted with the first axis of a map; their second axes follow in the
    order of the maps."""
    for turned in maps:
        tensor = np.tensordot(tensor, turned, axes=([tensor.ndim - len(maps)], [0]))
    return tensor
