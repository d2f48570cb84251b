"""The law of hidden layers that explains targets, self-consistently at finite width: docs/theory.md (16.21).

It is the adaptive kernel of the limit in which samples and neurons grow together. As a proposal of neurons it makes
weights of networks alike, and their weights keep it exact.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.bayes import Given
from analysis.theory.gaussian import Expectations
from analysis.theory.vertex import Averages

LOWEST = 0.25  # eigenvalues of 1 - R^T Phi R/n are cut here
ROUNDS, CLOSE = 200, 1e-6  # the iteration ends after so many, or at this relative change of Phi
DAMPING = 0.5


def tilted_kernel(g: Array, Phi: Array, n: int) -> Array:
    """(g^-1 - Phi/n)^-1 of docs/theory.md (16.21), (N, N), with eigenvalues cut at LOWEST; g may be singular."""
    sizes, V = np.linalg.eigh(g)
    R = V * np.sqrt(np.maximum(sizes, 0.0))
    values, U = np.linalg.eigh(np.eye(len(g)) - R.T @ Phi @ R / n)
    root = R @ U / np.sqrt(np.maximum(values, LOWEST))
    return root @ root.T


def tilts(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    inputs: ArrayLike,
    targets: ArrayLike,
    noise: float,
    widths: Sequence[int],
) -> Array:
    """Phi(l) of docs/theory.md (16.21) at hidden layers l = 1..L-1, (L - 1, N, N), by damped iteration.

    inputs: (N, n_0) of the N train samples. targets: (N, n_L). noise: the variance of a target. widths: n_1..n_{L-1}.

    Raises ValueError where the kernel of the last layer has no inverse at this noise.
    """
    s, x, y = named(activation), np.asarray(inputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    first = C_b + C_W * x @ x.T / x.shape[1]
    Phi = np.zeros((depth - 1, len(x), len(x)))
    for _ in range(ROUNDS):
        g, steps = first, []
        for of_layer, n in zip(Phi, widths, strict=True):
            expected = Expectations(s, tilted_kernel(g, of_layer, n))
            steps.append(Averages(C_W, expected.tensor(1, 1), expected.tensor(2, 0)))
            g = C_b + C_W * expected.tensor(0, 0)
        found = [Given.of(g, y, noise).Phi]
        for step in reversed(steps):
            found.append(step.pull(found[-1]))
        change = np.array(found[:0:-1]) - Phi
        Phi = Phi + DAMPING * change
        if np.abs(change).max(initial=0.0) <= CLOSE * np.abs(Phi).max(initial=0.0):
            break
    return Phi
