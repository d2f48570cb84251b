"""Contractions of the four-point vertex V with symmetric matrices, exactly for a few samples, by pull-back for many.

Posterior corrections contain V only between matrices, docs/theory.md (16.7) to (16.11). A matrix at layer L has one
equivalent at each layer below, so that V is a sum over layers of covariances of quadratic forms, docs/theory.md
(16.12). D counts samples, L layers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.theory.activations import Activation, Array
from analysis.theory.gaussian import Expectations, gaussian_points
from analysis.theory.layer import Layer
from analysis.theory.recursion import flow

Indices = NDArray[np.intp]
AT_A_TIME = 2**22  # so many numbers of a product are held in memory


class Vertex(Protocol):
    """K, G1 and contractions of V of layer L, docs/theory.md (16.12)."""

    @property
    def K(self) -> Array:
        """(L, D, D), of docs/theory.md (1.1)."""

    @property
    def G1(self) -> Array:
        """(L, D, D), of docs/theory.md (1.2)."""

    def learned(self, X: Array) -> Array:
        """C(l)X of docs/theory.md (16.9) at layers l = 2..L for a symmetric X (D, D), (L - 1, D, D), each in units of
        1/n_{l-1}; the last one is V X."""

    def roots(self) -> Iterator[Array]:
        """Symmetric matrices J_k (some, D, D), a part of them at a time, with V_(ab)(cd) = sum_k J_k,ab J_k,cd,
        docs/theory.md (16.12)."""


@dataclass(frozen=True)
class Averages:
    """The pair averages of one step from layer l to l + 1 at all samples, (D, D)."""

    C_W: float
    slopes: Array  # <s'_a s'_b>
    bends: Array  # <s''_a s_b>

    def push(self, X: Array) -> Array:
        """L_ab[X] of docs/theory.md (1.4), X (..., D, D)."""
        of_a = self.bends * np.einsum("...aa->...a", X)[..., None]
        return self.C_W / 2 * (of_a + 2 * self.slopes * X + of_a.swapaxes(-1, -2))

    def pull(self, X: Array) -> Array:
        """The transpose of `push`, of docs/theory.md (16.12), X (..., D, D)."""
        out: Array = self.C_W * self.slopes * X
        diagonal = np.einsum("...aa->...a", out)
        diagonal += self.C_W * np.einsum("...ac,ac->...a", X, self.bends)
        return out


def averages(s: Activation, K: Array, C_W: float, inputs: Array) -> list[Averages]:
    """Those of the steps to layers 2..L, docs/theory.md (1.4), from the kernels K (L, D, D) of inputs of which some may
    be equal."""
    first, which = _distinct(inputs)
    at = np.ix_(which, which)
    found = []
    for kernel in K[:-1, first][:, :, first]:
        expectations = Expectations(s, kernel)
        found.append(Averages(C_W, expectations.tensor(1, 1)[at], expectations.tensor(2, 0)[at]))
    return found


def pulled(steps: Sequence[Averages], X: Array) -> list[Array]:
    """The equivalents at layers 2..L of matrices X (..., D, D) at layer L, docs/theory.md (16.12)."""
    out = [X]
    for step in reversed(steps[1:]):
        out.append(step.pull(out[-1]))
    return out[::-1]


@dataclass(frozen=True)
class ExactVertex:
    """A `Vertex` from all elements of V, by quadrature: for up to about four samples."""

    K: Array
    G1: Array
    V: Array
    steps: Sequence[Averages]

    def learned(self, X: Array) -> Array:
        """C(l)X, docs/theory.md (16.9)."""
        below = pulled(self.steps, X)
        return np.array([np.einsum("abcd,cd->ab", V, Y) for V, Y in zip(self.V[1:], below, strict=True)])

    def roots(self) -> Iterator[Array]:
        """The eigenvectors of V of layer L, docs/theory.md (16.12)."""
        D = self.K.shape[1]
        squares, vectors = np.linalg.eigh(self.V[-1].reshape(D**2, D**2))
        yield (vectors * np.sqrt(np.maximum(squares, 0.0))).T.reshape(-1, D, D)

    def maps(self, pairs: Sequence[tuple[int, ...]]) -> list[Array]:
        """L of docs/theory.md (1.4) as matrices (p, p) on the elements X_ab of p sample pairs, a <= b: of the steps
        from layers 1, .., L - 1."""
        D, found = self.K.shape[1], []
        for step in self.steps:
            columns = []
            for a, b in pairs:
                X = np.zeros((D, D))
                X[a, b] = X[b, a] = 1.0
                pushed = step.push(X)
                columns.append([pushed[pair] for pair in pairs])
            found.append(np.array(columns).T)
        return found

    def crossed(self, pairs: Sequence[tuple[int, ...]]) -> list[Array]:
        """C(l, L) of docs/theory.md (16.9) between sample pairs, (p, p), at layers l = 2..L."""
        maps, found = self.maps(pairs), []
        for layer in range(2, len(self.K) + 1):
            C = np.array([[self.V[(layer - 1, *one, *other)] for other in pairs] for one in pairs])
            for step in maps[layer - 1 :]:
                C = C @ step.T
            found.append(C)
        return found


@dataclass(frozen=True)
class PulledBack:
    """A `Vertex` from averages over points, which takes no memory of order D^4.

    signals: s at the points of layers 1..L-1, (points, D) each. ratios: rho_l of the steps.
    """

    K: Array
    G1: Array
    steps: Sequence[Averages]
    signals: Sequence[Array]
    ratios: Sequence[float]

    def learned(self, X: Array) -> Array:
        """C(l)X: each layer adds the covariance of its own signals with the pulled-back form, docs/theory.md (16.9)
        and (16.12)."""
        out = []
        total = np.zeros_like(X)
        for layer, Y in enumerate(pulled(self.steps, X)):
            s, step = self.signals[layer], self.steps[layer]
            form = ((s @ Y) * s).sum(axis=1)
            own = step.C_W**2 / len(s) * (s * (form - form.mean())[:, None]).T @ s
            total = own + self.ratios[layer] * step.push(total)
            out.append(total)
        return np.array(out)

    def roots(self) -> Iterator[Array]:
        """C_W s s^T less its mean at each point of each layer, taken up to layer L, docs/theory.md (16.12)."""
        weight, D = 1.0, self.K.shape[1]
        size = max(1, AT_A_TIME // D**2)
        for layer in reversed(range(len(self.steps))):
            s, C_W = self.signals[layer], self.steps[layer].C_W
            scale, mean = C_W * np.sqrt(weight / len(s)), s.T @ s / len(s)
            for start in range(0, len(s), size):
                part = s[start : start + size]
                J = scale * (part[:, :, None] * part[:, None, :] - mean)
                for step in self.steps[layer + 1 :]:
                    J = step.push(J)
                yield J
            weight *= self.ratios[layer]


def exact_vertex(
    s: Activation, depth: int, C_b: float, C_W: float, inputs: Array, ratios: Sequence[float] | None
) -> ExactVertex:
    """V, G1 and K by the quadrature of `flow`, docs/theory.md (1.5) and (1.6)."""
    found = flow(s, depth, C_b, C_W, inputs, width_ratios=ratios, tensors=("K", "G1", "V"))
    assert found.G1 is not None
    assert found.V is not None
    return ExactVertex(found.K, found.G1, found.V, averages(s, found.K, C_W, inputs))


def pulled_back(
    s: Activation, depth: int, C_b: float, C_W: float, inputs: Array, ratios: Sequence[float] | None, points: int
) -> PulledBack:
    """K exactly, and G1 and the forms by so many quasi-random points, a power of two, docs/theory.md (16.12).

    G1 needs V on pairs of samples alone, docs/theory.md (1.6).
    """
    K = flow(s, depth, C_b, C_W, inputs, width_ratios=ratios, tensors=("K",)).K
    first, which = _distinct(inputs)
    rho = [1.0] * (depth - 1) if ratios is None else [float(ratio) for ratio in ratios]
    distinct = K[:, first][:, :, first]
    at, G1, pairs = np.ix_(which, which), [np.zeros_like(distinct[0])], _Pairs.zero(len(first))
    signals = []
    for layer in range(depth - 1):
        here = Layer(Expectations(s, distinct[layer]), C_b, C_W, 0.0, 0.0, rho[layer])
        G1.append(rho[layer] * (here.L(G1[-1]) + C_W / 8 * here.fourth_of_pairs(0, *pairs.arrays)))
        values = s(gaussian_points(distinct[layer], points))
        pairs = pairs.next(here, values)
        signals.append(values[:, which])
    return PulledBack(K, np.array(G1)[:, at[0], at[1]], averages(s, K, C_W, inputs), signals, rho)


def _distinct(inputs: Array) -> tuple[Indices, Indices]:
    """The index of one row for each distinct one, and for each row the number of its distinct one."""
    _, first, which = np.unique(inputs, axis=0, return_index=True, return_inverse=True)
    return first.astype(np.intp), which.reshape(-1).astype(np.intp)


@dataclass(frozen=True)
class _Pairs:
    """The elements of V that have two samples: V_(aa)(aa) (D,), then V_(aa)(ab), V_(aa)(bb), V_(ab)(ab), (D, D)."""

    arrays: tuple[Array, Array, Array, Array]

    @classmethod
    def zero(cls, D: int) -> "_Pairs":
        return cls((np.zeros(D), np.zeros((D, D)), np.zeros((D, D)), np.zeros((D, D))))

    def next(self, here: Layer, s: Array) -> "_Pairs":
        """Those of the next layer, docs/theory.md (1.5), from signals s (points, D)."""
        aaaa, aaab, aabb, abab = self.arrays
        weight = here.C_W**2 / len(s)
        square = s * s
        centred = square - square.mean(axis=0)
        mean = s.T @ s / len(s)
        of_aaab, of_aabb = weight * (centred * s).T @ s, weight * centred.T @ centred
        of_abab = weight * square.T @ square - (here.C_W * mean) ** 2
        chi = here.C_W * np.diagonal(here.M(1, 1) + here.M(2, 0))
        # L_ab has these coefficients of X_aa, X_ab and X_bb.
        c = [here.C_W / 2 * here.M(2, 0), here.C_W * here.M(1, 1), here.C_W / 2 * here.M(0, 2)]
        of_first = c[0] * aaaa[:, None] + c[1] * aaab + c[2] * aabb  # L_ab on the second pair of V_(aa)(..)
        of_middle = c[0] * aaab + c[1] * abab + c[2] * aaab.T
        of_last = c[0] * aabb + c[1] * aaab.T + c[2] * aaaa
        rho = here.rho
        return _Pairs(
            (
                np.diagonal(of_aabb) + rho * chi**2 * aaaa,
                of_aaab + rho * chi[:, None] * of_first,
                of_aabb + rho * np.outer(chi, chi) * aabb,
                of_abab + rho * (c[0] * of_first + c[1] * of_middle + c[2] * of_last),
            )
        )
