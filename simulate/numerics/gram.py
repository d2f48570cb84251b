"""Arithmetic of a block for which batched library calls are slow: Gram matrices, small products and factors.

Each function has three forms: loops compiled by numba on a CPU (`simulate.numerics.loops`), kernels on a CUDA device
(`simulate.numerics.device`), and torch operations elsewhere (`simulate.numerics.plain`). Tests in
`tests/exact/numerics` hold them to each other on a CPU. M counts networks, n neurons, D samples and K vectors. Sums
over neurons are accumulated in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from simulate.numerics import loops, plain
from simulate.numerics.loops import ROUNDING, TANH
from simulate.numerics.normals import on_device


@dataclass(frozen=True)
class Form:
    """The slope of an activation that loops compute themselves: tanh, or z above zero and `below` z elsewhere, with
    below >= 0."""

    tanh: bool = False
    below: float = 0.0

    def __call__(self, z: Tensor, s: Tensor) -> Tensor:
        """The slope at z, from activations s alone."""
        if self.tanh:
            return torch.addcmul(s.new_ones(()), s, s, value=-1)
        return torch.where(s > 0, 1.0, torch.full_like(s, self.below))

    @property
    def bend(self) -> tuple[float, ...]:
        """The slope as `simulate.numerics.loops` has it: c0 + c1 s + c2 s^2, and c3 more above zero."""
        return TANH if self.tanh else (self.below, 0.0, 0.0, 1.0 - self.below)


GIVEN = (0.0, 1.0, 0.0, 0.0)  # the bend of slopes that are given, and not activations


def _kernels(*arrays: Tensor) -> ModuleType | None:
    """The kernels for these arrays, or None where torch operations are used: off CUDA, and beyond MOST rows."""
    if not on_device(arrays[0].device):
        return None
    from simulate.numerics import device

    return device if max(array.shape[1] for array in arrays) <= device.MOST else None


def one_if_shared(s: Tensor) -> Tensor:
    """The activations of one network where all networks share theirs, as they share inputs; else those of all."""
    return s[:1] if len(s) > 1 and s.stride(0) == 0 else s


def gram(s: Tensor, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """The Gram matrix shift + scale sum_j s_aj s_bj of each network: (M, D, n) -> (M, D, D) float64."""
    if len(one := one_if_shared(s)) < len(s):
        return gram(one, scale, shift).expand(len(s), -1, -1)
    if not s.is_cpu:
        kernels = _kernels(s)
        return kernels.cross(s, s, scale, shift) if kernels else plain.gram(s, scale, shift)
    out = torch.empty(s.shape[0], s.shape[1], s.shape[1], dtype=torch.float64)
    loops.gram(s.numpy(), out.numpy(), scale, shift)
    return out


def weigh(H: Tensor, u: Tensor, s: Tensor, scale: float, shift: float) -> None:
    """Add (shift + scale s_a . s_b) u_ia . u_jb to H_ij;ab, (M, n_L, D, n_L, D) float64, in place.

    u: (M, n_L D, n), with vector (i, a) at i D + a; s: (M, D, n').
    """
    if H.is_cpu:
        loops.weigh(H.numpy(), u.numpy(), one_if_shared(s).numpy(), scale, shift)
    else:
        H.addcmul_(gram(s, scale, shift)[:, None, :, None, :], gram(u).view(H.shape))


def cross(u: Tensor, s: Tensor) -> Tensor:
    """The products sum_j u_kj s_aj of each network: (M, K, n), (M, D, n) -> (M, K, D) float64."""
    if not u.is_cpu:
        kernels = _kernels(u, s) or plain
        return kernels.cross(u, s)
    out = torch.empty(*u.shape[:2], s.shape[1], dtype=torch.float64)
    loops.crosses(u.numpy(), s.numpy(), out.numpy())
    return out


def mix(C: Tensor, x: Tensor) -> Tensor:
    """The product C x for lower triangular C: (M, D, D) float64, (M, D, n) -> (M, D, n).

    The result has the dtype of x and is rounded to it once, at the end.
    """
    if not x.is_cpu:
        kernels = _kernels(x)
        return kernels.blend(C, x) if kernels else plain.mix(C, x)
    out = torch.empty_like(x)
    loops.mix(C.numpy(), x.numpy(), out.numpy())
    return out


def factor(g: Tensor) -> Tensor:
    """The lower triangular C with C C^T = g for positive semidefinite g of any rank, both (M, D, D) float64.

    This is Cholesky's, except that an exhausted pivot gives a zero column, so that equal inputs, more inputs than
    neurons and dead ReLU networks pass.
    """
    if not g.is_cpu:
        kernels = _kernels(g)
        return (kernels or plain).factor(g, ROUNDING)
    C = torch.empty(g.shape, dtype=g.dtype)
    loops.factors(g.numpy(), C.numpy())
    return C


def pull_back(
    u: Tensor, R: Tensor, C: Tensor, xi: Tensor, s: Tensor, x: Tensor, bias: Tensor, scale: float,
    slopes: Tensor | Form, split: int,
) -> Tensor:  # fmt: skip
    """The vectors W^T u times slopes (M, split + (K - split) T, n) for weights W that took s (M, D, n) to C xi.

    W is unknown otherwise, docs/theory.md (10.3). u: (M, K, n_above). R: (M, K, K) float64, lower triangular, the
    factor of their Gram matrix, or for orthogonal weights that of `simulate.networks.haar.remainder`. x: (M, K, n) and
    bias: (M, K, 1), or of length 0 without biases, are fresh normals of variance scale^2 and C_b. slopes: (M, T, n), or
    the activation that has those of s. Of the first `split` vectors, k = 0..T-1 and again the next T have one each,
    and each of the others gives T rows. The result has the dtype of s.

    With Q = scale P s for the inverse P of C, known and unknown part together are R x + A s, where A (K, D) needs
    products over neurons only: no direction is ever formed. Sums are in float64 and rounded once at the end, so that
    terms may cancel.
    """
    if not s.is_cpu:
        kernels = _kernels(u, s) or plain
        slopes = slopes(s, s) if isinstance(slopes, Form) else slopes
        if split == u.shape[1]:
            return kernels.pull_back(u, R, C, xi, s, x, bias, scale, slopes)
        return plain.spread(kernels.pull_back(u, R, C, xi, s, x, bias, scale, torch.ones_like(s[:, :1])), slopes, split)
    of_slopes, bend = bent(slopes, s)
    out = pulled(u, s, of_slopes, split)
    forward = C.numpy(), xi.numpy(), s.numpy()
    backward = x.numpy(), bias.numpy(), scale, of_slopes.numpy(), bend
    loops.pull_back(u.numpy(), R.numpy(), *forward, *backward, split, out.numpy())
    return out


def activate(z: Tensor, s: Callable[[Tensor], Tensor], form: Form | None) -> Tensor:
    """The activations s(z), (M, D, n), by the loops of `simulate.networks.one_pass` where they are compiled for z."""
    if form is None or not z.is_cpu or z.dtype != torch.float32:
        return s(z)
    out = z.clone(memory_format=torch.contiguous_format)
    loops.activate(out.numpy(), form.tanh, form.below)
    return out


def bent(slopes: Tensor | Form, s: Tensor) -> tuple[Tensor, tuple[float, ...]]:
    """The array that slopes follow from, and how."""
    return (s, slopes.bend) if isinstance(slopes, Form) else (slopes, GIVEN)


def pulled(u: Tensor, s: Tensor, slopes: Tensor, split: int) -> Tensor:
    """An array for the result of `pull_back`."""
    return torch.empty(len(u), split + (u.shape[1] - split) * slopes.shape[1], s.shape[2], dtype=s.dtype)
