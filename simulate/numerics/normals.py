"""Normals with an address: a number depends on (key, network, tensor, position) alone.

The generator has three forms: loops compiled by numba on a CPU, kernels on a CUDA device (`simulate.numerics.device`),
and torch operations on every other device. Tests in `tests/exact/numerics` hold them to each other on a CPU.
A counter of the generator has four words: a running number in two halves, the number of the tensor, and its groups of
normals per network.
"""

import math
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numba import float32, float64, int32, int64, njit, uint32, uint64
from torch import Tensor

# The constants of Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC11).
_MULTIPLIERS, _WEYL, _ROUNDS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85), 10
_M0, _M1, _W0, _W1 = uint32(_MULTIPLIERS[0]), uint32(_MULTIPLIERS[1]), uint32(_WEYL[0]), uint32(_WEYL[1])
_LOW = 0xFFFFFFFF
# LANES: counters in a group. A counter gives four words, so that normals come in groups of 64 (of 32 in float64).
LANES = 16
# GROUPS_PER_CHUNK: groups that the loops hold at a time; a chunk fits the first-level cache.
GROUPS_PER_CHUNK = 64
# FLOAT64_CHUNK: groups that numpy holds at a time in float64.
FLOAT64_CHUNK = 1024


@njit(cache=True, inline="always")
def _philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    for _ in range(_ROUNDS):
        p0, p1 = uint64(_M0) * uint64(c0), uint64(_M1) * uint64(c2)
        c0, c1 = uint32(p1 >> uint64(32)) ^ c1 ^ k0, uint32(p1)
        c2, c3 = uint32(p0 >> uint64(32)) ^ c3 ^ k1, uint32(p0)
        k0, k1 = uint32(k0 + _W0), uint32(k1 + _W1)
    return c0, c1, c2, c3


@njit(cache=True)
def _words(out: Any, count: int, start: Any, tensor: Any, per_network: Any, k0: Any, k1: Any) -> None:
    """Set out (4, count or more) uint32 to the words at the counters start, start + 1, ..., start + count - 1."""
    for i in range(count):
        counter = start + uint64(i)
        out[0, i], out[1, i], out[2, i], out[3, i] = _philox(
            uint32(counter), uint32(counter >> uint64(32)), tensor, per_network, k0, k1
        )


def _words_torch(
    count: int, start: int, tensor: int, per_network: int, key: tuple[int, int], device: torch.device
) -> list[Tensor]:
    """The four words that `_words` gives, each (count,) int64."""
    counter = torch.arange(start, start + count, device=device)
    c0, c1 = counter & _LOW, counter >> 32
    c2, c3 = torch.full_like(counter, tensor), torch.full_like(counter, per_network)
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # products are modulo 2^64, as Philox has them
        c0, c1, c2, c3 = (p1 >> 32 & _LOW) ^ c1 ^ k0, p1 & _LOW, (p0 >> 32 & _LOW) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = k0 + _WEYL[0] & _LOW, k1 + _WEYL[1] & _LOW
    return [c0, c1, c2, c3]


@njit(cache=True, error_model="numpy", fastmath=True)  # all numbers are finite here
def _box_muller(words: Any, C: int, u: Any, exponent: Any, out: Any, scale: Any) -> None:
    """Set out (4, C or more) float32 to normals of scale `scale` made from words (4, C or more).

    u and exponent are scratch arrays of that length.
    """
    bits = u.view(np.int32)
    for r in (0, 2):
        for i in range(C):
            u[i] = float32(words[r, i]) * float32(2.0**-32) + float32(2.0**-33)
        for i in range(C):  # u = m 2^e with m in [sqrt(1/2), sqrt(2))
            e = (bits[i] - int32(0x3F3504F3)) >> int32(23)
            bits[i] -= e << int32(23)
            exponent[i] = float32(e)
        for i in range(C):
            m, e = u[i] - float32(1.0), exponent[i]
            p = float32(7.0376836292e-2)
            p = p * m - float32(1.1514610310e-1)
            p = p * m + float32(1.1676998740e-1)
            p = p * m - float32(1.2420140846e-1)
            p = p * m + float32(1.4249322787e-1)
            p = p * m - float32(1.6668057665e-1)
            p = p * m + float32(2.0000714765e-1)
            p = p * m - float32(2.4999993993e-1)
            p = p * m + float32(3.3333331174e-1)
            square = m * m
            log = m + (m * square * p - e * float32(2.12194440e-4) - float32(0.5) * square) + e * float32(0.693359375)
            radius = scale * math.sqrt(float32(-2.0) * log)  # u <= 1, so log <= 0
            turn = float32(int32(words[r + 1, i])) * float32(2.0**-32)
            quarter = int32(turn * float32(4.0) + math.copysign(float32(0.5), turn))
            angle = (turn - float32(quarter) * float32(0.25)) * float32(2.0 * math.pi)
            w = angle * angle
            sine = angle + angle * w * (
                float32(-1.6666654611e-1) + w * (float32(8.3321608736e-3) - w * float32(1.9515295891e-4))
            )
            cosine = float32(1.0) - w * float32(0.5)
            cosine += (
                w
                * w
                * (
                    float32(4.166664568298827e-2)
                    - w * (float32(1.388731625493765e-3) - w * float32(2.443315711809948e-5))
                )
            )
            odd = (quarter & int32(1)) != 0
            x, y = (sine, cosine) if odd else (cosine, sine)
            x = -x if ((quarter + int32(1)) & int32(2)) != 0 else x
            y = -y if (quarter & int32(2)) != 0 else y
            out[r, i], out[r + 1, i] = radius * x, radius * y


@njit(cache=True)
def _scratch() -> Any:
    """Arrays for a chunk: words, two rows of scratch, and normals."""
    size = GROUPS_PER_CHUNK * LANES
    words, normal = np.empty((4, size), np.uint32), np.empty((4, size), np.float32)
    return words, np.empty(size, np.float32), np.empty(size, np.float32), normal


@njit(cache=True)
def _normals(out: Any, start: Any, tensor: Any, per_network: Any, k0: Any, k1: Any, scale: Any) -> None:
    """Fill out (groups, 4, LANES) float32."""
    words, u, exponent, normal = _scratch()
    # Normals are moved in pairs, eight of them written out: the compiler makes no vector moves of a loop over floats.
    pairs, target = normal.view(np.int64).reshape(4, GROUPS_PER_CHUNK, LANES // 2), out.view(np.int64)
    for first_group in range(0, len(out), GROUPS_PER_CHUNK):
        groups = min(GROUPS_PER_CHUNK, len(out) - first_group)
        _words(words, groups * LANES, start + uint64(first_group * LANES), tensor, per_network, k0, k1)
        _box_muller(words, groups * LANES, u, exponent, normal, scale)
        for q in range(groups):
            t = first_group + q
            for r in range(4):
                p0, p1, p2, p3 = pairs[r, q, 0], pairs[r, q, 1], pairs[r, q, 2], pairs[r, q, 3]
                p4, p5, p6, p7 = pairs[r, q, 4], pairs[r, q, 5], pairs[r, q, 6], pairs[r, q, 7]
                target[t, r, 0], target[t, r, 1], target[t, r, 2], target[t, r, 3] = p0, p1, p2, p3
                target[t, r, 4], target[t, r, 5], target[t, r, 6], target[t, r, 7] = p4, p5, p6, p7


@njit(cache=True)
def _trimmed(out: Any, start: Any, tensor: Any, per_network: Any, k0: Any, k1: Any, scale: Any) -> None:
    """Fill out (M, N) float32 where N is no multiple of a group; the rest of a network's last group is dropped."""
    words, u, exponent, normal = _scratch()
    total = len(out) * int64(per_network)
    for first_group in range(0, total, GROUPS_PER_CHUNK):
        groups = min(GROUPS_PER_CHUNK, total - first_group)
        _words(words, groups * LANES, start + uint64(first_group * LANES), tensor, per_network, k0, k1)
        _box_muller(words, groups * LANES, u, exponent, normal, scale)
        for q in range(groups):
            m, first = (first_group + q) // int64(per_network), (first_group + q) % int64(per_network) * 4 * LANES
            target = out[m, first : first + 4 * LANES]
            if len(target) == 4 * LANES:
                for r in range(4):
                    for j in range(LANES):
                        target[r * LANES + j] = normal[r, q * LANES + j]
            else:
                for i in range(len(target)):
                    target[i] = normal[i // LANES, q * LANES + i % LANES]


@njit(cache=True)
def _uniforms(out: Any, start: Any, tensor: Any, per_network: Any, k0: Any, k1: Any) -> None:
    """Fill out (groups, 2, LANES) float64 from 64 bits each: the first row in (0, 1), the second in [-1/2, 1/2)."""
    words = np.empty((4, LANES), np.uint32)
    for group in range(len(out)):
        _words(words, LANES, start + uint64(group * LANES), tensor, per_network, k0, k1)
        for j in range(LANES):
            out[group, 0, j] = (float64(words[0, j]) + (float64(words[1, j]) + 0.5) * 2.0**-32) * 2.0**-32
            out[group, 1, j] = (float64(words[2, j]) + float64(words[3, j]) * 2.0**-32) * 2.0**-32 - 0.5


def normal(M: int, N: int, first: int, tensor: int, key: tuple[int, int], scale: float, dtype: torch.dtype,
           device: torch.device, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Normals of variance scale^2, (M, N), of tensor number `tensor` of networks first, ..., first + M - 1.

    A number depends on (key, network, tensor, position, N) alone: not on M, on earlier draws or on how many processors
    a device has, and on the kind of device only by rounding. key: two words of 32 bits. out: an array (M, N) that the
    numbers are written to, on a CPU only, since other devices have their own allocators.
    """
    size = (4 if dtype == torch.float32 else 2) * LANES  # normals in a group
    per_network = -(-N // size)  # groups of a network, which begin at counter network * per_network * LANES
    groups, start, address = M * per_network, first * per_network * LANES, (tensor, per_network, *key)
    if on_device(device):
        from simulate.numerics import device as kernels

        array = torch.empty(M, N, dtype=dtype, device=device)
        return kernels.normal(array, start, address, scale, LANES)
    if device.type != "cpu":
        return _normals_torch(groups, start, address, scale, dtype, device).view(M, -1)[:, :N].contiguous()
    if out is None:
        out = torch.empty(M, N, dtype=dtype)
    c2, c3, k0, k1 = map(np.uint32, address)
    if dtype == torch.float32:
        if N % size:
            _trimmed(out.numpy(), np.uint64(start), c2, c3, k0, k1, np.float32(scale))
        else:
            _normals(out.view(groups, 4, LANES).numpy(), np.uint64(start), c2, c3, k0, k1, np.float32(scale))
        return out
    whole = out.view(groups, 2, LANES) if N % size == 0 else torch.empty(groups, 2, LANES, dtype=dtype)
    uniform = np.empty((min(groups, FLOAT64_CHUNK), 2, LANES))
    for first_group in range(0, groups, FLOAT64_CHUNK):
        chunk = whole[first_group : first_group + FLOAT64_CHUNK].numpy()
        u, v = uniform[: len(chunk), 0], uniform[: len(chunk), 1]
        _uniforms(uniform[: len(chunk)], np.uint64(start + first_group * LANES), c2, c3, k0, k1)
        radius, angle = scale * np.sqrt(-2 * np.log(u)), 2 * math.pi * v
        chunk[:, 0], chunk[:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    return out if N % size == 0 else out.copy_(whole.view(M, -1)[:, :N])


def is_compiled() -> bool:
    """Whether this process has drawn normals by the compiled loops."""
    return any(loop.signatures for loop in (_normals, _trimmed, _uniforms))


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
