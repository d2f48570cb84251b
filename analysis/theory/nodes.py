"""Training by any loss at order 1/n: an average over nodes of the outputs at the start, docs/theory.md (5.37) and
(5.38).

Joint indices are those of `composite`: i, c and d run over P, j, k, l and m over the P_t train ones. M is the number of
nodes. The dynamics at a node are those of the P_t errors at infinite width; what differs at order 1/n is integrated in
the same loop.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported when they are used

from analysis.stages import Stage
from analysis.theory.activations import Array
from analysis.theory.composite import Initial
from analysis.theory.cumulants import Cumulants, ntk_change
from analysis.theory.losses import LossDerivatives
from analysis.theory.path import along

MOST_AXES = 4  # train axes of a grid; more are sampled
POLYNOMIAL = 4  # nodes of an axis of a test output, in which all is a polynomial of degree six at most


class _State(NamedTuple):
    """Sums over steps at each node, docs/theory.md (5.24) and (5.28), and what the sums a answer at order 1/n.

    a (M, P_t). b (M, P_t, P_t). cubic (M, P). shift (M, P_t, j, l): the answer of a to one unit of H_jl. to_H, to_dH,
    to_dd (M, P_t): the answer to the mean of H and two of its fluctuations, to dH, and to ddI and ddII.
    """

    a: Array
    b: Array
    cubic: Array
    shift: Array
    to_H: Array
    to_dH: Array
    to_dd: Array


def nodes(K: Array, train: Array, count: int, seed: int = 0) -> tuple[Array, Array]:
    """Nodes z (M, P) and weights (M,) of averages over z ~ N(0, K), docs/theory.md (5.38).

    count: nodes of each train axis of a tensor Gauss-Hermite rule; with more than MOST_AXES of them, 2^count points of
    a scrambled Sobol sequence in all P dimensions and their negatives, drawn with `seed`, which have exactly the
    covariance K. Raises ValueError where K is singular, which the nodes of outputs at the start cannot tell apart.
    """
    P = len(K)
    order = np.concatenate([train, np.setdiff1d(np.arange(P), train)])
    try:
        C = np.linalg.cholesky(K[np.ix_(order, order)])
    except np.linalg.LinAlgError:
        raise ValueError("inputs: the kernel of the last layer is singular; two inputs may be parallel") from None
    axes = [np.polynomial.hermite_e.hermegauss(n) for n in [count] * len(train) + [POLYNOMIAL] * (P - len(train))]
    if len(train) > MOST_AXES:
        xi = scipy.special.ndtri(scipy.stats.qmc.Sobol(P, seed=seed).random_base2(count))
        xi = np.concatenate([xi, -xi])
        xi = np.linalg.solve(np.linalg.cholesky(xi.T @ xi / len(xi)), xi.T).T
        axes, first, share = [], xi, np.full(len(xi), 1 / len(xi))
    else:
        first, share = np.zeros((1, 0)), np.ones(1)
    for places, masses in axes:
        first = np.concatenate([np.repeat(first, len(places), axis=0), np.tile(places, len(first))[:, None]], axis=1)
        share = np.repeat(share, len(places)) * np.tile(masses / masses.sum(), len(share))
    z = np.empty_like(first)
    z[:, order] = first @ C.T
    return z, share


def by_nodes(
    start: Initial,
    train: Array,
    y: Array,
    loss: LossDerivatives,
    etas: Array,
    steps: Sequence[int],
    stages: Sequence[Stage],
    count: int,
    weights: Callable[[int], Array] | None = None,
) -> Iterator[Cumulants]:
    """The cumulants after each of the steps, which ascend, docs/theory.md (5.38), with arguments as those of
    `responses.responses`.

    y: (N, n_L). The third and the fourth cumulant are None: the law at infinite width is not a Gaussian.
    """
    run = _Run(start, train, y, loss, count)

    def gradient(x: Sequence[Array], step: int) -> _State:
        return run.gradient(_State(*x), np.ones(len(train)) if weights is None else weights(step))

    return (run.observed(_State(*x)) for x in along(run.zero(), gradient, etas, steps, stages))


class _Run:
    """The nodes of a run, and the tensors at order 1/n given the outputs at each of them, docs/theory.md (5.38)."""

    def __init__(self, start: Initial, train: Array, y: Array, loss: LossDerivatives, count: int) -> None:
        t = train
        self.start, self.train, self.y, self.loss = start, t, y, loss
        self.z, self.share = nodes(start.K, t, count)
        inverse = np.asarray(np.linalg.inv(start.K), np.float64)
        self.kappa = self.z @ inverse  # K^-1 z, the first Hermite tensor
        second = self.kappa[:, :, None] * self.kappa[:, None, :] - inverse
        h = start.Theta1[:, t] + np.tensordot(second, start.kz[..., t], axes=2) / 2
        self.h = h  # (M, i, j)
        self.dH = np.tensordot(self.kappa, start.kd[:, t][:, :, t], axes=([1], [3]))  # (M, i, j, k): kd_{ijk,c}
        self.dH_first = np.tensordot(self.kappa, start.kd[t][:, :, t], axes=([1], [3])).transpose(0, 2, 1, 3)
        density = np.tensordot(second, start.G1, axes=2) / 2 + self._fourth_hermite(inverse) / 24
        self.density = self._of_exact_moments(density, second, inverse)
        self.kH = start.kH[:, t][..., t]  # [i, j, k, l] with k any
        self.I_first = start.I[t][:, :, t][:, :, :, t].transpose(1, 0, 2, 3)  # I_{jikl} as [i, j, k, l]
        self.I_straight = start.I[:, t][:, :, t][:, :, :, t]
        self.II_first = start.II[t][:, t][:, :, :, t].transpose(2, 0, 1, 3)  # II_{jkil} as [i, j, k, l]
        self.II_straight = start.II[:, t][:, :, t][:, :, :, t].transpose(0, 2, 1, 3)  # II_{ikjl} as [i, j, k, l]

    def _of_exact_moments(self, density: Array, second: Array, inverse: Array) -> Array:
        """The density (M,) with the mean zero and the second moments G1 that it has; a grid gives it both, but points
        miss them by the noise of the fourth Hermite tensor."""
        upper = np.triu_indices(len(inverse))
        q = second[:, upper[0], upper[1]]
        q = q - self.share @ q
        missed = (inverse @ self.start.G1 @ inverse)[upper] - (self.share * density) @ q
        density = density + q @ np.linalg.solve(q.T @ (self.share[:, None] * q), missed)
        return np.asarray(density - self.share @ density)

    def _fourth_hermite(self, inverse: Array) -> Array:
        """k4 contracted with the fourth Hermite tensor of N(0, K): (M,)."""
        k4, x = self.start.k4, self.kappa
        quartic = np.einsum("cdef,mc,md,me,mf->m", k4, x, x, x, x, optimize=True)
        pairs = np.einsum("cdef,cd->ef", k4, inverse)
        return np.asarray(
            quartic - 6 * np.einsum("ef,me,mf->m", pairs, x, x) + 3 * np.einsum("ef,ef->", pairs, inverse)
        )

    def zero(self) -> _State:
        M, P, N = len(self.z), len(self.start.K), len(self.train)
        one = np.zeros((M, N))
        return _State(one, np.zeros((M, N, N)), np.zeros((M, P)), np.zeros((M, N, N, N)), one, one, one)

    def outputs(self, x: _State) -> Array:
        """z(t) at each node, (M, P), at infinite width."""
        return np.asarray(self.z + x.a @ self.start.Theta[self.train])

    def sources(self, x: _State) -> tuple[Array, Array, Array]:
        """What is added to z_i at fixed sums a: by H, by dH, and by ddI and ddII, (M, P) each."""
        by_H = np.einsum("mij,mj->mi", self.h, x.a)
        by_H += np.tensordot(x.shift, self.kH[:, :, self.train], axes=([1, 2, 3], [1, 2, 3]))
        squares = x.a[:, :, None] * x.a[:, None, :]
        by_dH = np.einsum("mijk,mjk->mi", self.dH_first, x.b) + np.einsum("mijk,mjk->mi", self.dH, squares) / 2
        cubes = squares[..., None] * x.a[:, None, None, :]
        by_dd = x.cubic + np.tensordot(cubes, self.I_straight, axes=([1, 2, 3], [1, 2, 3])) / 6
        by_dd += np.tensordot(x.a[:, :, None, None] * x.b[:, None], self.II_straight, axes=([1, 2, 3], [1, 2, 3]))
        return by_H, by_dH, by_dd

    def pairs(self, x: _State) -> Array:
        """The second moments of the outputs' answers to the fluctuations of H, (M, P, P)."""
        t = self.train
        Theta = self.start.Theta[:, t]
        inner = np.tensordot(x.shift, self.kH[:, :, t], axes=([2, 3], [2, 3]))  # (M, a, i, j): answer of a_k
        once = np.einsum("ka,maij->mkij", Theta, inner)  # (M, k, i, j)
        once += np.einsum("ijkl,ml->mkij", self.kH, x.a)
        pairs = np.einsum("mkij,mj->mki", once, x.a)
        answer = np.einsum("mkij,maij->mka", once[:, :, t], x.shift, optimize=True)
        return np.asarray(pairs + answer @ Theta.T)

    def gradient(self, x: _State, weight: Array) -> _State:
        """The increments G of docs/theory.md (5.24), and those of the answers."""
        t, N = self.train, len(self.train)
        Theta = self.start.Theta[np.ix_(t, t)]
        z = self.outputs(x)[:, t]
        slope, curvature, third = self._loss(z)
        e = weight * slope
        by_H, by_dH, by_dd = (source[:, t] for source in self.sources(x))
        curved = np.einsum("mjkl,mkl->mj", third, self.pairs(x)[:, t[:, None], t]) / 2

        def driven(change: Array, source: Array, more: Array | float = 0.0) -> Array:
            return np.asarray(weight * (np.einsum("mjk,mk->mj", curvature, change @ Theta + source) + more))

        unit = np.einsum("ki,mj->mkij", np.eye(N), x.a)
        moved = np.tensordot(x.shift, Theta, axes=([1], [1])).transpose(0, 3, 1, 2) + unit
        cubes = e[:, :, None, None] * x.a[:, None, :, None] * x.a[:, None, None, :]
        cubic = np.tensordot(cubes, self.I_first, axes=([1, 2, 3], [1, 2, 3])) / 2
        cubic += np.tensordot(e[:, :, None, None] * x.b[:, None], self.II_first, axes=([1, 2, 3], [1, 2, 3]))
        return _State(
            a=e,
            b=e[:, :, None] * x.a[:, None, :],
            cubic=cubic,
            shift=weight[:, None, None] * np.einsum("mjk,mkab->mjab", curvature, moved),
            to_H=driven(x.to_H, by_H, curved),
            to_dH=driven(x.to_dH, by_dH),
            to_dd=driven(x.to_dd, by_dd),
        )

    def _loss(self, z: Array) -> tuple[Array, Array, Array]:
        """The slope, curvature and third derivative of the loss in the P_t joint train outputs (M, P_t)."""
        N, outputs = self.y.shape
        by_sample = z.reshape(len(z), outputs, N).swapaxes(1, 2)
        loss, same = self.loss, np.eye(N)
        slope = loss.slope(by_sample, self.y).swapaxes(1, 2).reshape(z.shape)
        two = np.einsum("maij,ab->miajb", loss.curvature(by_sample, self.y), same)
        three = np.einsum("maijk,ab,ac->miajbkc", loss.third(by_sample, self.y), same, same)
        P_t = N * outputs
        return slope, two.reshape(-1, P_t, P_t), three.reshape(-1, P_t, P_t, P_t)

    def observed(self, x: _State) -> Cumulants:
        """Averages over the nodes, docs/theory.md (5.38)."""
        t, share = self.train, self.share
        z = self.outputs(x)
        pieces = [
            source + change @ self.start.Theta[t]
            for source, change in zip(self.sources(x), (x.to_H, x.to_dH, x.to_dd), strict=True)
        ]
        errors = np.stack([share @ np.asarray(sum(pieces[k:])) for k in range(3)] + [np.zeros(len(self.start.K))])
        change = np.asarray(sum(pieces))
        weight = share * self.density
        mean, mean1 = share @ z, weight @ z + errors[0]
        law = np.einsum("m,mi,mj->ij", weight, z, z)
        shifted = np.outer(mean, weight @ z)
        crossed = np.einsum("m,mi,mj->ij", share, z, change) - np.outer(mean, errors[0])
        moved = np.einsum("m,mij->ij", share, self.pairs(x)) + crossed + crossed.T
        at_start = law - shifted - shifted.T
        first = np.einsum("m,mk,mc->kc", share, x.a, self.kappa[:, t])
        squares = np.einsum("m,mk,ml->kl", share, x.a, x.a)
        mixed = np.einsum("m,mkl->kl", share, x.b)
        return Cumulants(
            mean=mean,
            mean1=mean1,
            covariance=np.einsum("m,mi,mj->ij", share, z - mean, z - mean),
            covariance1=at_start + moved,
            frozen_covariance1=at_start,
            third=None,
            fourth=None,
            taylor_errors=errors,
            ntk_change=ntk_change(self.start, t, first, squares, mixed),
            first=first,
            squares=squares,
            mixed=mixed,
        )
