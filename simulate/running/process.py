"""The state of a process that computes: one thread, and an allocator that keeps the memory that blocks free."""

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

MAPPED_BYTES = 8 * 2**20  # size from which an array has pages of its own, which go back to the system
HEAP_BYTES = 2**28  # of the heap that huge pages are asked for; what is not written takes no memory


@cache
def keep_memory() -> None:
    """Tell glibc to keep freed memory for the next block, in huge pages.

    Arrays of a megabyte that go back to the system and are asked for again cost a page fault every thousand numbers,
    half of the time of a dense block. Arrays from MAPPED_BYTES on go back all the same: if kept, they leave holes that
    the next ones do not fit into, and the peak doubles.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (AttributeError, OSError, TypeError):
        return  # this system has another allocator
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    mallopt(M_TRIM_THRESHOLD, 2**30)
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
    _ask_for_huge_pages(libc)


def _ask_for_huge_pages(libc: ctypes.CDLL) -> None:
    """Grow the heap by HEAP_BYTES and ask for pages of 2 MiB there, which many systems give only where asked.

    Blocks pass through more pages of 4 KiB than the processor keeps addresses of.
    """
    M_MMAP_MAX, DEFAULT_MMAP_MAX = -4, 2**16
    libc.malloc.restype = ctypes.c_void_p
    libc.mallopt(M_MMAP_MAX, 0)  # arrays of any size are taken from the heap
    array = libc.malloc(ctypes.c_size_t(HEAP_BYTES))
    libc.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
    if array is not None:  # a limit of the process may forbid it
        first_page = -(-array // mmap.PAGESIZE) * mmap.PAGESIZE
        libc.madvise(ctypes.c_void_p(first_page), ctypes.c_size_t(HEAP_BYTES - mmap.PAGESIZE), mmap.MADV_HUGEPAGE)
        libc.free(ctypes.c_void_p(array))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: the bits of a batched product may depend on how many threads share it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_memory()
    try:
        yield
    finally:
        torch.set_num_threads(before)
