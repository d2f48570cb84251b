"""What a notebook shows of a data set, a flow, a result and a verdict: short, whole and escaped."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import analysis
import simulate
from analysis.result import Result
from simulate.store.frames import DataSets
from simulate.system import counted

CLAIM = [
    "experiment=demo/ntk_mean", "ensemble.networks=300", "network.width=8,16,32,64", "claim.name='<b>mine</b>'",
    "claim.statement='a < b & <i>c</i>'", "ensemble.device=cpu", "workers=1",
]  # fmt: skip


class Text(HTMLParser):
    """The text of HTML, and whether each tag that is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.open = "", list[str]()
        self.cells: list[list[str]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert tag in ("p", "b", "br", "ul", "li", "code", "table", "tr", "th", "td"), tag
        self.open += [tag] if tag != "br" else []
        if tag == "tr":
            self.cells.append([])
        if tag in ("th", "td"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("th", "td"):
            self.cells[-1][-1] += data


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder: Path = tmp_path_factory.mktemp("notebook")
    return analysis.analyze(simulate.sweep(*CLAIM, f"output={folder}/d"))


def test_a_result_shows_its_sentences(result: Result) -> None:
    shown = Text(result._repr_html_()).text
    (verdict,) = result.verdicts
    assert f"<b>mine</b>: {verdict.verdict}" in shown
    for test, sentence in result.sentences(verdict):
        assert f"{test}: {sentence}" in shown
    assert f"{len(result.estimates):,} estimates of 4 data sets" in shown
    assert repr(result) == f"Result(<b>mine</b>: {verdict.verdict}; {len(result.estimates):,} estimates of 4 data sets)"


def test_a_verdict_shows_its_reason(result: Result) -> None:
    (verdict,) = result.verdicts
    shown = Text(verdict._repr_html_()).text
    assert f"<b>mine</b>: {verdict.verdict}: {verdict.reason}" in shown
    assert "a < b & <i>c</i>" in shown
    assert repr(verdict) == f"Verdict(<b>mine</b>: {verdict.verdict}: {verdict.reason})"


def test_a_data_set_shows_its_settings(result: Result) -> None:
    data = result.sets[0]
    cells = dict(Text(data._repr_html_()).cells)
    assert cells["networks"] == "300 of 300"
    assert cells["data set"] == str(data.path)
    assert cells["network.width"] == "8"
    assert cells["activation"] == data.settings["activation"]["name"]


def test_the_data_sets_of_a_sweep_show_what_differs(result: Result) -> None:
    sets = DataSets(result.sets)
    names, *rows = Text(sets._repr_html_()).cells
    assert names == ["data set", "networks", "network.width", "network.depth", "activation.name"]
    assert [row[:3] for row in rows] == [[f"width-{n}", "300", str(n)] for n in (8, 16, 32, 64)]
    folder = sets[0].path.parent
    assert DataSets(simulate.find(folder)).table("H").equals(simulate.table(folder, "H"))
    assert list(sets[:2]) == list(result.sets[:2])
    assert set(DataSets(sets[:2]).table("H_0_0_0_0")["data_set"]) == {"width-8", "width-16"}
    with pytest.raises(simulate.StoreError, match="no networks yet"):
        DataSets().table()


def test_a_flow_shows_the_first_sample() -> None:
    flow = analysis.theory.flow("tanh", 3, 0.0, 1.0, np.eye(4)[:2], tensors=("K", "V"))
    names, *rows = Text(flow._repr_html_()).cells
    assert names == ["layer", "chi_parallel", "chi_perp", "K", "V"]
    assert flow.V is not None
    shown = np.array(rows, dtype=float)
    np.testing.assert_allclose(shown[:, 3], flow.K[:, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(shown[:, 4], flow.V[:, 0, 0, 0, 0], rtol=1e-5)
    assert repr(flow) == "Flow(3 layers, 2 samples: chi_parallel, chi_perp, K, V)"


@pytest.mark.parametrize("depth", [20, 21, 100])
def test_a_deep_flow_shows_its_ends(depth: int) -> None:
    flow = analysis.theory.flow("tanh", depth, 0.0, 1.0, np.ones((1, 3)), tensors=("K",))
    _, *rows = Text(flow._repr_html_()).cells
    left_out = [] if depth == 20 else ["..."]
    ends = [*map(str, range(1, 11)), *left_out, *map(str, range(depth - 9, depth + 1))]
    assert [row[0] for row in rows] == ends
    assert {len(row) for row in rows} == {4}


def test_one_is_no_plural(result: Result) -> None:
    """Control: results of several data sets have it (above)."""
    assert "of 1 data set in" in analysis.analyze(result.sets[0])._repr_html_()
    assert counted(1, "network") == "1 network"
    assert (counted(0, "network"), counted(2000, "process", "processes")) == ("0 networks", "2,000 processes")
