"""Odd input is refused in one line, with a hint where one can be guessed."""

import pytest

from simulate import SettingsError, api
from simulate.api import read_one
from simulate.running.prepare import prepare
from tests.behaviour.lines import Capture, refused

pytestmark = pytest.mark.usefixtures("nothing_runs")


HINTS = [
    ("seed=3", "did you mean inputs.seed or ensemble.seed?"),
    ("width=64", "did you mean network.width?"),
    ("net.width=64", "did you mean network.width?"),
    ("networks=1e4", "did you mean ensemble.networks?"),
    ("momentum=0.9", "did you mean dynamics.momentum of dynamics=momentum or dynamics=nesterov?"),
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


def test_kernels_that_fall_below_the_precision_are_refused() -> None:
    """K halves in each of 512 layers, to 1e-154. Controls: float64, fewer layers, and critical networks."""
    deep = ["activation=linear", "network.depth=512", "network.width=8"]
    low = ["initialization=gaussian", "initialization.C_W=0.5"]
    with pytest.raises(SettingsError, match=r"network\.depth=512: K\(126\) = 1\.18e-38 is below the range of float32"):
        prepare(read_one([*deep, *low]))
    with pytest.raises(SettingsError, match="range of float64: choose fewer layers, or initialization=critical"):
        prepare(read_one([*deep, *low, "initialization.C_W=0.1", "ensemble.dtype=float64"]))
    for allowed in ([*deep, *low, "ensemble.dtype=float64"], [*deep, *low, "network.depth=64"], deep):
        prepare(read_one(allowed))
