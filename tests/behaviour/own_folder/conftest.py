"""Fixtures: a user's folder of option files and plugins, and a process that forgets plugins after each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulate import plugins
from simulate.registry import REGISTRIES

LAUNCHER = '''
"""A launcher that only prints what it would start."""

from simulate.launchers import LAUNCHERS, Launch, Launcher


def start(launch: Launch) -> list:
    print(len(launch.jobs), "data sets,", launch.cluster.shards, "shards in the queue", launch.cluster.further["queue"])
    print("python -m simulate", *launch.arguments)
    return []


LAUNCHERS.add(Launcher("there", start, settings=("shards", "queue"), logs="there"))
'''
OBSERVABLE = '''
"""The mean over a layer's neurons of |z_a|."""

from simulate.observables.columns import OBSERVABLES, Family, Observable
from simulate.observables.measure import whole

OBSERVABLES.add(Observable("spread", (Family("spread", "layers", "mean over the layer's neurons of |z_a|", 1),)))


@whole("spread")
def spread(snapshot):
    return snapshot.preactivations().double().abs().mean(dim=-1)
'''
FILES = {
    "experiment/mine.yaml": """
        # @package _global_
        defaults:
          - override /activation: steep
        plugins: [spread.py]
        network: {depth: 3}
        ensemble: {networks: 64}
        observables: {record: [kernel, spread]}
        output: mine
        sweep:
          network.width: [8, 12]
        """,
    "activation/steep.yaml": "name: leaky_relu\nslope: 0.3\n",
    "cluster/there.yaml": "name: there\nshards: 2\nqueue: night\n",
    "there.py": LAUNCHER,
    "spread.py": OBSERVABLE,
}


@pytest.fixture
def user_folder(tmp_path: Path) -> Path:
    """A folder with an experiment, an activation, a launcher and an observable."""
    folder = tmp_path / "own"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line.removeprefix(" " * 8) for line in text.lstrip("\n").splitlines()) + "\n")
    return folder


@pytest.fixture(autouse=True)
def _forget_plugins() -> Iterator[None]:
    yield
    plugins._loaded.clear()
    for registry in REGISTRIES:
        for name in [name for name in registry if registry.origin[name].startswith(plugins.PREFIX)]:
            del registry[name]
