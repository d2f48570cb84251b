"""Inputs of every source, and kernels of any size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import simulate
from simulate.inputs import load
from simulate.settings.inputs import Inputs
from simulate.settings.reader import SettingsError
from simulate.store import DataSet

Run = Callable[..., DataSet]


def settings(source: str, **changes: object) -> Inputs:
    base = {"source": source, "count": 4, "test": 0, "seed": 0, "normalization": "none"}
    if source == "digits":
        base |= {"classes": (0, 1)}
    if source in ("sphere", "gaussian"):
        base |= {"dimension": 9}
    return Inputs(**(base | changes))  # type: ignore[arg-type]


def test_digits_are_the_digits() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    got = load(settings("digits", count=6, test=3, classes=(3, 8)))
    assert got.train == 6
    for x, y in zip(got.x, got.y, strict=True):
        (row,) = np.flatnonzero((digits.data == x).all(axis=1))
        assert digits.target[row] == (3 if y[0] > 0 else 8)
    assert len({tuple(x) for x in got.x}) == 9
    many = load(settings("digits", count=9, classes=(1, 2, 3)))
    np.testing.assert_array_equal(many.y, np.tile(np.eye(3), (3, 1)))


@pytest.mark.parametrize("source", ["digits", "gaussian", "sphere"])
def test_seeds_choose_and_repeat(source: str) -> None:
    first, again, other = (load(settings(source, seed=k)).x for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("normalization", ["unit", "centered"])
def test_normalized_inputs_lie_on_the_sphere(normalization: str) -> None:
    x = load(settings("digits", normalization=normalization)).x
    np.testing.assert_allclose((x**2).mean(axis=1), 1, rtol=1e-12)


def test_sphere() -> None:
    np.testing.assert_allclose((load(settings("sphere")).x ** 2).sum(axis=1), 9, rtol=1e-12)


@pytest.mark.parametrize("sampler", ["dense", "law"])
def test_zero_is_an_input_where_there_are_biases(sampler: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n0,0\n")
    rows = ["inputs=file", f"inputs.path={tmp_path}/a.csv", "initialization=gaussian", f"ensemble.sampler={sampler}",
            "network.width=8", "network.depth=2", "observables=ntk", "ensemble.networks=200"]  # fmt: skip
    data = run(*rows, "initialization.C_b=0.5", "initialization.C_W=2.0", "dynamics.lambda_b=1.0")
    frame = data.table()
    assert data.samples()[0].tolist() == [[1, 2], [0, 0]]
    assert (frame["status"] == 0).all()
    first = frame[frame["layer"] == 1]
    assert np.allclose(first["g_1_1"], 0.5)
    assert np.allclose(first["g_0_0"], 0.5 + 5.0)
    assert (frame.loc[frame["layer"] == 2, "H_0_0_1_1"] > 1).all(), "the bias of layer 2 alone gives 1"
    with pytest.raises(SettingsError, match=r"initialization.C_b=0.0: line 3 of .*a.csv is zero everywhere"):
        run(*rows, "initialization.C_b=0.0", "initialization.C_W=2.0")


@pytest.mark.parametrize(("value", "dtype"), [(1e30, "float32"), (1e-30, "float32"), (1e160, "float64")])
def test_kernels_beyond_the_precision_are_refused(value: float, dtype: str, run: Run) -> None:
    rows = ["network.width=4", "ensemble.networks=4"]
    with pytest.raises(SettingsError, match=rf"row 1 \(counted from 0\) of arrays has K\(1\) = .*range of {dtype}"):
        simulate.run(*rows, f"ensemble.dtype={dtype}", "output=nowhere", inputs=[[1.0], [value]])
    assert not Path("nowhere").exists()
