"""Polynomials in the deviations of the state of docs/theory.md (17.9) from its limit, cut off at order 1/n^2.

A variable counts as many half powers of 1/n as its size has: those of g - K and h - Theta are 1/2, y and b are 1, w and
T3 are 2, and eps = 1/n is 1.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from analysis.theory.activations import Array

VARIABLES = ("g", "h", "y", "b", "w", "T", "eps")  # g and h stand for g - K and h - Theta
HALVES = (1, 1, 2, 2, 4, 4, 2)  # half powers of 1/n that each counts
MOST = 4  # of them in a monomial
Exponents = tuple[int, ...]
MONOMIALS: list[Exponents] = [
    powers
    for powers in itertools.product(*(range(MOST // halves + 1) for halves in HALVES))
    if sum(p * halves for p, halves in zip(powers, HALVES, strict=True)) <= MOST
]
PLACES = {powers: k for k, powers in enumerate(MONOMIALS)}
_PRODUCTS = np.array(
    [
        (i, j, PLACES[product])
        for (i, a), (j, b) in itertools.product(enumerate(MONOMIALS), repeat=2)
        if (product := tuple(map(sum, zip(a, b, strict=True)))) in PLACES
    ]
).T


def exponents(**powers: int) -> Exponents:
    """The exponents of a monomial of the state of docs/theory.md (17.9) by the names of its variables."""
    return tuple(powers.get(name, 0) for name in VARIABLES)


@dataclass(frozen=True)
class Jet:
    """A polynomial: a coefficient (MONOMIALS,) for each monomial."""

    coefficients: Array

    def __add__(self, other: "Jet | float") -> "Jet":
        return Jet(self.coefficients + _jet(other).coefficients)

    def __sub__(self, other: "Jet | float") -> "Jet":
        return Jet(self.coefficients - _jet(other).coefficients)

    def __mul__(self, other: "Jet | float") -> "Jet":
        if not isinstance(other, Jet):
            return Jet(other * self.coefficients)
        left, right, place = _PRODUCTS
        terms = self.coefficients[left] * other.coefficients[right]
        return Jet(np.bincount(place, terms, minlength=len(MONOMIALS)).astype(np.float64))

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: float) -> "Jet":
        return _jet(other) - self


def monomial(coefficient: float = 1.0, **powers: int) -> Jet:
    """A single monomial, of docs/theory.md (17.9); zero where it is beyond order 1/n^2."""
    found = np.zeros(len(MONOMIALS))
    if (key := exponents(**powers)) in PLACES:
        found[PLACES[key]] = coefficient
    return Jet(found)


def of_g(coefficients: Array) -> Jet:
    """A function of g from its Taylor coefficients at K, docs/theory.md (17.1)."""
    return sum((monomial(float(c), g=k) for k, c in enumerate(coefficients[: MOST + 1])), monomial(0.0))


def _jet(value: Jet | float) -> Jet:
    return value if isinstance(value, Jet) else monomial(float(value))
