"""Shared fixtures: one thread for every test, and small runs in one process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import simulate
from simulate.store.sets import DataSet


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., DataSet]:
    """A function run("network.width=8", ...) that runs in this process, into a new folder unless output= is given."""
    count = iter(range(1000))

    def go(*overrides: str) -> DataSet:
        extra = [] if any(o.startswith("output=") for o in overrides) else [f"output={tmp_path}/{next(count)}"]
        return simulate.run(*overrides, *extra, "workers=1", "ensemble.device=cpu")

    return go
