"""Random streams with an address: (seed, what the network is) -> key, (network, tensor, position) -> number.

The generator keeps no state (simulate.normals): a network's parameters are a function of its address alone, whatever
was drawn before it, beside it, on which device or by how many processes.
"""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.numerics import normals

# What is drawn for a layer, each under a number of its own.
WEIGHTS, BIASES, BACKWARD, BACKWARD_BIASES, BATCHES = range(5)  # BATCHES: of a step, not of a layer
_KINDS = 8
# The weights of each layer that one block of a data set leaves to the next, which draws over them: to ask the system
# for pages of their own, and to give them back, takes as long as drawing does; kept by the allocator they leave holes.
Arrays = dict[int, Tensor]


def key(seed: int, law: str) -> tuple[int, int]:
    """Two words of 32 bits. `law` says in words whose parameters are drawn (architecture, sampler, dtype, activation),
    so that ensembles of two widths with one seed are independent."""
    words = hashlib.sha256(f"{seed} {law}".encode()).digest()
    return int.from_bytes(words[:4], "little"), int.from_bytes(words[4:8], "little")


@dataclass(frozen=True)
class Stream:
    """The numbers of networks first .. first + M - 1 of an ensemble."""

    key: tuple[int, int]
    first: int
    M: int
    dtype: torch.dtype
    device: torch.device
    arrays: Arrays | None = None

    def normal(self, kind: int, layer: int, *shape: int, scale: float = 1.0) -> Tensor:
        """Independent normals of variance scale^2, (M, *shape). Of weights, in an array out of `arrays` if given."""
        N, room = math.prod(shape), None
        if self.arrays is not None and kind == WEIGHTS and self.device.type == "cpu":
            room = self.arrays.get(layer)
            if room is None:
                room = self.arrays[layer] = torch.empty(self.M, N, dtype=self.dtype)
        tensor = layer * _KINDS + kind
        flat = normals.normal(self.M, N, self.first, tensor, self.key, scale, self.dtype, self.device, room)
        return flat.view(self.M, *shape)
