"""Products of few samples with the weights of many networks, and the rank-N update of gradient descent.

W is stored by incoming neuron, V = W^T of shape (M, J, I), J = n_{l-1} and I = n_l, so that the row of V that one
incoming neuron feeds is contiguous. Compiled loops (`simulate.numerics.product_loops`) go over V once where a library
goes over it three times; those for a few outputs take down to a sixth of its time. They take along what is small beside
V: the sum of errors over samples for the biases, and the slopes of the layer below. On a CUDA device the kernels of
`simulate.numerics.device_products` go over V once, too; for more than FEW_SAMPLES a library's products are faster. For
other layers, and on other devices, torch's batched products are taken. The choice follows from the shapes and the
device alone. N counts samples.
"""

from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulate.numerics.gram import GIVEN, Form, bent, one_if_shared
from simulate.numerics.normals import on_device
from simulate.numerics.product_loops import FEW_OUTPUTS, TILE, loops_of

# NARROWEST: smallest I with loops for wide layers, if I is a multiple of VECTOR. WIDE: smallest I for which a remainder
# does not count.
NARROWEST, VECTOR, WIDE = 48, 16, 192
FEW_SAMPLES = 4
_NOTHING, _NO_BIAS = np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32)


def _uses_loops(V: Tensor) -> bool:
    """Whether the loops are faster than a library: for a few outgoing neurons, as outputs are, or whole vectors of
    them."""
    I = V.shape[2]
    wide = I >= NARROWEST and (I % VECTOR == 0 or I >= WIDE)
    fits = wide or I <= FEW_OUTPUTS
    return V.is_cpu and V.dtype == torch.float32 and V.shape[1] >= TILE and fits and V.is_contiguous()


def _kernels(V: Tensor, N: int) -> ModuleType | None:
    """The kernels for weights V and N samples, or None where torch's products are taken."""
    if N > FEW_SAMPLES or not on_device(V.device):
        return None
    from simulate.numerics import device_products

    return device_products if device_products.holds(V) else None


def affine(s: Tensor, V: Tensor, b: Tensor) -> Tensor:
    """The preactivations z = s V + b: (M, N, J), (M, J, I), (M, I) -> (M, N, I)."""
    if kernels := _kernels(V, s.shape[1]):
        return kernels.affine(s, V, b)
    if not _uses_loops(V):
        return torch.baddbmm(b[:, None, :], s, V)
    z = torch.empty(*s.shape[:2], V.shape[2], dtype=s.dtype)
    loops_of(V.shape[2])[0](one_if_shared(s).numpy(), V.numpy(), b.numpy(), z.numpy())
    return z


def pull_back(d: Tensor, V: Tensor, s: Tensor | None = None, slopes: Tensor | Form | None = None) -> Tensor:
    """The product d V^T, times slopes if they are given: (M, P, I), (M, J, I) -> (M, P, J).

    slopes: (M, N, J), or the form of which s (M, N, J) are activations. Rows of d are one for each sample, or for each
    of several outputs and each sample, output first.
    """
    if _uses_loops(V):
        below = torch.empty(*d.shape[:2], V.shape[1], dtype=d.dtype)
        nothing = d.numpy(), _NOTHING, V.numpy(), _NOTHING, _NO_BIAS, (0.0, 0.0)
        loops_of(V.shape[2])[1](*nothing, below.numpy(), *_arrays(s, slopes))
        return below
    kernels = _kernels(V, d.shape[1])
    return _times(kernels.descend(d, None, V, None, 0.0, below=True) if kernels else torch.bmm(d, V.mT), s, slopes)


def _arrays(s: Tensor | None, slopes: Tensor | Form | None) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """The slopes of `pull_back` as the loops take them."""
    if slopes is None or s is None:
        return _NOTHING, GIVEN
    of, bend = bent(slopes, s)
    return of.numpy(), bend


def _times(w: Tensor, s: Tensor | None, slopes: Tensor | Form | None) -> Tensor:
    """w (M, P, J), multiplied in place by the slopes of `pull_back`."""
    if slopes is None or s is None:
        return w
    numbers = slopes(s, s) if isinstance(slopes, Form) else slopes
    return w.unflatten(1, (-1, s.shape[1])).mul_(numbers[:, None]).flatten(1, 2)


def descend(
    d: Tensor, s: Tensor, V: Tensor, T: Tensor, b: Tensor, rates: tuple[float, float], slopes: Tensor | Form | None
) -> Tensor | None:
    """Subtract rate s^T d from T and rate_b sum_a d_a from b in place. Return d V^T (M, N, J) of V as it was before,
    times slopes, which are as of `pull_back`, or None where there are none.

    d: (M, N, I) errors at this layer; s: (M, N, J) activations below it; T: (M, J, I), V itself or another tensor;
    b: (M, I); rates: (rate, rate_b).
    """
    if _uses_loops(V):
        out = torch.empty(s.shape if slopes is not None else (0, 0, 0), dtype=s.dtype)
        arrays = d.numpy(), one_if_shared(s).numpy(), V.numpy(), T.numpy(), b.numpy(), rates, out.numpy()
        loops_of(V.shape[2])[1](*arrays, *_arrays(s, slopes))
        return None if slopes is None else out
    b.sub_(d.sum(dim=1), alpha=rates[1])
    if (kernels := _kernels(V, d.shape[1])) and T.is_contiguous():
        below = kernels.descend(d, s, V, T, rates[0], slopes is not None)
    else:
        below = None if slopes is None else torch.bmm(d, V.mT)
        T.baddbmm_(s.mT, d, alpha=-rates[0])
    return None if below is None else _times(below, s, slopes)
