"""Tables of functions of a kernel g, for arrays of kernels, one for each network: Chebyshev polynomials in log g."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

from analysis.theory.activations import Array

ROWS = 4096  # kernels at a time: the polynomials of so many stay in a core's cache


def chunks(count: int) -> Iterator[slice]:
    """So many kernels of docs/theory.md (17.18) in parts of which a core's cache holds the polynomials."""
    return (slice(first, first + ROWS) for first in range(0, count, ROWS))


@dataclass(frozen=True)
class LogTable:
    """Functions of g between `low` and `high`. coefficients: (degree + 1, functions)."""

    low: float
    high: float
    coefficients: Array

    def __call__(self, g: Array) -> Array:
        """The functions at each g (M,), (M, functions). ValueError for g outside of the table."""
        out = np.empty((len(g), self.coefficients.shape[1]))
        for rows in chunks(len(g)):
            out[rows] = self.columns(g[rows]).T
        return out

    def columns(self, g: Array) -> Array:
        """The functions of docs/theory.md (17.18) at each g (M,), (functions, M), all at once: see `chunks`. ValueError
        for g outside of the table."""
        if not (self.low <= g.min() and g.max() <= self.high):
            raise ValueError(f"g from {g.min():.3g} to {g.max():.3g}: the table runs from {self.low} to {self.high}")
        x = (2 * np.log(g) - np.log(self.high * self.low)) / np.log(self.high / self.low)
        return np.asarray(self.coefficients.T @ chebyshev.chebvander(x, len(self.coefficients) - 1).T)


def tabulated(
    functions: Callable[[Array], Array],
    low: float,
    high: float,
    degrees: Sequence[int],
    converged: Callable[[Array], bool],
) -> LogTable | None:
    """The table of functions(g), (N,) -> (N, functions), of the first of the degrees whose coefficients (degree + 1,
    functions) have converged; None where none has. docs/theory.md (17.16) and (17.18) average over such functions."""

    def values(x: Array) -> Array:
        return functions(np.exp(np.log(high * low) / 2 + np.log(high / low) / 2 * x))

    for degree in degrees:
        coefficients = np.asarray(chebyshev.chebinterpolate(values, degree))  # type: ignore[type-var]
        if converged(coefficients):
            return LogTable(low, high, coefficients)
    return None
