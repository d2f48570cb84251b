"""Memory: the peak of a process from its settings, the memory that is still free, and how many processes fit."""

import subprocess
import sys
from collections.abc import Sequence

import psutil
import torch

from simulate.networks.activations import slope_of_s
from simulate.numerics import normals
from simulate.processes import available
from simulate.running.cost import controlled, linear_parts, network_bytes, pulls_back, vectors
from simulate.running.jobs import Job
from simulate.running.plan import in_one_pass, part_size, pass_bytes, reduces_on_device, writing_threads
from simulate.running.process import MAPPED_BYTES
from simulate.running.transfer import PLACES, room
from simulate.settings.reader import SettingsError

# Resident bytes of a running process in addition to its arrays, measured: COMPILED come with the first networks that it
# draws, WRITER with its first table.
COMPILED = {"cpu": 65 * 2**20, "cuda": 585 * 2**20}
WRITER = 45 * 2**20
# HOLES: measured heap over arrays in use, where all layers are held and a block follows another one.
HOLES = 1.5
LAYER_OBJECTS = 2**12  # bytes of the objects of a layer in addition to the numbers of its arrays
REDUCING = 8  # copies of a part's rows while they are added up
HELD = 4  # the same on a device, where a family is added up layer by layer
COLUMN_WRITER = 2**12  # bytes of the description and the writer of a column


def peak_bytes(job: Job) -> tuple[int, int]:
    """Peak bytes that a process adds to those of `unused`: (in the machine's memory, in the device's)."""
    device, layout = job.settings.ensemble.device, job.layout
    if in_one_pass(job):
        arrays = pass_bytes(job)
    else:
        arrays = _law_bytes(job) if job.settings.ensemble.sampler == "law" else _dense_bytes(job)
    networks = min(part_size(job), job.settings.ensemble.networks)
    item, columns = 4 if layout.dtype == "float32" else 8, layout.column_count()
    numbers = len(layout.steps) * len(layout.layers) * columns * item  # of one network, as they are measured
    computing = numbers * max(job.block, networks)
    writing = (numbers + layout.row_bytes()) * networks + COLUMN_WRITER * columns  # the numbers, and their table
    if not layout.keeps_rows:  # copies in float64, and summands
        writing += REDUCING * numbers * networks
    if reduces_on_device(job):  # whole blocks, the part that is cut out of them, and copies in float64
        arrays += HELD * computing
    host = COMPILED[device] + WRITER + LAYER_OBJECTS * layout.depth
    if threads := writing_threads(job):  # blocks that are copied, the part that they make, and those that are written
        arrays += PLACES * numbers * job.block
        copied = numbers // columns * min(job.block, networks)
        host += PLACES * sum(room(copied * len(layout.indices(family))) for family in layout.families())
        host += numbers * networks + threads * writing
    else:
        host += max(computing, writing)
    return (host, arrays) if device == "cuda" else (host + arrays, 0)


def _law_bytes(job: Job) -> int:
    """Bytes of the arrays of a block without weights at their peak."""
    s, D, layout = job.settings, len(job.samples.x), job.layout
    item = 4 if s.ensemble.dtype == "float32" else 8
    widest = max(s.network.outputs, *s.network.widths, 1)
    array = item * D * widest  # of one layer and network
    one_layer = 5 * array * vectors(s) + 8 * (D + 2) * widest  # deviates, copies, and products in float64
    if s.observables.noises:  # kernels, factors, and solutions with their copies, after the layers
        one_layer += 8 * D * D * 5
    if s.ensemble.tilt is not None:  # eigenvectors, and normals in float64
        one_layer += 8 * D * (3 * D + 3 * widest)
    fixed = 0
    if (given := s.ensemble.filter) is not None:  # one filter at a time, in float64
        fixed += 8 * given.particles * D * (6 * D + 3 * widest)
    if forms := linear_parts(s, D):  # kernels, and what is made of them
        one_layer += 8 * (2 * D * D + 2 * forms)
        fixed += 16 * (layout.depth - 1) * forms * D * D  # the forms, and the theory's own
    if not pulls_back(s):
        return (one_layer + (3 * array if controlled(s) else 0)) * job.block + fixed
    # The layers' xi and s, and z where it is recorded or the slope does not follow from s; g and C in float64.
    z_kept = s.network.widths if not slope_of_s(s.activation) else [s.network.sizes(1)[k] for k in layout.layers]
    layers = item * D * (2 * sum(s.network.widths) + sum(z_kept)) + 16 * D**2 * layout.depth
    rows = vectors(s) * D  # vectors that are pulled back
    need = (layers + one_layer + 16 * rows**2) * job.block + fixed
    first_only = s.ensemble.networks <= job.block
    return need if first_only or array * job.block >= MAPPED_BYTES else int(need * HOLES)  # large ones leave no holes


def _dense_bytes(job: Job) -> int:
    """Bytes of the arrays of a block with weights at their peak."""
    D, n_0 = job.samples.x.shape
    return network_bytes(n_0, D, job.settings) * job.block


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return psutil.Process().memory_info().rss


def unused() -> int:
    """`resident` without what `peak_bytes` counts and is here already, since networks were drawn for a step size, a
    forecast or an earlier run of this process, or tables were written."""
    writes = "pyarrow.pandas_compat" in sys.modules  # pyarrow loads it, and pandas, for the first table
    return resident() - COMPILED["cpu"] * normals.is_compiled() - WRITER * writes


def fresh() -> int:
    """Bytes in memory of a process that has only loaded its modules; a process is started to measure them."""
    code = "from simulate.running import memory, runner; print(memory.resident())"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def fitting(jobs: Sequence[Job], wanted: int) -> int:
    """The number of processes, at most `wanted` and including this one, that fit into the free memory.

    Raises SettingsError, which names the setting to change, where not even one fits.
    """
    job = max(jobs, key=lambda job: sum(peak_bytes(job)))
    (host, device), present = peak_bytes(job), unused()
    have = available() + resident()
    if job.settings.ensemble.device == "cuda" and device > (free := torch.cuda.mem_get_info()[0]):
        raise _too_large(job, device, free, "the device has")
    if present + host > have:
        raise _too_large(job, present + host, have, "there are")
    return min(wanted, int(have // (present + host)))


def check_task(jobs: Sequence[Job], have: int) -> None:
    """Raises SettingsError where a new process with `have` bytes of memory cannot make every job."""
    job = max(jobs, key=lambda job: peak_bytes(job)[0])
    if (need := fresh() + peak_bytes(job)[0]) > have:
        raise _too_large(job, need, have, "cluster.memory gives")


def _too_large(job: Job, need: int, have: int, where: str) -> SettingsError:
    gib = f"needs {need / 2**30:,.1f} GiB of memory and {where} {have / 2**30:,.1f}"
    e = job.settings.ensemble
    if job.block > 1:
        return SettingsError(
            "ensemble.block", e.block or "auto", f"a block of {job.block} networks {gib}: choose a smaller block"
        )
    return SettingsError(
        "network.width",
        list(job.settings.network.widths),
        f"one network {gib}: narrower or fewer layers, fewer samples",
    )
