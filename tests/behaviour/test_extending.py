"""Every example of docs/extending.md is complete: its files are extracted and its commands run in an empty folder."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

import analysis
from simulate.store import find
from tests import forks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = dict(part.split("\n", 1) for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])
KINDS = ("An activation", "An observable", "A measure", "A claim", "A tensor", "An algorithm", "A rule",
         "A schedule", "A loss", "Feature functions", "A launcher", "A network")  # fmt: skip


def extract(folder: Path, *titles: str) -> list[list[str]]:
    """Writes the files of the sections; returns the commands, as words."""
    commands = []
    for title in titles:
        for kind, name, text in FENCE.findall(SECTIONS[title]):
            if kind == "console":
                commands += [shlex.split(line) for line in text.splitlines()]
            else:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    return commands


def run(folder: Path, words: list[str]) -> str:
    assert words[0] == "python"
    quick = ["workers=1", "ensemble.device=cpu"] if words[1:3] == ["-m", "simulate"] else []
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = forks.run(*words[1:], *quick, cwd=folder, environment=environment)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
    return done.stdout


def test_every_kind_has_its_section() -> None:
    assert tuple(SECTIONS) == KINDS


@pytest.mark.parametrize("title", [title for title in KINDS if title not in ("A measure", "A claim")])
def test_an_example_runs(title: str, tmp_path: Path) -> None:
    commands = extract(tmp_path, title)
    assert commands
    for words in commands:
        run(tmp_path, words)
    for manifest in tmp_path.glob("out/*/dataset.json"):
        written = json.loads(manifest.read_text())
        parts = [re.findall(r"\d+", part.name) for part in manifest.parent.glob("networks/part-*.parquet")]
        assert sum(int(last) - int(first) for first, last in parts) == written["networks"]
        if title == "An observable":
            assert {"PR_0", "PR_1"} <= set(written["columns"])


def test_a_measure_and_its_claim_run(tmp_path: Path) -> None:
    for words in extract(tmp_path, "A measure", "A claim"):
        printed = run(tmp_path, words)
    assert "kernel_spread" in printed
    assert re.search(r"spread: (agrees|underpowered)", printed)
    assert len(find(tmp_path / "out" / "spread")) == 4
    with pytest.raises(Exception, match=r"plugins"):  # control: a data set does not load its plugin
        analysis.analyze(tmp_path / "out" / "spread", plugins=["nowhere.py"])


def test_a_broken_example_fails(tmp_path: Path) -> None:
    """Negative control: a command whose plugin is not there is refused."""
    (words, *_) = extract(tmp_path, "A loss")
    (tmp_path / "huber.py").unlink()
    with pytest.raises(AssertionError, match=r"huber\.py"):
        run(tmp_path, words)
