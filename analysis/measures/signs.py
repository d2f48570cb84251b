"""P to U from products that are averaged over a last layer of signs, docs/theory.md (7.17)."""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis import estimators
from analysis.measures.differentials import DIFFERENTIALS
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.ntk import predicted
from analysis.points import FOUR_POINT_SAMPLES, Point


def _needs_few_samples(point: Point) -> Iterator[str]:
    """Needs of a theory whose cost grows as D^4."""
    if point.D > FOUR_POINT_SAMPLES:
        yield f"inputs: {point.D} samples; P to U are predicted for {FOUR_POINT_SAMPLES} or fewer"


def _means(point: Point, layers: Layers, tensor: str, order: Sequence[int]) -> Iterator[Measured]:
    """n times the mean of each recorded component, of which the others are copies by symmetry.

    order: which of a, b, c, d each index of the tensor is.
    """
    for layer in chosen_layers(point, tensor, layers):
        X = predicted(point, tensor, DIFFERENTIALS, layer)
        samples = point.columns(tensor)
        theory = np.array([X[tuple(abcd[k] for k in order)] for abcd in samples])
        yield Measured(
            tensor=tensor,
            layer=layer,
            step=0,
            samples=[label_of(abcd) for abcd in samples],
            estimate=estimators.mean(point.read(tensor, layer)).scaled(float(point.widths[layer - 2])),
            theory=theory,
            scale=np.full(len(samples), np.abs(theory).max()),
        )


@measure("P_signs", tensor="P", symbol="$P$", families=("P",), smooth=True, any_widths=True, needs=_needs_few_samples)
def P_signs(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E dH_011;abc z_0;d is P_abcd of docs/theory.md (3.4), by docs/theory.md (7.17)."""
    return _means(point, layers, "P", (0, 1, 2, 3))


@measure("Q_signs", tensor="Q", symbol="$Q$", families=("Q",), smooth=True, any_widths=True, needs=_needs_few_samples)
def Q_signs(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E dH_001;abc z_1;d is Q_abcd of docs/theory.md (3.4), by docs/theory.md (7.17)."""
    return _means(point, layers, "Q", (0, 1, 2, 3))


@measure("R_signs", tensor="R", symbol="$R$", families=("R",), smooth=True, any_widths=True, needs=_needs_few_samples)
def R_signs(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddI_0011;abcd is R_abcd of docs/theory.md (3.5), by docs/theory.md (7.17)."""
    return _means(point, layers, "R", (0, 1, 2, 3))


@measure("S_signs", tensor="S", symbol="$S$", families=("S",), smooth=True, any_widths=True, needs=_needs_few_samples)
def S_signs(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddII_0011;abcd is S_abcd of docs/theory.md (3.6), by docs/theory.md (7.17)."""
    return _means(point, layers, "S", (0, 1, 2, 3))


@measure("T_signs", tensor="T", symbol="$T$", families=("T",), smooth=True, any_widths=True, needs=_needs_few_samples)
def T_signs(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddII_0101;abcd is T_acdb of docs/theory.md (3.6), by docs/theory.md (7.17)."""
    return _means(point, layers, "T", (0, 2, 3, 1))


@measure("U_signs", tensor="U", symbol="$U$", families=("U",), smooth=True, any_widths=True, needs=_needs_few_samples)
def U_signs(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E ddII_0110;abcd is U_adbc of docs/theory.md (3.6), by docs/theory.md (7.17)."""
    return _means(point, layers, "U", (0, 3, 1, 2))
