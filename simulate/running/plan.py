"""Blocks, parts and shards: which networks are computed together, which are written together, and by which run.

A block is an aligned range of addresses with one random stream. Its size is part of the ensemble's
identity and follows from the architecture and the device type alone, so that the same config gives the
same networks on any machine. A part file holds the rows of consecutive blocks.
"""

from simulate.running.cost import network_bytes, touched_bytes, vectors
from simulate.running.jobs import Job
from simulate.settings import Settings
from simulate.store.parts import gaps

# Working sets in bytes: on a CPU about what one core's share of the cache holds, on a GPU what fills it.
WORKING_SET = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}
# Without weights, a layer's arrays are what is passed over again and again: numbers in one of them. Fewer, and calls
# cost more than arithmetic; more, and they leave the cache. What is kept of all layers is touched twice, and bounded.
LAYER = {"cpu": 2**18, "cuda": 2**24}
KEPT = {"cpu": 160 * 2**20, "cuda": 2**31}
SMALLEST, LARGEST = 1, 4096
PART_BYTES = 16 * 2**20  # of rows
PARTS = 64  # in which an ensemble is written, unless that makes them larger than PART_BYTES, or
PART_WORK = 2**28  # less than a tenth of a second of work, in bytes touched, against which a commit would count
PART_MOST = 2**38  # a minute or two, which a kill may cost, and so that a shard can be as short; or one block,
FILES = 10**5  # or what makes no more files than this of an ensemble


def block_size(n_0: int, samples: int, device: str, settings: Settings) -> int:
    """The rule: the largest power of two whose working set fits, or what `ensemble.block` says."""
    if settings.ensemble.block is not None:
        return settings.ensemble.block
    need = network_bytes(n_0, samples, settings)
    if settings.ensemble.sampler == "law":
        widest = max(settings.network.outputs, *settings.network.widths, 1)
        fits = min(LAYER[device] // (samples * widest * vectors(settings)), KEPT[device] // need)
    else:
        fits = WORKING_SET[device] // need
    return min(max(SMALLEST, 1 << max(fits, 1).bit_length() - 1), LARGEST)


def part_blocks(block: int, row_bytes: int, cost: float, networks: int, shards: int = 1) -> int:
    """Blocks in a part file; cost: bytes that one network touches. Every shard has some parts."""
    by_count = -(-networks // (block * max(PARTS, 4 * shards)))
    by_work = int(PART_WORK // (block * cost))
    most = max(1, min(PART_BYTES // (block * row_bytes), int(PART_MOST // (block * cost))), networks // (block * FILES))
    return min(max(by_count, by_work, 1), most)


def part_size(job: Job, shards: int = 1) -> int:
    """Networks in a part file of a data set that `shards` runs share."""
    networks = job.settings.ensemble.networks
    return job.block * part_blocks(job.block, job.layout.row_bytes(), touched_bytes(job), networks, shards)


def share(first: int, last: int, size: int, shard: tuple[int, int]) -> tuple[int, int]:
    """The range of networks that is shard k of N, (k, N): as equal as parts of `size` networks allow, empty where there
    are more shards than parts. Shards cover [first, last) and do not meet."""
    k, N = shard
    start = first // size  # whole parts, the first of which may begin before `first`
    parts = -(-last // size) - start
    low, high = ((start + parts * j // N) * size for j in (k, k + 1))
    return max(low, first), max(first, min(high, last))


def missing_ranges(first: int, last: int, done: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The ranges [first, last) of networks still to be computed, cut at multiples of `size`, the networks of a part.

    done: ranges already committed.
    """
    return [
        (max(low, cut), min(high, cut + size))
        for low, high in gaps(sorted(done), first, last)
        for cut in range(low // size * size, high, size)
    ]
