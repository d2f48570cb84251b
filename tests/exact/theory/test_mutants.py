"""Six wrong theories once passed every claim; here each changes a number of an independent recursion.

The reference iterates docs/theory.md in its other form: derivatives of an average over neurons are moments with the
inverse kernel (Stein's lemma, docs/theory.md (1.4)), by a product rule of Gauss-Hermite nodes. Inputs have unequal norm
and angle, hidden widths are n, 2n, n, rates differ between layers, and C_b > 0.
"""

import itertools

import numpy as np
import pytest

from analysis import theory
from analysis.estimators import Array
from benchmarks.mutants import THEORIES, mutated

X = np.array([[0.9, -0.4], [1.1, 1.3]])
C_B, C_W, RATIOS = 0.2, 0.7, (1.0, 2.0, 0.5)
LAMBDA_B, LAMBDA_W = (0.3, 0.9, 0.5, 1.3), (1.2, 0.6, 1.5, 0.8)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(12)  # exact for the polynomials below
TENSORS = ("K", "Theta", "V", "G1", "F")
ACTIVATION = "expression(z+z**2/4)"


def s(z: Array) -> Array:
    return np.asarray(z + z**2 / 4)


def slope(z: Array) -> Array:
    return np.asarray(1 + z / 2)


class Average:
    """Averages over two normals of covariance K; functions are given by their values at the nodes."""

    def __init__(self, K: Array):
        grid = np.stack(np.meshgrid(NODES, NODES, indexing="ij")).reshape(2, -1)
        self.K, self.inverse = K, np.linalg.inv(K)
        self.weight = np.outer(WEIGHTS, WEIGHTS).reshape(-1) / WEIGHTS.sum() ** 2
        self.z = np.linalg.cholesky(K) @ grid
        self.s, self.slope, self.dual = s(self.z), slope(self.z), self.inverse @ self.z

    def of(self, f: Array) -> float:
        return float(self.weight @ f)

    def first(self, f: Array) -> Array:
        """<d_p f>, (2,)"""
        return self.dual @ (self.weight * f)

    def second(self, f: Array) -> Array:
        """<d_p d_q f>, (2, 2)"""
        return np.einsum("pm,qm,m->pq", self.dual, self.dual, self.weight * f) - self.inverse * self.of(f)

    def fourth(self, f: Array) -> Array:
        """<d_p d_q d_r d_s f>, (2, 2, 2, 2), with the Hermite polynomial of fourth order."""
        u, weight, Q = self.dual, self.weight * f, self.inverse
        pairs = np.einsum("pm,qm,m->pq", u, u, weight)
        out = np.einsum("pm,qm,rm,sm,m->pqrs", u, u, u, u, weight)
        for one, other in (("pq", "rs"), ("pr", "qs"), ("ps", "qr")):
            out -= np.einsum(f"{one},{other}->pqrs", Q, pairs) + np.einsum(f"{one},{other}->pqrs", pairs, Q)
            out += np.einsum(f"{one},{other}->pqrs", Q, Q) * self.of(f)
        return np.asarray(out)


def step(old: dict[str, Array], layer: int) -> dict[str, Array]:
    """Layer `layer` + 1 from layer `layer`, counted from 1: docs/theory.md (1.1), (1.5), (1.6), (2.3) and (2.8)."""
    at, rho, pairs = Average(old["K"]), RATIOS[layer - 1], list(itertools.product(range(2), repeat=2))
    means, slopes, maps, curves = (np.zeros((2,) * k) for k in (2, 2, 4, 6))
    for a, b in pairs:
        product = at.s[a] * at.s[b]
        means[a, b], slopes[a, b] = at.of(product), at.of(at.slope[a] * at.slope[b])
        maps[a, b], curves[a, b] = C_W / 2 * at.second(product), at.fourth(product)
    mixed = np.array([[at.first(at.s[a] * at.slope[c]) for c in range(2)] for a in range(2)])  # [a, c, p]
    source_V, source_F = np.zeros((2,) * 4), np.zeros((2,) * 4)
    for (a, b), (c, d) in itertools.product(pairs, pairs):
        source_V[a, b, c, d] = at.of(at.s[a] * at.s[b] * at.s[c] * at.s[d]) - means[a, b] * means[c, d]
        source_F[a, c, b, d] = at.of(at.s[a] * at.s[b] * at.slope[c] * at.slope[d]) * old["Theta"][c, d]
    flow_V = np.einsum("abpq,cdrs,pqrs->abcd", maps, maps, old["V"])
    flow_G1 = np.einsum("abpq,pq->ab", maps, old["G1"]) + C_W / 8 * np.einsum("abpqrs,pqrs->ab", curves, old["V"])
    flow_F = C_W**2 * np.einsum("acp,bdq,pcqd->acbd", mixed, mixed, old["F"])
    return {
        "K": C_B + C_W * means,
        "Theta": LAMBDA_B[layer] + LAMBDA_W[layer] * means + C_W * slopes * old["Theta"],
        "V": C_W**2 * source_V + rho * flow_V,
        "G1": rho * flow_G1,
        "F": C_W**2 * source_F + rho * flow_F,
    }


@pytest.fixture(scope="module")
def reference() -> dict[str, Array]:
    """The tensors of layers 1 to 4, each stacked over layers."""
    squares = X @ X.T / 2
    zero = np.zeros((2,) * 4)
    layers = [{"K": C_B + C_W * squares, "Theta": LAMBDA_B[0] + LAMBDA_W[0] * squares, "V": zero, "F": zero}]
    layers[0]["G1"] = np.zeros((2, 2))
    for layer in (1, 2, 3):
        layers.append(step(layers[-1], layer))
    return {name: np.stack([tensors[name] for tensors in layers]) for name in TENSORS}


def deviation(reference: dict[str, Array]) -> dict[str, float]:
    """By tensor: the largest deviation of the theory from the reference, relative to the largest component."""
    flow = theory.flow(ACTIVATION, 4, C_B, C_W, X, LAMBDA_B, LAMBDA_W, RATIOS, tensors=TENSORS)
    return {name: float(np.abs(flow[name] - want).max() / np.abs(want).max()) for name, want in reference.items()}


def test_the_right_theory_is_the_reference(reference: dict[str, Array]) -> None:
    """Also after a mutant."""
    with mutated("1/rho for rho"):
        pass
    assert max(deviation(reference).values()) < 1e-8


# The tensors that each mutant moves.
MOVED = {
    "X_aa and X_bb exchanged in L_ab": {"V", "G1"},
    "<s_b s''_d> transposed in F": {"F"},
    "1/rho for rho": {"V", "G1", "F"},
    "rates of layer l for those of l + 1": {"Theta", "F"},
    "C_b dropped above layer 1": {"K", "Theta", "V", "G1", "F"},
    "4 V_aabb + 2 V_abab in the quartic contraction": {"G1"},
}


@pytest.mark.parametrize("mutant", THEORIES)
def test_a_wrong_theory_is_not(mutant: str, reference: dict[str, Array]) -> None:
    """Each mutant moves its tensors by more than 1 % of the largest component and leaves the others alone."""
    with mutated(mutant):
        moved = deviation(reference)
    assert {name for name, by in moved.items() if by > 0.01} == MOVED[mutant]
    assert {name for name, by in moved.items() if by > 1e-8} == MOVED[mutant]
