"""A layer without weights, forward and backward, with its normals drawn where they are used.

M counts networks, n neurons, D samples and K vectors.
"""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

from torch import Tensor

from simulate.numerics.gram import Form, activate, gram, mix, pull_back
from simulate.numerics.normals import Address, normal, on_device


class Layer(NamedTuple):
    """A layer: the normals xi, z where it is kept and s elsewhere, the activations s, (M, D, n) each, and the Gram
    matrices of s, (M, D, D) float64."""

    xi: Tensor
    z: Tensor
    s: Tensor
    square: Tensor


def forward(
    C: Tensor, address: Address, s: Callable[[Tensor], Tensor], form: Form | None, keep: bool, hold: bool = True,
    out: Tensor | None = None,
) -> Layer:  # fmt: skip
    """The layer z = C xi, s(z) of docs/theory.md (10.1), with normals xi of an address.

    C: (M, D, D) float64, lower triangular. form: that of s, if it has one. keep: whether z is kept. hold: whether xi
    and s are read by anybody; where not, they are empty. out: an array (M, D n) for xi.
    """
    if form is not None and (kernels := _kernels(C.shape[1], C)):
        return Layer(*kernels.forward(C, address, form, keep, hold))
    xi = normal(address, out).view(*C.shape[:2], -1)
    z = mix(C, xi)
    activations = activate(z, s, form)
    square = gram(activations)
    xi, activations = (xi, activations) if hold else (xi[..., :0], activations[..., :0])
    return Layer(xi, z if keep else activations, activations, square)


def backward(
    u: Tensor, R: Tensor, C: Tensor, xi: Tensor, s: Tensor, address: Address, bias: Tensor, slopes: Tensor | Form,
    split: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What `simulate.numerics.gram.pull_back` gives for Gaussian weights with the fresh normals of an address, and its
    Gram matrices, float64."""
    K, D = u.shape[1], s.shape[1]
    if isinstance(slopes, Form) and (kernels := _kernels(max(K, D, split + (K - split) * D), s)):
        return kernels.backward(u, R, C, xi, s, address, bias, slopes, split)
    x = normal(address).view(len(u), K, -1)
    found = pull_back(u, R, C, xi, s, x, bias, address.scale, slopes, split)
    return found, gram(found)


def _kernels(rows: int, array: Tensor) -> ModuleType | None:
    """The kernels of a whole layer of so many rows, or None where it is composed: off CUDA, and beyond MOST of them."""
    if not on_device(array.device):
        return None
    from simulate.numerics import device, device_layer

    return device_layer if rows <= device.MOST else None
