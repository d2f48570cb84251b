"""Blocks, parts and shards: networks that are computed together, written together, and made by one run.

A block is an aligned range of addresses with one random stream. Its size is part of the ensemble's identity and follows
from the architecture and the device type alone, so that the same config gives the same networks on any machine. A part
file holds the rows of consecutive blocks. A shard is the share of one run of several that make a data set together.
"""

from simulate.networks import one_pass
from simulate.running.cost import network_bytes, vectors, work_bytes
from simulate.running.drawn import needed
from simulate.running.jobs import Job
from simulate.settings import Settings
from simulate.store.parts import gaps
from simulate.system import cores

# WORKING_SET: target bytes of a block with weights. A CPU core's share of the cache holds about that much. On a device
# smaller blocks take less time than launching their kernels (docs/performance.md).
WORKING_SET = {"cpu": 8 * 2**20, "cuda": 2**33}
# LAYER_NUMBERS: target number of entries of a layer's array. Without weights the hot data are these arrays: with fewer
# entries call overhead dominates, with more they fall out of the cache.
LAYER_NUMBERS = {"cpu": 2**18, "cuda": 2**26}
# BLOCK_BYTES: upper bound on the arrays of all layers of a block without weights, which are touched only twice.
BLOCK_BYTES = {"cpu": 160 * 2**20, "cuda": 2**33}
SMALLEST_BLOCK, LARGEST_BLOCK = 1, {"cpu": 4096, "cuda": 65536}
# The size of a part, from the weakest rule to the strongest:
PARTS = 64  # target number of parts of an ensemble
PART_WORK = 2**28  # lower bound on a part's work in bytes touched, a tenth of a second: commits cost less than 10 %
PART_BYTES = 16 * 2**20  # upper bound on the bytes of a part's rows
PART_ON_DEVICE = 2**28  # the same where they stay on a device, and their sums alone leave it
PART_MOST = 2**38  # upper bound on a part's work, a minute or two: a kill costs no more, and a shard can be that short
FORMING = ("cuda",)  # devices on which sums are formed in the place of rows; numpy forms them on a CPU
APART = ("cuda",)  # devices that compute while the host writes; on a CPU both are work of one core
WRITERS = 4  # upper bound on the threads that write meanwhile
FILES = 10**5  # upper bound on the files of an ensemble


def block_size(n_0: int, samples: int, device: str, settings: Settings) -> int:
    """Networks in a block: `ensemble.block`, or the largest power of two whose working set fits.

    samples: D; device: cpu or cuda.
    """
    if settings.ensemble.block is not None:
        return settings.ensemble.block
    need = network_bytes(n_0, samples, settings)
    if settings.ensemble.sampler == "law":
        widest = max(settings.network.outputs, *settings.network.widths, 1)
        fits = min(LAYER_NUMBERS[device] // (samples * widest * vectors(settings)), BLOCK_BYTES[device] // need)
    else:
        fits = WORKING_SET[device] // need
    return min(max(SMALLEST_BLOCK, 1 << max(fits, 1).bit_length() - 1), LARGEST_BLOCK[device])


def in_one_pass(job: Job) -> bool:
    """Whether `simulate.networks.one_pass` draws the networks."""
    return one_pass.applies(job.settings) and not any(needed(job, need) for need in ("controls", "response", "prior"))


def reads_neurons(job: Job) -> bool:
    """Whether something that is recorded takes neurons of its layer, and not kernels alone."""
    return not all(observable.of_kernels for observable in job.layout.observables())


def pulled_layers(job: Job) -> tuple[int, ...]:
    """The layers whose NTK is computed, or none where nothing needs it."""
    return job.layout.output_layers if needed(job, "ntk") else ()


def blocks_of_a_pass(job: Job) -> int:
    """How many blocks are computed at once. Small ones would spend as much time between passes as within one."""
    return max(1, one_pass.PASS // (job.block * given_bytes(job))) if in_one_pass(job) else 1


def given_bytes(job: Job) -> int:
    """Bytes of what a pass gives of one network."""
    (D, n_0), layers = job.samples.x.shape, job.layout.layers if reads_neurons(job) else ()
    return one_pass.given_bytes(job.settings.network.sizes(n_0), D, layers, pulled_layers(job))


def pass_bytes(job: Job) -> int:
    """Bytes of a pass: what it gives, and the networks that are drawn together."""
    D, n_0 = job.samples.x.shape
    sizes, at = job.settings.network.sizes(n_0), pulled_layers(job)
    M = min(blocks_of_a_pass(job) * job.block, computed(job, min(part_size(job), job.settings.ensemble.networks)))
    return M * given_bytes(job) + one_pass.together(sizes, D, at, M) * one_pass.network_bytes(sizes, D, at)


def part_blocks(
    block: int, row_bytes: int, cost: float, networks: int, shards: int = 1, most_bytes: int = PART_BYTES
) -> int:
    """Blocks in a part file, so few that every shard has some parts. cost: the work of one network in bytes.
    most_bytes: upper bound on those of its rows."""
    by_count = -(-networks // (block * max(PARTS, 4 * shards)))
    by_work = int(PART_WORK // (block * cost))
    most = max(1, min(most_bytes // (block * row_bytes), int(PART_MOST // (block * cost))), networks // (block * FILES))
    return min(max(by_count, by_work, 1), most)


def computed(job: Job, networks: int) -> int:
    """Networks that are computed to make so many: a block is computed whole, and what is not wanted is dropped."""
    return -(-networks // job.block) * job.block


def part_size(job: Job, shards: int = 1) -> int:
    """Networks in a part file of a data set that `shards` runs share."""
    networks, stay = job.settings.ensemble.networks, reduces_on_device(job)
    sizes = (job.block, job.layout.row_bytes(), work_bytes(job), networks, shards)
    return job.block * part_blocks(*sizes, PART_ON_DEVICE if stay else PART_BYTES)


def reduces_on_device(job: Job) -> bool:
    """Whether the rows of a part stay on the device, where their sums are formed."""
    return not job.layout.keeps_rows and job.settings.ensemble.device in FORMING


def writing_threads(job: Job) -> int:
    """Threads that write parts while others are computed; none where whoever computes a part writes it, too."""
    if not job.layout.keeps_rows or job.settings.ensemble.device not in APART:
        return 0
    return max(1, min(WRITERS, cores() - 1))


def share(first: int, last: int, size: int, shard: tuple[int, int]) -> tuple[int, int]:
    """The range of networks of shard k of N, for shard = (k, N).

    Shards cover [first, last) without overlap. They are as equal as parts of `size` networks allow, and empty where
    there are more shards than parts.
    """
    k, N = shard
    start = first // size  # parts are counted whole, and the first may begin before `first`
    parts = -(-last // size) - start
    low, high = ((start + parts * j // N) * size for j in (k, k + 1))
    return max(low, first), max(first, min(high, last))


def missing_ranges(first: int, last: int, done: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The ranges of [first, last) that are still to be computed, cut at multiples of `size`, the networks of a part.

    done: the ranges that are committed, in any order.
    """
    return [
        (max(low, cut), min(high, cut + size))
        for low, high in gaps(sorted(done), first, last)
        for cut in range(low // size * size, high, size)
    ]
