"""All layers of a block without weights, and the vectors pulled back through them, in one compiled pass.

`simulate.networks.law` does the same layer by layer, for all networks of a block at a time, on every device and with
whatever else networks have; both draw the same numbers and agree to rounding. Here a few networks are drawn and pulled
back at a time, on a CPU and in float32, and stay in the second-level cache. M counts networks, D samples.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from simulate.networks import activations, streams
from simulate.networks.law import Drawn
from simulate.networks.streams import Stream
from simulate.numerics.gram import gram
from simulate.numerics.loops import LANES, networks
from simulate.numerics.normals import groups
from simulate.settings import Settings

TOGETHER = 2**21  # bytes of the networks that are drawn together, at most if they are several
PASS = 2**22  # bytes of what a pass gives, at most if it is of several blocks


def applies(settings: Settings) -> bool:
    """Whether networks are plain ones, that the pass can draw."""
    start, ensemble = settings.initialization, settings.ensemble
    plain = start.weights == start.first == "gaussian" and not any(settings.network.skips or ())
    prior = ensemble.sampler == "law" and ensemble.tilt is None and ensemble.condition is None
    float32 = ensemble.device == "cpu" and ensemble.dtype == "float32"
    return plain and prior and float32 and activations.of(settings.activation).form is not None


def network_bytes(sizes: Sequence[int], D: int, at: Sequence[int]) -> int:
    """Bytes of one network while it is drawn, n_0, ..., n_L = sizes: its layers, and what is pulled back of `at`."""
    vectors = (len(at) * D + 1) * sizes[-1] if at else 0
    return 8 * D * sum(sizes[1:]) + 8 * D * D * len(sizes) + 12 * vectors * max(sizes[1:]) + 16 * vectors**2


def together(sizes: Sequence[int], D: int, at: Sequence[int], M: int) -> int:
    """How many of M networks are drawn at a time."""
    return max(1, min(M, TOGETHER // network_bytes(sizes, D, at)))


def given_bytes(sizes: Sequence[int], D: int, layers: Sequence[int], at: Sequence[int]) -> int:
    """Bytes of what a pass gives of one network: z of `layers`, the NTK of those in `at`, and all g."""
    return 4 * D * sum(sizes[l] for l in layers) + 8 * len(at) * (sizes[-1] * D) ** 2 + 8 * D * D * len(sizes)


def draw(
    settings: Settings, x: Tensor, stream: Stream, neurons: bool, layers: tuple[int, ...], at: tuple[int, ...]
) -> tuple[dict[int, Drawn], dict[int, Tensor]]:
    """The layers that are recorded, with g and z alone, docs/theory.md (10.1), and the NTK of those in `at` as
    `simulate.networks.law.ntk` gives it, docs/theory.md (10.3) and (10.4).

    x: (D, n_0). neurons: whether z is read; elsewhere it is not kept, and layer L is not drawn.
    """
    network, (M, D) = settings.network, (stream.M, len(x))
    sizes, L, outputs = network.sizes(x.shape[1]), network.depth, network.outputs
    of_z = layers if neurons else ()
    places, z = np.full(L, -1), torch.empty(sum(M * D * sizes[l] for l in of_z), dtype=stream.dtype)
    ends = np.cumsum([0, *(M * D * sizes[l] for l in of_z)])
    places[[l - 1 for l in of_z]] = ends[:-1]
    g = torch.empty(L, M, D, D, dtype=torch.float64)
    H = torch.zeros(len(at), M, outputs, D, outputs, D, dtype=torch.float64)
    start, dynamics = settings.initialization, settings.dynamics
    C_W = np.array([settings.C_W(l) for l in range(1, L + 1)])
    ratio = np.array(dynamics.lambda_W) / start.C_W  # rates are ratio g + shift
    key = np.uint32(stream.key[0]), np.uint32(stream.key[1])
    given = gram(x[None])[0].numpy(), np.array(sizes), start.C_b, C_W, _addresses(stream, D, sizes, at), key
    form = activations.of(settings.activation).form
    assert form is not None
    networks(
        given, (form.tanh, form.below, form.bend), (ratio, np.array(dynamics.lambda_b) - start.C_b * ratio), neurons,
        np.isin(np.arange(1, L + 1), at), places, together(sizes, D, at, M), g.numpy(), z.numpy(), H.numpy(),
    )  # fmt: skip
    empty = z[:0]
    of_layer = {l: z[first:end].view(M, D, -1) for l, first, end in zip(of_z, ends, ends[1:], strict=False)}
    drawn = {l: Drawn(g[l - 1], empty, empty, of_layer.get(l, empty), empty, False) for l in layers}
    return drawn, dict(zip(at, H, strict=True))


def _addresses(stream: Stream, D: int, sizes: list[int], at: tuple[int, ...]) -> np.ndarray:
    """First counter, tensor and groups of a network, (3, L, 3): of the normals of each layer, of those that pull
    vectors back from it, and of those that stand for its biases then."""
    found, K = np.zeros((3, len(sizes) - 1, 3), np.uint64), 0
    for layer in range(len(sizes) - 1, 0, -1):
        new = sizes[-1] if layer in at else 0
        numbers = {
            streams.WEIGHTS: D * sizes[layer],
            streams.BACKWARD: (K + new) * sizes[layer - 1],
            streams.BACKWARD_BIASES: K + new,
        }
        for k, (kind, N) in enumerate(numbers.items()):
            per_network = groups(N, stream.dtype)
            found[k, layer - 1] = stream.first * per_network * LANES, streams.tensor(kind, layer), per_network
        K += new * D
    return found
