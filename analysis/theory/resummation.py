"""Sums of the series in 1/n beyond its order, by universality class, docs/theory.md (17.19)."""

from dataclasses import dataclass

import numpy as np

from analysis.theory.activations import Activation, Array
from analysis.theory.criticality import critical
from analysis.theory.kernel_series import KernelSeries

EXPONENTIATED = ("scale-invariant", "half-stable")
PADE = ("K* = 0",)


@dataclass(frozen=True)
class Resummed:
    """A resummed law of g(l) at one width, l = 1..depth, docs/theory.md (17.19), (depth,) each: E g and Var g/(E g)^2,
    a third of the excess kurtosis of one output. method: "exponential" or "Pade"."""

    mean: Array
    relative_variance: Array
    method: str

    @property
    def excess_kurtosis(self) -> Array:
        """E z^4/(E z^2)^2 - 3 of one output is 3 Var g/(E g)^2, docs/theory.md (17.6)."""
        return 3 * self.relative_variance


def resummed(activation: str | Activation, series: KernelSeries, n: float) -> Resummed:
    """The law of g at the width n from a series of order two or more, resummed as the class of a critical network asks,
    docs/theory.md (17.19).

    Scale-invariant and half-stable activations: log(E g^2/(E g)^2) is of order l/n with corrections l/n^2, so that its
    series is exponentiated. The series of E g^2 is entire in l/n, and a Pade approximant has poles where it has none.
    K* = 0: the series of E g and n Var g diverge with alternating signs, and a [1/1] Pade approximant sums them (that
    of n Var g needs order three; at order two it is [0/1]). An exponential of them would diverge as they do.

    Raises ValueError for an activation without a critical point, a series of order one, or a width not above zero.
    """
    if series.order < 2:
        raise ValueError(f"order={series.order}: a series of order 2 or more is resummed")
    if not n > 0:
        raise ValueError(f"n={n}: a width, larger than zero")
    kind = critical(activation).universality_class
    means, variances = series.cumulants[:, 0], series.cumulants[:, 1]
    if kind in EXPONENTIATED:
        return Resummed(series.at(n)[:, 0], np.expm1(_logarithm(series.spread) @ powers(series, n)), "exponential")
    assert kind in PADE, kind
    mean = pade(means[:, :3], n)
    return Resummed(mean, pade(variances[:, 1:4], n) / n / mean**2, "Pade")


def powers(series: KernelSeries, n: float) -> Array:
    """The powers n^-p of docs/theory.md (17.4), p = 0..P, (P + 1,)."""
    return np.asarray(float(n) ** -np.arange(series.order + 1))


def pade(coefficients: Array, n: float) -> Array:
    """The [1/1] Pade approximant in 1/n of c_0 + c_1/n + c_2/n^2, or the [0/1] one of c_0 + c_1/n, docs/theory.md
    (17.19), of (..., 3) or (..., 2) coefficients.

    A series that ends is itself. Raises ValueError for another number of coefficients.
    """
    if (count := coefficients.shape[-1]) not in (2, 3):
        raise ValueError(f"coefficients: 2 or 3 of them, got {count}")
    start = coefficients[..., 0] if count == 3 else 0.0
    first, second = coefficients[..., count - 2], coefficients[..., count - 1]
    step = np.divide(second, first, out=np.zeros_like(first), where=first != 0)
    scale = 1 / n if count == 3 else 1.0
    return np.asarray(start + scale * first / (1 - step / n))


def _logarithm(series: Array) -> Array:
    """The coefficients of the logarithm of a power series that starts with one, (..., P + 1)."""
    out = np.zeros_like(series)
    for p in range(1, series.shape[-1]):
        lower = sum((q * out[..., q] * series[..., p - q] for q in range(1, p)), np.zeros(series.shape[:-1]))
        out[..., p] = series[..., p] - lower / p
    return out
