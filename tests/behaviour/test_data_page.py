"""The examples of docs/data.md run, one after the other, in a folder that is empty at first."""

import re
import shlex
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import analysis.__main__
import simulate.__main__
from simulate import status

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
OPTIONAL = ("polars", "duckdb")  # too large to be dependencies of development
COMMANDS = {
    "simulate": simulate.__main__.main,
    "simulate.status": status.main,
    "analysis": analysis.__main__.main,
}
R = shutil.which("Rscript")


def missing_in_r(text: str) -> list[str]:
    """What an example in R needs and what is not installed: R itself, or packages."""
    if R is None:
        return ["R"]
    named = re.findall(r"library\((\w+)\)", text)
    return [name for name in named if subprocess.run([R, "-e", f"library({name})"], capture_output=True).returncode]


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    left_out: list[str] = []
    for kind, text in BLOCKS:
        if kind == "console":
            for line in text.splitlines():
                python, flag, module, *arguments = shlex.split(line)
                assert (python, flag) == ("python", "-m")
                quick = ["workers=1", "ensemble.device=cpu"] if module == "simulate" else []
                assert COMMANDS[module]([*arguments, *quick]) == 0, line
        elif kind == "python":
            missing = [name for name in OPTIONAL if f"import {name}" in text and find_spec(name) is None]
            left_out += missing
            if not missing:
                exec(text, names)
        elif missing := missing_in_r(text):
            left_out += missing
        else:
            printed = subprocess.run([str(R), "-e", text], check=True, capture_output=True, text=True).stdout
            means = dict(re.findall(r"^\d +(\d+) +(\S+)$", printed, re.MULTILINE))
            expected = {str(layer): mean for layer, mean in names["rows"].groupby("layer")["g_0_0"].mean().items()}
            assert {layer: float(mean) for layer, mean in means.items()} == pytest.approx(expected, rel=1e-7)
    assert len(names["rows"]) == 300
    assert names["few"]["H_0_0_0_1"].notna().all()
    assert names["large"].count_rows() == 300
    assert set(names["spread"].index) == {8, 16, 32}
    assert names["spread"].is_monotonic_decreasing, "fluctuations fall with the width"
    assert len(names["seeds"]) == 4 * 300
    diagonal = names["rows"][["H_0_0_0_0", "H_0_0_1_1"]].mean().sum()
    assert float(names["trace"].mean()) == pytest.approx(diagonal, rel=1e-5), "float32"
    assert '"total"' in capsys.readouterr().out
    if left_out:
        pytest.skip(f"all examples but those of {', '.join(left_out)}, which are not installed")


def test_a_broken_example_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Negative control: without the data of the commands, the first Python block fails."""
    monkeypatch.chdir(tmp_path)
    (first, *_) = [text for kind, text in BLOCKS if kind == "python"]
    with pytest.raises(FileNotFoundError):
        exec(first, {})
