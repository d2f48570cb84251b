"""Option files in a user's folder add to those of the package, and a wrong file is named in one line."""

import shutil
from pathlib import Path

import pytest

import configs
from simulate import api
from simulate.__main__ import main
from tests.behaviour.lines import refused


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_options_of_both(user_folder: Path) -> None:
    assert {"tanh", "steep"} <= set(configs.options("activation", user_folder))
    assert configs.own_options("activation", user_folder) == ["steep"]
    assert "steep" not in configs.options("activation"), "the control"
    write(user_folder / "experiment" / "deep" / "er.yaml", "# @package _global_\n")
    assert configs.own_options("experiment", user_folder) == ["deep/er", "mine"]


def test_sweeps(user_folder: Path) -> None:
    """A user's option is swept, and so is the sweep of a user's experiment unless the command line replaces it."""
    slopes = [s.activation.slope for s in api.read_sweep(["activation=steep,leaky_relu"], user_folder)]
    assert slopes == [0.3, 0.01]
    plain = ["experiment=mine", "plugins=[]", "observables.record=[kernel]"]
    assert [s.network.widths for s in api.read_sweep(plain, user_folder)] == [(8, 8), (12, 12)]
    assert [s.network.widths for s in api.read_sweep([*plain, "network.width=5"], user_folder)] == [(5, 5)]
    assert [s.output for s in api.read_sweep(plain, user_folder)] == ["mine/width-8", "mine/width-12"]


def test_an_experiment_that_builds_on_one_of_the_package(user_folder: Path) -> None:
    text = "# @package _global_\ndefaults:\n  - /experiment/ntk_mean\n  - _self_\nensemble: {networks: 7}\n"
    write(user_folder / "experiment" / "seven.yaml", text)
    points = api.read_sweep(["experiment=seven"], user_folder)
    assert {s.ensemble.networks for s in points} == {7}
    assert points[0].claim is not None
    assert len(points) == len(api.read_sweep(["experiment=ntk_mean"]))


@pytest.mark.parametrize(
    "name", ["a b", "it's", "a$b${c}", "back\\slash", "end\\", "q\\'s", "co,mma", "x=y", "[br]", "ü"]
)
def test_any_name_of_a_folder(user_folder: Path, name: str) -> None:
    folder = user_folder.rename(user_folder.parent / name)
    assert api.read_one(["activation=steep"], folder).activation.slope == 0.3


def test_a_sweep_counts_without_a_flag(user_folder: Path) -> None:
    """The setting `sweep` counts also where neither -m nor an experiment is given."""
    points, _ = api.read_all(["activation=steep", "++sweep={network.width: [3,4]}"], False, user_folder)
    assert [s.network.widths[0] for s in points] == [3, 4]


def test_cfg_and_forecast(user_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--cfg", "--config-dir", str(user_folder), "experiment=mine"]) == 0
    text = capsys.readouterr().out
    assert text.count("slope: 0.3\n") == 2
    assert text.count("plugins:\n- spread.py\n") == 2
    assert text.count("cluster:\n  name: local\n  shards: auto\n") == 2
    small = ["activation=steep", "network.width=4", "ensemble.networks=4", "workers=1", f"output={tmp_path}/o"]
    assert main(["--forecast", f"--config-dir={user_folder}", *small]) == 0
    assert "1 data set, 4 networks to make" in capsys.readouterr().out
    assert not (tmp_path / "o").exists()


def test_wrong_folders(user_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, named in (
        (["--config-dir=nowhere"], "--config-dir=nowhere: no such folder"),
        ([f"--config-dir={user_folder / 'spread.py'}"], "no such folder"),
        (["--config-dir"], "--config-dir: needs a value"),
        (["--config-dir="], "--config-dir: needs a value"),
        ([f"--config-dir={user_folder}", "--config-dir", str(user_folder)], "--config-dir is given twice"),
        (["--help", "--config-dir=nowhere"], "no such folder"),
        (["--cfg", "--config-dir=nowhere"], "no such folder"),
        (["--forecast", "--config-dir=nowhere"], "no such folder"),
        (["--config-dri=x"], "--config-dri=x: no such flag"),
    ):
        assert named in refused(capsys, *arguments)
    with pytest.raises(configs.ConfigError, match="no such folder"):
        api.read_one([], "")


@pytest.mark.parametrize("name", ["activation/tanh.yaml", "experiment/demo/ntk_mean.yaml", "simulate.yaml"])
def test_a_name_that_the_package_has(user_folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files for one name are refused, so that no search order decides which of them counts."""
    write(user_folder / name, "name: tanh\n")
    line = refused(capsys, f"--config-dir={user_folder}", "activation=tanh")
    assert str(user_folder / name) in line
    assert str(Path(configs.__file__).parent / name) in line
    (user_folder / name).unlink()
    assert api.read_one(["activation=tanh"], user_folder).activation.name == "tanh", "the control"


WRONG = [
    ("activation/bad.yaml", "a: [1\nb: 2\n", "activation=bad", "activation/bad.yaml: line 2: "),
    ("activation/bad.yaml", "a: 1\na: 2\n", "activation=bad", "line 2: found duplicate key a"),
    ("activation/bad.yaml", b"\xff\xfe\xff", "activation=bad", "activation/bad.yaml: "),
    ("activation/bad.yaml", "- a\n", "activation=bad", "a group of settings"),
    ("activation/bad.yaml", "", "activation=bad", "activation.name=None: this setting is missing"),
    ("activation/bad.yml", "name: tanh\n", "activation=bad", "ends in .yaml"),
    ("activation/bad.yaml", "name: thin\n", "activation=bad", "activation.name='thin': one of"),
    ("activation/bad.yaml", "name: tanh\nslope: 1\n", "activation=bad", "activation.slope=1: no such setting"),
    ("activation/bad.yaml", "name: tanh\n_target_: os.system\n", "activation=bad", "cannot name code to run"),
    ("experiment/bad.yaml", "network: {depth: 3}\n", "experiment=bad", "needs the first line # @package _global_"),
    ("experiment/bad.yaml", "# @package _global_\nnetwork: {dept: 3}\n", "experiment=bad", "mean network.depth?"),
    ("experiment/bad.yaml", "# @package _global_\ndefaults: [none]\n", "experiment=bad", "in experiment/bad"),
    ("experiment/bad.yaml", "# @package _global_\ndefaults: [bad]\n", "experiment=bad", "in a circle"),
    ("experiment/bad.yaml", "# @package _global_\nsweep: {network.width: []}\n", "experiment=bad", "needs values"),
    ("experiment/bad.yaml", "# @package _global_\nsweep: {plugins: [[a.py]]}\n", "experiment=bad", "is not swept"),
    ("experiment/bad.yaml", "# @package _global_\nsweep: {cluster.shards: [1]}\n", "experiment=bad", "is not swept"),
    ("experiment/bad.yaml", "# @package _global_\nsweep: {cluster: [local]}\n", "experiment=bad", "is not swept"),
]


@pytest.mark.parametrize(("name", "text", "override", "named"), WRONG)
def test_wrong_files(
    user_folder: Path, name: str, text: str | bytes, override: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(user_folder / name, text)
    assert named in refused(capsys, f"--config-dir={user_folder}", override)
    if name.endswith("yaml"):
        assert api.read_one(["activation=steep"], user_folder).activation.slope == 0.3, (
            "a wrong file that is not chosen does no harm"
        )


def test_hints(user_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for override, named in (
        ("activation=stepe", "steep, swish"),
        ("activation.slope=2", "activation=leaky_relu has it"),
        ("cluster.queue=day", "cluster=there has it"),
        ("cluster.minutes=3", "cluster=slurm has it"),
        ("inputs.path=x", "inputs=file has it"),
        ("network.widht=3", "did you mean network.width?"),
    ):
        assert named in refused(capsys, f"--config-dir={user_folder}", override)


def test_two_experiments_with_different_plugins(user_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(user_folder / "experiment" / "other.yaml", "# @package _global_\nplugins: [there.py]\n")
    line = refused(capsys, f"--config-dir={user_folder}", "-m", "experiment=mine,other")
    assert "plugins is one for the whole sweep" in line


def test_a_link_in_the_folder(user_folder: Path, tmp_path: Path) -> None:
    """Option files may be links, and a link from a folder to itself does not make the search endless."""
    shutil.move(user_folder / "activation" / "steep.yaml", tmp_path / "elsewhere.yaml")
    (user_folder / "activation" / "steep.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    (user_folder / "activation" / "again").symlink_to(user_folder / "activation")
    assert api.read_one(["activation=steep"], user_folder).activation.slope == 0.3
    assert "steep" in configs.own_options("activation", user_folder)


def test_the_last_of_two_values_counts() -> None:
    """The last of two values of a setting counts, as in Hydra, also where one of them is a sweep."""
    assert [s.network.widths[0] for s in api.read_sweep(["network.width=8,16", "network.width=32"])] == [32]
    assert [s.network.widths[0] for s in api.read_sweep(["network.width=32", "network.width=8,16"])] == [8, 16]
    with pytest.raises(configs.ConfigError, match=r"network\.width=8,8: 8 is there twice"):
        api.read_sweep(["network.width=8,8"])
