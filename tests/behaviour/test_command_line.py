"""The flags of the command lines, and settings of Hydra itself: whatever is typed is done, or refused in one line."""

import ast
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import analysis.__main__
import simulate
import simulate.__main__
from analysis import until
from configs import ConfigError, arguments
from simulate import api, status
from tests.behaviour.lines import MAINS, Capture, printed, refused

pytestmark = pytest.mark.usefixtures("nothing_runs")


def configs_of(text: str) -> list[dict]:
    return [config for config in yaml.safe_load_all(text) if config]


def test_cfg(capsys: Capture) -> None:
    for spelling in (["--cfg"], ["--cfg", "job"], ["--cfg=job"], ["-c", "job"], ["-c"]):
        flags = simulate.__main__.PROGRAM.parse([*spelling, "network.width=3"])
        assert (flags.cfg, flags.rest) == ("job", ["network.width=3"])
    (bare,) = configs_of(printed(capsys, "--cfg", "network.width=3", "inputs=file"))
    assert bare["network"]["width"] == 3
    assert bare["inputs"]["path"] == "???", "a value may be missing"
    (whole,) = configs_of(printed(capsys, "--cfg", "all", "output=o"))
    assert whole["hydra"]["run"]["dir"] == "${output}"
    assert set(whole) == {*bare, "hydra"}
    (resolved,) = configs_of(printed(capsys, "--cfg", "hydra", "--resolve", "output=o"))
    assert (resolved["run"]["dir"], resolved["sweep"]["dir"]) == ("o", "o")


def test_parts_of_the_config(capsys: Capture) -> None:
    assert "width: ${network.depth}\n" in printed(capsys, "-c", "-p", "network", "network.width=${network.depth}")
    widths = printed(capsys, "-m", "--cfg", "--package", "network.width", "network.width=3,4")
    assert widths.split() == ["3", "---", "4", "---"]
    assert "strict: false" in printed(capsys, "--cfg", program="analysis")


def test_info_and_version(capsys: Capture) -> None:
    defaults = printed(capsys, "--info", "defaults", "activation=relu")
    assert "activation/relu" in defaults
    assert "activation/tanh" not in defaults
    everything = printed(capsys, "--info", "data=x", program="analysis")
    assert all(word in everything for word in ("BashCompletion", "Defaults Tree", "pkg://configs", "alpha: 0.01"))
    for program in MAINS:
        assert re.match(r"nearly-gaussian .*hydra-core 1\.3", printed(capsys, "--version", program=program))


FLAGS = [
    ("simulate", ["--resolve"], "--resolve: goes with --cfg"),
    ("simulate", ["--package=network"], "--package: goes with --cfg"),
    ("simulate", ["--cfg", "--info"], "--cfg, --info: one of them at a time"),
    ("simulate", ["--cfg=jobs"], "choose from"),
    ("simulate", ["--cfg", "--package=nothing"], "package 'nothing' not found"),
    ("simulate", ["--cfg", "--package=.."], ".."),
    ("simulate", ["--config-path=x"], "use --config-dir=DIR"),
    ("simulate", ["-r"], "needs no flag"),
    ("simulate", ["--hydra-help"], "see --help"),
    ("simulate", ["--experimental-rerun", "x"], "repeat the command"),
    ("simulate", ["--config-name=nope"], "no file nope.yaml in the package"),
    ("simulate", ["--config-name=experiment/ntk"], "it is in the files of experiment/ntk"),
    ("simulate", ["--config-name"], "needs a value"),
    ("simulate", ["-cn", "a", "-cn", "b"], "given twice"),
    ("simulate", ["--multi"], "no such flag"),
    ("simulate", ["--forecast=3"], "--forecast"),
    ("simulate", ["--"], "no such flag"),
    ("simulate", ["-sc"], "install=SHELL"),
    ("simulate", ["-sc", "install=csh"], "No completion plugin for 'csh'"),
    ("simulate", ["-sc", "install=bash", "uninstall=bash"], "one of install=SHELL"),
    ("analysis", ["-m", "data=x"], "give the folder of the sweep"),
    ("analysis", ["data=x", "--forecast"], "no such flag"),
    ("status", ["--cfg", "x"], "no such flag"),
    ("status", ["--frobnicate", "x"], "no such flag"),
]


@pytest.mark.parametrize(("program", "given", "named"), FLAGS, ids=[" ".join((f[0], *f[1])) for f in FLAGS])
def test_wrong_flags(program: str, given: list[str], named: str, capsys: Capture) -> None:
    assert named in refused(capsys, *given, program=program)


def leaving(monkeypatch: pytest.MonkeyPatch, main: Callable[[list[str]], int], given: str, buffered: bool) -> int:
    """The exit status of a program, the reader of whose output has left."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb", buffering=-1 if buffered else 0) as binary, monkeypatch.context() as patch:
        stream = io.TextIOWrapper(binary, write_through=not buffered)
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "argv", ["program", given])
        return arguments.run_command(main)


def test_a_reader_that_leaves(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """`| head` ends a command without a message; a broken pipe to anything else is still an error."""
    for main, given in (
        (simulate.__main__.main, "--cfg"),
        (analysis.__main__.main, "--help"),
        (status.main, "--version"),
    ):
        for buffered in (True, False):
            assert leaving(monkeypatch, main, given, buffered) == arguments.CLOSED
    assert capfd.readouterr().err == ""

    def broken(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(api, "launch", broken)
    assert simulate.__main__.main([]) == 1
    assert "Broken pipe; committed parts are kept" in capfd.readouterr().err


@pytest.mark.parametrize(("main", "given"), [
    (simulate.__main__.main, "network.width=0"), (analysis.__main__.main, "data=nowhere"),
    (until.main, "network.width=0"), (status.main, "nowhere"),
])  # fmt: skip
def test_an_error_for_a_reader_that_has_left(
    main: Callable[[list[str]], int], given: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is refused in one line, as everywhere else."""
    assert leaving(monkeypatch, main, given, buffered=True) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


RESUME = ("parts are kept", "repeat it")
LOST = BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize(("error", "resumed", "single"), [
    (None, (7, ""), (7, "")),
    (ConfigError("a\nb"), (2, "error: a\\nb\n"), (2, "error: a\\nb\n")),
    (KeyError("named"), (2, "error: 'named'\n"), (2, "error: 'named'\n")),
    (OSError("disk"), (1, "error: disk; parts are kept, repeat it\n"), None),
    (RuntimeError("worker"), (1, "error: worker; parts are kept, repeat it\n"), None),
    (MemoryError("full"), (1, "error: full; parts are kept, repeat it\n"), None),
    (LOST, (1, f"error: {LOST}; parts are kept, repeat it\n"), None),
    (KeyboardInterrupt(), (130, "\ninterrupted: parts are kept; repeat it\n"), None),
    (TypeError("a fault of ours"), None, None),
], ids=repr)  # fmt: skip
def test_exit_status(
    error: BaseException | None, resumed: tuple[int, str] | None, single: tuple[int, str] | None, capsys: Capture
) -> None:
    """Of a program that can be resumed and of one that cannot; None where the error goes on."""

    def work() -> int:
        if error is not None:
            raise error
        return 7

    for want, resume in ((resumed, RESUME), (single, None)):
        if want is None:
            with pytest.raises(type(error)):
                arguments.exit_status(work, (KeyError,), resume)
            assert capsys.readouterr().err == ""
        else:
            assert (arguments.exit_status(work, (KeyError,), resume), capsys.readouterr().err) == want


@pytest.mark.parametrize("program", [simulate.__main__, analysis.__main__, until, status], ids=lambda m: m.__name__)
def test_all_programs_end_alike(program: ModuleType) -> None:
    """No program turns errors into exit statuses by itself."""
    tree = ast.parse(Path(str(program.__file__)).read_text())
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    assert not [node for node in ast.walk(main) if isinstance(node, ast.Try)]
    assert "exit_status(" in ast.unparse(main)


# ------------------------------------------------------------------- settings of Hydra itself


def test_folders_of_hydra(capsys: Capture, tmp_path: Path) -> None:
    assert api.read_one(["hydra.run.dir='o/a b'"]).output == "o/a b"
    assert [s.output for s in api.read_sweep(["hydra.sweep.dir=o", "network.width=3,4"])] == ["o/width-3", "o/width-4"]
    for given, named in (
        (["hydra.run.dir=a", "output=b"], "hydra.run.dir=a, output=b: the output is named twice"),
        (["-m", "hydra.sweep.dir=a", "hydra.run.dir=b"], "named twice"),
        (["-m", "hydra.run.dir=a", "network.width=3,4"], "use hydra.sweep.dir= or output="),
        (["hydra.sweep.dir=a"], "use hydra.run.dir= or output="),
        (["hydra.run.dir="], "hydra.run.dir=: the folder to write to"),
        (["~hydra.run.dir"], "the folder to write to"),
    ):
        assert named in refused(capsys, *given)
    assert "data=nowhere: no data set" in refused(capsys, "data=nowhere", "hydra.run.dir=a", program="analysis")
    assert list(tmp_path.iterdir()) == []


OF_HYDRA = [
    ("hydra.job.chdir=true", "the current folder is never changed"),
    ("hydra.verbose=true", "progress goes to the terminal"),
    ("hydra/job_logging=colorlog", "progress goes to the terminal"),
    ("hydra/sweeper=optuna", "sweep.zip"),
    ("+hydra/sweeper=optuna", "sweep.zip"),
    ("hydra.sweeper.params={network.width: 3}", "sweep.zip"),
    ("hydra.sweep.subdir=x", "named after its values"),
    ("hydra.launcher.n_jobs=3", "cluster.shards="),
    ("hydra/launcher@here=slurm", "use cluster="),
    ("hydra.mode=MULTIRUN", "use -m"),
    ("hydra.output_subdir=null", "dataset.json"),
    ("hydra.callbacks.x=1", "plugins="),
    ("hydra={run: {dir: x}}", "see --help"),
    ("hydra=x", "see --help"),
    ("~hydra.searchpath", "use hydra.searchpath=[DIR]"),
]


@pytest.mark.parametrize(("given", "named"), OF_HYDRA)
def test_a_setting_of_hydra_is_refused(given: str, named: str, capsys: Capture) -> None:
    line = refused(capsys, given)
    assert line.startswith(f"error: {given}: settings of Hydra itself have no effect here; ")
    assert named in line


def test_head(tmp_path: Path) -> None:
    """The program itself: nothing on stderr, also not from the flush at exit."""
    command = f"{sys.executable} -m simulate --cfg | head -1; echo ${{PIPESTATUS[0]}}"
    cwd = Path(simulate.__file__).parents[1]
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=cwd, check=True)
    assert done.stderr == ""
    assert done.stdout.split() in (["network:", "141"], ["network:", "0"]), "0 where all was written before head left"
