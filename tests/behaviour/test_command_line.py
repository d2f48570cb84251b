"""The command lines: the flags of Hydra, settings of Hydra itself, sweeps with paired lists, and hints.

Whatever is typed is done or refused in one line. test_config.py has the settings themselves.
"""

import io
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import analysis.__main__
import configs
import simulate
import simulate.__main__
from analysis import analyze
from configs import arguments
from configs.sweeps import axes_of
from simulate import api, status
from simulate.settings.reader import SettingsError, integer
from simulate.store.sets import DataSet

Capture = pytest.CaptureFixture[str]
MAINS = {"simulate": simulate.__main__.main, "analysis": analysis.__main__.main, "status": status.main}


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What would run ends here; the tests of this file are of what comes before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "launch", lambda settings, *_: print(f"runs {len(settings)}") or [])


def printed(capsys: Capture, *given: str, program: str = "simulate") -> str:
    assert MAINS[program](list(given)) == 0
    return capsys.readouterr().out


def refused(capsys: Capture, *given: str, program: str = "simulate") -> str:
    assert MAINS[program](list(given)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, "one line"
    assert len(error) < 600 or len(" ".join(given)) > 300
    return error


def configs_of(text: str) -> list[dict]:
    return [config for config in yaml.safe_load_all(text) if config]


# ------------------------------------------------------------------- flags


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


def test_a_reader_that_leaves(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """`| head` ends a command without a message; a broken pipe to anything else is still an error."""

    def run(main: Callable[[list[str]], int], given: str, buffered: bool) -> int:
        read, write = os.pipe()
        os.close(read)
        with open(write, "wb", buffering=-1 if buffered else 0) as binary, monkeypatch.context() as patch:
            stream = io.TextIOWrapper(binary, write_through=not buffered)
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "argv", ["program", given])
            return arguments.run_command(main)

    for main, given in (
        (simulate.__main__.main, "--cfg"),
        (analysis.__main__.main, "--help"),
        (status.main, "--version"),
    ):
        for buffered in (True, False):
            assert run(main, given, buffered) == arguments.CLOSED
    assert capfd.readouterr().err == ""

    def broken(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(api, "launch", broken)
    assert simulate.__main__.main([]) == 1
    assert "Broken pipe; committed parts are kept" in capfd.readouterr().err


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


# ------------------------------------------------------------------- sweeps


def shapes(*overrides: str) -> list[tuple[int, int]]:
    return [(s.network.widths[0], s.network.depth) for s in api.read_sweep(overrides)]


PAIRS = "sweep.zip={network.width: [8,16], network.depth: [2,4]}"


def test_paired_lists(capsys: Capture) -> None:
    assert shapes(PAIRS) == [(8, 2), (16, 4)]
    both = api.read_sweep(["sweep={zip: {network.width: [8,16], network.depth: [2,4]}}", "network.outputs=1,2"])
    assert [(s.network.depth, s.network.outputs) for s in both] == [(2, 1), (2, 2), (4, 1), (4, 2)]
    assert Path(both[0].output).name == "width-8_depth-2_outputs-1"
    assert shapes(PAIRS, "network.width=5", "network.depth=3") == [(5, 3)], "the command line wins"
    assert "sweep.zip pairs it with network.depth" in refused(capsys, PAIRS, "network.width=4")
    assert "it is not swept" in refused(capsys, "-m", "sweep.zip=a,b")
    for sweep, named in (
        ({"zip": {"a.b": [8, 16], "a.c": [2]}}, "a.b has 2, a.c has 1"),
        ({"zip": {"a.b": [8, 16]}, "a.b": [3]}, "a.b is an axis of its own too"),
        ({"zip": {"a.b": [8, 8], "a.c": [2, 2]}}, "sweep.zip=8,2,8,2: 8,2 is there twice"),
        ({"zip": {"a.b": 8}}, "a mapping of settings to lists of values"),
        ({"zip": [1]}, "a mapping of settings to lists of values"),
        ({"zip": {"a.b": []}}, "a sweep needs values"),
        ({"zip": {"plugins": [["a.py"]], "a.b": [2]}}, "it is not swept"),
        ({"a.b": [8, 8.0]}, "is there twice"),
        ({"a": {"b": [8]}}, "a mapping of settings to lists of values"),
    ):
        with pytest.raises(configs.ConfigError, match=re.escape(named)):
            axes_of(sweep, set())
    assert axes_of({"zip": {"a.b": [8], "a.c": [2]}}, set()) == {"zip": [{"a.b": "8", "a.c": "2"}]}, "the control"
    assert axes_of({"zip": {"a.b": [8]}, "a.b": None}, set()) == {"zip": [{"a.b": "8"}]}, "null ends an axis"


def test_sweep_as_a_setting(capsys: Capture) -> None:
    assert shapes("sweep={network.width: [3,4]}") == [(3, 4), (4, 4)]
    assert "a mapping of settings to lists of values" in refused(capsys, "sweep=[1,2]")


def test_equal_values_of_a_sweep(capsys: Capture) -> None:
    for given in ("network.width=100,1e2", "activation=relu,'relu'"):
        assert "is there twice" in refused(capsys, "-m", given)


def test_whole_numbers() -> None:
    found = api.read_one(["ensemble.networks=1e4", "network.width=1.5e1", "observables.layers=[1.0,2]"])
    assert (found.ensemble.networks, found.network.widths, found.observables.layers) == (10_000, (15, 15, 15), (1, 2))
    assert type(found.ensemble.networks) is int, "its identity is that of 10000"
    assert integer(2.0**53, 0) == 2**53
    for wrong in (1.5, 2.0**53 + 2, math.nan, math.inf, True, "3"):
        with pytest.raises(ValueError):  # noqa: PT011 it has no message
            integer(wrong, 0)
    with pytest.raises(SettingsError, match=r"ensemble.networks=1.5: a whole number"):
        api.read_one(["ensemble.networks=1.5"])


def test_all_output_layers(run: Callable[..., DataSet]) -> None:
    assert api.read_one(["observables.output_layers=all"]).observables.output_layers == (1, 2, 3, 4)
    assert api.read_one([]).observables.output_layers == (4,)
    small = ["network.width=3", "network.depth=2", "ensemble.networks=2", "observables.output_layers=all"]
    assert set(run(*small).table()["layer"]) == {1, 2}
    with pytest.raises(SettingsError, match=r"layer 1 has 3 neurons for network\.outputs=5"):
        api.read_one([*small, "network.outputs=5"])


# ------------------------------------------------------------------- hints and odd input

HINTS = [
    ("seed=3", "did you mean inputs.seed or ensemble.seed?"),
    ("width=64", "did you mean network.width?"),
    ("net.width=64", "did you mean network.width?"),
    ("networks=1e4", "did you mean ensemble.networks?"),
    ("momentum=0.9", "did you mean dynamics.momentum of dynamics=momentum?"),
    ("slope=1", "did you mean activation.slope of activation=leaky_relu?"),
    ("dynamics.weight_decay=1", "no option of dynamics has it; there are name, lambda_b, lambda_W, scaling, and plug"),
    ("dynamics.momentum=0.9", "dynamics=momentum has it"),
    ("network.widht=3", "did you mean network.width?"),
    ("widht=3", "did you mean network.width?"),
    ("zzz=1", "see --cfg for those there are"),
]


@pytest.mark.parametrize(("given", "named"), HINTS)
def test_hints(given: str, named: str, capsys: Capture) -> None:
    assert named in refused(capsys, given)


ODD = [
    [""], [" "], ["="], ["=3"], ["x"], ["~"], ["+"], ["-"], ["---cfg"], ["\0"], ["nétwork.width=3"],
    ["network.width=６４"], ["output=a\0b"], ["output=\ud800"], ["network.width=3\n4"], ["network.width=" + "9" * 5000],
    ["a." * 999 + "b=1"],
    ["network.width=" + "[" * 200 + "]" * 200], ["network.width=" + "[" * 900], ["network..width=3"],
    ["network.width=3}"], ["network.width={"], ["network.width=f(3)"], ["network.width=${"],
    ["network.width=${nope:1}"], ["network.width=range(1,2,0)"], ["-m", "network.width=range(1,2,0)"],
    ["-m", "network.width=range(1,1)"], ["-m", "network.width=3,"], ["-m", "activation=glob()"],
    ["activation=glob(re*)"], ["-m", "activation=glob([])"],
    ["--config-dir=\0"], ["--config-name=\0"],
    ["--cfg", "--package=\0"], ["~output"], ["~sweep"], ["experiment="], ["experiment=[a,b]"], ["activation=null"],
    ["network={widht: 3}"], ["plugins=[\0]"], ["sweep={zip: [1]}"], ["--shard", "-1/2"],
]  # fmt: skip


@pytest.mark.parametrize("given", ODD, ids=[ascii(" ".join(g))[:40] for g in ODD])
def test_odd_input_is_refused_in_one_line(given: list[str], capsys: Capture) -> None:
    refused(capsys, *given)


@pytest.mark.parametrize(
    "given", [["data="], ["data=\0"], ["data=a,b"], ["x"], ["data=x", "+network.width=3"], ["data=x", "alpha=abc"], []]
)
def test_odd_input_of_the_analysis(given: list[str], capsys: Capture) -> None:
    refused(capsys, *given, program="analysis")


def test_a_number_of_threads_that_numba_does_not_take(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.undo()
    for value in ("0", "-1"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", value)
        assert f"NUMBA_NUM_THREADS='{value}': numba takes a number >= 1" in refused(capsys, "network.width=3")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    assert api.prepared(api.read_sweep(["network.width=3", "output=/nowhere/o"])), "the control"


# ------------------------------------------------------------------- calls


@pytest.mark.parametrize(
    "value",
    [64, 1e-3, True, None, "tanh", "a b", "it's", "3", "a,b", "x(1)", "back\\slash\\", "\\'", "", [1, [2, "a,b"]]],
)
def test_values_are_taken_as_they_are(value: object) -> None:
    assert configs.compose("simulate", [f"workers={configs.text(value)}"])["workers"] == value


def test_mappings_in_calls(run: Callable[..., DataSet], tmp_path: Path) -> None:
    small = {"network.width": 3, "ensemble": {"networks": 2}, "activation": "relu", "workers": 1}
    data = simulate.run(small, {"output": tmp_path / "a, b"}, "ensemble.device=cpu")
    assert data.path == tmp_path / "a, b"
    assert data.settings["network"]["widths"] == [3, 3, 3]
    text = run("network.width=3", "ensemble.networks=2", "activation=relu")
    assert text.manifest["identity"] == data.manifest["identity"]
    swept = simulate.sweep(small, {"sweep": {"network.depth": [2, 3]}, "output": tmp_path / "s"}, "ensemble.device=cpu")
    assert [data.settings["network"]["depth"] for data in swept] == [2, 3]
    for wrong in (["network.width=3"], 64, None, {3: 4}):
        for function in (simulate.run, simulate.sweep):
            with pytest.raises(configs.ConfigError, match=r'"network\.width": 64'):
                function(wrong)
    for nothing in ({"data": tmp_path}, 3, None, [3]):
        with pytest.raises(ValueError, match="a folder, a data set, or a list of them"):
            analyze(nothing)


def test_head(tmp_path: Path) -> None:
    """The program itself: nothing on stderr, also not from the flush at exit."""
    command = f"{sys.executable} -m simulate --cfg | head -1; echo ${{PIPESTATUS[0]}}"
    cwd = Path(simulate.__file__).parents[1]
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=cwd, check=True)
    assert done.stderr == ""
    assert done.stdout.split() in (["network:", "141"], ["network:", "0"]), "0 where all was written before head left"
