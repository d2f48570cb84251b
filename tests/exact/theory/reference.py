"""Reference numbers and helpers that several tests of the theory share."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from analysis import theory

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "theory_reference.json").read_text())
KEYS = {"Theta": "Th", "Theta1": "Th1"}  # where the reference names a tensor differently
ALL = ("K", "Theta", "G1", "Theta1", "V", "A", "B", "D", "F", "P", "Q", "R", "S", "T", "U")
KINKED = ALL[:9]
NODES = np.linspace(-12.0, 12.0, 6001)


def mean(f: Callable[[np.ndarray], np.ndarray], K: float) -> float:
    """<f(z)> for z of variance K, by a quadrature that is not the theory's."""
    weight = np.exp(-(NODES**2) / 2)
    return float(weight @ f(np.sqrt(K) * NODES) / weight.sum())


def fixed_input(point: theory.Critical) -> np.ndarray:
    """One input with K(1) = K*, or with K(1) = 0.7 where there is no K* > 0."""
    K = point.K_star if point.K_star > 0 else 0.7
    return np.full((1, 1), np.sqrt((K - point.C_b) / point.C_W))
