"""The differentials of the NTK and their means of order 1/n: P to U (docs/theory.md section 3)."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.ntk import LayerColumns, layer_columns, predicted
from analysis.points import FOUR_POINT_SAMPLES, Point

DIFFERENTIALS = ("P", "Q", "R", "S", "T", "U")
Product = Callable[[LayerColumns, tuple[int, ...], Callable[[int], int]], Array]


def _means(
    point: Point,
    layers: Layers,
    tensor: str,
    families: tuple[str, ...],
    order: Sequence[int],
    product: Product,
) -> Iterator[Measured]:
    """n E of a product at all samples a, b, c, d, averaged over the exchange of outputs 0 and 1.

    order: which of a, b, c, d each index of the tensor is.
    """
    for at in layer_columns(point, families, layers):
        X = predicted(point, tensor, DIFFERENTIALS, at.layer)
        recorded = 4 if families[0].startswith("dd") else 3
        quadruples = itertools.product(range(point.D), repeat=4)
        samples = [abcd for abcd in quadruples if at.has(families[0], abcd[:recorded])]
        rows = [(product(at, abcd, lambda i: i) + product(at, abcd, lambda i: 1 - i)) / 2 for abcd in samples]
        theory = np.array([X[tuple(abcd[k] for k in order)] for abcd in samples])
        yield at.measured(tensor, [(abcd,) for abcd in samples], estimators.mean(np.stack(rows, axis=1)), theory)


def _first(outputs: tuple[int, int, int], z: int) -> Product:
    """The product of dH at three outputs and z of another, in which `swap` exchanges all outputs."""

    def product(at: LayerColumns, abcd: tuple[int, ...], swap: Callable[[int], int]) -> Array:
        rows = [(swap(i), a) for i, a in zip(outputs, abcd[:3], strict=True)]
        return at.column("dH", *rows) * at.column("z", (swap(z), abcd[3]))

    return product


def _second(family: str, outputs: tuple[int, int, int, int]) -> Product:
    def product(at: LayerColumns, abcd: tuple[int, ...], swap: Callable[[int], int]) -> Array:
        return at.column(family, *((swap(i), a) for i, a in zip(outputs, abcd, strict=True)))

    return product


_tensor = partial(
    measure,
    outputs=2,
    smooth=True,
    grows=True,
    table="untrained",
    table_samples=FOUR_POINT_SAMPLES,
    any_widths=True,
    orthogonal=True,
)


@_tensor("P", symbol="$P$", families=("dH", "z"))
def P(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E dH_011;abc z_0;d is P_abcd of docs/theory.md (3.4), estimated as in docs/theory.md (7.6)."""
    return _means(point, layers, "P", ("dH", "z"), (0, 1, 2, 3), _first((0, 1, 1), 0))


@_tensor("Q", symbol="$Q$", families=("dH", "z"))
def Q(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E dH_001;abc z_1;d is Q_abcd of docs/theory.md (3.4), estimated as in docs/theory.md (7.6)."""
    return _means(point, layers, "Q", ("dH", "z"), (0, 1, 2, 3), _first((0, 0, 1), 1))


@_tensor("R", symbol="$R$", families=("ddI",))
def R(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddI_0011;abcd is R_abcd of docs/theory.md (3.5), estimated as in docs/theory.md (7.6)."""
    return _means(point, layers, "R", ("ddI",), (0, 1, 2, 3), _second("ddI", (0, 0, 1, 1)))


@_tensor("S", symbol="$S$", families=("ddII",))
def S(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddII_0011;abcd is S_abcd of docs/theory.md (3.6), estimated as in docs/theory.md (7.6)."""
    return _means(point, layers, "S", ("ddII",), (0, 1, 2, 3), _second("ddII", (0, 0, 1, 1)))


@_tensor("T", symbol="$T$", families=("ddII",))
def T(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddII_0101;abcd is T_acdb of docs/theory.md (3.6), estimated as in docs/theory.md (7.6)."""
    return _means(point, layers, "T", ("ddII",), (0, 2, 3, 1), _second("ddII", (0, 1, 0, 1)))


@_tensor("U", symbol="$U$", families=("ddII",))
def U(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddII_0110;abcd is U_adbc of docs/theory.md (3.6), estimated as in docs/theory.md (7.6)."""
    return _means(point, layers, "U", ("ddII",), (0, 3, 1, 2), _second("ddII", (0, 1, 1, 0)))


def _size(point: Point, layers: Layers, family: str, order: int, exponent: float) -> Iterator[Measured]:
    """log E of the square of the components of one output at one sample, all outputs averaged: falls as n^-exponent."""
    outputs = range(point.settings["network"]["outputs"])
    for layer in chosen_layers(point, family, layers):
        at = LayerColumns(point, layer)
        samples = [a for a in range(point.D) if at.has(family, (a,) * order)]
        columns = [[at.column(family, *((i, a),) * order) for i in outputs] for a in samples]
        square = np.stack([np.square(np.stack(c)).mean(axis=0) for c in columns], axis=1)
        predicted = np.full(len(samples), exponent)
        labels = [label_of((a,) * order) for a in samples]
        estimate = estimators.mean(square).log()
        yield Measured(
            tensor=f"log {family}^2",
            layer=layer,
            step=0,
            samples=labels,
            estimate=estimate,
            theory=predicted,
            scale=np.ones(len(samples)),
        )


_log_size = partial(measure, model="exponent", any_widths=True)


@_log_size("dntk_size", tensor="log dH^2", symbol=r"$\log\mathrm{E}\,(\mathrm{d}H)^2$", families=("dH",))
def dntk_size(point: Point, layers: Layers) -> Iterator[Measured]:
    """A network's dH is of order 1/n (docs/theory.md (5.8))."""
    return _size(point, layers, "dH", 3, 2.0)


@_log_size("ddntk_size", tensor="log ddI^2", symbol=r"$\log\mathrm{E}\,(\mathrm{dd}_I H)^2$", families=("ddI",))
def ddntk_size(point: Point, layers: Layers) -> Iterator[Measured]:
    """A network's ddI is of order 1/n, docs/theory.md (5.8)."""
    return _size(point, layers, "ddI", 4, 2.0)


@_log_size("fourth_size", tensor="log d4^2", symbol=r"$\log\mathrm{E}\,(\mathrm{d}^4 z)^2$", families=("d4",))
def fourth_size(point: Point, layers: Layers) -> Iterator[Measured]:
    """The fourth derivative along a network's own gradient is of order 1/n^2 (docs/theory.md (5.8))."""
    return _size(point, layers, "d4", 1, 4.0)
