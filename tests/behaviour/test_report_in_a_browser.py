"""The report in a headless Chromium: no error, no overflow at 400 pixels, and pickers and numbers that work."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import analysis
import simulate

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium, chromium-browser or google-chrome is installed"
)

# It runs inside of the report, before and after the report's own scripts, and tells the page around it what it found.
EARLY = "<script>window.errors = []; window.onerror = (what) => { errors.push(String(what)); };</script>"
LATE = """<script type="module">
const pick = (name, value) => {
  const select = document.querySelector(`#picker select[name=${name}]`);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
const found = { width: innerWidth, content: document.documentElement.scrollWidth };
try {
  const circles = () => [...document.querySelectorAll("#chart circle")];
  found.first = circles().length;
  const shown = [...document.querySelectorAll("#picker label")].filter((label) => label.offsetParent !== null);
  found.one = shown.filter((label) => label.querySelector("select").length < 2).length;
  pick("tensor", "V");
  pick("samples", "11,11");
  pick("shown", "value");
  circles()[0].focus();
  found.focused = document.getElementById("told").textContent;
  found.titles = circles().map((circle) => circle.querySelector("title").textContent);
  found.band = document.querySelectorAll("#chart .band").length;
  pick("shown", "over theory");
  found.bandOverTheory = document.querySelectorAll("#chart .band").length;
  pick("width", "32");
  found.ofWidth = circles().map((circle) => circle.querySelector("title").textContent);
  pick("width", "all");
  found.again = circles().length;
  const paper = getComputedStyle(document.body).backgroundColor, ink = getComputedStyle(document.body).color;
  found.colours = [paper, ink];
} catch (error) { errors.push(String(error)); }
setTimeout(() => parent.postMessage(JSON.stringify({ ...found, errors }), "*"), 50);
</script>"""
AROUND = """<!DOCTYPE html><title>waiting</title><pre id="found"></pre>
<iframe src="report.html" width="{width}" height="900"></iframe>
<script>onmessage = (event) => {{ document.getElementById("found").textContent = event.data; }};</script>"""


def browse(report: str, width: int, folder: Path) -> dict[str, Any]:
    """What the page finds about itself in a frame of this width."""
    folder.mkdir()
    page = report.replace("<head>", f"<head>{EARLY}", 1).replace("</body>", f"{LATE}</body>")
    (folder / "report.html").write_text(page)
    (folder / "around.html").write_text(AROUND.format(width=width))
    command = [
        str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000", "--dump-dom",
        f"file://{folder}/around.html",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    (text,) = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    return dict(json.loads(unescape(text)))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    simulate.sweep(
        "experiment=demo/preactivations", "network.depth=3", "observables.layers=[2,3]", "claim.tests.V.layers=[3]",
        "claim.tests.G1.layers=[3]", "ensemble.networks=500", "network.width=16,32,64,128", "workers=1",
        "ensemble.device=cpu", f"output={folder}/d",
    )  # fmt: skip
    analysis.analyze(folder / "d", output=folder / "r", figures=False)
    return (folder / "r" / "report.html").read_text()


def test_the_report_loads_nothing_and_says_the_verdict_first(report: str) -> None:
    assert not re.search(r"""(src|href|url|import|fetch)\s*[=(]\s*["']?(https?:)?//""", report)
    assert 0 < report.index('class="banner') < report.index("<h3>Tests") < report.index('id="picker"')
    data = json.loads(report.partition('id="estimates">')[2].partition("</script>")[0])
    assert {"V", "G1"} <= {row["tensor"] for row in data["rows"]}
    assert data["asked"]["preactivations V"] == 0.03
    assert "<i>[00,00]</i> names a component" in report


@needs_browser
@pytest.mark.parametrize("width", [400, 1400])
def test_the_report_in_a_browser(width: int, report: str, tmp_path: Path) -> None:
    found = browse(report, width, tmp_path / "b")
    assert found["errors"] == []
    assert found["width"] == width
    assert found["content"] <= width
    assert found["first"] == len(found["titles"]) == 4, "a circle for each width"
    assert found["one"] == 0, "what has one value is not to be picked"
    assert found["focused"] == found["titles"][0]
    assert re.match(r"n = 16: [\d.]+ ± [\d.]+, theory [\d.]+.*, pull -?[\d.]+$", found["focused"])
    assert (found["band"], found["bandOverTheory"]) == (0, 1)
    assert found["ofWidth"] == [title for title in found["titles"] if title.startswith("n = 32:")] != []
    assert found["again"] == found["first"]
    assert found["colours"][0] != found["colours"][1]


@needs_browser
def test_an_error_and_an_overflow_are_found(report: str, tmp_path: Path) -> None:
    """Negative control: data that cannot be read, and a line that does not wrap."""
    wide = f'<div style="white-space: nowrap">{"wide " * 400}</div>'
    broken = report.replace('id="estimates">{', 'id="estimates">{{', 1).replace(
        "<h2>Verdicts", f"{wide}<h2>Verdicts", 1
    )
    found = browse(broken, 400, tmp_path / "b")
    assert found["errors"]
    assert found["content"] > 400
