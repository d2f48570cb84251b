"""The flow of kernel, metric, NTK and four-point vertex with depth, for any activation and inputs.

Equations by their numbers in docs/theory.md, which names the chapters of PDLT (arXiv:2106.10165): kernel (1.1),
four-point vertex (1.5), metric correction (1.6), susceptibilities (1.7), (1.8), frozen NTK (2.3).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.gaussian import four_point, pair_moments

TENSORS = ("K", "Theta", "G1", "V")


@dataclass(frozen=True)
class Flow:
    """Tensors of order one and 1/n; first axis l - 1, then sample indices. Dimensionless.

    A tensor of order 1/n with label l multiplies 1/n_{l-1} in the physical cumulant; in layer 1 it is 0.
    What was not asked for is None.
    """

    K: Array  # (L, D, D) infinite-width kernel
    chi_parallel: Array  # (L, D) susceptibility of a kernel, layer l to l + 1
    chi_perp: Array  # (L, D) susceptibility of a difference of inputs
    Theta: Array | None  # (L, D, D) frozen NTK
    G1: Array | None  # (L, D, D) E[z_a z_b] = K + G1 / n
    V: Array | None  # (L, D, D, D, D) V[l-1, a, b, c, d] = V_(ab)(cd)


def _layerwise(name: str, value: ArrayLike, depth: int) -> Array:
    out = np.asarray(value, dtype=np.float64)
    if out.ndim > 1 or (out.ndim == 1 and len(out) != depth) or not np.all(np.isfinite(out)) or np.any(out < 0):
        raise ValueError(f"{name}={value!r}: a number >= 0, or one for each of the {depth} layers")
    return np.broadcast_to(out, (depth,))


def _distinct(inputs: Array) -> tuple[Array, NDArray[np.intp]]:
    """The distinct rows of `inputs` and for each row the number of its distinct one."""
    rows, which = np.unique(inputs, axis=0, return_inverse=True)
    return rows, which.reshape(-1).astype(np.intp).astype(np.intp)


def flow(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    inputs: ArrayLike,
    lambda_b: ArrayLike = 0.0,
    lambda_W: ArrayLike = 1.0,
    width_ratios: Sequence[float] | None = None,
    tensors: Iterable[str] = TENSORS,
) -> Flow:
    """Iterate the recursions from layer 1 to layer `depth`.

    activation: a registered name, with parameters where it has them ("leaky_relu(slope=0.1)").
    inputs: (D, n_0). lambda_b, lambda_W: a number, or one a layer. width_ratios: n_l / n_{l-1} for
    l = 1..L-1 (the first never matters); None means one width.
    tensors: which of K, Theta, G1, V to compute; V costs D^4/24 four-dimensional integrals a layer.

    Accuracy: 1e-9 relative for smooth activations, and for one or two distinct inputs of kinked ones;
    three and four distinct inputs of kinked ones reach 1e-8 where no two are closer than 0.99 in
    correlation (`tests/exact/test_gaussian.py`).

    Raises ValueError for an unknown activation or tensor, a depth below 1, inputs that are not a finite
    (D, n_0) array, rates or ratios of the wrong length, and for G1 where it diverges (parallel
    inputs of a kinked activation).
    """
    s = named(activation)
    x = np.asarray(inputs, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape or not np.all(np.isfinite(x)):
        raise ValueError(f"inputs: a finite array of shape (D, n_0), got shape {x.shape}")
    if depth < 1:
        raise ValueError(f"depth={depth}: at least 1 layer of weights")
    wanted = set(tensors)
    if unknown := wanted - set(TENSORS):
        raise ValueError(f"tensors: unknown {sorted(unknown)}; known are {TENSORS}")
    lambdas_b, lambdas_W = _layerwise("lambda_b", lambda_b, depth), _layerwise("lambda_W", lambda_W, depth)
    ratios = np.ones(depth - 1) if width_ratios is None else np.asarray(width_ratios, dtype=np.float64)
    if ratios.shape != (depth - 1,) or np.any(ratios <= 0):
        raise ValueError(f"width_ratios={width_ratios!r}: {depth - 1} numbers > 0, n_l / n_(l-1) for l = 1..L-1")
    x, which = _distinct(x)
    D, n_0 = x.shape
    order_n = bool(wanted & {"G1", "V"})

    K = C_b + C_W * (x @ x.T) / n_0
    Theta = lambdas_b[0] + lambdas_W[0] * (x @ x.T) / n_0
    G1 = np.zeros((D, D))
    V = np.zeros((D, D, D, D)) if order_n else None
    layers = []
    for layer in range(depth):
        M = pair_moments(s, K)
        diagonal = np.einsum("ijaa->ija", M)
        chi_perp = C_W * diagonal[1, 1]
        layers.append((K, C_W * (diagonal[1, 1] + diagonal[2, 0]), chi_perp, Theta, G1, V))
        if layer == depth - 1:
            break
        rho = ratios[layer]
        if V is not None:
            if "G1" in wanted:
                G1 = rho * (_linearised(C_W, M, G1) + C_W / 8 * _fourth(M, V))
                if not np.all(np.isfinite(G1)):
                    raise ValueError(f"G1 diverges for {s.name} at parallel inputs: its kink meets in one place")
            FF = M[0, 0][:, :, None, None] * M[0, 0]
            LV = _linearised(C_W, M, _linearised(C_W, M, V).transpose(2, 3, 0, 1))
            V = C_W**2 * (four_point(s, K) - FF) + rho * LV.transpose(2, 3, 0, 1)
        Theta = lambdas_b[layer + 1] + lambdas_W[layer + 1] * M[0, 0] + C_W * M[1, 1] * Theta
        K = C_b + C_W * M[0, 0]

    def stack(k: int, samples: int) -> Array:
        out: Array = np.stack([np.asarray(layer[k]) for layer in layers])
        for axis in range(1, samples + 1):
            out = np.take(out, which, axis=axis)
        return out

    return Flow(
        K=stack(0, 2),
        chi_parallel=stack(1, 1),
        chi_perp=stack(2, 1),
        Theta=stack(3, 2) if "Theta" in wanted else None,
        G1=stack(4, 2) if "G1" in wanted else None,
        V=stack(5, 4) if "V" in wanted else None,
    )


def _linearised(C_W: float, M: Array, X: Array) -> Array:
    """L_ab[X] on the last two axes of X (theory.md 1.4), the first-order change of K' under K -> K + X."""
    diagonal = np.einsum("...aa->...a", X)
    return C_W / 2 * (M[2, 0] * diagonal[..., :, None] + 2 * M[1, 1] * X + M[0, 2] * diagonal[..., None, :])


def _fourth(M: Array, V: Array) -> Array:
    """sum_pqrs V_(pq)(rs) <d_p d_q d_r d_s (s_a s_b)> (theory.md 1.6); p, q, r, s run over a and b."""
    aaaa = np.einsum("aaaa->a", V)
    aaab, aabb, abab = np.einsum("aaab->ab", V), np.einsum("aabb->ab", V), np.einsum("abab->ab", V)
    return (
        aaaa[:, None] * M[4, 0]
        + 4 * aaab * M[3, 1]
        + (2 * aabb + 4 * abab) * M[2, 2]
        + 4 * aaab.T * M[1, 3]
        + aaaa[None, :] * M[0, 4]
    )
