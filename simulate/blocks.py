"""Blocks and parts: which networks are computed together, and which are written together.

A block is an aligned range of addresses with one random stream. Its size is part of the ensemble's
identity and follows from the architecture and the device type alone, so that the same config gives the
same networks on any machine. A part file holds the rows of consecutive blocks.
"""

import itertools

from simulate.settings import Settings, SettingsError

# Working sets in bytes: on a CPU about what one core's share of the cache holds, on a GPU what fills it.
WORKING_SET = {"cpu": 4 * 2**20, "cuda": 256 * 2**20}
SMALLEST, LARGEST = 1, 4096
PART_BYTES = 16 * 2**20  # of rows
PARTS = 64  # in which an ensemble is written, unless that makes them larger than PART_BYTES


def parameters(n_0: int, settings: Settings) -> int:
    """Number of weights and biases of one network."""
    sizes = [n_0, *settings.network.widths, settings.network.outputs]
    return sum(m * (n + 1) for n, m in itertools.pairwise(sizes))


def network_bytes(n_0: int, samples: int, settings: Settings) -> int:
    """The working set of one network: activations and their temporaries, and the weights where they are held."""
    item = 4 if settings.ensemble.dtype == "float32" else 8
    hidden = sum(settings.network.widths) + settings.network.outputs
    if settings.ensemble.sampler == "law":  # layer by layer: kernels, deviates and activations of the widest
        widest = max(settings.network.outputs, *settings.network.widths, 1)
        if "ntk" not in settings.observables.record:
            return item * samples * widest * 3
        # the backward pass holds deviates and preactivations of all layers, and vectors for every output
        vectors = settings.network.outputs * len(settings.observables.output_layers)
        return item * samples * (2 * hidden + widest * (6 + 3 * vectors))
    held = item * (parameters(n_0, settings) + 2 * samples * hidden)
    # Tangents along every direction, pair and triple of directions, in float64.
    directions = samples * settings.network.outputs
    if "ddntk" in settings.observables.record:
        held += 8 * hidden * 6 * directions**3
    elif "dntk" in settings.observables.record:
        held += 8 * hidden * 6 * directions**2
    return held


def block_size(n_0: int, samples: int, device: str, settings: Settings) -> int:
    """The rule: the largest power of two whose working set fits, or what `ensemble.block` says."""
    if settings.ensemble.block is not None:
        return settings.ensemble.block
    fits = WORKING_SET[device] // network_bytes(n_0, samples, settings)
    return min(max(SMALLEST, 1 << max(fits, 1).bit_length() - 1), LARGEST)


def part_blocks(block: int, row_bytes: int, networks: int) -> int:
    """Blocks in a part file."""
    by_count = -(-networks // (block * PARTS))
    by_bytes = max(1, PART_BYTES // (block * row_bytes))
    return min(by_count, by_bytes)


def plan(first: int, last: int, done: list[tuple[int, int]], block: int, per_part: int) -> list[tuple[int, int]]:
    """The ranges [first, last) of networks still to be computed, cut at part boundaries.

    done: ranges already committed. Boundaries are multiples of block * per_part.
    """
    size = block * per_part
    missing, start = [], first
    for low, high in sorted(done):
        if low > start:
            missing.append((start, min(low, last)))
        start = max(start, high)
    if start < last:
        missing.append((start, last))
    return [
        (max(low, cut), min(high, cut + size)) for low, high in missing for cut in range(low // size * size, high, size)
    ]


def refuse_too_large(n_0: int, samples: int, settings: Settings, memory: int) -> None:
    """SettingsError where one network does not fit into `memory` bytes."""
    need = network_bytes(n_0, samples, settings)
    if need > memory:
        raise SettingsError(
            "network.width",
            list(settings.network.widths),
            f"one network needs {need / 2**30:,.1f} GiB and there are {memory / 2**30:,.1f}: choose narrower layers",
        )
