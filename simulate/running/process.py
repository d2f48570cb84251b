"""The state of a process that computes: one thread, and an allocator that keeps the memory that blocks free."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

MAPPED_BYTES = 8 * 2**20  # size from which an array has pages of its own, which go back to the system


def keep_memory() -> None:
    """Tell glibc to keep freed memory for the next block.

    Arrays of a megabyte that go back to the system and are asked for again cost a page fault every thousand numbers,
    half of the time of a dense block. Arrays from MAPPED_BYTES on go back all the same: if kept, they leave holes that
    the next ones do not fit into, and the peak doubles.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # this system has another allocator
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    mallopt(M_TRIM_THRESHOLD, 2**30)
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)


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
