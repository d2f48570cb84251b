"""How a process computes: with one thread, and keeping the memory that blocks free."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

LARGE = 8 * 2**20  # bytes of an array that has pages of its own


def keep_memory() -> None:
    """Tell glibc to keep what blocks free for the next block. Giving arrays of a megabyte back to the system and
    asking for them again costs a page fault every thousand numbers, half of the time of a dense block. Large ones go
    back all the same: kept, they leave holes that the next ones do not fit into, and the peak doubles."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another allocator, another system
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    mallopt(M_TRIM_THRESHOLD, 2**30)
    mallopt(M_MMAP_THRESHOLD, LARGE)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread a process: the bits of a batched product may depend on how many share it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_memory()
    try:
        yield
    finally:
        torch.set_num_threads(before)
