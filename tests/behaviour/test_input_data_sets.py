"""Data sets of a user's inputs: arrays given in Python, and files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import simulate
from simulate.api import read_one
from simulate.inputs import load
from simulate.settings.reader import SettingsError
from simulate.store import DataSet, StoreError

Run = Callable[..., DataSet]


# ------------------------------------------------------------------- arrays from Python

X, Y = np.array([[1.0, 2.0], [3.0, 4.0], [0.5, -1.0]]), np.array([1.0, -1.0, 1.0])
TRAINED = ("network.width=4", "network.depth=2", "dynamics=gradient_descent", "dynamics.steps=2", "dynamics.eta=0.1",
           "observables=training", "ensemble.networks=4", "workers=1", "ensemble.device=cpu")  # fmt: skip
FRAME = pd.DataFrame(X, columns=["a", "b"])
PAIRS: dict[str, Any] = {
    "numpy": (X, Y),
    "column": (X, Y[:, None]),
    "float32": (X.astype(np.float32), Y.astype(int)),
    "torch": (torch.tensor(X, requires_grad=True), torch.tensor(Y, dtype=torch.bfloat16)),
    "lists": (X.tolist(), Y.tolist()),
    "pandas": (FRAME, pd.Series(Y)),
    "frame": FRAME.assign(y=Y),
}


def test_arrays_are_a_data_set_that_resumes(tmp_path: Path) -> None:
    """The same numbers continue a data set whatever holds them; other numbers, or another split, are refused."""
    test = (X[:1] + 1, Y[:1])
    for name, pair in PAIRS.items():
        given = (test[0], test[1]) if name != "frame" else pd.DataFrame(test[0], columns=["a", "b"]).assign(y=test[1])
        data = simulate.run(*TRAINED, f"output={tmp_path}/a", inputs=pair, test=given)
        x, y, train = data.samples()
        np.testing.assert_array_equal(x, np.concatenate([X, test[0]]))
        assert y is not None
        assert (y[:, 0].tolist(), train, data.networks) == ([1, -1, 1, 1], 3, 4), name
    grown = simulate.run(*TRAINED, "ensemble.networks=9", f"output={tmp_path}/a", inputs=(X, Y), test=test)
    assert grown.networks == 9
    for other, others_test in (((X + 1e-12, Y), test), ((X, -Y), test), ((X, Y), (X[1:2] + 1, Y[:1]))):
        with pytest.raises(StoreError, match=r"made with .*samples"):
            simulate.run(*TRAINED, "ensemble.networks=9", f"output={tmp_path}/a", inputs=other, test=others_test)
    whole = (np.concatenate([X, test[0]]), np.concatenate([Y, test[1]]))
    with pytest.raises(StoreError, match=r"inputs.count=3, not 4; inputs.test=1, not 0"):
        simulate.run(*TRAINED, "ensemble.networks=9", f"output={tmp_path}/a", inputs=whole)


def test_arrays_in_an_experiment(tmp_path: Path) -> None:
    few = ["experiment=preactivations", "network.width=8,12", "network.depth=2", "observables.layers=[2]", "claim=null",
           "ensemble.networks=40", "workers=1"]  # fmt: skip
    for data in simulate.sweep(*few, f"output={tmp_path}/s", inputs=X):
        x, y, train = data.samples()
        np.testing.assert_array_equal(x, X)
        assert (y, train) == (None, 3)


@pytest.mark.parametrize(
    ("given", "test", "message"),
    [
        (X[0], None, r"inputs='arrays': x has shape \(2,\) .*reshape"),
        ((X, Y, Y), None, "the pair .x, y.; not 3"),
        ((X, Y[:2]), None, "3 rows of x but 2 of y"),
        ([[1.0], [1.0, 2.0]], None, "x is not an array"),
        ([["a", "b"]], None, "not numbers"),
        (X * 1j, None, "complex"),
        (torch.tensor(X) * 1j, None, "complex"),
        (np.ma.masked_less(X, 0.0), None, "masked"),
        (X / np.array([1.0, np.inf]) * np.nan, None, "row 0 .counted from 0., column 0 is not a finite"),
        ((FRAME, pd.Series(Y, index=[2, 1, 0])), None, "indexes of the frames x and y differ"),
        (FRAME.assign(label=Y), None, "column 'label' may be a target"),
        (None, X, "test='arrays': test samples come with inputs"),
        (X, X[:, :1], "test='arrays': 1 columns of x, and the train rows have 2"),
        ((X, Y), X, "test='arrays': 0 columns of y, and the train rows have 1"),
        (FRAME, FRAME[["b", "a"]], "its columns of x are b, a, those of the train rows a, b"),
    ],
)
def test_wrong_arrays(given: Any, test: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        simulate.run("network.width=4", "ensemble.networks=4", "output=nowhere", inputs=given, test=test)
    assert not Path("nowhere").exists()


def test_arrays_and_another_source() -> None:
    with pytest.raises(SettingsError, match=r"^inputs='digits': arrays are given as inputs, too"):
        simulate.run("inputs=digits", inputs=X)
    with pytest.raises(SettingsError, match=r"^inputs='arrays': arrays are given in Python"):
        simulate.run("inputs=arrays")
    with pytest.raises(SettingsError, match=r"^inputs.targets=\['b'\]: only a frame"):
        simulate.run("inputs.targets=[b]", inputs=X)


# ------------------------------------------------------------------- files


def test_a_changed_file_is_another_data_set(run: Run, tmp_path: Path) -> None:
    """The identity holds the numbers and the division of the rows."""
    text = "a,y,s\n1,1,train\n2,-1,train\n3,1,test\n"
    rows = [*TRAINED, "inputs=file", f"inputs.path={tmp_path}/a.csv", "inputs.split=s", f"output={tmp_path}/o"]
    (tmp_path / "a.csv").write_text(text)
    assert run(*rows).samples()[2] == 2
    (tmp_path / "a.csv").write_text(text.replace("\n", "\r\n"))
    run(*rows)
    for changed in ("a,y,s\n1,1,train\n2,-1,test\n3,1,test\n", text.replace("3,1", "3.5,1")):
        (tmp_path / "a.csv").write_text(changed)
        with pytest.raises(StoreError, match=r"inputs.count=2, not 1|samples="):
            run(*rows)


def test_shuffled_files_keep_the_identity_and_the_rows_of_earlier_versions(tmp_path: Path) -> None:
    """Files were once shuffled by the seed and scaled to one length by default; two settings say so today."""
    x = np.random.default_rng(0).standard_normal((5, 3))
    np.save(tmp_path / "x.npy", x)
    point = read_one(["inputs=file", f"inputs.path={tmp_path}/x.npy", "inputs.seed=4", "inputs.shuffle=true",
                      "inputs.normalization=unit", "inputs.test=1"])  # fmt: skip
    earlier = {"source": "file", "count": None, "test": 1, "seed": 4, "normalization": "unit",
               "path": f"{tmp_path}/x.npy"}  # fmt: skip
    assert point.identity()["inputs"] == earlier
    unit = x / np.sqrt((x**2).mean(axis=1, keepdims=True))
    np.testing.assert_array_equal(load(point.inputs).x, unit[np.random.default_rng(4).permutation(5)])
