"""Copies of rows from a device that draws, and threads that work meanwhile: on a CPU, and on torch's meta device, whose
numbers nobody can wait for."""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from simulate.api import read_one
from simulate.running import compute
from simulate.running.prepare import prepare
from simulate.running.transfer import Copies, in_threads, one_behind

PATIENCE = 10.0  # seconds after which what does not come would never come
BLOCKS = ["network.width=8", "network.depth=2", "ensemble.device=cpu", "ensemble.block=64"]
CASES = {"law": ["observables=ntk"],
         "dense": ["observables=training", "dynamics=gradient_descent", "dynamics.steps=2"]}  # fmt: skip


# Copies


def tensors(k: int) -> list[Tensor]:
    """Tensors of a block, of several shapes and types."""
    rows = torch.arange(40.0 + 8 * k).reshape(-1, 2, 4) + k
    return [rows, rows.double()[:0], rows[1:, 0].isfinite(), torch.full((3,), k, dtype=torch.int64)]


def test_copies_are_the_blocks() -> None:
    """In order, whatever is copied into their places afterwards. Control: what is told too late is another block."""
    copies = Copies("cpu")
    found = list(one_behind(copies.start(tensors(k)) for k in (5, 0, 1, 7, 2)))
    for k, of_block in zip((5, 0, 1, 7, 2), found, strict=True):
        for copy, tensor in zip(of_block, tensors(k), strict=True):
            assert copy.dtype == tensor.numpy().dtype
            np.testing.assert_array_equal(copy, tensor)
    late, *_ = [copies.start(tensors(k)) for k in (0, 1, 2)]
    assert not np.array_equal(late()[-1], tensors(0)[-1])


class Watched:
    """CUDA's streams on a machine without one: what is called, in order."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.calls: list[str] = []
        copy_ = Tensor.copy_

        def copied(into: Tensor, tensor: Tensor, non_blocking: bool = False) -> Tensor:
            self.calls.append("copy" if non_blocking else "copy and wait")
            return copy_(into, tensor)

        patch.setattr(torch.cuda, "Stream", lambda: self)
        patch.setattr(torch.cuda, "current_stream", lambda: "drawing")
        patch.setattr(torch.cuda, "stream", self.within)
        patch.setattr(Tensor, "copy_", copied)

    @contextmanager
    def within(self, stream: object) -> Iterator[None]:
        assert stream is self
        self.calls.append("enter")
        yield
        self.calls.append("leave")

    def wait_stream(self, other: str) -> None:
        self.calls.append(f"behind {other}")

    def record_event(self) -> "Watched":
        self.calls.append("event")
        return self

    def synchronize(self) -> None:
        self.calls.append("wait")


def test_copies_follow_the_drawing_and_hold_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stream of their own, behind what draws them; nothing waits before it has to, and the device's memory is
    not used again until then. Memory cannot be pinned here, and other memory serves."""
    watched = Watched(monkeypatch)
    copies, given = Copies("cuda"), tensors(3)[::3]
    alive = weakref.ref(given[0])
    landed = copies.start(given)
    del given
    assert watched.calls == ["behind drawing", "enter", "copy", "copy", "leave", "event"]
    assert alive() is not None
    found = landed()
    assert watched.calls[6:] == ["wait"]
    assert alive() is None
    np.testing.assert_array_equal(found[0], tensors(3)[0])


@pytest.mark.parametrize("sampler", CASES)
def test_a_device_is_waited_for_when_the_next_block_is_begun(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On meta, where every other wait is an error."""
    events: list[str] = []
    measured = compute.measured_block
    job = prepare(read_one([*BLOCKS, *CASES[sampler], f"ensemble.sampler={sampler}"]))
    job = replace(job, settings=replace(job.settings, ensemble=replace(job.settings.ensemble, device="meta")))

    def drawn(*arguments: Any) -> Any:
        events.append("draw")
        return measured(*arguments)

    class Told(Copies):
        def start(self, tensors: Any) -> Callable[[], list[Any]]:
            assert {tensor.device.type for tensor in tensors} == {"meta"}
            events.append("copy")
            zeros = [torch.zeros(tensor.shape, dtype=tensor.dtype).numpy() for tensor in tensors]
            return lambda: events.append("wait") or zeros

    monkeypatch.setattr(compute, "measured_block", drawn)
    blocks = list(one_behind(compute.start_rows(job, 100, 250, {}, Told("meta"))))
    assert [len(status) for _, status, _ in blocks] == [28, 64, 58]
    assert events == ["draw", "copy", "draw", "copy", "wait", "draw", "copy", "wait", "wait"]


# Threads


@pytest.mark.parametrize("threads", [1, 3])
def test_work_is_done_while_more_is_fetched(threads: int) -> None:
    """A call returns only when the next one has been fetched: one after the other, none would. As many are under way as
    there are threads, and one waits."""
    fetched, done, most = [threading.Event() for _ in range(9)], [], 0

    def call(k: int) -> int:
        assert k == 7 or fetched[k + 1].wait(PATIENCE)
        return k

    def work() -> Iterator[Callable[[], int]]:
        nonlocal most
        for k in range(8):
            most = max(most, k + 1 - len(done))
            fetched[k].set()
            yield partial(call, k)

    for k in in_threads(work(), threads):
        done.append(k)
    assert done == list(range(8))
    assert most == threads + 1


class FullError(OSError):
    pass


def fails(error: BaseException) -> Any:
    raise error


def test_errors_come_in_their_turn() -> None:
    """That of a call comes before one of later drawing, and parts before either are told; calls that were begun end."""

    def work(*calls: Callable[[], int], error: BaseException) -> Iterator[Callable[[], int]]:
        yield from calls
        raise error

    told: list[int] = []
    with pytest.raises(FullError):
        told.extend(in_threads(work(lambda: 1, partial(fails, FullError()), error=ValueError("drawing")), 3))
    with pytest.raises(ValueError, match="drawing"):
        told.extend(in_threads(work(lambda: 2, lambda: 3, error=ValueError("drawing")), 3))
    with pytest.raises(ValueError, match="drawing"):
        told.extend(one_behind(work(lambda: 4, lambda: 5, error=ValueError("drawing"))))
    assert told == [1, 2, 3, 4, 5]
    begun, ended = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        threading.Event().wait(0.05)
        ended.set()
        return 1

    def interrupted() -> Iterator[Callable[[], int]]:
        yield slow
        assert begun.wait(PATIENCE)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_threads(interrupted(), 1))
    assert ended.is_set()
