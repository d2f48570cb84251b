"""The explorer's tables are those of the theory, and its page works in a headless Chromium."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest

from tests.behaviour.test_report_in_a_browser import BROWSER, needs_browser
from tests.behaviour.test_site import script

WORK = """<pre id="found"></pre><script type="module">
const pick = (name, value) => {
  const select = document.querySelector(`#picker select[name=${name}]`);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
const found = { activation: document.querySelector("select[name=activation]").value, width: innerWidth };
pick("tensor", "V");
pick("shown", "over K and Theta");
found.told = document.getElementById("told").textContent;
found.line = document.querySelector("#chart .theory").getAttribute("d").split("L").length;
readVerdicts(JSON.stringify({ claims: [{ tests: [
  { series: "V l=3 [00,00]", coefficient: 39, error: 2 }, { series: "V l=3 [00,01]", coefficient: 1, error: 2 },
  { series: "n=8 G l=3 [00]", coefficient: 2, error: 0.1 }] }] }));
found.points = [...document.querySelectorAll("#chart circle title")].map((title) => title.textContent);
found.overflow = document.documentElement.scrollWidth > innerWidth;
document.getElementById("found").textContent = JSON.stringify(found);
</script>"""


@pytest.fixture(scope="module")
def explorer() -> ModuleType:
    return script("explorer")


def test_tables_are_the_closed_forms(explorer: ModuleType) -> None:
    """ReLU at criticality: K stays 2, Theta grows by 2 a layer and V by 5 K^2; off criticality they end where they are
    beyond all measure, and activations without a critical point are not offered."""
    table = explorer.table("relu", 0.0, 2.0, depth=4)
    assert table["K"] == pytest.approx([2.0] * 4)
    assert table["Theta"] == pytest.approx([2.0, 4.0, 6.0, 8.0])
    assert table["V"] == pytest.approx([0.0, 20.0, 40.0, 60.0])
    assert len(explorer.table("relu", 0.0, 60.0, depth=16)["K"]) < 16
    assert {"tanh", "gelu", "relu"} <= set(explorer.activations())
    assert "sigmoid" not in explorer.activations()


@needs_browser
def test_the_page(explorer: ModuleType, tmp_path: Path) -> None:
    given = {"activation": "relu", "C_b": 0.0, "C_W": 2.0}
    page = explorer.page([{**given, "critical": True, "tensors": explorer.table("relu", 0.0, 2.0, depth=4)}])
    assert not re.search(r"""(src|href)=["']https?:""", page)
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{WORK}</body>"))
    command = [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command += ["--virtual-time-budget=3000", "--window-size=500,900", "--dump-dom", f"file://{tmp_path}/page.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    (text,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    found = json.loads(unescape(text))
    assert found["activation"] == "relu"
    assert found["line"] == 4
    assert found["told"] == "V of layer 4: 15"
    assert found["points"] == ["V l=3 [00,00]: 9.75 ± 0.5"], "other components and tensors are left out"
    assert not found["overflow"]
