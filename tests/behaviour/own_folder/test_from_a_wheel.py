"""A user's option, experiment, observable and launcher work with the installed wheel, without a checkout."""

import json
from pathlib import Path

from tests.behaviour.conftest import Command

SMALL = ["ensemble.device=cpu", "ensemble.block=16"]


def output_of(installed: Command, *arguments: str) -> str:
    done = installed(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_experiment_with_an_observable_of_the_user(installed: Command, user_folder: Path, tmp_path: Path) -> None:
    """One and two worker processes give the same rows with the new columns; the analysis needs the plugin's name."""
    command = ["-m", "simulate", "--config-dir=own", "experiment=mine", *SMALL]
    output_of(installed, *command, "workers=1", "ensemble.networks=2048", "output=alone")
    output_of(installed, *command, "workers=2", "ensemble.networks=2048")
    code = """
import sys
from pathlib import Path
import numpy as np
import simulate
from simulate import plugins
plugins.load(["own/spread.py"])
for width in ("width-8", "width-12"):
    table = simulate.open_data_set(f"mine/{width}").table()
    assert table.equals(simulate.open_data_set(f"alone/{width}").table())
    assert (table["spread_0"] > 0).all() and len(table) == 2048 * 3
    # E|z| = sqrt(2 g / pi) for a Gaussian
    first = table[table["layer"] == 1]
    print(np.mean(first["spread_0"]) / np.sqrt(2 * np.mean(first["g_0_0"]) / np.pi))
"""
    for ratio in output_of(installed, "-c", code).split():
        assert abs(float(ratio) - 1) < 0.03  # 2048 networks of 8 neurons: a standard error of 0.6 %
    manifest = json.loads((tmp_path / "mine" / "width-8" / "dataset.json").read_text())
    (plugin,) = manifest["identity"]["plugins"]
    assert plugin["name"] == "spread.py"
    assert str(tmp_path) not in json.dumps(manifest), "the path of a plugin is not part of the manifest"
    assert manifest["settings"]["activation"]["slope"] == 0.3

    refused = installed("-m", "analysis", "data=mine")
    assert refused.returncode == 2
    assert "name it in plugins=[spread.py]" in refused.stderr or "plugins=[my.py]" in refused.stderr
    assert refused.stderr.count("\n") == 1
    stdout = output_of(
        installed, "-m", "analysis", "data=mine", "plugins=[spread.py]", "--config-dir=own", "figures=false"
    )
    assert "report: mine/analysis/report.html" in stdout
    assert "spread.py" in (tmp_path / "mine" / "analysis" / "report.html").read_text()


def test_help_lists_options_and_plugins_of_the_user(installed: Command, user_folder: Path) -> None:
    stdout = output_of(installed, "-m", "simulate", "--help", "--config-dir", "own", "plugins=[there.py,spread.py]")
    assert "softplus, steep*, swish" in stdout
    assert "mine*" in stdout
    assert "there*" in stdout
    assert "there.py registers: launcher there\n" in stdout
    assert "spread.py registers: observable spread; column spread\n" in stdout
    stdout = output_of(installed, "-m", "analysis", "--help", "--config-dir=own", "plugins=[spread.py]")
    assert "spread.py registers: observable spread; column spread\n" in stdout
    without = output_of(installed, "-m", "simulate", "--help")
    assert "steep" not in without, "the control"
    assert "there" not in without


def test_a_launcher_of_the_user(installed: Command, user_folder: Path, tmp_path: Path) -> None:
    command = ["--config-dir=own", "-m", "network.width=4,8", "output=o", "cluster=there", "plugins=[there.py]"]
    stdout = output_of(installed, "-m", "simulate", *command, "cluster.queue=day")
    assert "2 data sets, 2 shards in the queue day\n" in stdout
    assert not (tmp_path / "o").exists()
    resumed = stdout.splitlines()[1].removeprefix("python ").split()
    for shard in ("0/2", "1/2"):  # the commands of the launcher's tasks
        output_of(installed, *resumed, f"--shard={shard}", "ensemble.networks=8", "workers=1", *SMALL)
    code = "import simulate; print(all(data.complete for data in simulate.find('o')))"
    assert output_of(installed, "-c", code) == "True\n"
    identity = json.loads((tmp_path / "o" / "width-4" / "dataset.json").read_text())["identity"]
    assert "plugins" not in identity, "a launcher does not change rows"


def test_in_a_notebook(installed: Command, user_folder: Path) -> None:
    code = """
import analysis, simulate
if __name__ == "__main__":
    sets = simulate.sweep("experiment=mine", "workers=1", "ensemble.device=cpu", config_dir="own")
    print([data.settings["activation"]["slope"] for data in sets], sets[0].read("spread").shape)
    data = simulate.run("plugins=[own/spread.py]", "observables.record=[spread]", "output=a", "workers=1")
    print(analysis.analyze(data).options.plugins[0].name)
"""
    assert output_of(installed, "-c", code) == "[0.3, 0.3] (64, 1, 3, 2)\nspread.py\n"
