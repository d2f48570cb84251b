"""The tensors of order 1/n of the NTK, measured from per-network rows (theory.md 2.5, 2.6, 7.5, 7.6).

Two outputs, i = 0 and j = 1, tell the Kronecker structures apart: A and D from equal ones, B and F from distinct ones.
Exchanging the two gives the same number, and half the noise where the rows are independent. In a hidden layer its first
neurons stand for the outputs.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measured import Measured, chosen_layers, label_of
from analysis.points import Point

TENSORS = ("K", "Theta", "G1", "V", "A", "B", "D", "F", "Theta1")
DIFFERENTIALS = ("P", "Q", "R", "S", "T", "U")
Pairs = list[tuple[int, ...]]


class _Layer:
    """The columns of z, H and its differentials at one layer of one point, by their full indices: each is stored once
    of those that symmetry makes equal."""

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
        values, at = self._family(prefix)
        if prefix == "H":
            rows = tuple(sorted(rows))
        if prefix in ("dH", "ddI"):
            rows = (rows[0], *sorted(rows[1:]))
        if prefix == "ddII" and (rows[0], rows[2]) > (rows[1], rows[3]):
            rows = (rows[1], rows[0], rows[3], rows[2])
        return values[:, at[(*(i for i, _ in rows), *(a for _, a in rows))]]

    def has(self, prefix: str, samples: Sequence[int]) -> bool:
        """Whether components of these samples were recorded."""
        _, at = self._family(prefix)
        half = len(samples)
        return any(sorted(index[half:]) == sorted(samples) for index in at)

    @property
    def pairs(self) -> Pairs:
        """Sample pairs of H."""
        every = itertools.combinations_with_replacement(range(self.point.D), 2)
        return [pair for pair in every if self.has("H", pair)]

    def H(self, i: int, j: int) -> Array:
        """H_ij;ab of every pair (M, pairs)."""
        return np.stack([self.column("H", (i, a), (j, b)) for a, b in self.pairs], axis=1)

    def H_mean(self) -> Array:
        """H_ii;ab averaged over the outputs (M, pairs)."""
        return np.mean([self.H(i, i) for i in range(self.point.settings["network"]["outputs"])], axis=0)

    def measured(
        self, tensor: str, groups: Sequence[tuple[tuple[int, ...], ...]], estimate: Estimate, theory: Array
    ) -> Measured:
        """The natural size of a component is that of the largest."""
        size = np.abs(theory).max()
        if size < 1e-9:  # predicted to vanish: the size that the mean has
            Theta = self.point.flow(TENSORS).Theta
            assert Theta is not None
            size = self.layer * np.abs(Theta[self.layer - 1]).max()
        labels = [label_of(*group) for group in groups]
        scale, nothing = np.full(len(labels), size), np.full(len(labels), np.nan)
        return Measured(tensor, self.layer, 0, labels, estimate.scaled(self.n), theory, scale, nothing)


def _layers(point: Point, families: Sequence[str], layers: Sequence[int] | None, outputs: int) -> Iterator[_Layer]:
    if point.settings["network"]["outputs"] < outputs:
        raise ValueError(f"{point.data.path}: network.outputs: this test needs {outputs} outputs")
    for layer in chosen_layers(point, families, layers):
        yield _Layer(point, layer)


def _predicted(point: Point, tensor: str, tensors: tuple[str, ...], layer: int) -> Array:
    return np.asarray(getattr(point.flow(tensors), tensor)[layer - 1])


def Theta1(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n (E H_ii;ab - Theta_ab), all outputs averaged."""
    for at in _layers(point, ["H"], layers, 1):
        Theta, theory = (_predicted(point, tensor, TENSORS, at.layer) for tensor in ("Theta", "Theta1"))
        frozen = np.array([Theta[pair] for pair in at.pairs])
        estimate = estimators.mean(at.H_mean() - frozen)
        yield at.measured("Theta1", [(p,) for p in at.pairs], estimate, np.array([theory[p] for p in at.pairs]))


def A(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n Cov(H_00;ab, H_11;cd)"""
    for at in _layers(point, ["H"], layers, 2):
        X, k = _predicted(point, "A", TENSORS, at.layer), len(at.pairs)
        both = np.concatenate([at.H(0, 0), at.H(1, 1)], axis=1)
        chosen = list(itertools.combinations_with_replacement(range(k), 2))
        there = estimators.covariance(both, [(p, k + q) for p, q in chosen])
        back = estimators.covariance(both, [(q, k + p) for p, q in chosen])
        groups = [(at.pairs[p], at.pairs[q]) for p, q in chosen]
        yield at.measured("A", groups, estimators.average(there, back), np.array([X[(*p, *q)] for p, q in groups]))


def B(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E H_01;ab H_01;cd, B_acbd: no mean to subtract, the least noisy of all."""
    for at in _layers(point, ["H"], layers, 2):
        X, H = _predicted(point, "B", TENSORS, at.layer), at.H(0, 1)
        chosen = list(itertools.combinations_with_replacement(range(len(at.pairs)), 2))
        groups = [(at.pairs[p], at.pairs[q]) for p, q in chosen]
        theory = np.array([X[a, c, b, d] for (a, b), (c, d) in groups])
        products = np.stack([H[:, p] * H[:, q] for p, q in chosen], axis=1)
        yield at.measured("B", groups, estimators.mean(products), theory)


def D(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n Cov(g_ab, H_ii;cd), all outputs averaged: D_abcd = n Cov(z_ja z_jb, H_ii;cd) for j != i with z z replaced by
    its mean over the last layer's weights of neuron j, which are independent of H_ii."""
    for at in _layers(point, ["H", "g"], layers, 1):
        X, g = _predicted(point, "D", TENSORS, at.layer), point.columns("g")
        both = np.concatenate([point.read("g", at.layer), at.H_mean()], axis=1)
        chosen = list(itertools.product(range(len(g)), range(len(at.pairs))))
        groups = [(g[p], at.pairs[q]) for p, q in chosen]
        estimate = estimators.covariance(both, [(p, len(g) + q) for p, q in chosen])
        yield at.measured("D", groups, estimate, np.array([X[(*p, *q)] for p, q in groups]))


def F(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E z_0a z_1b H_01;cd, F_acbd"""
    for at in _layers(point, ["H", "z"], layers, 2):
        X = _predicted(point, "F", TENSORS, at.layer)
        zz = list(itertools.combinations_with_replacement(range(point.D), 2))
        groups = list(itertools.product(zz, at.pairs))
        products = [
            at.column("z", (0, a)) * at.column("z", (1, b)) * at.column("H", (0, c), (1, d))
            for (a, b), (c, d) in groups
        ]
        theory = np.array([X[a, c, b, d] for (a, b), (c, d) in groups])
        yield at.measured("F", groups, estimators.mean(np.stack(products, axis=1)), theory)


Product = Callable[[_Layer, tuple[int, ...], Callable[[int], int]], Array]


def _means(
    point: Point,
    layers: Sequence[int] | None,
    tensor: str,
    families: tuple[str, ...],
    order: Sequence[int],
    product: Product,
) -> Iterator[Measured]:
    """n E of a product at all samples a, b, c, d, averaged over the exchange of outputs 0 and 1.

    order: which of a, b, c, d each index of the tensor is.
    """
    for at in _layers(point, families, layers, 2):
        X = _predicted(point, tensor, DIFFERENTIALS, at.layer)
        recorded = 4 if families[0].startswith("dd") else 3
        every = itertools.product(range(point.D), repeat=4)
        samples = [abcd for abcd in every if at.has(families[0], abcd[:recorded])]
        rows = [(product(at, abcd, lambda i: i) + product(at, abcd, lambda i: 1 - i)) / 2 for abcd in samples]
        theory = np.array([X[tuple(abcd[k] for k in order)] for abcd in samples])
        yield at.measured(tensor, [(abcd,) for abcd in samples], estimators.mean(np.stack(rows, axis=1)), theory)


def _first(outputs: tuple[int, int, int], z: int) -> Product:
    """dH at these outputs times z of that one, all of them exchanged by `swap`."""

    def product(at: _Layer, abcd: tuple[int, ...], swap: Callable[[int], int]) -> Array:
        rows = [(swap(i), a) for i, a in zip(outputs, abcd[:3], strict=True)]
        return at.column("dH", *rows) * at.column("z", (swap(z), abcd[3]))

    return product


def _second(family: str, outputs: tuple[int, int, int, int]) -> Product:
    def product(at: _Layer, abcd: tuple[int, ...], swap: Callable[[int], int]) -> Array:
        return at.column(family, *((swap(i), a) for i, a in zip(outputs, abcd, strict=True)))

    return product


def P(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E dH_011;abc z_0;d, P_abcd (theory.md 3.4)"""
    return _means(point, layers, "P", ("dH", "z"), (0, 1, 2, 3), _first((0, 1, 1), 0))


def Q(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E dH_001;abc z_1;d, Q_abcd (theory.md 3.4)"""
    return _means(point, layers, "Q", ("dH", "z"), (0, 1, 2, 3), _first((0, 0, 1), 1))


def R(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E ddI_0011;abcd, R_abcd (theory.md 3.5)"""
    return _means(point, layers, "R", ("ddI",), (0, 1, 2, 3), _second("ddI", (0, 0, 1, 1)))


def S(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E ddII_0011;abcd, S_abcd (theory.md 3.6)"""
    return _means(point, layers, "S", ("ddII",), (0, 1, 2, 3), _second("ddII", (0, 0, 1, 1)))


def T(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E ddII_0101;abcd, T_acdb (theory.md 3.6)"""
    return _means(point, layers, "T", ("ddII",), (0, 2, 3, 1), _second("ddII", (0, 1, 0, 1)))


def U(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E ddII_0110;abcd, U_adbc (theory.md 3.6)"""
    return _means(point, layers, "U", ("ddII",), (0, 3, 1, 2), _second("ddII", (0, 1, 1, 0)))


def _size(point: Point, layers: Sequence[int] | None, family: str, order: int, exponent: float) -> Iterator[Measured]:
    """log E of the square of the components of one output at one sample, all outputs averaged: falls as n^-exponent."""
    outputs = range(point.settings["network"]["outputs"])
    for layer in chosen_layers(point, family, layers):
        at = _Layer(point, layer)
        samples = [a for a in range(point.D) if at.has(family, (a,) * order)]
        columns = [[at.column(family, *((i, a),) * order) for i in outputs] for a in samples]
        square = np.stack([np.square(c).mean(axis=0) for c in columns], axis=1)
        predicted = np.full(len(samples), exponent)
        labels = [label_of((a,) * order) for a in samples]
        estimate = estimators.mean(square).log()
        yield Measured(
            f"log {family}^2", layer, 0, labels, estimate, predicted, np.ones(len(samples)), predicted * np.nan
        )


def dntk_size(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """A network's dH is of order 1/n (theory.md 5.8)."""
    return _size(point, layers, "dH", 3, 2.0)


def ddntk_size(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """So is its ddI."""
    return _size(point, layers, "ddI", 4, 2.0)


def fourth_size(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """The fourth derivative along a network's own gradient is of order 1/n^2 (theory.md 5.8)."""
    return _size(point, layers, "d4", 1, 4.0)
