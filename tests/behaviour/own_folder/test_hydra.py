"""Hydra's ways to name files of one's own: search path, primary config, and the completion of a shell."""

from pathlib import Path

import pytest

from simulate import api
from tests.behaviour.lines import Capture, printed, refused


def test_completion(capsys: Capture, monkeypatch: pytest.MonkeyPatch, user_folder: Path) -> None:
    def words(line: str) -> list[str]:
        monkeypatch.setenv("COMP_LINE", line)
        return printed(capsys, "-sc", "query=bash").split()

    for shell in ("bash", "zsh", "fish"):
        assert "ng-simulate" in printed(capsys, "-sc", f"install={shell}")
    assert "ng-analyze" in printed(capsys, "--shell-completion", "install=bash", program="analysis")
    assert words("ng-simulate activation=s") == ["activation=sigmoid", "activation=sin", "activation=softplus",
                                                 "activation=swish"]  # fmt: skip
    own = f"--config-dir {user_folder}"
    assert words(f"ng-simulate -m --forecast {own} activation=st") == ["activation=steep"]
    assert words("ng-simulate activation=st") == []
    assert words("ng-simulate network.d") == ["network.depth="]
    assert words("ng-simulate --fo") == ["--forecast"]
    assert {"experiment", "network."} <= set(words("ng-simulate ")), "all that may follow"
    assert not any(word.startswith("hydra") for word in words("ng-simulate "))
    assert words("ng-simulate --config-dir=nowhere activ") == [], "a line that is not whole"


def test_settings_of_hydra_in_a_file(user_folder: Path, capsys: Capture) -> None:
    """A file can change what Hydra would do, and that is refused as on the command line."""
    path = user_folder / "experiment" / "logged.yaml"
    for text, named in (
        ("hydra: {verbose: true}\n", "hydra.verbose=True in a file"),
        ("hydra: {run: {dir: x}}\n", "hydra.run.dir=x in a file: settings of Hydra itself have no effect here; use o"),
        ("defaults: [override /hydra/job_logging: disabled]\n", "in a file"),
    ):
        path.write_text(f"# @package _global_\n{text}")
        assert named in refused(capsys, f"--config-dir={user_folder}", "experiment=logged")
    assert api.read_one(["activation=steep"], user_folder).activation.slope == 0.3, "the control"


def test_search_path(user_folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    (other := tmp_path / "other" / "activation").mkdir(parents=True)
    (other / "flat.yaml").write_text("name: leaky_relu\nslope: 0.9\n")
    both = f"hydra.searchpath=[file://{user_folder},{tmp_path}/other]"
    assert [s.activation.slope for s in api.read_sweep([both, "activation=steep,flat"])] == [0.3, 0.9]
    assert (
        api.read_one([f"hydra.searchpath=[{tmp_path}/other]", "activation=flat"], user_folder).activation.slope == 0.9
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "other" / "__init__.py").touch()
    assert api.read_one(["hydra.searchpath=[pkg://other]", "activation=flat"]).activation.slope == 0.9
    assert "flat*" in printed(capsys, "--help", both)
    # A plugin is looked for in these folders, too.
    given = [both, "experiment=mine", "observables.record=[kernel]", "network.width=5", "--cfg", "-p", "plugins"]
    assert "- spread.py" in printed(capsys, *given)
    for given, named in (
        (["hydra.searchpath=[/nowhere]"], "no such folder /nowhere"),
        (["hydra.searchpath=[file:///nowhere]"], "no such folder /nowhere"),
        (["hydra.searchpath=[pkg://no.where]"], "No module named 'no'"),
        (["hydra.searchpath=[s3://x]"], "neither DIR nor file://DIR nor pkg://PACKAGE"),
        (["hydra.searchpath=/tmp"], "a list of folders"),
        (["hydra.searchpath=[3]"], "a list of folders"),
        (["hydra.searchpath=["], "a list of folders"),
        ([both, "hydra.searchpath=[]"], "given twice"),
        ([f"hydra.searchpath=[{tmp_path}/other]", "activation=steep"], "there are erf, expression, flat,"),
    ):
        assert named in refused(capsys, *given)
    assert "no such folder" in refused(capsys, "hydra.searchpath=[/nowhere]", "data=x", program="analysis")
    assert "no such folder" in refused(capsys, "hydra.searchpath=[/nowhere]", "x", program="status")
    (other / "steep.yaml").write_text("name: relu\n")
    assert "has the same name" in refused(capsys, both, "activation=steep")


def test_a_config_of_ones_own(user_folder: Path, capsys: Capture) -> None:
    (user_folder / "small.yaml").write_text("defaults: [simulate, override activation: steep, _self_]\nworkers: 1\n")
    text = printed(capsys, f"--config-dir={user_folder}", "--config-name=small", "--cfg")
    assert "slope: 0.3" in text
    assert "workers: 1" in text
    assert "workers: auto" in printed(capsys, f"--config-dir={user_folder}", "--cfg"), "the control"
    assert "no file large.yaml in" in refused(capsys, f"--config-dir={user_folder}", "-cn", "large")
    (user_folder / "far.yaml").write_text("defaults: [simulate, _self_]\nhydra: {searchpath: ['file:///nowhere']}\n")
    assert "path=/nowhere is not available" in refused(capsys, f"--config-dir={user_folder}", "-cn", "far")


def test_paired_lists_of_an_experiment(user_folder: Path) -> None:
    """Options are paired as numbers are; sigmoid has no critical initialization."""
    text = """# @package _global_
sweep: {zip: {activation: [relu, sigmoid], initialization: [critical, gaussian], network.width: [8, 16]}}
"""
    (user_folder / "experiment" / "fixed.yaml").write_text(text)
    points = api.read_sweep(["experiment=fixed"], user_folder)
    assert [(s.activation.name, s.network.widths[0]) for s in points] == [("relu", 8), ("sigmoid", 16)]
    assert len({s.output for s in points}) == 2
