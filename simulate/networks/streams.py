"""Random numbers by address: seed and description give a key; network, tensor and position give a number.

The generator keeps no state (`simulate.numerics.normals`). A network's parameters are a function of its address alone:
they do not depend on what else is drawn, on the device or on the number of processes.
"""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.numerics import normals

# The kinds of tensors that a layer has. BATCHES belong to a step, whose number takes the layer's place.
WEIGHTS, BIASES, BACKWARD, BACKWARD_BIASES, BATCHES, TANGENTS, NOISE, SUMS = range(8)
_KINDS = 8  # stride of a layer in the number of a tensor
# The weights of each layer, over which the next block of the data set draws its own. Fresh pages a block would cost as
# much as drawing the numbers, and freed ones would fragment the heap.
Arrays = dict[int, Tensor]


def key(seed: int, law: str) -> tuple[int, int]:
    """The key of an ensemble: two words of 32 bits.

    `law` describes whose parameters are drawn (architecture, sampler, dtype, activation), so that ensembles of two
    widths with one seed are independent.
    """
    words = hashlib.sha256(f"{seed} {law}".encode()).digest()
    return int.from_bytes(words[:4], "little"), int.from_bytes(words[4:8], "little")


def tensor(kind: int, layer: int) -> int:
    """The number of a tensor. layer: from 1, or the step for BATCHES."""
    return layer * _KINDS + kind


@dataclass(frozen=True)
class Stream:
    """The random numbers of networks first, ..., first + M - 1 of an ensemble."""

    key: tuple[int, int]
    first: int
    M: int
    dtype: torch.dtype
    device: torch.device
    arrays: Arrays | None = None

    def normal(self, kind: int, layer: int, *shape: int, scale: float = 1.0) -> Tensor:
        """Independent normals of variance scale^2, (M, *shape). Weights are put into an array of `arrays`, if given.

        kind: WEIGHTS, BIASES, ...; layer: from 1, or the step for BATCHES.
        """
        if not scale:  # biases at C_b = 0, which most networks have
            return torch.zeros(self.M, *shape, dtype=self.dtype, device=self.device)
        address = self.address(kind, layer, *shape, scale=scale)
        return normals.normal(address, self.array(kind, layer, address.N)).view(self.M, *shape)

    def address(self, kind: int, layer: int, *shape: int, scale: float = 1.0) -> normals.Address:
        """Where the numbers of `normal` are."""
        where = math.prod(shape), self.first, tensor(kind, layer), self.key, scale
        return normals.Address(self.M, *where, self.dtype, self.device)

    def array(self, kind: int, layer: int, N: int) -> Tensor | None:
        """The array (M, N) of `arrays` for these numbers, if they have one."""
        if self.arrays is None or kind != WEIGHTS or self.device.type != "cpu":
            return None
        if layer not in self.arrays:
            self.arrays[layer] = torch.empty(self.M, N, dtype=self.dtype)
        return self.arrays[layer]
