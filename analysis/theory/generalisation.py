"""How well trained networks do on samples with known targets, at infinite width and order 1/n: docs/theory.md (5.41)
and (5.42)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are used
from numpy.typing import ArrayLike

from analysis.theory.activations import Array
from analysis.theory.order_n import TrainedToOrderN


@dataclass(frozen=True)
class Expansion:
    """An average at S steps for each (output, sample), (S, P): value + coefficient / n.

    parts: the coefficient by what it comes from; parts may nearly cancel, as bias and variance do.
    """

    value: Array
    parts: Mapping[str, Array]

    @property
    def coefficient(self) -> Array:
        """(S, P), of docs/theory.md (5.41) and (5.42)."""
        return np.asarray(sum(self.parts.values()))

    @property
    def size(self) -> Array:
        """The sum of the sizes of the parts, (S, P), of docs/theory.md (5.41) and (5.42)."""
        return np.asarray(sum(np.abs(part) for part in self.parts.values()))


def squared_error(record: TrainedToOrderN, targets: ArrayLike) -> Expansion:
    """E (z - y)^2, bias and variance: docs/theory.md (5.41). targets: (D, n_L), of all samples; NaN gives NaN."""
    apart = record.mean - _joint(targets)
    return Expansion(
        value=apart**2 + _diagonal(record.covariance, 2),
        parts={"bias": 2 * apart * record.mean1, "variance": _diagonal(record.covariance1, 2)},
    )


def wrong_sign(record: TrainedToOrderN, targets: ArrayLike) -> Expansion:
    """The probability that z and y differ in sign, by the Edgeworth series: docs/theory.md (5.42).

    targets: (D, n_L), of all samples. Where z has no variance left, there is no coefficient and it is NaN. Raises
    ValueError for a target zero, and where the third and fourth cumulants are not known.
    """
    y = _joint(targets)
    if np.any(y == 0):
        raise ValueError("targets: a sign is needed, and one of them is 0")
    if record.third is None or record.fourth is None:
        raise ValueError("trained: the third and fourth cumulants are known for loss=mse without batches")
    s = np.sign(y)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = np.sqrt(_diagonal(record.covariance, 2))
        u = -s * record.mean / sigma
        density = scipy.stats.norm.pdf(u)
        parts = {
            "mean": -s * record.mean1 / sigma,
            "variance": -u * _diagonal(record.covariance1, 2) / (2 * sigma**2),
            "third": -s * _diagonal(record.third, 3) * (u**2 - 1) / (6 * sigma**3),
            "fourth": -_diagonal(record.fourth, 4) * (u**3 - 3 * u) / (24 * sigma**4),
        }
        return Expansion(scipy.stats.norm.cdf(u), {name: density * part for name, part in parts.items()})


def _joint(targets: ArrayLike) -> Array:
    """(D, n_L) as (P,), output first."""
    return np.asarray(targets, dtype=np.float64).T.ravel()


def _diagonal(tensor: Array, order: int) -> Array:
    """(S, P) of (S, P, .., P) with so many P."""
    return np.asarray(np.einsum(f"s{'p' * order}->sp", tensor))
