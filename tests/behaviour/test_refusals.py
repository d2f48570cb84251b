"""Settings that would hide, lose or mix up data are refused in one line, before anything is written."""

from pathlib import Path

import pytest

import simulate
from simulate.__main__ import main
from simulate.api import point_name, read_sweep

SMALL = ["network.width=4", "ensemble.networks=8", "workers=1", "ensemble.device=cpu"]
TRAINED = [*SMALL, "dynamics=gradient_descent", "dynamics.steps=2", "observables=training"]


def refused(overrides: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(overrides) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_no_data_set_lies_within_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The outer one would hide the inner ones from all that look for data sets."""
    simulate.run(*SMALL, f"output={tmp_path}/one")
    error = refused(["-m", *SMALL[1:], "network.width=4,8", f"output={tmp_path}/one"], capsys)
    assert f"{tmp_path}/one is a data set itself; choose a folder outside it" in error
    simulate.sweep(*SMALL[1:], "network.width=4,8", f"output={tmp_path}/many")
    error = refused([*SMALL, f"output={tmp_path}/many"], capsys)
    assert "it holds other data sets (width-" in error
    assert sorted(p.name for p in tmp_path.rglob("dataset.json") for p in [p.parent]) == ["one", "width-4", "width-8"]
    assert len(simulate.sweep(*SMALL[1:], "network.width=4,8,16", f"output={tmp_path}/many")) == 3, "the control"


def test_networks_beyond_the_last_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twelve digits are in the names of parts; a thirteenth was written and never found."""
    error = refused([*SMALL, "ensemble.first=999999999995", f"output={tmp_path}/a"], capsys)
    assert "ensemble.networks=8: first + networks = 1,000,000,000,003 must be less than 1,000,000,000,000" in error
    data = simulate.run(*SMALL, "ensemble.first=999999999991", f"output={tmp_path}/b")
    assert (data.networks, len(data.table()["network"].unique())) == (8, 8)


def test_names_that_no_disk_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused([*SMALL, f"output={tmp_path}/{'x' * 300}"], capsys)
    assert "a folder's name has at most 255 bytes, this one 300" in error
    assert not list(tmp_path.iterdir())
    widths = "[" + ",".join(["100000"] * 60) + "]"
    long = read_sweep([f"network.width={widths},{widths.replace('1', '2')}", "network.depth=61", "output=o"])
    names = [Path(point.output).name for point in long]
    assert len(set(names)) == 2
    assert max(len(name) for name in names) < 100
    assert point_name({"network.width": "8"}) == "width-8"


@pytest.mark.parametrize(
    ("overrides", "largest"),
    [
        (["dynamics.lambda_W=0", "dynamics.lambda_b=0"], "0"),
        (["initialization=gaussian", "initialization.C_W=1e30", "network.depth=8", "activation=linear"], "inf"),
    ],
)
def test_no_step_size_follows_from_such_a_kernel(
    overrides: list[str], largest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step size that is not a number was written into the manifest, which no JSON reader takes."""
    error = refused([*TRAINED, *overrides, f"output={tmp_path}/a"], capsys)
    assert (
        f"dynamics.eta='auto': a number: the mean NTK of the train samples has a largest eigenvalue of {largest}"
        in error
    )
    assert not list(tmp_path.iterdir())
