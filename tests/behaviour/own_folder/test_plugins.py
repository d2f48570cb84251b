"""Plugins, Python files named by `plugins=[...]`, are loaded once and are identified by their digest.

A data set never causes the plugins that it names to be loaded.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis
import simulate
from simulate import api, plugins
from simulate.__main__ import main
from simulate.launchers import LAUNCHERS
from simulate.observables.columns import OBSERVABLES
from simulate.plugins import Plugin
from simulate.registry import Registry
from simulate.settings.reader import SettingsError
from simulate.store.sets import DataSet

SMALL = ["network.width=4", "ensemble.networks=8", "workers=1", "ensemble.device=cpu"]
RECORD = ["observables.record=[kernel,spread]"]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_loaded_once(user_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is loaded once, from whatever path; a plugin has the base name of its file, behind links."""
    registry: Registry[Plugin] = Registry("thing")
    monkeypatch.setattr("simulate.registry.THINGS", registry, raising=False)
    text = "from simulate import registry\nfrom simulate.plugins import Plugin\nregistry.THINGS.add(Plugin('x', ''))\n"
    path = write(user_folder / "thing.py", text)
    (plugin,) = plugins.load([path])
    assert plugin == Plugin("thing.py", hashlib.sha256(text.encode()).hexdigest())
    assert plugins.load([str(path)]) == plugins.load(["thing.py"], user_folder) == (plugin,)
    assert plugins.load([write(user_folder / "copy" / "thing.py", text)]) == (plugin,)
    (user_folder / "link.py").symlink_to(path)
    assert plugins.load([user_folder / "link.py"]) == (plugin,)
    assert list(registry) == ["x"]
    assert registry.origin["x"] == "nearly_gaussian_plugin_thing"
    assert plugins.in_words(plugin) == "thing x"
    assert not list(user_folder.rglob("__pycache__")), "nothing is left in the user's folder"


def test_a_module_that_a_plugin_imports_first_keeps_its_records(user_folder: Path) -> None:
    """What a module of the package registers, when a plugin imports it first, is not attributed to the plugin."""
    code = (
        "import sys; from simulate import plugins; (plugin,) = plugins.load(sys.argv[1:])\n"
        "print(plugins.in_words(plugin)); from simulate.launchers import LAUNCHERS\n"
        "with plugins.hidden_but(()): print(*LAUNCHERS)\n"
        "print(*LAUNCHERS)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, user_folder / "there.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["launcher there", "local slurm", "local slurm there"]


ERRORS = [
    ("x = 1\n\nx + 'a'\n", "line 3: TypeError: unsupported operand"),
    ("def f(:\n", "line 1: SyntaxError: invalid syntax"),
    ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
    ("raise ValueError('a\\nb')\n", "line 1: ValueError: a"),
    ("import no_such_module\n", "line 1: ModuleNotFoundError"),
    ("x = 1\0", "SyntaxError: source code string cannot contain null bytes"),
    ("def f():\n    return f()\n\n\nf()\n", "line 2: RecursionError"),
    ("class E(Exception):\n    def __str__(self):\n        raise TypeError\n\n\nraise E\n", "line 6: "),
    ("import json\n\njson.loads('{')\n", "line 3: json.decoder.JSONDecodeError"),
    ("from simulate.launchers import LAUNCHERS\n\nLAUNCHERS.add(None)\n", "line 3: AttributeError"),
    (
        "from simulate.launchers import LAUNCHERS, Launcher\nLAUNCHERS.add(Launcher('slurm', print))\n",
        "line 2: ValueError: launcher 'slurm' is there already",
    ),
]


@pytest.mark.parametrize(("text", "named"), ERRORS)
def test_whatever_a_plugin_raises_is_one_line(
    text: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "bad.py", text)
    assert main([f"plugins=[{path}]", f"output={tmp_path}/o"]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: plugins='bad.py': {named}")
    assert line.count("\n") == 1
    assert not (tmp_path / "o").exists()
    assert "nearly_gaussian_plugin_bad" not in sys.modules


def test_a_plugin_that_fails_leaves_nothing_registered(tmp_path: Path) -> None:
    first = "from simulate.launchers import LAUNCHERS, Launcher\nLAUNCHERS.add(Launcher('half', print))\n"
    path = write(tmp_path / "half.py", first + "1 / 0\n")
    with pytest.raises(SettingsError, match="line 3: ZeroDivisionError"):
        plugins.load([path])
    assert "half" not in LAUNCHERS
    path.write_text(first)
    plugins.load([path])
    assert "half" in LAUNCHERS, "a corrected plugin loads in the same process"


def test_a_plugin_is_interrupted_while_it_loads(tmp_path: Path) -> None:
    path = write(tmp_path / "slow.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        plugins.load([path])
    assert plugins.loaded() == ()


def test_where_a_plugin_is_looked_for(user_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin is looked for in the current and in the config folder; two different files of a name are refused."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(SettingsError, match=r"plugins='there.py': no such file in .*here or .*own"):
        plugins.load(["there.py"], user_folder.parent / "own" / "activation")
    write(here / "there.py", (user_folder / "there.py").read_text())
    plugins.load(["there.py"], user_folder)
    assert plugins.sources(plugins.loaded())[0][0] == str(here / "there.py")
    write(here / "there.py", (user_folder / "there.py").read_text() + "# changed\n")
    with pytest.raises(SettingsError, match=r"here/there.py and .*own/there.py differ"):
        plugins.load(["there.py"], user_folder)
    with pytest.raises(SettingsError, match="no such file in"):
        plugins.load(["nowhere.py"], user_folder)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("my.py", "a list of Python files"),
        (None, "a list of Python files"),
        ([3], "plugins=3: the path of a Python file"),
        ([""], "the path of a Python file"),
        (["/dev/zero"], "no such file"),
        (["."], "no such file"),
        (["spread.txt"], "ends in .py"),
        (["spread.py", "spread.py"], "a list names each file once"),
        (["spread.py", "other/spread.py"], "has the same name"),
    ],
)
def test_wrong_lists(user_folder: Path, value: object, named: str) -> None:
    write(user_folder / "spread.txt", "")
    write(user_folder / "other" / "spread.py", "x = 1\n")
    with pytest.raises(SettingsError, match=named):
        plugins.load(value, user_folder)
    assert plugins.loaded() == ()


def test_two_texts_of_a_name_in_a_process(user_folder: Path) -> None:
    plugins.load(["there.py"], user_folder)
    write(user_folder / "there.py", (user_folder / "there.py").read_text() + "# changed\n")
    with pytest.raises(SettingsError, match=r"another text of that name .* is loaded; start a new process"):
        plugins.load(["there.py"], user_folder)


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
    assert analyze([f"data={tmp_path}/o", "plugins=[evil.py]"]) == 2
    assert (tmp_path / "ran").exists(), "control: the file runs when the user names it"


def test_workers_refuse_a_file_that_changed_meanwhile(user_folder: Path, tmp_path: Path) -> None:
    """The parent process loads a plugin and changes its file before it starts a worker, which refuses the file.

    The control is in test_from_a_wheel.py, where workers load an unchanged file.
    """
    code = f"""
import sys
from pathlib import Path
from simulate.__main__ import main
from simulate.running import runner
path, start = Path({str(user_folder / "spread.py")!r}), runner.in_workers
def changed(*arguments):
    path.write_text(path.read_text() + "# changed\\n")
    return start(*arguments)
runner.in_workers = changed
if __name__ == "__main__":
    sys.exit(main(["plugins=[{user_folder}/spread.py]", "observables.record=[spread]", "workers=2", "-m",
                   "network.width=4,8", "ensemble.networks=8", "ensemble.device=cpu", "output={tmp_path}/o"]))
"""
    script = write(tmp_path / "run.py", code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "spread.py has changed since the run began; put it back, or start anew" in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr


def test_swept_plugins_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, named in (
        (["-m", "plugins=[a.py],[b.py]"], "is not swept"),
        (["plugins=[a.py],[b.py]"], "is not swept"),
        (["plugins=[a.py]", "plugins=[b.py]"], "plugins is given twice"),
    ):
        assert main(arguments) == 2
        assert named in capsys.readouterr().err


def test_help_without_plugins_needs_neither_torch_nor_hydra() -> None:
    code = (
        "import sys; from simulate.__main__ import main; main(['--help']); "
        "sys.exit('torch' in sys.modules or 'hydra' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


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
    subprocess.run([sys.executable, *made], check=True, capture_output=True)
    look = [sys.executable, "-m", "simulate.status", f"{tmp_path}/a"]
    without = subprocess.run(look, capture_output=True, text=True)
    assert without.returncode == 2
    assert without.stderr.startswith(f"error: {tmp_path}/a: observable 'spread' is not known here; name the file")
    assert without.stderr.count("\n") == 1
    named = [f"--config-dir={user_folder}", "plugins=[spread.py]"]
    done = subprocess.run([*look, *named, "--verify"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/a: 8 of 8 networks\n")
