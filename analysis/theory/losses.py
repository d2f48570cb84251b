"""Losses of one sample and their derivatives in its outputs, as docs/theory.md (5.37) and (5.38) need them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are used

from analysis.theory.activations import Array


@dataclass(frozen=True)
class LossDerivatives:
    """The derivatives of a loss in the outputs z (..., n_L) of a sample, for its targets y (n_L,).

    slope(z, y): (..., n_L). curvature: (..., n_L, n_L). third: (..., n_L, n_L, n_L).
    """

    name: str
    slope: Callable[[Array, Array], Array]
    curvature: Callable[[Array, Array], Array]
    third: Callable[[Array, Array], Array]


def _square_curvature(z: Array, y: Array) -> Array:
    return np.ones_like(z)[..., None] * np.eye(z.shape[-1])


def _square_third(z: Array, y: Array) -> Array:
    return np.zeros((*z.shape, z.shape[-1], z.shape[-1]))


def _softmax(z: Array) -> Array:
    """Of outputs z (..., n_L), as scipy has it, whose function takes no rows of a device."""
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1)[..., None]


def _slope(z: Array, y: Array) -> Array:
    """-y / (1 + exp(y z)) for one output, total softmax(z) - y for several, docs/theory.md (5.37)."""
    if z.shape[-1] == 1:
        return -y * scipy.special.expit(-y * z)
    return y.sum(axis=-1, keepdims=True) * _softmax(z) - y


def _curvature(z: Array, y: Array) -> Array:
    """The derivative of the slope: for several outputs the covariance of the classes."""
    if z.shape[-1] == 1:
        p = scipy.special.expit(z)
        return (y**2 * p * (1 - p))[..., None]
    p, total = _softmax(z), y.sum(axis=-1)[..., None, None]
    return total * (p[..., None] * np.eye(z.shape[-1]) - p[..., :, None] * p[..., None, :])


def _third(z: Array, y: Array) -> Array:
    """The derivative of the curvature: for several outputs the third cumulant of the classes."""
    if z.shape[-1] == 1:
        p = scipy.special.expit(y * z)
        return np.asarray((y**3 * p * (1 - p) * (1 - 2 * p))[..., None, None])
    p, total, eye = _softmax(z), y.sum(axis=-1)[..., None, None, None], np.eye(z.shape[-1])
    second = p[..., :, None] * p[..., None, :]
    mixed = np.einsum("...ij,jk->...ijk", second, eye)
    third = np.einsum("...i,ij,jk->...ijk", p, eye, eye) + 2 * second[..., None] * p[..., None, None, :]
    return np.asarray(total * (third - mixed - mixed.swapaxes(-2, -3) - np.einsum("...ik,ij->...ijk", second, eye)))


LOSSES = {
    "mse": LossDerivatives("mse", lambda z, y: z - y, _square_curvature, _square_third),
    "cross_entropy": LossDerivatives("cross_entropy", _slope, _curvature, _third),
}
