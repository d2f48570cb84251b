"""A layer without weights, forward and backward, with its normals drawn where they are used.

M counts networks, n neurons, D samples and K vectors.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from simulate.numerics.gram import Form, factor, gram, mix, pull_back
from simulate.numerics.normals import Address, normal


class Layer(NamedTuple):
    """A layer: the normals xi, z where it is kept and s elsewhere, the activations s, (M, D, n) each, and the Gram
    matrices of s, (M, D, D) float64."""

    xi: Tensor
    z: Tensor
    s: Tensor
    square: Tensor


def forward(C: Tensor, address: Address, s: Callable[[Tensor], Tensor], keep: bool, out: Tensor | None) -> Layer:
    """The layer z = C xi, s(z) of docs/theory.md (10.1), with normals xi of an address.

    C: (M, D, D) float64, lower triangular. keep: whether z is kept. out: an array (M, D n) for xi.
    """
    xi = normal(address, out).view(*C.shape[:2], -1)
    z = mix(C, xi)
    activations = s(z)
    return Layer(xi, z if keep else activations, activations, gram(activations))


def backward(
    u: Tensor, square: Tensor, C: Tensor, xi: Tensor, s: Tensor, address: Address, bias: Tensor, scale: float,
    slopes: Tensor | Form, split: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What `simulate.numerics.gram.pull_back` gives for Gaussian weights with the fresh normals of an address, and its
    Gram matrices, float64. square: (M, K, K) float64, the Gram matrices of u."""
    x = normal(address).view(*u.shape[:2], -1)
    found = pull_back(u, factor(square), C, xi, s, x, bias, scale, slopes, split)
    return found, gram(found)
