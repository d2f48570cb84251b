"""Cumulants of trained outputs and the movement of the NTK at order 1/n, docs/theory.md (5.29) to (5.33).

Indices are the joint ones of `composite`; train ones are contracted with mu = -y, the mean of e0 = z(0) - y.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.composite import Initial
from analysis.theory.responses import Responses


@dataclass(frozen=True)
class Cumulants:
    """Outputs z(t) after one step: (P,), (P, P), .. of all joint indices. What ends in 1, third and fourth are
    coefficients of 1/n.

    frozen_covariance1 (P, P): the part of covariance1 that networks of the frozen kernel have, from the law of z(0).
    taylor_errors (4, P): n E[z - model] of the frozen, the linear, the quadratic and the cubic model, docs/theory.md
    (5.8). ntk_change (P, P): n E[H(t) - H(0)]. first, squares, mixed (P_t, P_t), of docs/theory.md (5.28): the mean
    slope of a_j in z_m(0), <a_j a_k> and <b_jk>.
    """

    mean: Array
    mean1: Array
    covariance: Array
    covariance1: Array
    frozen_covariance1: Array
    third: Array | None
    fourth: Array | None
    taylor_errors: Array
    ntk_change: Array
    first: Array
    squares: Array
    mixed: Array


def cumulants(start: Initial, r: Responses, y: Array, full: bool = True) -> Cumulants:
    """All of them for the targets y (P_t,) of the train indices, docs/theory.md (5.29) to (5.33); without the third and
    the fourth where it is not `full`."""
    t, mu = r.train, -y
    K = start.K[np.ix_(t, t)]
    S = K + np.outer(y, y)  # <e0_m e0_n>
    k = (start.K @ r.A.T)[t]  # k[m, j] = Cov(e0_m, z_j(t))
    drift = r.moved(start.Theta1) + r.two  # [i, m]
    bent = 2 * np.einsum("icmc->im", r.q[..., t])
    pairs = _pairs(start.kH, r)  # [i, m, j, n] = sum over r of w_r l[h^r]_im l[h^r]_jn
    moved_kz = r.moved(start.kz)  # [c, d, j, m]
    squares, mixed = r.a @ S @ r.a.T, np.tensordot(r.b, S, axes=2)
    s_mean = np.einsum("imnp,m,n,p->i", r.s, mu, mu, mu) + 3 * np.einsum("imnp,m,np->i", r.s, mu, K)
    mean1 = (drift + bent) @ mu + s_mean
    return Cumulants(
        mean=r.Theta @ (r.a @ mu),
        mean1=mean1,
        covariance=r.A @ start.K @ r.A.T,
        frozen_covariance1=r.A @ start.G1 @ r.A.T,
        covariance1=_second(start, r, S, k, drift + bent, pairs, moved_kz),
        third=_third(r, mu, k, pairs, moved_kz) if full else None,
        fourth=_fourth(start, r, k, pairs, moved_kz) if full else None,
        taylor_errors=np.stack([mean1, bent @ mu + s_mean, s_mean, np.zeros_like(s_mean)]),
        ntk_change=ntk_change(start, t, r.a, squares, mixed),
        first=r.a,
        squares=squares,
        mixed=mixed,
    )


def _pairs(kH: Array, r: Responses) -> Array:
    """The response of two outputs to the fluctuations of H is r.moved on either pair of indices of kH."""
    once = r.moved(kH.transpose(2, 3, 0, 1))  # [k, l, i, m]
    return r.moved(once.transpose(2, 3, 0, 1)).copy()  # [i, m, k, n]


def _second(start: Initial, r: Responses, S: Array, k: Array, linear: Array, pairs: Array, mixed: Array) -> Array:
    """docs/theory.md (5.30); linear [i, m] collects what acts on e0 by one map."""
    t = r.train
    X = linear @ k
    X += np.einsum("ic,cdjd->ij", r.A, mixed[:, t])
    X += r.A @ np.einsum("jmnc,mn->cj", r.q, S)
    X += 3 * np.einsum("imnp,np->im", r.s, S) @ k
    return np.asarray(r.A @ start.G1 @ r.A.T + np.einsum("imjn,mn->ij", pairs, S) + X + X.T)


def _third(r: Responses, mu: Array, k: Array, pairs: Array, mixed: Array) -> Array:
    """docs/theory.md (5.31)"""
    total = np.einsum("ic,jd,cdk->ijk", r.A, r.A, mixed @ mu, optimize=True) / 2
    total += np.einsum("imjn,m,nk->ijk", pairs, mu, k, optimize=True)
    total += 2 * np.einsum("ic,jmnc,m,nk->ijk", r.A, r.q, mu, k, optimize=True)
    total += 3 * np.einsum("imnp,m,nj,pk->ijk", r.s, mu, k, k, optimize=True)
    return _over_permutations(total)


def _fourth(start: Initial, r: Responses, k: Array, pairs: Array, mixed: Array) -> Array:
    """docs/theory.md (5.32)"""
    total = np.einsum("cdef,ic,jd,ke,lf->ijkl", start.k4, r.A, r.A, r.A, r.A, optimize=True) / 24
    total += np.einsum("ic,jd,cdkm,ml->ijkl", r.A, r.A, mixed, k, optimize=True) / 2
    total += np.einsum("imkn,mj,nl->ijkl", pairs, k, k, optimize=True) / 2
    total += np.einsum("ic,jmnc,mk,nl->ijkl", r.A, r.q, k, k, optimize=True)
    total += np.einsum("imnp,mj,nk,pl->ijkl", r.s, k, k, k, optimize=True)
    return _over_permutations(total)


def _over_permutations(tensor: Array) -> Array:
    """The sum over all orders of the indices."""
    return np.asarray(sum(tensor.transpose(order) for order in permutations(range(tensor.ndim))))


def ntk_change(start: Initial, train: Array, first: Array, squares: Array, mixed: Array) -> Array:
    """The movement n E[H(t) - H(0)] of docs/theory.md (5.33), (P, P), the mean of that of docs/theory.md (5.26), for
    the averages that `Cumulants` holds."""
    t = train
    one = np.einsum("ijkc,kc->ij", start.kd[:, :, t][..., t], first)
    one += np.einsum("jkil,kl->ij", start.II[:, t][..., t], mixed)
    one += np.einsum("ijkl,kl->ij", start.I[:, :, t][..., t], squares) / 2
    two = np.einsum("ijkl,kl->ij", start.II[:, :, t][..., t], squares)
    return np.asarray(one + one.T + two)
