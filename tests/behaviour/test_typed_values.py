"""Values that are typed or given in calls: sweeps, paired lists, whole numbers and mappings.

test_config.py has the settings themselves.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import configs
import simulate
import simulate.__main__
from analysis import analyze
from configs.sweeps import axes_of
from simulate import api
from simulate.settings.reader import SettingsError, integer
from simulate.store.sets import DataSet
from tests.behaviour.lines import Capture, refused

pytestmark = pytest.mark.usefixtures("nothing_runs")


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


def test_a_sweep_has_one_folder(capsys: Capture, tmp_path: Path) -> None:
    """A comma in a folder's name would make two folders of it, one of them in the current folder. The control is in
    quotes."""
    for typed in (f"output={tmp_path}/a,b", "workers=1,2"):
        line = refused(capsys, "-m", "network.width=4,8", typed)
        assert f"{typed}: one for the whole sweep, it is not swept" in line
        assert ("a comma in a name needs quotes" in line) == typed.startswith("output")
    (point,) = api.read_sweep([f"output='{tmp_path}/a,b'"])
    assert Path(point.output) == tmp_path / "a,b"


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
