"""The log evidence of a network and the means of its outputs given targets, to first order in what the normals of each
layer add to its kernel at infinite width: docs/theory.md (16.5) and (16.6).

These linear parts have mean zero at every width. D counts samples, N train samples, which come first, n_L outputs, and
parts are in one order: that of log w, then those of the means, outputs before samples, 1 + n_L D in all.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.bayes import Given
from analysis.theory.recursion import flow
from analysis.theory.vertex import averages, pulled, pulled_back


def weight_forms(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    inputs: ArrayLike,
    targets: ArrayLike,
    noise: float,
) -> Array:
    """X(l) at layers l = 2..L, (L - 1, 1 + n_L D, D, D), of docs/theory.md (16.12): the linear part of each number is
    sum_l X(l).c(l) with c of docs/theory.md (16.6). X(L) is Phi/2 of docs/theory.md (16.7), and
    (r_b a_i^T + a_i r_b^T)/2.

    inputs: (D, n_0). targets: (N, n_L). noise: the variance of a target. Raises ValueError as `posterior` does for the
    noise.
    """
    s, x, y = named(activation), np.asarray(inputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    K = flow(s, depth, C_b, C_W, x, tensors=("K",)).K
    given = Given.of(K[-1], y, noise)
    of_means = np.einsum("ip,bq->ibpq", given.a, given.r).reshape(-1, len(x), len(x))
    X = np.concatenate([given.Phi[None], of_means + of_means.swapaxes(1, 2)]) / 2
    return np.array(pulled(averages(s, K, C_W, x), X))


def weight_covariances(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    inputs: ArrayLike,
    targets: ArrayLike,
    noise: float,
    width_ratios: Sequence[float] | None = None,
    points: int | None = None,
) -> Array:
    """n times the covariance of the linear part of log w with each part, (1 + n_L D,), n the width of the last hidden
    layer, by pull-back: v1 of docs/theory.md (16.5), and (1/2) r_b^T (V Phi) a_i of
    docs/theory.md (16.10).

    Arguments as of `weight_forms`. points: 2^12 or more if None, which for 50 to 100 digits give v1 within a few per
    cent. Raises ValueError as `posterior` does for the noise.
    """
    s, x, y = named(activation), np.asarray(inputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if depth == 1:
        return np.zeros(1 + y.shape[1] * len(x))
    enough = 2 ** max(12, math.ceil(math.log2(4 * len(x))))
    vertex = pulled_back(s, depth, C_b, C_W, x, width_ratios, points or enough)
    given = Given.of(vertex.K[-1], y, noise)
    V_Phi = vertex.learned(given.Phi)[-1]
    of_means = given.a @ V_Phi @ given.r.T / 2
    return np.concatenate([[np.sum(given.Phi * V_Phi) / 4], of_means.ravel()])


def weight_variance(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    inputs: ArrayLike,
    targets: ArrayLike,
    noise: float,
    width_ratios: Sequence[float] | None = None,
    points: int | None = None,
) -> float:
    """v1 of docs/theory.md (16.5) alone, n times the variance of the log evidence over networks.

    inputs: (N, n_0) of the N train samples. Other arguments and errors are those of `weight_covariances`.
    """
    return float(weight_covariances(activation, depth, C_b, C_W, inputs, targets, noise, width_ratios, points)[0])
