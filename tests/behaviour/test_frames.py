"""Data sets as frames and as arrays with named dimensions."""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import simulate
from simulate.store import frames
from simulate.store.files import StoreError
from simulate.store.sets import DataSet, open_data_set
from simulate.store.summary import flat, to_json

QUICK = ["workers=1", "ensemble.device=cpu", "ensemble.networks=6", "inputs.count=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four points of a sweep, and a data set with another activation, uneven widths and other observables."""
    root = tmp_path_factory.mktemp("data")
    simulate.sweep("network.width=8,16", "network.depth=2,3", "observables=kernel", f"output={root}/sweep", *QUICK)
    other = ["activation=leaky_relu", "network.width=[4,8]", "network.depth=3", "observables=preactivations"]
    simulate.run(*other, "ensemble.dtype=float64", f"output={root}/other", *QUICK)
    return root


def test_a_frame_of_all_data_sets(folder: Path) -> None:
    frame = simulate.table(folder)
    sets = {data.path.relative_to(folder).as_posix(): data for data in simulate.find(folder)}
    assert list(frame["data_set"].cat.categories) == list(sets)
    assert "sweep/width-8_depth-3" in sets
    for name, rows in frame.groupby("data_set", observed=True):
        table = sets[name].table()
        for column in table:  # the rows of a data set, in their order, bit for bit
            np.testing.assert_array_equal(rows[column].to_numpy(), table[column].to_numpy())
        absent = set(frame.columns[frame.columns.get_loc("status") + 1 :]) - set(table.columns)
        assert rows[list(absent)].isna().all().all()
        assert (rows["network.depth"] == sets[name].settings["network"]["depth"]).all()
    sweep = frame[frame["network.width"].notna()]
    assert set(zip(sweep["network.width"], sweep["network.depth"], strict=True)) == {(8, 2), (8, 3), (16, 2), (16, 3)}
    assert list(frame["network.widths"].cat.categories) == ["[4, 8]"]
    assert list(frame["activation.name"].cat.categories) == ["leaky_relu", "tanh"]
    assert {"ensemble.dtype", "activation.slope", "initialization.C_W"} <= set(frame)
    assert not {"ensemble.seed", "dynamics.lambda_W", "observables.layers", "output"} & set(frame), "no differences"
    assert (frame["network.depth"] / 2).max() == 1.5, "numbers can be calculated with"


def test_a_frame_of_one_data_set(folder: Path) -> None:
    frame = simulate.table(folder / "sweep" / "width-8_depth-2")
    keys = ["network", "step", "layer", "status"]
    settings = ["network.width", "network.depth", "activation.name"]
    assert list(frame) == ["data_set", *settings, *keys, "g_0_0", "g_0_1", "g_1_1"]
    assert set(frame["data_set"]) == {"."}
    assert frame["network.width"].dtype == np.int64
    assert frame["g_0_0"].dtype == np.float32


def test_columns_and_settings_are_chosen(folder: Path) -> None:
    frame = simulate.table(folder, columns=["g", "m2_0_1"], settings=["ensemble.seed"])
    keys = ["network", "step", "layer", "status"]
    assert list(frame) == ["data_set", "ensemble.seed", *keys, "g_0_0", "g_0_1", "g_1_1", "m2_0_1"]
    assert list(simulate.table(folder, "g_0_1", "network.depth")) == ["data_set", "network.depth", *keys, "g_0_1"]
    data = open_data_set(folder / "sweep" / "width-8_depth-2")
    assert data.table("g_0_1").equals(data.table()[[*keys, "g_0_1"]])
    with pytest.raises(StoreError, match=r"columns='H': no data set recorded it; there are .*\bg\b"):
        simulate.table(folder, ["g", "H"])
    with pytest.raises(StoreError, match=r"columns='m2_0_1' was not recorded; there are g$"):
        data.table(["m2_0_1"])
    with pytest.raises(StoreError, match=r"settings='width': no data set has this setting; there are .*network.width"):
        simulate.table(folder, settings=["width"])
    with pytest.raises(StoreError, match="no data set there"):
        simulate.table(folder / "nowhere")


def test_a_data_set_without_networks_has_no_rows(run: Callable[..., DataSet], tmp_path: Path) -> None:
    data = run("network.width=8", "ensemble.networks=5", f"output={tmp_path}/a")
    run("network.width=8", "ensemble.networks=5", "ensemble.seed=1", f"output={tmp_path}/b")
    for part in data.path.rglob("part-*"):
        part.unlink()
    assert set(simulate.table(tmp_path)["data_set"]) == {"b"}
    with pytest.raises(StoreError, match="no networks yet"):
        simulate.table(data.path)


def test_settings_of_any_kind_are_columns() -> None:
    """Values of several kinds become texts, and whole numbers that no column holds too; nothing is rounded."""
    sets = [flat({"new": {"mixed": mixed, "whole": 2**70, "number": number}, "output": mixed})
            for mixed, number in (("text", 0.5), (2**70, 1), (True, None))]  # fmt: skip
    columns = {name: frames._array(values) for name, values in frames._settings(sets, None).items()}
    assert columns["new.mixed"].to_pylist() == ['"text"', str(2**70), "true"]
    assert columns["new.number"].to_pylist() == [0.5, 1.0, None]
    assert set(columns) == {"new.mixed", "new.number"}, "the others are equal, or do not decide the rows"
    assert frames._array([2**70, None]).to_pylist() == [str(2**70), None]


def test_a_repr_is_one_short_line(folder: Path) -> None:
    for data in simulate.find(folder):
        assert len(repr(data)) < 320 + len(str(folder))
        assert repr(data).isprintable()
        assert f"{data.path}': 6 of 6 networks, activation=" in repr(data)
        assert f"depth={data.settings['network']['depth']}" in repr(data)
    data.settings["activation"]["name"] = "\x1b[2J"
    assert repr(data).isprintable(), "the control: the name has a character that a terminal obeys"


def test_json_is_strict() -> None:
    text = to_json({"a": (1.5, float("nan")), "b": {"c": [float("-inf"), None, True]}})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [1.5, "nan"], "b": {"c": ["-inf", None, True]}}
    assert "NaN" in json.dumps(float("nan")), "the control"


EVERYTHING = [
    "network.width=5", "network.depth=3", "network.outputs=2", "inputs=teacher", "inputs.targets=2", "inputs.count=1",
    "inputs.test=1", "dynamics=gradient_descent", "dynamics.steps=2", "observables=training",
    "observables.record=[kernel,moments,outputs,ntk,dntk,ddntk,loss,moved,taylor]", "observables.output_layers=[2,3]",
    "observables.tuples={ddntk:[[0,0,0,0],[0,0,1,1]]}", "ensemble.networks=3", "ensemble.first=10",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    output = tmp_path_factory.mktemp("trained")
    return simulate.run(*EVERYTHING, f"output={output}", "workers=1", "ensemble.device=cpu")


def test_named_dimensions(trained: DataSet) -> None:
    """Every component of every tensor is the column that holds it, in whichever order its indices come."""
    arrays, layout = trained.to_xarray(), trained.layout
    assert arrays["network"].values.tolist() == [10, 11, 12]
    assert arrays["step"].values.tolist() == [0, 2]
    assert arrays["layer"].values.tolist() == [1, 2, 3]
    of_rows = ("network", "step", "layer")
    outputs, samples = ("output_i", "output_j", "output_k"), ("sample_a", "sample_b", "sample_c", "sample_d")
    assert arrays["H"].dims == (*of_rows, *outputs[:2], *samples[:2])
    assert arrays["m4"].dims == (*of_rows, *samples)
    assert arrays["dH"].dims == (*of_rows, *outputs, *samples[:3])
    assert arrays["loss"].dims == ("network", "step")
    assert arrays["taylor"].dims == ("network", "step", "taylor_k", "output_i", "sample_a")
    assert arrays["moved"].dims == of_rows
    full = [family for family in layout.families() if family.prefix not in ("ddI", "ddII")]
    for family in full:
        values, place = trained.read(family.prefix), {index: k for k, index in enumerate(layout.indices(family))}
        array = arrays[family.prefix]
        at = [layout.layers.index(layer) for layer in array.attrs["layers"]]
        assert np.isfinite(values[:, :, at]).all()
        rows = range(2) if family.of == "sample" else list(itertools.product(range(2), range(2)))
        for label in [(label,) for label in family.labels] or [()]:
            for row in itertools.product(rows, repeat=family.slots):
                index = row if family.of == "sample" else tuple(zip(*row, strict=True))
                flat = index if family.of == "sample" else tuple(itertools.chain(*index))
                names = [name for name in array.dims if name not in of_rows]
                one = array.sel(dict(zip(names, (*label, *flat), strict=True)))
                column = values[..., place[*label, *family.canonical(*row)]]
                np.testing.assert_array_equal(one, column[:, :, -1] if family.where == "end" else column)
    swapped = arrays["H"].transpose(*of_rows, "output_j", "output_i", "sample_b", "sample_a")
    np.testing.assert_array_equal(arrays["H"], swapped)
    unequal = arrays["H"].transpose(*of_rows, "output_j", "output_i", "sample_a", "sample_b")
    assert not np.array_equal(arrays["H"], unequal, equal_nan=True), "the control: outputs go with their samples"


def test_coordinates_and_attributes(trained: DataSet, tmp_path: Path) -> None:
    arrays = trained.to_xarray()
    x, y, train = trained.samples()
    np.testing.assert_array_equal(arrays["sample_x"], x)
    np.testing.assert_array_equal(arrays["sample_y"], y)
    assert arrays["sample_train"].values.tolist() == [True, False]
    assert train == 1
    assert arrays["ddI"].dims[-1] == "ddI_column", "chosen components are no full tensor"
    assert arrays["ddI"]["ddI_column"].values.tolist() == [name for name in trained.layout.arrow({}).names
                                                           if name.startswith("ddI_")]  # fmt: skip
    np.testing.assert_array_equal(arrays["ddI"], trained.read("ddI"))
    assert json.loads(arrays.attrs["settings"]) == trained.settings
    assert arrays["H"].attrs["units"] == "dimensionless"
    assert "neural tangent kernel" in arrays["H"].attrs["long_name"]
    assert list(trained.to_xarray("g", "loss").data_vars) == ["status", "g", "loss"]
    with pytest.raises(StoreError, match="'q' was not recorded"):
        trained.to_xarray("q")
    arrays.to_netcdf(tmp_path / "a.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "a.nc", engine="scipy") as again:
        xr.testing.assert_equal(again.load(), arrays)


def test_without_xarray(trained: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"^to_xarray needs xarray: pip install 'nearly-gaussian\[xarray\]'$"):
        trained.to_xarray()
