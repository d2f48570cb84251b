"""Every command of the README and of the pages runs, in the order of its page, with few networks."""

import shlex
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

import analysis.__main__
import simulate.__main__
from tests.behaviour.test_site import commands

MAIN = {"simulate": simulate.__main__.main, "analysis": analysis.__main__.main}
QUICK = {"simulate": ["ensemble.networks=200", "ensemble.device=cpu", "workers=1"], "analysis": ["figures=false"]}
# Commands with these words run in the tests of launchers and of a cluster.
SENT = ("cluster=slurm", "hydra/launcher=slurm", "cluster.shards=", "--shard")
ELSEWHERE = ("answers.md", "data.md")  # run as they stand, with their examples


def by_page() -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """The commands of each page but those that other tests run."""
    for page, found in groupby(commands(), key=lambda command: command[0]):
        here = [(module, shlex.split(arguments)) for _, module, arguments in found]
        here = [(module, words) for module, words in here if not any(word.startswith(SENT) for word in words)]
        here.sort(key=lambda command: command[0] != "simulate")  # a caption names the analysis alone
        if page not in ELSEWHERE and here:
            yield page, here


def small(module: str, words: list[str]) -> list[str]:
    """The words of a command, with few networks and without the figures of a report."""
    no_report = module == "analysis" and any(word.startswith(("table=", "plot=", "--")) for word in words)
    return words if no_report else [*words, *QUICK[module]]


PAGES = dict(by_page())
WIDE = ("gallery.md", "tensors.md")  # forty widths and activations, second derivatives at width 256


@pytest.mark.parametrize("page", [pytest.param(p, marks=[pytest.mark.long] * (p in WIDE)) for p in PAGES])
def test_commands_of_a_page(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    points = np.random.default_rng(0).standard_normal((3, 2))
    np.savetxt("points.csv", points, delimiter=",", header="a,b", comments="")
    np.save("points.npy", points)
    np.savetxt("y.csv", [1.0])
    for module, words in PAGES[page]:
        assert MAIN[module](small(module, words)) == 0, f"python -m {module} {shlex.join(words)}"


def test_a_wrong_command_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert MAIN["simulate"](small("simulate", ["network.widht=64"])) == 2
    assert MAIN["analysis"](small("analysis", ["data=outputs/nowhere"])) == 2
