"""Inputs of every source, and messages about files that cannot be read."""

from pathlib import Path

import numpy as np
import pytest

from simulate.inputs import load
from simulate.settings.inputs import Inputs
from simulate.settings.reader import SettingsError


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


def test_files(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).standard_normal((5, 3)), np.arange(5.0)
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    rows = ["p,q,r,y", *(",".join(map(repr, [*map(float, row), float(t)])) for row, t in zip(x, y, strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    for name in ("a.npy", "a.npz", "a.csv"):
        got = load(settings("file", path=str(tmp_path / name), count=None, test=1))
        assert got.train == 4
        order = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in got.x]
        assert sorted(order) == list(range(5))
        if name != "a.npy":
            np.testing.assert_array_equal(got.y[:, 0], y[order])


def bad_files(folder: Path) -> list[tuple[str, str]]:
    """Write files that cannot be read as inputs, and return their names, each with a part of the message."""
    np.save(folder / "nan.npy", np.array([[1.0, np.nan]]))
    np.save(folder / "flat.npy", np.ones(3))
    np.save(folder / "zero.npy", np.array([[1.0, 2.0], [0.0, 0.0]]))
    np.save(folder / "empty.npy", np.zeros((0, 3)))
    np.save(folder / "text.npy", np.array([["a", "b"]]))
    np.save(folder / "complex.npy", np.array([[1.0 + 2.0j, 1.0]]))
    np.save(folder / "pickle.npy", np.array([[{"a": 1}]], dtype=object), allow_pickle=True)
    np.savez(folder / "names.npz", z=np.ones((2, 2)))
    np.savez(folder / "rows.npz", x=np.ones((2, 2)), y=np.ones((3, 1)))
    (folder / "words.csv").write_text("a,b\n1,two\n")
    (folder / "ragged.csv").write_text("a,b\n1,2\n3\n")
    (folder / "header.csv").write_text("a,b\n")
    (folder / "x.txt").write_text("1 2")
    (folder / "broken.npy").write_bytes(b"\x93NUMPY\x01")
    return [
        ("nan.npy", "not a finite number"),
        ("flat.npy", "shape (3,)"),
        ("zero.npy", "zero everywhere"),
        ("empty.npy", "shape (0, 3)"),
        ("text.npy", "not numbers"),
        ("complex.npy", "not a finite number"),
        ("pickle.npy", "Python objects"),
        ("names.npz", "an array named x"),
        ("rows.npz", "2 rows of x but 3 of y"),
        ("words.csv", "two"),
        ("ragged.csv", ""),
        ("header.csv", "at least one row"),
        ("x.txt", ".npy, .npz or .csv"),
        ("broken.npy", ""),
        ("nowhere.npy", "No such file"),
    ]


def test_bad_files(tmp_path: Path) -> None:
    for name, message in bad_files(tmp_path):
        with pytest.raises(SettingsError) as caught:
            load(settings("file", path=str(tmp_path / name), count=None))
        assert message in str(caught.value), name
        assert str(caught.value).startswith("inputs"), name
