"""Rows on their way to the disk while a device computes: copies on a stream of their own, and threads that commit.

A device draws block k + 1 while the rows of block k are copied to the host, and threads of the host write the parts
before. Only the thread that draws calls the device: while it captures a graph, calls of others would spoil that.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any, NoReturn, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

PLACES = 2  # blocks whose rows have a place on the host: one is copied, and one is drawn

_T = TypeVar("_T")


def room(size: int) -> int:
    """Bytes of a place for an array of `size` bytes: a power of two, as memory that is pinned has."""
    return 1 << max(size - 1, 0).bit_length()


class Copies:
    """Copies of the tensors of one block after the other from a device (cpu or cuda) to the host.

    The places that they are copied into are used again, in turn: what `start` returns has to be called before the next
    but one is started. Memory that cannot be pinned is used as it is, and copies into it take longer.
    """

    def __init__(self, device: str):
        self._stream = torch.cuda.Stream() if device == "cuda" else None
        self._places: list[list[Tensor]] = [[] for _ in range(PLACES)]
        self._numbers = count()

    def start(self, tensors: Sequence[Tensor]) -> Callable[[], list[NDArray[Any]]]:
        """Begin to copy what the device will have computed, and return what waits for the copies and tells them."""
        place = self._places[next(self._numbers) % PLACES]
        place += [torch.empty(0, dtype=torch.uint8)] * (len(tensors) - len(place))
        copies = []
        for k, tensor in enumerate(tensors):
            if place[k].numel() < tensor.nbytes:
                place[k] = self._memory(room(tensor.nbytes))
            copies.append(place[k][: tensor.nbytes].view(tensor.dtype).view(tensor.shape))
        kept = list(tensors)  # the device may use their memory again from when nobody has them
        wait = self._copy(copies, kept)

        def landed() -> list[NDArray[Any]]:
            wait()
            kept.clear()
            return [copy.numpy().copy() for copy in copies]

        return landed

    def _copy(self, copies: Sequence[Tensor], tensors: Sequence[Tensor]) -> Callable[[], object]:
        """Begin to copy; what is returned waits for the end."""
        if self._stream is None:
            for copy, tensor in zip(copies, tensors, strict=True):
                copy.copy_(tensor)
            return lambda: None
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for copy, tensor in zip(copies, tensors, strict=True):
                copy.copy_(tensor, non_blocking=True)
        return self._stream.record_event().synchronize

    def _memory(self, size: int) -> Tensor:
        try:
            return torch.empty(size, dtype=torch.uint8, pin_memory=self._stream is not None)
        except RuntimeError:  # the system lets no more memory be pinned
            return torch.empty(size, dtype=torch.uint8)


def one_behind(started: Iterable[Callable[[], _T]]) -> Iterator[_T]:
    """What the calls return, in order, each made when the next one has been handed over. Errors come in their turn."""
    before: list[Callable[[], _T]] = []
    for call in _errors_in_turn(started):
        before.append(call)
        if len(before) == PLACES:
            yield before.pop(0)()
    for call in before:
        yield call()


def in_threads(work: Iterable[Callable[[], _T]], threads: int) -> Iterator[_T]:
    """What the calls return, in order, made by threads while the next one is awaited, which waits for its thread.

    An error, in a call or between them, is raised in its turn, when all calls before it have returned. However this
    ends, calls that were begun are finished first.
    """
    under_way: deque[Future[_T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for call in _errors_in_turn(work):
            if len(under_way) == threads:
                yield under_way.popleft().result()
            under_way.append(pool.submit(call))
        while under_way:
            yield under_way.popleft().result()


def _errors_in_turn(work: Iterable[Callable[[], _T]]) -> Iterator[Callable[[], _T]]:
    """The calls; an error on the way to the next one becomes a call that raises it, behind those that were begun."""
    try:
        yield from work
    except Exception as error:
        yield partial(_fail, error)


def _fail(error: Exception) -> NoReturn:
    raise error
