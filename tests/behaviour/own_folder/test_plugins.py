"""Plugins, Python files named by `plugins=[...]`, are loaded once and are identified by their digest.

A data set never causes the plugins that it names to be loaded.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from simulate import plugins
from simulate.__main__ import main
from simulate.launchers import LAUNCHERS
from simulate.plugins import Plugin
from simulate.registry import Registry
from simulate.settings.reader import SettingsError
from tests import forks

SMALL = ["network.width=4", "ensemble.networks=8", "workers=1", "ensemble.device=cpu"]
RECORD = ["observables.record=[kernel,spread]"]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_loaded_once(registries: None, user_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    done = forks.run("-c", code, user_folder / "there.py", check=True)
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
    done = forks.run(script)
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
