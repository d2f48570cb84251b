"""Bayesian inference with finite-width networks at order 1/n, docs/theory.md section 16.

Targets y of train samples are outputs of a network plus Gaussian noise, and the prior is the ensemble at
initialization. At infinite width the posterior is that of a Gaussian process with kernel K; the coefficients of 1/n
are closed forms in V and G1, and in Theta1, D and F for the NTK. D counts samples, N train samples, n_L outputs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.recursion import flow
from analysis.theory.vertex import Vertex, exact_vertex, pulled_back

EXACT_SAMPLES = 4  # V of more samples is contracted at points
POINTS = 2**15  # the most by default
NUMBERS = 2**26  # about so many elements of kernels, where that is fewer points
SMALLEST = 1e-12  # of the eigenvalues of M, relative to the largest


@dataclass(frozen=True)
class Posterior:
    """The posterior at infinite width and coefficients of 1/n, n the width of the last hidden layer; a quantity X at
    width n is X + X1/n up to order 1/n^2.

    log_evidence: log p(y). evidence_terms1: (4,), the terms of log_evidence1, which may cancel.
    mean: (D, n_L) of outputs. covariance: (D, D) of each output; outputs are independent.
    covariance1: (n_L, D, n_L, D). third1, fourth1: n times the third and fourth cumulant of one output at one sample,
    (D, n_L) and (D,). kernels1: (L - 1, D, D), n_{l-1} ( E g(l) - K(l) ) under the posterior at layers l = 2..L;
    kernel_terms1: (3, L - 1, D, D), the terms of kernels1, which may cancel: G1, that of the targets, and that of M^-1.
    prior_kernels1: the same as kernels1 under the prior, which is G1. ntk1: (n_L, D, n_L, D),
    n ( E H_ij;ab - delta_ij Theta_ab ), or None where no rates were given.
    features_mean1, features_covariance1: (D, n_L) and (n_L, D, n_L, D) of the predictor of ridge regression on the
    last hidden layer of prior networks, whose value at infinite width is mean. train_error, train_error1: (n_L,), its
    squared error summed over train samples. v1: share(n) is exp(-v1/n).
    """

    log_evidence: float
    log_evidence1: float
    evidence_terms1: Array
    mean: Array
    mean1: Array
    covariance: Array
    covariance1: Array
    third1: Array
    fourth1: Array
    kernels1: Array
    kernel_terms1: Array
    prior_kernels1: Array
    ntk1: Array | None
    features_mean1: Array
    features_covariance1: Array
    train_error: Array
    train_error1: Array
    v1: float

    def share(self, n: float) -> float:
        """The forecast of the effective share of networks that are weighted by their evidence, docs/theory.md (16.5):
        right for v1/n < 1, and a lower bound beyond."""
        return math.exp(-self.v1 / n)


def posterior(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    inputs: ArrayLike,
    targets: ArrayLike,
    noise: float,
    lambda_b: ArrayLike | None = None,
    lambda_W: ArrayLike | None = None,
    width_ratios: Sequence[float] | None = None,
    points: int | None = None,
) -> Posterior:
    """The posterior of networks given targets, at infinite width and order 1/n: docs/theory.md (16.7) to (16.16).

    inputs: (D, n_0), train samples first. targets: (N, n_L) or (N,). noise: the variance sigma^2 >= 0 of each target
    about its output. lambda_b, lambda_W: rates as of `flow`; with either the NTK comes along, for up to four samples.
    points: V of up to four samples is computed by quadrature, and that of more is averaged over so many points, a power
    of two (if None, 2^15 for up to 64 samples and 2^13 for 100). Of ten digits at noise 0.1, 2^15 and 2^18 give
    log_evidence1 and covariance1 that differ by 0.6 % and mean1 that differs by 2 %; of a hundred, two sets of 2^13
    points give v1 and log_evidence1 that differ by 1 %, and mean1, which is a small difference of large terms, that
    differs by one. The time grows as points D^3: 7 s for a hundred.

    Raises ValueError for what `flow` refuses, targets that are not finite numbers for 1 to D train samples, a negative
    noise, and a kernel of the train samples that has no inverse at this noise.
    """
    s, x = named(activation), np.asarray(inputs, dtype=np.float64)
    y = np.asarray(targets, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if x.ndim != 2 or y.ndim != 2 or not 1 <= len(y) <= len(x) or not y.shape[1] or not np.all(np.isfinite(y)):
        raise ValueError(f"targets: shape {y.shape}: finite numbers (N, n_L), for 1 to D={len(x)} train samples")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise={noise!r}: a variance, zero or larger")
    if points is None and len(x) <= EXACT_SAMPLES:
        vertex: Vertex = exact_vertex(s, depth, C_b, C_W, x, width_ratios)
    else:
        fewer = 2 ** math.ceil(math.log2(max(NUMBERS / len(x) ** 2, 4 * len(x))))
        vertex = pulled_back(s, depth, C_b, C_W, x, width_ratios, points or min(POINTS, fewer))
    given = Given.of(vertex.K[-1], y, noise)
    ntk1 = None
    if lambda_b is not None or lambda_W is not None:
        rates = 0.0 if lambda_b is None else lambda_b, 1.0 if lambda_W is None else lambda_W
        ntk1 = _ntk1(given, s, depth, C_b, C_W, x, *rates, width_ratios)
    return _posterior(given, vertex, y, noise, ntk1)


@dataclass(frozen=True)
class Given:
    """What the targets say at infinite width, docs/theory.md (16.2) and (16.7), padded by zeros outside the train
    samples.

    a: (n_L, D), M^-1 y. roots: (N, D), with M^-1 = sum_k v_k v_k^T. r: (D, D), its rows are r_b. Phi: (D, D), twice the
    gradient of log p(y|g) at K. S: (D, D), the posterior covariance. log_evidence: psi(K).
    """

    a: Array
    roots: Array
    r: Array
    Phi: Array
    S: Array
    log_evidence: float

    @classmethod
    def of(cls, K: Array, y: Array, noise: float) -> "Given":
        """From K (D, D), y (N, n_L) and noise, docs/theory.md (16.1). Raises ValueError where M has no inverse."""
        D, (N, outputs) = len(K), y.shape
        eigenvalues, vectors = np.linalg.eigh(K[:N, :N] + noise * np.eye(N))
        if not eigenvalues[0] > SMALLEST * eigenvalues[-1]:
            raise ValueError(
                f"noise={noise:g}: the kernel of the {N} train samples has eigenvalues {eigenvalues[0]:.2g} to "
                f"{eigenvalues[-1]:.2g} with it and no inverse; more noise gives it one"
            )
        roots = np.zeros((N, D))
        roots[:, :N] = (vectors / np.sqrt(eigenvalues)).T
        inverse = roots.T @ roots
        a = np.zeros((outputs, D))
        a[:, :N] = y.T @ inverse[:N, :N]
        r = np.eye(D) - K @ inverse
        evidence = -0.5 * np.sum(a[:, :N].T * y) - outputs / 2 * np.sum(np.log(2 * math.pi * eigenvalues))
        # r K r^T + sigma^2 k k^T is S without the cancellation of K - K M^-1 K at small noise.
        k = K @ inverse
        S = r @ K @ r.T + noise * k @ k.T
        return cls(a, roots, r, a.T @ a - outputs * inverse, S, float(evidence))


@dataclass(frozen=True)
class _Contracted:
    """V between matrices, summed over its roots J: V:M^-1 (D, D) of docs/theory.md (16.10); a^T (V:M^-2) a by output
    (n_L,); and the products of r^T J a (n_L, D) and of r_b^T J r_b (D,) with themselves and with each other."""

    V_inverse: Array
    a_twice: Array
    between: Array
    third: Array
    fourth: Array

    @classmethod
    def of(cls, given: Given, vertex: Vertex) -> "_Contracted":
        D, outputs = len(given.r), len(given.a)
        inverse = given.roots.T @ given.roots
        V_inverse, between = np.zeros((D, D)), np.zeros((outputs * D, outputs * D))
        a_twice, third, fourth = np.zeros(outputs), np.zeros((D, outputs)), np.zeros(D)
        for J in vertex.roots():
            of_roots = (J @ given.roots.T).swapaxes(0, 1).reshape(D, -1)
            of_a = J @ given.a.T
            r_a = (given.r @ of_a).swapaxes(1, 2)
            r_r = ((given.r @ J) * given.r).sum(axis=2)
            V_inverse += of_roots @ of_roots.T
            a_twice += ((inverse @ of_a) ** 2).sum(axis=(0, 1))
            between += r_a.reshape(len(J), -1).T @ r_a.reshape(len(J), -1)
            third += np.einsum("kib,kb->bi", r_a, r_r)
            fourth += (r_r**2).sum(axis=0)
        return cls(V_inverse, a_twice, between.reshape(outputs, D, outputs, D), third, fourth)


def _posterior(given: Given, vertex: Vertex, y: Array, noise: float, ntk1: Array | None) -> Posterior:
    """All coefficients, docs/theory.md (16.7) to (16.12), (16.15) and (16.16)."""
    D, outputs = len(vertex.K[-1]), y.shape[1]
    a, r, Phi, G1 = given.a, given.r, given.Phi, vertex.G1[-1]
    learned = vertex.learned(Phi) if len(vertex.K) > 1 else np.zeros((0, D, D))
    of_targets = vertex.learned(a.T @ a) if len(vertex.K) > 1 else learned
    V_Phi = learned[-1] if len(learned) else np.zeros((D, D))
    of_V, inverse = _Contracted.of(given, vertex), given.roots.T @ given.roots
    Phi_V_Phi, v_v = float(np.sum(Phi * V_Phi)), float(np.sum(of_V.V_inverse * inverse))
    a_a = float(np.sum(of_V.V_inverse * (a.T @ a)))
    # Of V_(ab)(cd) Phi_ad M^-1_bc the part of M^-1 is twice the last term, with the other sign.
    terms = np.array([np.sum(Phi * G1) / 2, Phi_V_Phi / 8, (outputs * v_v - a_a) / 2, -outputs / 4 * v_v])
    within = r @ (G1 + V_Phi / 2 - of_V.V_inverse) @ r.T
    features_mean1 = r @ (G1 - of_V.V_inverse) @ a.T
    covariance1 = of_V.between.copy()
    for i in range(outputs):
        covariance1[i, :, i, :] += within
    error1 = 2 * np.einsum("ia,ab,ib->i", a @ inverse, of_V.V_inverse - G1, a) + of_V.a_twice
    return Posterior(
        log_evidence=given.log_evidence,
        log_evidence1=float(terms.sum()),
        evidence_terms1=terms,
        mean=vertex.K[-1] @ a.T,
        mean1=features_mean1 + r @ V_Phi @ a.T / 2,
        covariance=given.S,
        covariance1=covariance1,
        third1=3 * of_V.third,
        fourth1=3 * of_V.fourth,
        kernels1=vertex.G1[1:] + learned / 2,
        kernel_terms1=np.array([vertex.G1[1:], of_targets / 2, (learned - of_targets) / 2]),
        prior_kernels1=vertex.G1[1:],
        ntk1=ntk1,
        features_mean1=features_mean1,
        features_covariance1=of_V.between,
        train_error=noise**2 * np.sum(a**2, axis=1),
        train_error1=noise**2 * error1,
        v1=Phi_V_Phi / 4,
    )


def _ntk1(
    given: Given,
    s: Activation,
    depth: int,
    C_b: float,
    C_W: float,
    x: Array,
    lambda_b: ArrayLike,
    lambda_W: ArrayLike,
    width_ratios: Sequence[float] | None,
) -> Array:
    """The change of the NTK, docs/theory.md (16.13), (n_L, D, n_L, D). ValueError for more than four samples."""
    if len(x) > EXACT_SAMPLES:
        raise ValueError(f"inputs: {len(x)} samples: with lambda_b or lambda_W at most {EXACT_SAMPLES}, for the NTK")
    found = flow(s, depth, C_b, C_W, x, lambda_b, lambda_W, width_ratios, ("Theta1", "D", "F"))
    Theta1, D_, F = found["Theta1"][-1], found["D"][-1], found["F"][-1]
    a, same = given.a, np.eye(len(given.a))
    diagonal = Theta1 + np.einsum("cdab,cd->ab", D_, given.Phi) / 2
    diagonal -= np.einsum("cadb,cd->ab", F, given.roots.T @ given.roots)
    crossed = np.einsum("ic,jd,cadb->iajb", a, a, F)
    return np.asarray(np.einsum("ij,ab->iajb", same, diagonal) + crossed)
