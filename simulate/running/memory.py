"""Memory: the peak of a process by its settings, what the machine still has, and how many processes fit."""

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

# Bytes that a process takes beside its arrays once it runs: compiled loops, what writes parquet (measured).
BESIDE = {"cpu": 110 * 2**20, "cuda": 630 * 2**20}
COPIES = 4  # of a part's rows: as they are measured, joined, as columns, encoded


def peak_bytes(job: Job) -> tuple[int, int]:
    """Peak bytes of a process over what it has when it starts: in the machine's memory, and in the device's."""
    device = job.settings.ensemble.device
    D, n_0 = job.samples.x.shape
    working = network_bytes(n_0, D, job.settings) * job.block
    rows = COPIES * job.layout.row_bytes() * part_size(job) + BESIDE[device]
    return (rows, working) if device == "cuda" else (rows + working, 0)


def resident() -> int:
    """Bytes of this process, in memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux: at most
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def available() -> int:
    """Bytes that may still be taken: of the machine, of this process's control group, under its own limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name, text in _files({"meminfo": Path("/proc/meminfo")}).items():
        limits += [int(line.split()[1]) * 1024 for line in text.splitlines() if name and line.startswith("MemAvail")]
    groups = _files({"groups": Path("/proc/self/cgroup")}).get("groups", "")
    for line in groups.splitlines():
        _, kinds, where = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root = Path("/sys/fs/cgroup/memory" if kinds else "/sys/fs/cgroup")
        most, used = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        here = root / where.lstrip("/")
        for folder in (here, *here.parents):
            said = _files({"most": folder / most, "used": folder / used, "stat": folder / "memory.stat"})
            if said.get("most", "max").strip() not in ("", "max") and "used" in said:
                cached = [int(s.split()[1]) for s in said.get("stat", "").splitlines() if s.startswith("inactive_file")]
                limits.append(int(said["most"]) - int(said["used"]) + sum(cached[:1]))
            if folder == root:
                break
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limits.append(soft - mapped)
    return max(min(limits), 0)


def _files(paths: dict[str, Path]) -> dict[str, str]:
    """Those that can be read."""
    out = {}
    for name, path in paths.items():
        with contextlib.suppress(OSError):
            out[name] = path.read_text()
    return out


def fresh() -> int:
    """Bytes that a process has, in memory, once it has loaded what it needs: of one that is started for this."""
    code = "from simulate.running import memory, runner; print(memory.resident())"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def fitting(jobs: Sequence[Job], wanted: int) -> int:
    """How many of `wanted` processes, this one among them, fit into the memory that there is.

    SettingsError that names the setting where not even one does.
    """
    job = max(jobs, key=lambda job: sum(peak_bytes(job)))
    (host, device), here = peak_bytes(job), resident()
    have = available() + here
    if job.settings.ensemble.device == "cuda" and device > (free := torch.cuda.mem_get_info()[0]):
        raise _too_large(job, device, free, "the device has")
    if here + host > have:
        raise _too_large(job, here + host, have, "there are")
    return min(wanted, int(have // (here + host)))


def check_task(jobs: Sequence[Job], have: int) -> None:
    """SettingsError where a process of its own with `have` bytes could not make one of the jobs."""
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
