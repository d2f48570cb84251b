"""The closed sampler: layers by sums over their neurons whose law is known, docs/theory.md (10.5).

A layer costs as many numbers as its samples need, whatever its width: a Wishart matrix for linear networks, and for a
scale-invariant activation with one input how many neurons are above zero, and two sums of squares. Neurons that are
recorded are drawn one by one, and the sums are over the others. M counts networks, D samples, n neurons.
"""

from collections.abc import Container, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from simulate.networks import streams
from simulate.networks.activations import Function
from simulate.networks.dense import kernel
from simulate.networks.law import Drawn
from simulate.networks.streams import Stream
from simulate.networks.tilt import Tilt
from simulate.numerics.gram import factor, gram, mix
from simulate.settings import Settings

Array = NDArray[np.float64]


def sample(
    settings: Settings,
    x: Tensor,
    stream: Stream,
    s: Function,
    last: bool,
    z_of: Container[int],
    y: Tensor | None = None,
    tilt: Tilt | None = None,
) -> Iterator[Drawn]:
    """The kernels of layers 1, ..., L, and the first neurons of layers where outputs are recorded, docs/theory.md
    (10.5). The arguments and what is yielded are those of `simulate.networks.law.sample`; z has these neurons alone.
    """
    start, wide, empty = settings.initialization, replace(stream, dtype=torch.float64, arrays=None), x[:0]
    g = kernel(x[None], start.C_b, start.C_W).expand(stream.M, -1, -1).contiguous()
    slopes = float(-s(-torch.ones(1))), float(s(torch.ones(1)))
    for layer, n in enumerate(settings.network.sizes(x.shape[1])[1:], start=1):
        C, first = factor(g), _recorded(settings, layer)
        z = mix(C, wide.normal(streams.WEIGHTS, layer, len(x), first)) if first else g[:, :, :0]
        yield Drawn(g, C, empty, z.to(stream.dtype), empty, False)
        if layer < settings.network.depth:
            sums = _sums(wide, layer, n - first, len(x), slopes)
            squares = C @ sums @ C.mT
            if first:
                squares += gram(s(z))
            g = squares.mul_(start.C_W / n).add_(start.C_b)


def _recorded(settings: Settings, layer: int) -> int:
    """How many neurons of a layer are recorded."""
    observables = settings.observables
    return settings.network.outputs if "outputs" in observables.record and layer in observables.output_layers else 0


def _sums(wide: Stream, layer: int, n: int, D: int, slopes: tuple[float, float]) -> Tensor:
    """The sums of s(xi_a) s(xi_b) over n neurons with standard normals xi, (M, D, D): linear s, or D = 1."""
    if slopes[0] != slopes[1]:
        below, above = _of_halves(wide.normal(streams.SUMS, layer, 3).numpy(), n)
        return torch.from_numpy(slopes[0] ** 2 * below + slopes[1] ** 2 * above)[:, None, None]
    if n < D:
        xi = wide.normal(streams.SUMS, layer, D, n) if n else torch.zeros(wide.M, D, 1, dtype=wide.dtype)
        return slopes[0] ** 2 * gram(xi)
    numbers = wide.normal(streams.SUMS, layer, D, D).tril_()
    for a in range(D):
        numbers[:, a, a] = torch.from_numpy(chi_squared(numbers[:, a, a].numpy(), n - a)).sqrt_()
    return slopes[0] ** 2 * numbers @ numbers.mT


def _of_halves(normals: Array, n: int) -> tuple[Array, Array]:
    """The sums of squares of the standard normals below and above zero among n of them, (M,) each, from (M, 3)."""
    above = binomial(normals[:, 0], n)
    return chi_squared(normals[:, 1], n - above), chi_squared(normals[:, 2], above)


def chi_squared(normal: Array, n: Array | int) -> Array:
    """The sum of squares of n standard normals, 0 for n = 0, with the rank of a normal: the quantile function, in the
    tail that the normal lies in."""
    shape, tail = np.maximum(n, 1) / 2, special.ndtr(-np.abs(normal))
    value = np.where(normal < 0, special.gammaincinv(shape, tail), special.gammainccinv(shape, tail))
    return np.asarray(np.where(np.asarray(n) > 0, 2 * value, 0.0))


def binomial(normal: Array, n: int) -> Array:
    """How many of n fair coins fall on one side, with the rank of a normal: the quantile function, exactly, from the
    side of the tail that the normal lies in."""
    tail = special.ndtr(-np.abs(normal))
    k = np.clip(np.floor(n / 2 - np.abs(normal) * np.sqrt(n) / 2), 0, max(n - 1, 0))
    while (low := _at_most(k, n) < tail).any():
        k += low
    while (high := (k > 0) & (_at_most(np.maximum(k - 1, 0), n) >= tail)).any():
        k -= high
    return np.where(normal < 0, k, n - k)


def _at_most(k: Array, n: int) -> Array:
    """The probability that at most k of n fair coins fall on one side: bdtr of scipy is off by 1e-7 at n = 10^7."""
    return np.asarray(special.betainc(n - k, k + 1, 0.5))
