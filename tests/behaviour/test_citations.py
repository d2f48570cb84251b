"""What a run rests on is printed as BibTeX, and the project's own citation has the facts of pyproject.toml."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import configs
import simulate
from analysis import citations
from analysis.__main__ import main

ROOT = Path(__file__).parents[2]
FEW = ["ensemble.networks=64", "workers=1", "ensemble.device=cpu"]


def test_every_method_has_its_entry() -> None:
    """A method names an entry, and an entry has a title, authors and a year."""
    entries = citations.references()
    assert {method.key for method in citations.METHODS} <= set(entries)
    for key, entry in entries.items():
        fields = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", entry, re.MULTILINE))
        assert {"title", "author", "year"} <= set(fields), key
        assert key.endswith(fields["title"].split()[0].lower().strip(":")) or fields["year"] in key


def test_every_source_of_a_claim_has_its_entry() -> None:
    sources = {}
    for name in configs.options("experiment"):
        if name.startswith("reproduce/"):
            sources[name] = citations.by_source(configs.compose("simulate", [f"experiment={name}"])["claim"]["source"])
    assert len(sources) > len(set(sources.values())) >= 7, "one paper has two experiments"
    with pytest.raises(ValueError, match=r"claim\.source='arXiv:0000\.00000': no such entry"):
        citations.by_source("arXiv:0000.00000")


def test_what_runs_rest_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A claim about priors cites its source and the methods of a claim; data without a claim cite no fit, and networks
    without GELU no GELU (controls)."""
    priors = ["experiment=reproduce/priors", "network.width=8,16,32,64", *FEW, f"output={tmp_path}/priors"]
    gelu = ["activation=gelu", "observables=ntk", "network.width=8", "inputs=gaussian", *FEW, f"output={tmp_path}/gelu"]
    of_claim = citations.keys_of(simulate.sweep(*priors))
    of_data = citations.keys_of([simulate.run(*gelu)])
    assert {"roberts2022principles", "zavatone2021exact", "holm1979simple", "pedregosa2011scikit"} <= set(of_claim)
    assert not {"hendrycks2016gaussian", "jacot2018neural", "lee2019wide"} & set(of_claim)
    assert {"roberts2022principles", "hendrycks2016gaussian", "jacot2018neural"} <= set(of_data)
    assert not {"holm1979simple", "pedregosa2011scikit"} & set(of_data)
    assert main([f"data={tmp_path}", "--cite"]) == 0
    printed = capsys.readouterr().out
    keys = re.findall(r"^@\w+\{(\w+),$", printed, re.MULTILINE)
    assert keys == list(dict.fromkeys(keys))
    assert set(keys) == {*of_claim, *of_data}
    assert main([f"data={tmp_path}", "--cite", "table=V"]) == 2
    assert "table=V: goes with a report, a table or a figure, without --cite" in capsys.readouterr().err
    assert "% the numbers that reproduce_priors reproduces\n@inproceedings{zavatone2021exact," in printed


def test_the_project_is_cited_as_it_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    codemeta = json.loads((ROOT / "codemeta.json").read_text())
    assert cff["title"] == codemeta["name"] == project["name"]
    assert cff["version"] == codemeta["version"] == project["version"]
    assert cff["abstract"].rstrip(".") == codemeta["description"] == project["description"]
    assert cff["keywords"] == codemeta["keywords"] == project["keywords"]
    assert codemeta["license"].endswith(project["license"])
    assert cff["license"] == project["license"]
    assert cff["authors"] == project["authors"] == [{"name": codemeta["author"][0]["name"]}]
