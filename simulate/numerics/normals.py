"""Normals with an address: a number depends on (key, network, tensor, position) alone.

The generator has three forms: loops compiled by numba on a CPU, kernels on a CUDA device (`simulate.numerics.device`),
and torch operations on every other device. Tests in `tests/exact/numerics` hold them to each other on a CPU.
A counter of the generator has four words: a running number in two halves, the number of the tensor, and its groups of
normals per network.
"""

import math
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from simulate.numerics import loops
from simulate.numerics.loops import LANES, MULTIPLIERS, ROUNDS, WEYL

_LOW = 0xFFFFFFFF
# FLOAT64_CHUNK: groups that numpy holds at a time in float64.
FLOAT64_CHUNK = 1024


def groups(N: int, dtype: torch.dtype) -> int:
    """The groups that N normals of a network take."""
    return -(-N // ((4 if dtype == torch.float32 else 2) * LANES))


class Address(NamedTuple):
    """Where normals of variance scale^2 are, (M, N): in tensor number `tensor` of networks first, ..., first + M - 1.

    A number depends on (key, network, tensor, position, N) alone: not on M, on earlier draws or on how many processors
    a device has, and on the kind of device only by rounding. key: two words of 32 bits.
    """

    M: int
    N: int
    first: int
    tensor: int
    key: tuple[int, int]
    scale: float
    dtype: torch.dtype
    device: torch.device

    @property
    def per_network(self) -> int:
        """Groups of a network, which begin at counter network * per_network * LANES."""
        return groups(self.N, self.dtype)

    @property
    def start(self) -> int:
        """The first counter."""
        return self.first * self.per_network * LANES

    def of_loops(self) -> tuple[np.generic, ...]:
        """What `simulate.numerics.loops` takes in float32."""
        words = (self.tensor, self.per_network, *self.key)
        return np.uint64(self.start), *map(np.uint32, words), np.float32(self.scale)


def _words_torch(
    count: int, start: int, tensor: int, per_network: int, key: tuple[int, int], device: torch.device
) -> list[Tensor]:
    """The four words that `_words` gives, each (count,) int64."""
    counter = torch.arange(start, start + count, device=device)
    c0, c1 = counter & _LOW, counter >> 32
    c2, c3 = torch.full_like(counter, tensor), torch.full_like(counter, per_network)
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # products are modulo 2^64, as Philox has them
        c0, c1, c2, c3 = (p1 >> 32 & _LOW) ^ c1 ^ k0, p1 & _LOW, (p0 >> 32 & _LOW) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = k0 + WEYL[0] & _LOW, k1 + WEYL[1] & _LOW
    return [c0, c1, c2, c3]


def normal(address: Address, out: Tensor | None = None) -> Tensor:
    """The normals at an address, (M, N).

    out: an array that they are written to, on a CPU only, since other devices have their own allocators.
    """
    M, N, _, tensor, key, scale, dtype, device = address
    per_network, start = address.per_network, address.start
    total, words = M * per_network, (tensor, per_network, *key)
    if on_device(device):
        from simulate.numerics import device as kernels

        array = torch.empty(M, N, dtype=dtype, device=device)
        return kernels.normal(array, start, words, scale, LANES)
    if device.type != "cpu":
        return _normals_torch(total, start, words, scale, dtype, device).view(M, -1)[:, :N].contiguous()
    if out is None:
        out = torch.empty(M, N, dtype=dtype)
    if dtype == torch.float32:
        loops.normals(out.numpy(), address.of_loops())
        return out
    whole = out.view(total, 2, LANES) if N % (2 * LANES) == 0 else torch.empty(total, 2, LANES, dtype=dtype)
    uniform = np.empty((min(total, FLOAT64_CHUNK), 2, LANES))
    for first_group in range(0, total, FLOAT64_CHUNK):
        chunk = whole[first_group : first_group + FLOAT64_CHUNK].numpy()
        u, v = uniform[: len(chunk), 0], uniform[: len(chunk), 1]
        loops.uniforms(uniform[: len(chunk)], np.uint64(start + first_group * LANES), *map(np.uint32, words))
        radius, angle = scale * np.sqrt(-2 * np.log(u)), 2 * math.pi * v
        chunk[:, 0], chunk[:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    return out if N % (2 * LANES) == 0 else out.copy_(whole.view(M, -1)[:, :N])


def is_compiled() -> bool:
    """Whether this process has drawn normals by the compiled loops."""
    return any(loop.signatures for loop in (loops.normals, loops.uniforms, loops.networks))


@cache
def on_device(device: torch.device) -> bool:
    """Whether arrays of this device are worked on by the kernels of `simulate.numerics.device`: on a CUDA device where
    torch brings Triton along. Elsewhere torch operations stand for them."""
    return device.type == "cuda" and find_spec("triton") is not None


def without_kernels(device: torch.device) -> str | None:
    """Why the kernels of a CUDA device are not taken there, in words; None where they are, and on other devices."""
    if device.type != "cuda" or on_device(device):
        return None
    return (
        "ensemble.device=cuda: there is no Triton beside torch, so that torch operations do the work, with the same "
        "networks to rounding, and take longer; a CUDA build of torch brings it along (make venv TORCH=cuda)"
    )


def _normals_torch(groups: int, start: int, address: tuple[int, ...], scale: float, dtype: torch.dtype,
                   device: torch.device) -> Tensor:  # fmt: skip
    tensor, per_network, *key = address
    words = _words_torch(groups * LANES, start, tensor, per_network, (key[0], key[1]), device)
    if dtype == torch.float32:
        u = [w.to(dtype) * 2.0**-32 + 2.0**-33 for w in words[::2]]
        v = [((w ^ 2**31) - 2**31).to(dtype) * 2.0**-32 for w in words[1::2]]
    else:
        a, b, c, d = (w.to(dtype) for w in words)
        u, v = [(a + (b + 0.5) * 2.0**-32) * 2.0**-32], [(c + d * 2.0**-32) * 2.0**-32 - 0.5]
    out = []
    for uniform, turn in zip(u, v, strict=True):
        radius, angle = scale * torch.sqrt(-2 * torch.log(uniform)), 2 * math.pi * turn
        out += [radius * torch.cos(angle), radius * torch.sin(angle)]
    return torch.stack([row.view(groups, LANES) for row in out], dim=1)
