"""What each claim must see is written down in docs/asks.md, and does not move without a line there."""

import re
from pathlib import Path

import pytest

import configs

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"\| `(\w+)` \| `(\w+)` \| ([\d.e-]+) % \| (\S+) \|")


def asked(text: str) -> dict[tuple[str, str], float]:
    """The asks of a page's first table by claim and test. ValueError where one stands there twice."""
    found: dict[tuple[str, str], float] = {}
    for claim, test, percent, _ in ROW.findall(text.partition("\n## ")[0]):
        if (claim, test) in found:
            raise ValueError(f"{claim}, {test} stands there twice")
        found[claim, test] = float(percent) / 100
    return found


def configured() -> dict[tuple[str, str], float]:
    """The asks of all experiments, but for those of the demo, which are the same claims with fewer networks."""
    found = {}
    for name in configs.options("experiment"):
        claim = configs.compose("simulate", [f"experiment={name}"])["claim"]
        if claim and not name.startswith("demo/"):
            found |= {(claim["name"], test): float(given["precision"]) for test, given in claim["tests"].items()}
    return found


def test_asks_are_those_of_the_configs() -> None:
    page, ours = asked((ROOT / "docs" / "asks.md").read_text()), configured()
    assert len(page) > 40
    assert page.keys() == ours.keys()
    assert page == pytest.approx(ours, rel=1e-12)


def test_a_moved_ask_is_found() -> None:
    """Negative controls: a loosened ask, a missing row and a doubled one."""
    page = (ROOT / "docs" / "asks.md").read_text()
    row = next(line for line in page.splitlines() if ROW.match(line))
    claim, test, percent, _ = ROW.findall(row)[0]
    loosened = page.replace(row, row.replace(f"| {percent} %", f"| {2 * float(percent):g} %"))
    assert asked(loosened)[claim, test] == pytest.approx(2 * configured()[claim, test])
    assert (claim, test) not in asked(page.replace(row, ""))
    with pytest.raises(ValueError, match="twice"):
        asked(page.replace(row, f"{row}\n{row}"))
