"""Fixtures of all tests: a single thread, small runs in one process, and registries that are restored."""

import os
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import simulate
from simulate.plugins import PACKAGES
from simulate.registry import REGISTRIES
from simulate.store.sets import DataSet
from simulate.training.algorithms import GRADIENT_TERMS, STEPS
from simulate.training.losses import VALUE_AND_SLOPE

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # Triton asks when it is imported, which a library may do in any test


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on Slurm, which mostly wait, come first, so that other tests run while they wait."""
    items.sort(key=lambda item: item.get_closest_marker("cluster") is None)


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

    def run_here(*overrides: str) -> DataSet:
        extra = [] if any(o.startswith("output=") for o in overrides) else [f"output={tmp_path}/{next(count)}"]
        return simulate.run(*overrides, *extra, "workers=1", "ensemble.device=cpu")

    return run_here


@pytest.fixture
def registries() -> Iterator[None]:
    """Everything that a test registers is removed when it ends."""
    functions: tuple[dict[str, Any], ...] = (STEPS, VALUE_AND_SLOPE, GRADIENT_TERMS)
    before, there = [dict(kind) for kind in functions], {id(kind): set(kind) for kind in REGISTRIES}
    yield
    for kind, entries in zip(functions, before, strict=True):
        kind.clear()
        kind.update(entries)
    for registry in REGISTRIES:
        new = set(registry) - there.get(id(registry), set())
        for name in new:
            if registry.origin[name].partition(".")[0] not in PACKAGES:  # a module of ours may have been imported first
                del registry[name]


@pytest.fixture
def plugin(registries: None) -> Callable[[str], object]:
    """plugin("adam") runs tests/data/plugins/adam.py; what that registers is removed when the test ends."""
    return lambda name: runpy.run_path(str(Path(__file__).parent / "data" / "plugins" / f"{name}.py"))
