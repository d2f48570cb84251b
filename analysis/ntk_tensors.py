"""The tensors of order 1/n of the NTK at the output, measured from per-network rows (theory.md 2.5, 2.6, 7.5).

Two outputs, i = 0 and j = 1, tell the Kronecker structures apart: A and D from equal ones, B and F from distinct ones.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measured import Measured, label_of
from analysis.points import Point

TENSORS = ("K", "Theta", "G1", "V", "A", "B", "D", "F", "Theta1")
DIFFERENTIALS = ("P", "Q", "R", "S", "T", "U")
Pairs = list[tuple[int, ...]]


class _Output:
    """The columns of H and z at the output of one point, by their indices."""

    def __init__(self, point: Point, outputs: int):
        if point.settings["network"]["outputs"] < outputs:
            raise ValueError(f"{point.data.path}: network.outputs: this test needs {outputs} outputs")
        self.point, self.L = point, point.depth
        self.at = {index: k for k, index in enumerate(point.columns("H"))}
        self.rows = point.read("H", self.L)
        self.pairs: Pairs = list(itertools.combinations_with_replacement(range(point.D), 2))
        self.n = float(point.widths[-1])
        self.flow = point.flow(TENSORS)

    def H(self, i: int, j: int, a: int, b: int) -> Array:
        """H_ij;ab of every network (M,); stored once of each H_ij;ab = H_ji;ba."""
        index = (i, j, a, b) if (i, a) <= (j, b) else (j, i, b, a)
        return self.rows[:, self.at[index]]

    def all_pairs(self, i: int, j: int) -> Array:
        return np.stack([self.H(i, j, a, b) for a, b in self.pairs], axis=1)

    def measured(
        self, tensor: str, groups: Sequence[tuple[tuple[int, ...], ...]], estimate: estimators.Estimate, order: str
    ) -> Iterator[Measured]:
        """With theory's components in the index order of the tensor; their natural size is the largest one's."""
        X = getattr(self.flow, tensor)[-1]
        if len(groups[0]) == 2:
            theory = np.array([X[(a, b, c, d) if order == "abcd" else (a, c, b, d)] for (a, b), (c, d) in groups])
        else:
            theory = np.array([X[group[0]] for group in groups])
        size = np.abs(theory).max()
        if size < 1e-9:  # predicted to vanish: the size that the mean has
            assert self.flow.Theta is not None
            size = self.L * np.abs(self.flow.Theta[-1]).max()
        labels = [label_of(*group) for group in groups]
        nothing = np.full(len(groups), np.nan)
        yield Measured(tensor, self.L, 0, labels, estimate, theory, np.full(len(groups), size), nothing)


def Theta1(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n (E H_ii;ab - Theta_ab), all outputs averaged."""
    out = _Output(point, 1)
    outputs = range(point.settings["network"]["outputs"])
    H = np.mean([out.all_pairs(i, i) for i in outputs], axis=0)
    assert out.flow.Theta is not None
    frozen = np.array([out.flow.Theta[-1][pair] for pair in out.pairs])
    yield from out.measured("Theta1", [(p,) for p in out.pairs], estimators.mean(H - frozen).scaled(out.n), "ab")


def A(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n Cov(H_00;ab, H_11;cd)"""
    out = _Output(point, 2)
    k = len(out.pairs)
    both = np.concatenate([out.all_pairs(0, 0), out.all_pairs(1, 1)], axis=1)
    chosen = list(itertools.combinations_with_replacement(range(k), 2))
    # Exchanging the outputs gives the same number: half the noise where the pairs differ.
    there = estimators.covariance(both, [(p, k + q) for p, q in chosen])
    back = estimators.covariance(both, [(q, k + p) for p, q in chosen])
    groups = [(out.pairs[p], out.pairs[q]) for p, q in chosen]
    yield from out.measured("A", groups, estimators.average(there, back).scaled(out.n), "abcd")


def B(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E H_01;ab H_01;cd, B_acbd: no mean to subtract, the least noisy of all."""
    out = _Output(point, 2)
    groups = list(itertools.combinations_with_replacement(out.pairs, 2))
    products = np.stack([out.H(0, 1, *p) * out.H(0, 1, *q) for p, q in groups], axis=1)
    yield from out.measured("B", groups, estimators.mean(products).scaled(out.n), "acbd")


def D(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n Cov(g_ab, H_ii;cd), all outputs averaged: D_abcd = n Cov(z_ja z_jb, H_ii;cd) for j != i with z z replaced by
    its mean over the last layer's weights of neuron j, which are independent of H_ii."""
    out = _Output(point, 1)
    k = len(out.pairs)
    H = np.mean([out.all_pairs(i, i) for i in range(point.settings["network"]["outputs"])], axis=0)
    both = np.concatenate([point.read("g", out.L), H], axis=1)
    chosen = list(itertools.product(range(k), repeat=2))
    estimate = estimators.covariance(both, [(p, k + q) for p, q in chosen])
    groups = [(out.pairs[p], out.pairs[q]) for p, q in chosen]
    yield from out.measured("D", groups, estimate.scaled(out.n), "abcd")


def F(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E z_0a z_1b H_01;cd, F_acbd"""
    out = _Output(point, 2)
    z = point.read("z", out.L)
    at = {index: k for k, index in enumerate(point.columns("z"))}
    groups = list(itertools.product(out.pairs, repeat=2))
    products = np.stack([z[:, at[0, a]] * z[:, at[1, b]] * out.H(0, 1, c, d) for (a, b), (c, d) in groups], axis=1)
    yield from out.measured("F", groups, estimators.mean(products).scaled(out.n), "acbd")


class _Differentials:
    """Columns of dH, ddI and ddII of one point by their full indices, each stored once per symmetry."""

    def __init__(self, point: Point):
        if point.settings["network"]["outputs"] < 2:
            raise ValueError(f"{point.data.path}: network.outputs: this test needs 2 outputs")
        self.point, self.L, self.n = point, point.depth, float(point.widths[-1])
        self.theory = point.flow(DIFFERENTIALS)
        self.samples = list(itertools.product(range(point.D), repeat=4))
        self.families = {
            prefix: (point.read(prefix, self.L), {index: k for k, index in enumerate(point.columns(prefix))})
            for prefix in ("z", "dH", "ddI", "ddII")
            if point.records(prefix)
        }

    def column(self, prefix: str, *rows: tuple[int, int]) -> Array:
        """rows: (output, sample) of each index."""
        values, at = self.families[prefix]
        if prefix in ("dH", "ddI"):
            rows = (rows[0], *sorted(rows[1:]))
        if prefix == "ddII" and (rows[0], rows[2]) > (rows[1], rows[3]):
            rows = (rows[1], rows[0], rows[3], rows[2])
        return values[:, at[(*(i for i, _ in rows), *(a for _, a in rows))]]

    def measured(self, tensor: str, products: Array, order: Sequence[int]) -> Iterator[Measured]:
        """products: (M, D^4) for samples a, b, c, d; order: which of them each index of the tensor is."""
        X = getattr(self.theory, tensor)[-1]
        theory = np.array([X[tuple(abcd[k] for k in order)] for abcd in self.samples])
        labels = [label_of(abcd) for abcd in self.samples]
        size, nothing = np.full(len(theory), np.abs(theory).max()), np.full(len(theory), np.nan)
        yield Measured(tensor, self.L, 0, labels, estimators.mean(products).scaled(self.n), theory, size, nothing)


def P(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E dH_011;abc z_0;d, P_abcd (theory.md 3.4)"""
    d = _Differentials(point)
    rows = [d.column("dH", (0, a), (1, b), (1, c)) * d.column("z", (0, e)) for a, b, c, e in d.samples]
    yield from d.measured("P", np.stack(rows, axis=1), (0, 1, 2, 3))


def Q(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E dH_001;abc z_1;d, Q_abcd (theory.md 3.4)"""
    d = _Differentials(point)
    rows = [d.column("dH", (0, a), (0, b), (1, c)) * d.column("z", (1, e)) for a, b, c, e in d.samples]
    yield from d.measured("Q", np.stack(rows, axis=1), (0, 1, 2, 3))


def _mean_of_second(
    point: Point, tensor: str, family: str, outputs: tuple[int, int, int, int], order: Sequence[int]
) -> Iterator[Measured]:
    """n E of a second differential at these outputs and all samples a, b, c, d."""
    d = _Differentials(point)
    rows = [d.column(family, *zip(outputs, abcd, strict=True)) for abcd in d.samples]
    yield from d.measured(tensor, np.stack(rows, axis=1), order)


def R(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E ddI_0011;abcd, R_abcd (theory.md 3.5)"""
    return _mean_of_second(point, "R", "ddI", (0, 0, 1, 1), (0, 1, 2, 3))


def S(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E ddII_0011;abcd, S_abcd (theory.md 3.6)"""
    return _mean_of_second(point, "S", "ddII", (0, 0, 1, 1), (0, 1, 2, 3))


def T(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E ddII_0101;abcd, T_acdb (theory.md 3.6)"""
    return _mean_of_second(point, "T", "ddII", (0, 1, 0, 1), (0, 2, 3, 1))


def U(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E ddII_0110;abcd, U_adbc (theory.md 3.6)"""
    return _mean_of_second(point, "U", "ddII", (0, 1, 1, 0), (0, 3, 1, 2))


def dntk_size(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """log E dH_000^2: a network's dH is of order 1/n, so its square falls with exponent 2 (theory.md 5.8)."""
    d = _Differentials(point)
    samples = range(point.D)
    square = np.stack([d.column("dH", (0, a), (0, a), (0, a)) ** 2 for a in samples], axis=1)
    two = np.full(point.D, 2.0)
    labels = [label_of((a,) * 3) for a in samples]
    yield Measured("log dH^2", d.L, 0, labels, estimators.mean(square).log(), two, np.ones(point.D), two * np.nan)
