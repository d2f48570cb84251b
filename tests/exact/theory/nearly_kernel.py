"""The end of training at order 1/n in closed form: docs/theory.md (5.9) to (5.21), to which the loop over steps of
`analysis.theory.order_n` is compared.

Tensors are those of the last layer of a `flow`; the first N of D samples are trained on. b runs over all samples, other
indices over the train ones. Loss = 1/2 sum (z - y)^2.
"""

import functools

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.composite import last, tensor
from analysis.theory.recursion import Flow

MOST_TRAINED = 6  # the cost grows as N^6

sum_over = functools.partial(np.einsum, optimize=True)


def trained_mean_pieces(flow: Flow, targets: Array, eta: float) -> dict[str, Array]:
    """The five pieces of n_{L-1} (E z_ib(T) - Theta_bt h y_i) at order 1/n, docs/theory.md (5.16) to (5.20).

    They are made of the sums of docs/theory.md (5.11) to (5.15), and each is projected as in docs/theory.md (5.21) and
    has shape (D, n_L). targets: (N, n_L). eta: the step of gradient
    descent to zero loss; 0 is gradient flow. Raises ValueError for more than MOST_TRAINED train samples, an eta at
    which descent diverges, or a flow without the tensors.
    """
    N, n_L = targets.shape
    if N > MOST_TRAINED:
        raise ValueError(f"targets: {N} train samples; the cost grows as their sixth power, at most {MOST_TRAINED}")
    Theta, K = last(flow, "Theta"), last(flow, "K")[:N, :N]
    T2 = Theta[:N, :N]
    largest = np.linalg.eigvalsh(T2)[-1]
    if eta * largest >= 2:
        raise ValueError(f"eta={eta}: gradient descent converges only below 2 / lambda_max = {2 / largest:.4g}")
    h, y = np.asarray(np.linalg.inv(T2), dtype=np.float64), targets.T
    A, B, P, Q, R, S, T, U = (last(flow, name) for name in "ABPQRSTU")
    X2, X3 = _inverses(T2, eta)
    Y1, Y2, Y3, Y4 = _sums(h, X2, X3)
    # The four Z of docs/theory.md (5.14).
    Z_IA = -Y3 - eta / 2 * Y4
    Z_IB = Z_IA - eta / 2 * Y1 - eta**2 / 6 * X3
    Z_IIA = -Y3
    # The first three terms are -Y3[jkl,mnp] - Y3[kjl,nmp] - Y3[jlk,mpn].
    Z_IIB = -Y3 - Y3.transpose(1, 0, 2, 4, 3, 5) - Y3.transpose(0, 2, 1, 3, 5, 4) - eta * (Y4 + Y1)
    # Gam_i[m;n,p] is -E[e0 e0 e0] contracted, docs/theory.md (5.15).
    spread = y.T @ y + n_L * K
    Gam = sum_over("im,np->imnp", y, spread) + sum_over("in,pm->imnp", y, K) + sum_over("ip,mn->imnp", y, K)
    t = slice(None, N)
    pieces = {
        "Theta1": sum_over("bk,kl,il->ib", last(flow, "Theta1")[:, t], h, y),  # docs/theory.md (5.16)
        "fluctuation": -sum_over("bklm,kl,mn,in->ib", A[:, t, t, t], h, h, y)  # docs/theory.md (5.17)
        - sum_over("blkm,kl,mn,in->ib", B[:, t, t, t], h, h, y)
        - n_L * sum_over("bmkl,kl,mn,in->ib", B[:, t, t, t], h, h, y),
        "dH": _first(P, Q, h, Y2, y, n_L, t),
        "ddI": _ddI(R, Z_IA, Z_IB, Gam, t),
        "ddII": _ddII(S, T, U, Z_IIA, Z_IIB, Gam, t),
    }
    M = Theta[:, :N] @ h
    return {name: (m - m[:, :N] @ M.T).T for name, m in pieces.items()}  # docs/theory.md (5.21)


def trained_mean(flow: Flow, targets: Array, eta: float) -> Array:
    """The shift n_{L-1} (E z_b(T) - infinite width) at order 1/n, docs/theory.md (5.21): (D, n_L).

    It vanishes on train samples. Arguments and errors are those of `trained_mean_pieces`.
    """
    return np.asarray(sum(trained_mean_pieces(flow, targets, eta).values()))


def _inverses(T: Array, eta: float) -> tuple[Array, Array]:
    """X2[k,l,m,n] and X3[j,k,l,m,n,p] are sums over time of two and three factors of (1 - eta T); docs/theory.md (5.11)
    to (5.13) use them."""
    values, vectors = np.linalg.eigh(T)
    a, b = values[:, None], values[None, :]
    two = 1 / (a + b - eta * a * b)
    a, b, c = (values.reshape(shape) for shape in ((-1, 1, 1), (1, -1, 1), (1, 1, -1)))
    three = 1 / (a + b + c - eta * (a * b + b * c + a * c) + eta**2 * a * b * c)
    v = vectors
    X2 = sum_over("ka,lb,ab,ma,nb->klmn", v, v, two, v, v)
    X3 = sum_over("ja,kb,lc,abc,ma,nb,pc->jklmnp", v, v, v, three, v, v, v)
    return np.asarray(X2), np.asarray(X3)


def _sums(h: Array, X2: Array, X3: Array) -> tuple[Array, Array, Array, Array]:
    """Y1, Y2, Y3 and Y4 are those of docs/theory.md (5.11) to (5.13)."""
    Y2 = sum_over("km,ln->klmn", h, h) - sum_over("lp,kpmn->klmn", h, X2)
    Y1 = sum_over("jkmn,lp->jklmnp", X2, h) - sum_over("lq,jkqmnp->jklmnp", h, X3)
    Y4 = sum_over("jm,klnp->jklmnp", h, X2) - sum_over("klqr,jqrmnp->jklmnp", X2, X3)
    Y3 = (
        sum_over("jm,kn,lp->jklmnp", h, h, h)
        - sum_over("kq,jqmn,lp->jklmnp", h, X2, h)
        - sum_over("jm,lq,kqnp->jklmnp", h, h, X2)
        + sum_over("li,kiqr,jqrmnp->jklmnp", h, X2, X3)
    )
    return Y1, Y2, Y3, Y4


def _first(P: Array, Q: Array, h: Array, Y2: Array, y: Array, n_L: int, t: slice) -> Array:
    """The piece of the dNTK is docs/theory.md (5.18), before its projection."""
    straight = P[:, t, t, t] + Q[:, t, t, t]
    swapped = n_L * Q[:, t, t, t]  # Q_blkm
    Pk, Qk = P[t, :, t, t], Q[t, :, t, t]  # P_kb.., Q_kb..
    Qkl = Q[t, t, :, t]  # Q_klb.
    return np.asarray(
        -sum_over("bklm,km,ln,in->ib", straight, h, h, y)
        - sum_over("blkm,km,ln,in->ib", swapped, h, h, y)
        - sum_over("kblm,klmn,in->ib", n_L * Pk + Qk, Y2, y)
        - sum_over("klbm,klmn,in->ib", Qkl, Y2, y)
        - sum_over("kbln,klmn,im->ib", Pk + n_L * Qk, Y2, y)
        - sum_over("klbn,klmn,im->ib", Qkl, Y2, y)
    )


def _ddI(R: Array, Z_IA: Array, Z_IB: Array, Gam: Array, t: slice) -> Array:
    """The piece of the first ddNTK is docs/theory.md (5.19), before its projection."""
    Rb = R[:, t, t, t]
    return np.asarray(
        -sum_over("bjkl,jklmnp,imnp->ib", Rb, Z_IB, Gam)
        - sum_over("bjkl,kljnpm,imnp->ib", Rb, Z_IB, Gam)
        - sum_over("bjkl,ljkpmn,imnp->ib", Rb, Z_IB, Gam)
        - sum_over("jbkl,jklmnp,imnp->ib", R[t, :, t, t], Z_IA, Gam)
        - sum_over("jklb,jklnpm,imnp->ib", R[t, t, t, :], Z_IA, Gam)
        - sum_over("jlbk,jklpmn,imnp->ib", R[t, t, :, t], Z_IA, Gam)
    )


def _ddII(S: Array, T: Array, U: Array, Z_IIA: Array, Z_IIB: Array, Gam: Array, t: slice) -> Array:
    """The piece of the second ddNTK is docs/theory.md (5.20), before its projection."""
    return np.asarray(
        -sum_over("bjkl,jklmnp,imnp->ib", S[:, t, t, t], Z_IIB, Gam)
        - sum_over("bjkl,ljkpmn,imnp->ib", T[:, t, t, t], Z_IIB, Gam)
        - sum_over("bjkl,kljnpm,imnp->ib", U[:, t, t, t], Z_IIB, Gam)
        - sum_over("jkbl,jklnpm,imnp->ib", S[t, t, :, t], Z_IIA, Gam)
        - sum_over("jblk,jklmnp,imnp->ib", T[t, :, t, t], Z_IIA, Gam)
        - sum_over("jlkb,jklpmn,imnp->ib", U[t, t, t, :], Z_IIA, Gam)
    )


# ------------------------------------------------------------------------------------------- the NTK


def ntk_change_of_flow(flow: Flow, target: float, layer: int = -1) -> float:
    """The change n E[H(T) - H(0)] of one output in a gradient flow to the end on one sample, docs/theory.md (5.9).

    Raises ValueError for a flow without the tensors K, Theta and P to U.
    """
    value = {name: float(np.ravel(tensor(flow, name, layer))[0]) for name in ("K", "Theta", *"PQRSTU")}
    first = -2 * (value["P"] + 2 * value["Q"]) / value["Theta"]
    curvature = 3 * value["R"] + 2 * (value["S"] + value["T"] + value["U"])
    second = curvature * (value["K"] + target**2) / value["Theta"] ** 2
    return first + second


def ntk_change_of_step(flow: Flow, targets: Array, eta: float) -> Array:
    """The change n E[H_ab(1) - H_ab(0)] of one output in one step of gradient descent, docs/theory.md (5.10): (D, D).

    targets: (N, 1). Raises ValueError for a flow without the tensors K and P to U.
    """
    N = len(targets)
    P, Q, R, S, T, U = (last(flow, name) for name in "PQRSTU")
    t, y = slice(None, N), targets[:, 0]
    second = last(flow, "K")[:N, :N] + np.multiply.outer(y, y)
    linear = (
        sum_over("abcc->ab", P[:, :, t, t]) + sum_over("abcc->ab", Q[:, :, t, t]) + sum_over("acbc->ab", Q[:, t, :, t])
    )
    three = triple(R)[:, :, t, t]
    both = paired(S, T, U)[:, :, t, t]
    curved = sum_over("abcd,cd->ab", three, second)
    mixed = sum_over("abcd,cd->ab", both, second)
    return np.asarray(-eta * (linear + linear.T) + eta**2 / 2 * (curved + curved.T + 2 * mixed))


def triple(R: Array) -> Array:
    """R3_abcd of docs/theory.md (5.10) is R_abcd + R_acdb + R_adbc."""
    return np.asarray(R + R.transpose(0, 3, 1, 2) + R.transpose(0, 2, 3, 1))


def paired(S: Array, T: Array, U: Array) -> Array:
    """C_abcd of docs/theory.md (5.10) is S_abcd + T_acdb + U_adbc."""
    return np.asarray(S + T.transpose(0, 3, 1, 2) + U.transpose(0, 2, 3, 1))
