"""Worker processes: how they start, how they end with their parent however that ends, and the memory there is for
them."""

import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


@contextmanager
def worker_pool(count: int, start: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """New processes that have called start(*arguments). An error or Ctrl-C stops them at once.

    Raises RuntimeError where one of them dies.
    """
    others, context = multiprocessing.active_children(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, start, arguments) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise RuntimeError("a worker process died (out of memory?): fewer take less, as workers=1") from None
        except BaseException:
            for child in multiprocessing.active_children():
                if child not in others:
                    child.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def follow_parent() -> None:
    """Leave it to the parent of this worker process to end it, by Ctrl-C or by ending itself: the parent holds the
    other end of a pipe. Linux itself ends this process, too, because a compiled loop does not let a thread run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    PR_SET_PDEATHSIG = 1
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another system
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def available() -> int:
    """Bytes that this process may still take: the least that the machine, its limits and, on Linux, its control groups
    leave."""
    limits = [psutil.virtual_memory().available]
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
        limits.append(soft - psutil.Process().memory_info().vms)
    return max(min(limits), 0)


def check_memory(need: float, what: str) -> None:
    """ValueError where fewer than `need` bytes are available, with what they are needed for."""
    if need > (free := available()):
        raise ValueError(f"{what}: {need / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free")


def _texts(paths: dict[str, Path]) -> dict[str, str]:
    """The contents of those files that can be read."""
    out = {}
    for name, path in paths.items():
        with contextlib.suppress(OSError):
            out[name] = path.read_text()
    return out
