"""Data sets that are made with plugins: their identity, their analysis and their state."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis
import simulate
from simulate import api, plugins
from simulate.__main__ import main
from simulate.observables.columns import OBSERVABLES
from simulate.settings.reader import SettingsError
from simulate.store.sets import DataSet
from tests import forks

SMALL = ["network.width=4", "ensemble.networks=8", "workers=1", "ensemble.device=cpu"]
RECORD = ["observables.record=[kernel,spread]"]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_identity(user_folder: Path, run: Callable[..., DataSet]) -> None:
    """A plugin adds its name and digest to the identity, and not its path; without plugins there is no such entry."""
    name = f"plugins=[{user_folder}/spread.py]"
    (plugin,) = api.read_one([name, *RECORD]).plugins
    assert plugin.digest == hashlib.sha256((user_folder / "spread.py").read_bytes()).hexdigest()
    assert str(user_folder) not in json.dumps(api.read_one([name, *RECORD]).identity())
    assert api.read_one([name]).identity()["plugins"] == ({"name": "spread.py", "digest": plugin.digest},)
    assert "plugins" not in api.read_one([]).identity()
    assert "cluster" not in api.read_one([]).identity()
    assert run(*SMALL[:2]).manifest["settings"]["plugins"] == []


def test_only_what_decides_rows_is_part_of_the_identity(user_folder: Path) -> None:
    assert api.read_one([f"plugins=[{user_folder}/there.py]"]).plugins == ()
    write(user_folder / "empty.py", "x = 1\n")
    assert [p.name for p in api.read_one([f"plugins=[{user_folder}/empty.py]"]).plugins] == ["empty.py"], (
        "a plugin that registers nothing may still change rows"
    )
    write(
        user_folder / "both.py",
        (user_folder / "there.py").read_text().replace('"there"', '"both"') + (user_folder / "spread.py").read_text(),
    )
    assert [p.name for p in api.read_one([f"plugins=[{user_folder}/both.py]"]).plugins] == ["both.py"]


def test_a_changed_plugin_makes_another_data_set(
    user_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A data set is continued only with the plugins that made it; a refusal names the plugin and the digests."""
    name, where = f"plugins=[{user_folder}/spread.py]", f"output={tmp_path}/o"
    assert main([name, *SMALL, *RECORD, where]) == 0
    assert main([name, *SMALL, *RECORD, where, "ensemble.networks=12"]) == 0, "control: the data set grows"
    capsys.readouterr()
    old, path = plugins.loaded()[0].digest[:8], user_folder / "spread.py"
    plugins._loaded.clear()  # as in another process
    path.write_text(path.read_text().replace("OBSERVABLES.add(", "0 and (").replace('@whole("spread")\n', ""))
    assert main([name, *SMALL, *RECORD, where]) == 2
    line = capsys.readouterr().err
    new = plugins.loaded()[0].digest[:8]
    assert f"it holds a data set made with another text of spread.py (sha256 {old}, not {new})" in line
    assert line.count("\n") == 1
    assert main([*SMALL, *RECORD, where]) == 2
    assert f"made with spread.py (sha256 {old}): name it in plugins=[spread.py]" in capsys.readouterr().err
    assert main([*SMALL, f"output={tmp_path}/p"]) == 0
    assert main([name, *SMALL, f"output={tmp_path}/p"]) == 2
    assert "made with no spread.py: leave it out of plugins=[...]" in capsys.readouterr().err


def test_the_analysis_needs_the_plugin(user_folder: Path, tmp_path: Path) -> None:
    name, out = f"{user_folder}/spread.py", f"output={tmp_path}/o"
    data = simulate.run(f"plugins=[{name}]", *SMALL, "ensemble.networks=64", out)
    result = analysis.analyze(data)
    assert [plugin.name for plugin in result.options.plugins] == ["spread.py"]
    assert len(result.estimates)
    plugins._loaded.clear()  # as in another process
    with pytest.raises(simulate.StoreError, match=r"/o: made with spread.py \(sha256 \w+\): name it in plugins="):
        analysis.analyze(data)
    write(user_folder / "spread.py", "x = 1\n")
    with pytest.raises(simulate.StoreError, match=r"made with another text of spread.py"):
        analysis.analyze(data, plugins=[name])
    assert data.read("g").shape[0] == 64, "rows of known observables can be read without the plugin"


def test_a_plugin_that_is_not_named_is_hidden(user_folder: Path) -> None:
    """A plugin that an earlier run of the process loaded is unknown to a run that does not name it."""
    assert api.read_one([f"plugins=[{user_folder}/spread.py]", *RECORD]).observables.record == ("kernel", "spread")
    assert "spread" in OBSERVABLES
    with pytest.raises(SettingsError, match="different names among"):
        api.read_one(RECORD)
    assert "spread" in OBSERVABLES, "the plugin is registered again after the run"


@pytest.mark.parametrize(
    "entry",
    [
        [{"name": "evil.py", "digest": "0" * 64}],
        [{"name": "{folder}/evil.py", "digest": "0" * 64}],
        ["evil.py"],
        "evil.py",
        {"evil.py": "0"},
        [{"name": 3, "digest": None}],
        [{"name": "\x1b[31mevil.py\n", "digest": "0"}],
    ],
)
def test_a_data_set_never_loads_a_plugin(
    entry: object, run: Callable[..., DataSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A malicious manifest names a file of the current folder: the file does not run, and the refusal is one line."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "evil.py", f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    data = run(*SMALL[:2], f"output={tmp_path}/o")
    manifest = json.loads((data.path / "dataset.json").read_text())
    manifest["settings"]["plugins"] = manifest["identity"]["plugins"] = json.loads(
        json.dumps(entry).replace("{folder}", str(tmp_path))
    )
    (data.path / "dataset.json").write_text(json.dumps(manifest))
    from analysis.__main__ import main as analyze
    from simulate.status import main as status

    assert analyze([f"data={tmp_path}/o"]) == 2
    line = capsys.readouterr().err
    assert "made with" in line or "dataset.json is damaged: " in line
    assert line.count("\n") == 1
    assert line.strip("\n").isprintable()
    status([f"{tmp_path}/o"])
    damaged = "is damaged" in line  # a manifest that names no plugin is made again
    assert main([*SMALL, f"output={tmp_path}/o"]) == (0 if damaged else 2), "without the plugin it is another data set"
    assert not (tmp_path / "ran").exists()
    assert analyze([f"data={tmp_path}/o", "plugins=[evil.py]"]) == (0 if damaged else 2)
    assert (tmp_path / "ran").exists(), "control: the file runs when the user names it"


def test_the_state_of_a_data_set_made_with_a_plugin(user_folder: Path, tmp_path: Path) -> None:
    """`simulate.status` names the plugin that is needed, and takes it."""
    made = [
        "-m",
        "simulate",
        *SMALL,
        *RECORD,
        f"--config-dir={user_folder}",
        "plugins=[spread.py]",
        f"output={tmp_path}/a",
    ]
    forks.run(*made, check=True)
    look = ["-m", "simulate.status", f"{tmp_path}/a"]
    without = forks.run(*look)
    assert without.returncode == 2
    assert without.stderr.startswith(f"error: {tmp_path}/a: observable 'spread' is not known here; name the file")
    assert without.stderr.count("\n") == 1
    named = [f"--config-dir={user_folder}", "plugins=[spread.py]"]
    done = forks.run(*look, *named, "--verify")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/a: 8 of 8 networks\n")
