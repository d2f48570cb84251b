"""The neural tangent kernel and its tensors of order 1/n, from per-network rows, docs/theory.md sections 2 and 7.

Two outputs i and j tell the Kronecker structures apart: A and D from equal ones, B and F from distinct ones. All
ordered pairs of distinct outputs give the same number; their average has less noise. In a hidden layer its first
neurons stand for the outputs.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import cast

import numpy as np

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.needs import no_parallel_kinks
from analysis.points import FOUR_POINT_SAMPLES, Point

_beyond_plain = partial(measure, any_widths=True, residual=True, below=(), orthogonal=True)
_at_order_one = partial(_beyond_plain, table="untrained", table_samples=FOUR_POINT_SAMPLES)


@_beyond_plain("ntk_mean", tensor="H", symbol=r"$\mathrm{E}\,H$", families=("H",), table="start")
def ntk_mean(point: Point, layers: Layers) -> Iterator[Measured]:
    """E H_ij;ab -> delta_ij Theta_ab as n grows (docs/theory.md (2.3), PDLT ch. 8)."""
    flow, columns = point.flow(), point.columns("H")
    assert flow.Theta is not None
    for layer in chosen_layers(point, "H", layers):
        Theta = flow.Theta[layer - 1]
        size = np.sqrt(Theta.diagonal())
        yield Measured(
            tensor="H",
            layer=layer,
            step=0,
            samples=[label_of((i, j), (a, b)) for i, j, a, b in columns],
            estimate=estimators.mean(point.read("H", layer)),
            theory=np.array([Theta[a, b] if i == j else 0.0 for i, j, a, b in columns]),
            scale=np.array([size[a] * size[b] for i, j, a, b in columns]),
        )


@_beyond_plain("ntk_variance", tensor="log Var H", symbol=r"$\log\mathrm{Var}\,H$", model="exponent", families=("H",))
def ntk_variance(point: Point, layers: Layers) -> Iterator[Measured]:
    """log Var H_ii;aa: falls as 1/n, so its exponent is 1 (docs/theory.md (2.5), PDLT ch. 8)."""
    columns = [k for k, (i, j, a, b) in enumerate(point.columns("H")) if i == j and a == b]
    tuples = [point.columns("H")[k] for k in columns]
    for layer in chosen_layers(point, "H", layers):
        H = point.read("H", layer)[:, columns]
        yield Measured(
            tensor="log Var H",
            layer=layer,
            step=0,
            samples=[label_of((i, j), (a, b)) for i, j, a, b in tuples],
            estimate=estimators.covariance(H, [(k, k) for k in range(len(columns))]).log(),
            theory=np.ones(len(columns)),
            scale=np.ones(len(columns)),
        )


TENSORS = ("K", "Theta", "G1", "V", "A", "B", "D", "F", "Theta1")
Pairs = list[tuple[int, ...]]


class LayerColumns:
    """The columns of z, H and its differentials at one layer of one point by their full indices, though only one column
    of those that symmetry makes equal is stored."""

    def __init__(self, point: Point, layer: int):
        self.point, self.layer, self.n = point, layer, float(point.widths[layer - 2])
        self.families: dict[str, tuple[Array, dict[tuple[int, ...], int]]] = {}

    def _family(self, prefix: str) -> tuple[Array, dict[tuple[int, ...], int]]:
        if prefix not in self.families:
            at = {index: k for k, index in enumerate(self.point.columns(prefix))}
            self.families[prefix] = self.point.read(prefix, self.layer), at
        return self.families[prefix]

    def column(self, prefix: str, *rows: tuple[int, int]) -> Array:
        """(M,); rows: (output, sample) of each index."""
        values, place = self._family(prefix)
        return values[:, place[self.point.data.family(prefix).canonical(*rows)]]

    def has(self, prefix: str, samples: Sequence[int]) -> bool:
        """Whether components of these samples were recorded."""
        _, at = self._family(prefix)
        half = len(samples)
        return any(sorted(index[half:]) == sorted(samples) for index in at)

    @property
    def pairs(self) -> Pairs:
        """Sample pairs of H."""
        pairs = itertools.combinations_with_replacement(range(self.point.D), 2)
        return [pair for pair in pairs if self.has("H", pair)]

    def H(self, i: int, j: int) -> Array:
        """H_ij;ab of every pair (M, pairs)."""
        return np.stack([self.column("H", (i, a), (j, b)) for a, b in self.pairs], axis=1)

    @property
    def outputs(self) -> int:
        return int(self.point.settings["network"]["outputs"])

    def H_mean(self) -> Array:
        """H_ii;ab averaged over the outputs (M, pairs)."""
        return np.mean(np.stack([self.H(i, i) for i in range(self.outputs)]), axis=0)

    def H_H(self, ab: tuple[int, ...], cd: tuple[int, ...]) -> Array:
        """H_ij;ab H_ij;cd averaged over all ordered pairs of distinct outputs (M,)."""
        (a, b), (c, d) = ab, cd
        pairs = list(itertools.permutations(range(self.outputs), 2))
        products = (self.column("H", (i, a), (j, b)) * self.column("H", (i, c), (j, d)) for i, j in pairs)
        return cast(Array, sum(products) / len(pairs))

    def z_z_H(self, ab: tuple[int, ...], cd: tuple[int, ...]) -> Array:
        """z_i;a z_j;b H_ij;cd averaged over all ordered pairs of distinct outputs (M,)."""
        (a, b), (c, d) = ab, cd
        pairs = list(itertools.permutations(range(self.outputs), 2))
        products = (
            self.column("z", (i, a)) * self.column("z", (j, b)) * self.column("H", (i, c), (j, d)) for i, j in pairs
        )
        return cast(Array, sum(products) / len(pairs))

    def measured(
        self, tensor: str, groups: Sequence[tuple[tuple[int, ...], ...]], estimate: Estimate, theory: Array
    ) -> Measured:
        """The record of an estimate, in which the natural size of all components is that of the largest."""
        size = np.abs(theory).max()
        if size < 1e-9:  # all are predicted to vanish, so that the natural size is that of the mean
            Theta = self.point.flow(TENSORS).Theta
            assert Theta is not None
            size = self.layer * np.abs(Theta[self.layer - 1]).max()
        labels = [label_of(*group) for group in groups]
        scale = np.full(len(labels), size)
        return Measured(
            tensor=tensor,
            layer=self.layer,
            step=0,
            samples=labels,
            estimate=estimate.scaled(self.n),
            theory=theory,
            scale=scale,
        )


def layer_columns(point: Point, families: Sequence[str], layers: Layers) -> Iterator[LayerColumns]:
    for layer in chosen_layers(point, families, layers):
        yield LayerColumns(point, layer)


def predicted(point: Point, tensor: str, tensors: tuple[str, ...], layer: int) -> Array:
    return np.asarray(point.flow(tensors)[tensor][layer - 1])


@_at_order_one("Theta1", symbol=r"$\Theta^{\{1\}}$", families=("H",), needs=no_parallel_kinks)
def Theta1(point: Point, layers: Layers) -> Iterator[Measured]:
    """n (E H_ii;ab - Theta_ab), all outputs averaged, is Theta1 of docs/theory.md (2.11)."""
    for at in layer_columns(point, ["H"], layers):
        Theta, theory = (predicted(point, tensor, TENSORS, at.layer) for tensor in ("Theta", "Theta1"))
        frozen = np.array([Theta[pair] for pair in at.pairs])
        estimate = estimators.mean(at.H_mean() - frozen)
        yield at.measured("Theta1", [(p,) for p in at.pairs], estimate, np.array([theory[p] for p in at.pairs]))


@_at_order_one("A", symbol="$A$", families=("H",), outputs=2, grows=True)
def A(point: Point, layers: Layers) -> Iterator[Measured]:
    """n Cov(H_ii;ab, H_jj;cd) for i != j is A of docs/theory.md (2.5), estimated as in docs/theory.md (7.5): the
    covariance of sums over all outputs, less those of equal ones."""
    for at in layer_columns(point, ["H"], layers):
        X, m = predicted(point, "A", TENSORS, at.layer), at.outputs
        chosen = list(itertools.combinations_with_replacement(range(len(at.pairs)), 2))
        each = [at.H(i, i) for i in range(m)]
        equal = [estimators.covariance(H, chosen) for H in each]
        distinct = estimators.covariance(np.sum(np.stack(each), axis=0), chosen) - sum(equal[1:], equal[0])
        groups = [(at.pairs[p], at.pairs[q]) for p, q in chosen]
        theory = np.array([X[(*p, *q)] for p, q in groups])
        yield at.measured("A", groups, distinct.scaled(1 / (m * (m - 1))), theory)


def _with_crossed(groups: Iterable[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[tuple[tuple[int, ...], ...]]:
    """The pairs of sample pairs, and after each the one with its second pair reversed, where that is another one."""
    return [both for p, q in groups for both in ([(p, q), (p, q[::-1])] if p[0] != p[1] and q[0] != q[1] else [(p, q)])]


@_at_order_one("B", symbol="$B$", families=("H",), outputs=2, grows=True)
def B(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E H_ij;ab H_ij;cd for i != j is B_acbd of docs/theory.md (2.5), estimated as in docs/theory.md (7.5): it has no
    mean to subtract and is the least noisy of all. The crossed E H_ij;ab H_ij;dc is another component."""
    for at in layer_columns(point, ["H"], layers):
        X = predicted(point, "B", TENSORS, at.layer)
        groups = _with_crossed(itertools.combinations_with_replacement(at.pairs, 2))
        theory = np.array([X[a, c, b, d] for (a, b), (c, d) in groups])
        products = [at.H_H(p, q) for p, q in groups]
        yield at.measured("B", groups, estimators.mean(np.stack(products, axis=1)), theory)


@measure(
    "D",
    symbol="$D$",
    families=("H", "g"),
    grows=True,
    table="untrained",
    table_samples=FOUR_POINT_SAMPLES,
    any_widths=True,
    residual=True,
)
def D(point: Point, layers: Layers) -> Iterator[Measured]:
    """n Cov(g_ab, H_ii;cd), all outputs averaged, is D_abcd of docs/theory.md (2.6).

    D_abcd = n Cov(z_ja z_jb, H_ii;cd) for j != i, docs/theory.md (7.5), with z z replaced by its mean over the last
    layer's weights of neuron j, which are independent of H_ii: docs/theory.md (7.9).
    """
    for at in layer_columns(point, ["H", "g"], layers):
        X, g = predicted(point, "D", TENSORS, at.layer), point.columns("g")
        both = np.concatenate([point.read("g", at.layer), at.H_mean()], axis=1)
        chosen = list(itertools.product(range(len(g)), range(len(at.pairs))))
        groups = [(g[p], at.pairs[q]) for p, q in chosen]
        estimate = estimators.covariance(both, [(p, len(g) + q) for p, q in chosen])
        yield at.measured("D", groups, estimate, np.array([X[(*p, *q)] for p, q in groups]))


@_at_order_one("F", symbol="$F$", families=("H", "z"), outputs=2, grows=True)
def F(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E z_ia z_jb H_ij;cd for i != j is F_acbd of docs/theory.md (2.6), estimated as in docs/theory.md (7.5). The
    crossed E z_ia z_jb H_ij;dc is another component."""
    for at in layer_columns(point, ["H", "z"], layers):
        X = predicted(point, "F", TENSORS, at.layer)
        zz = list(itertools.combinations_with_replacement(range(point.D), 2))
        groups = _with_crossed(itertools.product(zz, at.pairs))
        products = [at.z_z_H(p, q) for p, q in groups]
        theory = np.array([X[a, c, b, d] for (a, b), (c, d) in groups])
        yield at.measured("F", groups, estimators.mean(np.stack(products, axis=1)), theory)
