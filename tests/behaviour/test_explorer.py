"""The explorer shows what the theory says, and its page runs it in a headless Chromium without a network."""

import io
import json
import re
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.behaviour.chromium import opened
from tests.behaviour.test_report_in_a_browser import needs_browser
from tests.behaviour.test_site import ROOT, script

RELU: dict[str, Any] = {
    "activation": "relu", "C_b": 0.0, "C_W": 2.0, "skip": 0, "depth": 4, "squares": [1.0], "cosine": 0.5,
    "lambda_b": 1, "lambda_W": 1, "tensor": "V",
}  # fmt: skip
READY = """new Promise((done) => {
  const wait = () => (told.textContent.startsWith("Loading") ? setTimeout(wait, 50) : done(told.textContent));
  wait();
})"""
PICK = "((name, value) => { fields[name].value = value; fields[name].dispatchEvent(new Event('change')); })"


@pytest.fixture(scope="module")
def explorer() -> ModuleType:
    return script("explorer")


def answer(**question: Any) -> dict[str, Any]:
    return dict(json.loads(sys.modules["docs.explored"].answer(json.dumps(question))))


def test_answers_are_the_closed_forms(explorer: ModuleType) -> None:
    """ReLU at criticality: K stays 2, Theta grows by 2 a layer and V by 5 K^2. Off criticality curves end where they
    are beyond all measure. Two inputs have all components. Control: what theory refuses is an error in words."""
    found = answer(**RELU)
    assert found["curves"]["00,00"] == pytest.approx([0.0, 20.0, 40.0, 60.0])
    assert found["K"] == pytest.approx([2.0] * 4)
    assert found["Theta"] == pytest.approx([2.0, 4.0, 6.0, 8.0])
    assert found["unit"] == [2, 0]
    assert len(answer(**{**RELU, "C_W": 60.0, "depth": 16})["curves"]["00,00"]) < 16
    two = answer(**{**RELU, "squares": [1.0, 2.0], "tensor": "K"})["curves"]
    assert two.keys() == {"00", "01", "10", "11"}
    assert two["01"][0] == pytest.approx(2 * 0.5 * 2**0.5)
    assert "at least 1 layer" in answer(**{**RELU, "depth": 0})["error"]
    assert "a cosine from -1 to 1" in answer(**{**RELU, "cosine": 2})["error"]


def test_the_critical_point(explorer: ModuleType) -> None:
    """With r* of two neurons, 4/(26 nu) with nu = 5 for ReLU; sigmoid has no such point."""
    assert answer(activation="relu", skip=0) == {
        "C_b": 0.0, "C_W": 2.0, "class": "scale-invariant", "r_star": pytest.approx(4 / (26 * 5)),
    }  # fmt: skip
    assert answer(activation="expression(2*tanh(z))", skip=0)["C_W"] == pytest.approx(0.25)
    assert answer(activation="relu", skip=0.6)["C_W"] == pytest.approx(2 * 0.64)
    assert "no critical initialisation" in answer(activation="sigmoid", skip=0)["reason"]


def test_the_page_holds_what_it_loads(explorer: ModuleType) -> None:
    """The modules that the theory imports come along, and files that Pyodide did not publish are refused."""
    assert re.findall(r'src="([^"]+)"', explorer.page()) == [
        *(f"explorer/{name}" for name in explorer.SCRIPTS), "explorer/pyodide.files.js", "explorer/theory.files.js",
    ]  # fmt: skip
    inside = zipfile.ZipFile(io.BytesIO(explorer.own())).namelist()
    assert {"explored.py", "analysis/__init__.py", "analysis/theory/recursion.py"} <= set(inside)
    assert not [name for name in inside if not name.startswith("analysis/") and name != "explored.py"]
    with pytest.raises(ValueError, match=r"pyodide\.js has the sha256 e3b0c4"):
        explorer.checked(dict.fromkeys(explorer.SUMS, b""))


@pytest.mark.long
@needs_browser
def test_the_page_in_a_browser(explorer: ModuleType, tmp_path: Path) -> None:
    """What the browser computes is what theory computes here, for formulas, too; measured points of the first input
    lie on top. It needs the files that the registry has."""
    explorer.write()
    with opened(f"file://{ROOT}/docs/explorer.html", tmp_path) as page:
        page.look(400, 900)
        assert page.evaluate(READY).startswith("K [00] of layer 24: ")
        for name, value in (("activation", "relu"), ("depth", 4), ("tensor", "V"), ("shown", "over K and Theta")):
            page.evaluate(f"{PICK}('{name}', '{value}')")
        assert page.evaluate("told.textContent") == "V [00,00] of layer 4: 15"
        assert page.evaluate("chart.querySelector('.theory').getAttribute('d').split('L').length") == 4
        tests = [("V l=3 [00,00]", 39), ("V l=3 [00,01]", 1), ("n=8 G l=3 [00]", 2)]
        tests = [{"series": series, "coefficient": value, "error": 2} for series, value in tests]
        page.evaluate(f"read({json.dumps(json.dumps({'claims': [{'tests': tests}]}))})")
        titles = page.evaluate("[...chart.querySelectorAll('circle title')].map((title) => title.textContent)")
        assert titles == ["V l=3 [00,00]: 9.75 ± 0.5"], "other components and tensors are left out"
        page.evaluate(f"{PICK}('activation', 'a formula')")
        mine = "expression(z*tanh(z))"
        start = {name: answer(activation=mine, skip=0)[name] for name in ("C_b", "C_W")}
        V = answer(**{**RELU, "activation": mine, **start})["curves"]["00,00"]
        assert page.evaluate("kept.found.curves['00,00']") == pytest.approx(V, rel=1e-9)
        page.evaluate(f"{PICK}('formula', 'z*(')")
        assert page.evaluate("told.className") == "failed"
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert page.errors == []
