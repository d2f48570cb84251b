"""The rows of a user's file as they are, and messages about what cannot be read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import configs
import simulate
from simulate.api import read_one, read_sweep
from simulate.inputs import Samples, load
from simulate.settings.inputs import Inputs
from simulate.settings.reader import SettingsError
from simulate.store import DataSet

Run = Callable[..., DataSet]


def of_file(path: Path, **changes: object) -> Inputs:
    """The settings of inputs=file at the defaults of its option file, a few of them changed."""
    base = {"source": "file", "count": None, "test": 0, "seed": 0, "normalization": "none", "shuffle": False}
    return Inputs(**(base | {"path": str(path)} | changes))  # type: ignore[arg-type]


def csv(folder: Path, text: str, **changes: object) -> Samples:
    (folder / "a.csv").write_text(text, encoding="utf-8")
    return load(of_file(folder / "a.csv", **changes))


def refused(folder: Path, text: str, **changes: object) -> str:
    with pytest.raises(SettingsError) as caught:
        csv(folder, text, **changes)
    return str(caught.value)


def test_files_are_taken_as_they_are(tmp_path: Path) -> None:
    """All rows of each kind of file, number for number and in their order."""
    x, y = np.random.default_rng(0).standard_normal((5, 3)), np.arange(5.0)
    frame = pd.DataFrame(x, columns=["p", "q", "r"]).assign(y=y)
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    for name in ("a.npy", "a.npz", "a.csv", "a.parquet"):
        got = load(read_one(["inputs=file", f"inputs.path={tmp_path / name}"]).inputs)
        np.testing.assert_array_equal(got.x, x, strict=True)
        assert got.train == 5
        if name == "a.npy":
            assert got.y is None
        else:
            np.testing.assert_array_equal(got.y, y[:, None], strict=True)


def test_an_experiment_does_not_cut_a_file(tmp_path: Path) -> None:
    """What an experiment sets for its own inputs is taken back where a user's rows replace them, and only there."""
    (tmp_path / "three.csv").write_text("a,b\n1,2\n3,4\n5,6\n")
    rows = ["inputs=file", f"inputs.path={tmp_path}/three.csv"]

    def of(experiment: str, *typed: str) -> dict[str, Any]:
        return dict(configs.compose("simulate", [f"experiment={experiment}", *typed])["inputs"])

    assert of("preactivations", *rows)["count"] is None
    assert load(read_one(["experiment=preactivations", *rows, "sweep={}"]).inputs).train == 3
    assert of("preactivations", *rows, "inputs.count=2")["count"] == 2, "typed"
    assert of("six_point", "inputs=gaussian")["count"] == 1, "another source"
    assert of("universality", *rows)["scale"] == 1
    assert "squares" not in of("criticality", *rows)


def test_an_experiment_for_a_file_keeps_its_inputs(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /inputs: file\ninputs: {path: mine.csv, count: 2}\n"
    )
    for typed in ([], ["inputs=file"]):
        (point,) = read_sweep(["experiment=mine", *typed], tmp_path)
        assert (point.inputs.path, point.inputs.count) == ("mine.csv", 2)


def test_train_and_test_rows(tmp_path: Path) -> None:
    text = "a,y,part\n" + "".join(f"{k},{-k},{'test' if k in (0, 4) else 'Train '}\n" for k in range(6))
    table = "\n".join(line.rpartition(",")[0] for line in text.splitlines())
    (tmp_path / "more.csv").write_text("a,y\n70,-70\n80,-80\n")
    cases: list[tuple[str, dict[str, object], list[int], list[int]]] = [
        (table, {}, [0, 1, 2, 3, 4, 5], []),
        (table, {"count": 2}, [0, 1], []),
        (table, {"test": 2}, [0, 1, 2, 3], [4, 5]),
        (table, {"count": 2, "test": 1}, [0, 1], [2]),
        (table, {"train_rows": "1:3"}, [1, 2], []),
        (table, {"train_rows": ":2", "test_rows": "-2:"}, [0, 1], [4, 5]),
        (table, {"test_rows": (5, 0)}, [1, 2, 3, 4], [5, 0]),
        (table, {"train_rows": (3, 1), "test_rows": (2,)}, [3, 1], [2]),
        (text, {"split": "part"}, [1, 2, 3, 5], [0, 4]),
        (table, {"test_path": str(tmp_path / "more.csv"), "count": 3}, [0, 1, 2], [70, 80]),
    ]
    for content, changes, train, test in cases:
        got = csv(tmp_path, content, **changes)
        assert got.train == len(train), changes
        assert got.x[:, 0].tolist() == [*train, *test], changes
        assert got.y is not None
        assert (got.y == -got.x).all()
    order = np.random.default_rng(3).permutation(6)
    assert csv(tmp_path, table, shuffle=True, seed=3, test=1).x[:, 0].tolist() == order.tolist()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train_rows=0:7"], r"train_rows='0:7': rows between 0 and 3"),
        (["train_rows=[3]"], r"train_rows=\[3\]: there are 3 rows, numbered from 0 to 2"),
        (["train_rows=[0,1]", "test_rows=1:3"], "test_rows='1:3': row 1 is a train row, too"),
        (["test_rows=0:3"], "test_rows='0:3': none of 3 rows is left"),
        (["train_rows=5"], "train_rows=5: .*a range of rows as 0:100"),
        (["train_rows=[1,1]"], r"train_rows=\[1, 1\]: .*different"),
        (["train_rows=0:2", "count=2"], "count=2: inputs.train_rows already says"),
        (["test_rows=0:2", "split=b"], "split='b': inputs.test_rows already says"),
        (["test_path=b.csv", "test=1"], "test=1: inputs.test_path already says"),
        (["split=part"], "split='part': no column 'part'; there are a, b"),
        (["split=a"], "split='a': train or test in each row; line 2 of .* says '1'"),
        (["targets=[c]"], r"targets=\['c'\]: no column 'c'"),
        (["targets=[a,b]"], "path=.*all columns are targets"),
        (["targets=[a]", "features=[a,b]"], "targets=.*one purpose"),
        (["targets=a"], "targets='a': null, or the names"),
        (["features=[]"], r"features=\[\]: null, or the names"),
        (["seed=3"], "seed=3: .*inputs.shuffle=true"),
        (["count=4"], "count=4: .*3, the number of rows"),
        (["test=3"], "test=3: .*3, the number of rows"),
        (["header=maybe"], "header='maybe': auto, true or false"),
        (["test_path=nowhere.csv"], "test_path='nowhere.csv': .*No such file"),
        (["normalization=unit"], "normalization='unit': line 4 of .*a.csv is zero everywhere"),
    ],
)
def test_wrong_settings_of_a_file(overrides: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,4\n0,0\n")
    with pytest.raises(SettingsError, match=f"^inputs.{message}"):
        load(read_one(["inputs=file", f"inputs.path={tmp_path}/a.csv", *(f"inputs.{o}" for o in overrides)]).inputs)


# ------------------------------------------------------------------- odd files


def test_names_of_targets(tmp_path: Path) -> None:
    """The columns y and y_... in any letters are targets; a name that may be one is refused until a setting decides."""
    for header in ("a,y", "a,Y", " a , y ", "a,Y_1", "\ufeffy,a", '"y","a"'):
        got = csv(tmp_path, f"{header}\n1,2\n3,4\n")
        assert got.y is not None, header
        assert (got.x.shape, got.y.shape) == ((2, 1), (2, 1))
    for name in ("y.1", "y1", "label", "Target", "class", "labels"):
        message = refused(tmp_path, f"a,{name}\n1,2\n")
        assert f"column {name!r} may be a target: inputs.targets=[{name}]" in message
        assert csv(tmp_path, f"a,{name}\n1,2\n", targets=(name,)).y == [[2.0]]
        assert csv(tmp_path, f"a,{name}\n1,2\n", targets=()).x.tolist() == [[1.0, 2.0]]
        assert csv(tmp_path, f"a,{name}\n1,2\n", features=("a",)).words.endswith(f"not used: columns {name}")
    assert csv(tmp_path, "year,a\n1,2\n").y is None, "the control"


def test_odd_headers(tmp_path: Path) -> None:
    for header in ("1,2.5", "a,1e3", "nan,a"):  # rows, or names
        message = refused(tmp_path, f"{header}\n3,4\n")
        assert "line 1 holds the number" in message
        assert "inputs.header=true" in message
    assert csv(tmp_path, "1,2\n3,4\n", header=False).x.tolist() == [[1, 2], [3, 4]]
    assert csv(tmp_path, "1,2\n3,4\n", header=True).x.tolist() == [[3, 4]]
    assert csv(tmp_path, "1,2\n3,4\n", header=False, targets=("1",)).y.tolist() == [[2], [4]]  # type: ignore[union-attr]
    for header in (",a", "Unnamed: 0,a"):
        assert "column 1" in (message := refused(tmp_path, f"{header}\n0,5\n1,6\n"))
        assert "if it is an index, leave it out of the file, or inputs.features=[...]" in message
        assert csv(tmp_path, f"{header}\n0,5\n1,6\n", features=("a",)).x.tolist() == [[5], [6]]
    assert "two columns are named 'a'" in refused(tmp_path, "a,a\n1,2\n")


def test_odd_rows(tmp_path: Path) -> None:
    """Rows are named by the lines of the file, blank lines among them."""
    cases = {
        "a,b\n1,2\n\n3\n": "line 4 has 1 cells, and there are 2 names in the header",
        "a,b\n1,2,3\n": "line 2 has 3 cells, and there are 2 names",
        "a,b,c\n1,2\n": "line 2 has 2 cells, and there are 3 names",
        "a,b\n1,2,\n": "line 2 has 3 cells",
        "a,b\n1,\n": "line 2, column 'b' is empty",
        "a,b\n\n1,2\n1_0,2\n": "line 4, column 'a' holds '1_0', which is not a number",
        "a,b\n1,nan\n": "line 2, column 'b' holds 'nan'",
        "a,b\n1,1e999\n": "column 'b': line 2 is not a finite number",
        'a,b\n1,"2,5"\n': "holds '2,5'",
        "a,b\n１,2\n": "line 2, column 'a' holds",
        "a\n1\n\n3\n": "the line before line 4 is blank",
        "a;b\n1;2\n": "separated by semicolons",
        'a,b\n"1,2\n': "cannot be read: unexpected end of data",
        "a,part\n1,train\n2,test\n": "inputs.split=part takes it",
        "": "a header line and at least one row",
        "\n \n": "a header line and at least one row",
    }
    for text, message in cases.items():
        assert message in (said := refused(tmp_path, text)), text
        assert said.startswith("inputs.path=")
    for text in ("\n\na,b\n1,2\n\n3,4\n\n\n", "a,b\r\n1,2\r\n3,4", 'a,b\n 1 ,+2.\n"3",4e0\n   \n'):
        assert csv(tmp_path, text).x.tolist() == [[1, 2], [3, 4]], text
    assert "line 4 of" in refused(tmp_path, "a,b\n\n1,2\n0,0\n", normalization="unit")


def test_one_line_says_what_was_taken(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    header = ",".join(f"x{k}" for k in range(8))
    rows = "\n".join(",".join(map(str, range(k, k + 10))) for k in range(5))
    got = csv(tmp_path, f"{header},label,id\n{rows}\n", targets=("label",), features=tuple(header.split(",")),
              train_rows="0:2", test_rows=(3,), scale=2.0)  # fmt: skip
    assert got.words == (
        f"inputs={tmp_path}/a.csv: x = x0, x1, x2, ..., x7 (8 columns); y = label; 2 train and 1 test rows; scale=2; "
        "not used: columns id and 2 rows"
    )
    output = f"output={tmp_path}/o"
    simulate.run("inputs=file", f"inputs.path={tmp_path}/a.csv", "inputs.targets=[label]", "network.width=4",
                 "ensemble.networks=4", output, "workers=1", quiet=False)  # fmt: skip
    assert capfd.readouterr().err.count("; y = label; 5 train and 0 test rows; as they are\n") == 1


def bad_files(folder: Path) -> list[tuple[str, str]]:
    """Write files that cannot be read as inputs, and return their names, each with a part of the message."""
    np.save(folder / "nan.npy", np.array([[1.0, np.nan]]))
    np.save(folder / "flat.npy", np.ones(3))
    np.save(folder / "empty.npy", np.zeros((0, 3)))
    np.save(folder / "text.npy", np.array([["a", "b"]]))
    np.save(folder / "complex.npy", np.array([[1.0 + 2.0j, 1.0]]))
    np.save(folder / "real.npy", np.array([[1.0 + 0.0j, 1.0]]))
    np.save(folder / "whole.npy", np.array([[1, 2], [3, 2**53 + 1]]))
    np.save(folder / "pickle.npy", np.array([[{"a": 1}]], dtype=object), allow_pickle=True)
    np.savez(folder / "names.npz", z=np.ones((2, 2)))
    np.savez(folder / "rows.npz", x=np.ones((2, 2)), y=np.ones((3, 1)))
    np.savez(folder / "label.npz", x=np.ones((2, 2)), label=np.ones(2))
    np.savez(folder / "twice.npz", x=np.ones((2, 2)), y=np.ones(2), Y=np.ones(2))
    (folder / "words.csv").write_text("a,b\n1,two\n")
    (folder / "header.csv").write_text("a,b\n")
    (folder / "x.txt").write_text("1 2")
    (folder / "broken.npy").write_bytes(b"\x93NUMPY\x01")
    np.save(folder / "header.npy", np.ones((3, 2)))
    (folder / "header.npy").write_bytes((folder / "header.npy").read_bytes().replace(b"(3, 2)", b"((3,2 "))
    (folder / "broken.parquet").write_bytes(b"PAR1PAR1")
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.Index([5, 6], name="id"))
    frame.to_parquet(folder / "index.parquet")
    frame.assign(t=["1", "2"]).reset_index(drop=True).to_parquet(folder / "text.parquet")
    return [
        ("nan.npy", "x: row 0 (counted from 0), column 1 is not a finite number"),
        ("flat.npy", "shape (3,)"),
        ("empty.npy", "shape (0, 3)"),
        ("text.npy", "not numbers"),
        ("complex.npy", "complex numbers; give real ones, as x.real"),
        ("real.npy", "complex numbers"),
        ("whole.npy", "row 1 (counted from 0), column 1 holds a whole number beyond 2^53"),
        ("pickle.npy", "Python objects"),
        ("names.npz", "an array named x"),
        ("rows.npz", "2 rows of x but 3 of y"),
        ("label.npz", "array 'label' may hold targets: inputs.targets=[label]"),
        ("twice.npz", "differ in the case of letters"),
        ("words.csv", "two"),
        ("header.csv", "at least one row"),
        ("x.txt", ".npy, .npz, .csv or .parquet"),
        ("broken.npy", ""),
        ("header.npy", "cannot be read: "),
        ("broken.parquet", ""),
        ("index.parquet", "'id') is the index of a frame"),
        ("text.parquet", "column 't' has shape (2, 1) of object, not numbers"),
        ("nowhere.npy", "No such file"),
    ]


def test_bad_files(tmp_path: Path) -> None:
    for name, message in bad_files(tmp_path):
        with pytest.raises(SettingsError) as caught:
            load(of_file(tmp_path / name))
        assert message in str(caught.value), name
        assert str(caught.value).startswith("inputs.path="), name


# ------------------------------------------------------------------- lengths


def test_lengths_at_the_ends_of_the_range(tmp_path: Path) -> None:
    """Rows whose squares overflow or vanish keep their direction, and every other bit stays as it was."""
    x = np.array([[3e200, 4e200], [3e-200, 4e-200], [3.0, 4.0]])
    np.save(tmp_path / "a.npy", x)
    got = load(of_file(tmp_path / "a.npy", normalization="unit")).x
    np.testing.assert_allclose(got, np.sqrt(2) * np.array([[0.6, 0.8]] * 3), rtol=4e-16)
    usual = np.random.default_rng(1).standard_normal((50, 7)) * np.logspace(-9, 9, 50)[:, None]
    np.save(tmp_path / "b.npy", usual)
    got = load(of_file(tmp_path / "b.npy", normalization="unit")).x
    np.testing.assert_array_equal(got, usual / np.sqrt((usual**2).mean(axis=1, keepdims=True)))
    np.save(tmp_path / "c.npy", np.array([[1e308], [-1e308]]))
    with pytest.raises(SettingsError, match=r"inputs.scale=1e\+300: row 0 .* beyond the range of float64"):
        load(of_file(tmp_path / "c.npy", scale=1e300))
