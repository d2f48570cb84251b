"""Memory: the peak of a process from its settings, the memory that is still free, and how many processes fit."""

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from simulate.running.cost import network_bytes
from simulate.running.jobs import Job
from simulate.running.plan import part_size
from simulate.settings.reader import SettingsError

# OVERHEAD: resident bytes of a running process in addition to its arrays (compiled code, parquet writer), measured.
OVERHEAD = {"cpu": 110 * 2**20, "cuda": 630 * 2**20}
ROW_COPIES = 4  # copies of a part's rows at the peak: as measured, as joined, as columns, as encoded


def peak_bytes(job: Job) -> tuple[int, int]:
    """Peak bytes that a process adds to those it starts with: (in the machine's memory, in the device's)."""
    device = job.settings.ensemble.device
    D, n_0 = job.samples.x.shape
    working = network_bytes(n_0, D, job.settings) * job.block
    rows = ROW_COPIES * job.layout.row_bytes() * part_size(job) + OVERHEAD[device]
    return (rows, working) if device == "cuda" else (rows + working, 0)


def resident() -> int:
    """Bytes of this process that are in memory now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # systems other than Linux give the peak
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def available() -> int:
    """Bytes that this process may still take: the least that the machine, its control groups and its limits leave."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name, text in _texts({"meminfo": Path("/proc/meminfo")}).items():
        limits += [int(line.split()[1]) * 1024 for line in text.splitlines() if name and line.startswith("MemAvail")]
    groups = _texts({"groups": Path("/proc/self/cgroup")}).get("groups", "")
    for line in groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup/memory" if controllers else "/sys/fs/cgroup")
        old, new = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")
        most, used = old if controllers else new
        innermost = root / group.lstrip("/")
        for folder in (innermost, *innermost.parents):
            texts = _texts({"most": folder / most, "used": folder / used, "stat": folder / "memory.stat"})
            if texts.get("most", "max").strip() not in ("", "max") and "used" in texts:
                stat = texts.get("stat", "").splitlines()
                cached = [int(line.split()[1]) for line in stat if line.startswith("inactive_file")]
                limits.append(int(texts["most"]) - int(texts["used"]) + sum(cached[:1]))
            if folder == root:
                break
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limits.append(soft - mapped)
    return max(min(limits), 0)


def _texts(paths: dict[str, Path]) -> dict[str, str]:
    """The contents of those files that can be read."""
    out = {}
    for name, path in paths.items():
        with contextlib.suppress(OSError):
            out[name] = path.read_text()
    return out


def fresh() -> int:
    """Bytes in memory of a process that has only loaded its modules; a process is started to measure them."""
    code = "from simulate.running import memory, runner; print(memory.resident())"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def fitting(jobs: Sequence[Job], wanted: int) -> int:
    """The number of processes, at most `wanted` and including this one, that fit into the free memory.

    Raises SettingsError, which names the setting to change, where not even one fits.
    """
    job = max(jobs, key=lambda job: sum(peak_bytes(job)))
    (host, device), present = peak_bytes(job), resident()
    have = available() + present
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
