"""The commands and examples of docs/answers.md run, and those of the README that look at data."""

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis.__main__
import simulate.__main__

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "answers.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = {"simulate": simulate.__main__.main, "analysis": analysis.__main__.main}
README = re.findall(r"^    python -m analysis (data=.*?)  +#", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


def test_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for kind, text in BLOCKS:
        for line in text.splitlines() if kind == "console" else ():
            python, flag, module, *arguments = shlex.split(line)
            assert (python, flag) == ("python", "-m")
            quick = ["workers=1", "ensemble.device=cpu"] if module == "simulate" else []
            if module == "analysis" and not any(word.startswith(("table=", "plot=", "figures=")) for word in arguments):
                quick = ["figures=false"]  # the figures of reports have tests of their own
            assert COMMANDS[module]([*arguments, *quick]) == 0, line
        if kind == "python":
            exec(text, names)
    shown = capsys.readouterr().out
    for sentence in names["sentences"]:
        assert sentence in shown
    assert "Partial Errors:" in shown
    written = {path.name for path in Path("outputs").iterdir()}
    assert {"g.csv", "collapse.parquet", "v.svg", "ratio.png", "map.pdf", "mine"} == written
    assert set(pd.read_csv("outputs/g.csv")["layer"]) == {2, 3, 4}
    assert set(names["frame"]["layer"]) == {3, 4}
    assert len(names["ax"].containers) == names["frame"]["width"].nunique()
    assert names["heat"].collections


def test_commands_of_the_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that look at outputs/preactivations, at the data of the page instead."""
    monkeypatch.chdir(folder)
    if not Path("outputs/mine").exists():
        (command,) = re.findall(r"python -m simulate (.*)", PAGE)[:1]
        assert COMMANDS["simulate"]([*shlex.split(command), "workers=1", "ensemble.device=cpu"]) == 0
    assert len(README) >= 3
    for line in README:
        looks = [word.replace("outputs/preactivations", "outputs/mine") for word in shlex.split(line)]
        looks += ["figures=false"] * (looks == ["data=outputs/mine"])
        assert COMMANDS["analysis"](looks) == 0, line
