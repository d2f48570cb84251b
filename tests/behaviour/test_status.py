"""The state of data sets as JSON and in sentences."""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulate import status
from simulate.store.sets import DataSet


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """The exit code and the JSON document of `simulate.status`; a number that strict JSON lacks fails the test."""
    capsys.readouterr()
    code = status.main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


@pytest.fixture
def sets(run: Callable[..., DataSet], tmp_path: Path) -> list[DataSet]:
    """Two complete data sets, of 10 and 20 networks."""
    made = []
    for name, networks in (("a", 10), ("b", 20)):
        made.append(run("network.width=8", f"ensemble.networks={networks}", f"output={tmp_path}/{name}"))
    return made


def parts(data: DataSet) -> list[Path]:
    return sorted(data.path.rglob("part-*.parquet"))


def test_complete_data_sets(sets: list[DataSet], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = document(capsys, str(tmp_path))
    assert code == 0
    assert [Path(entry["path"]).name for entry in found["data_sets"]] == ["a", "b"]
    for data, entry in zip(sets, found["data_sets"], strict=True):
        state = status.status(data)
        assert entry == {"path": str(data.path), **json.loads(json.dumps(state))}, "all of status()"
    assert found["total"] == {
        "data_sets": 2, "complete": 2, "networks": 30, "wanted": 30, "missing": 0, "damaged": 0, "set_aside": 0,
        "seconds_left": 0.0,
    }  # fmt: skip
    assert found["failed"] == []
    assert status.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "total: 30 of 30 networks, 2 of 2 data sets complete"
    assert status.main([str(sets[0].path)]) == 0
    assert "total" not in capsys.readouterr().out, "one data set is its own total"


def test_missing_and_damaged_networks(sets: list[DataSet], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts(sets[0])[0].write_bytes(b"")
    parts(sets[1])[0].unlink()
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "7_1.log").write_text("error: out of memory\n")
    code, found = document(capsys, str(tmp_path), "--verify")
    assert code == 1
    assert found["total"]["damaged"] == 1
    assert found["total"]["complete"] == 1
    assert found["total"]["missing"] == 20
    assert found["total"]["seconds_left"] is None
    assert found["data_sets"][1]["missing"] == [[0, 20]]
    assert [*found["data_sets"][0]["damaged"]] == [parts(sets[0])[0].name]
    assert found["failed"] == [f"{tmp_path}/slurm/7_1.log: error: out of memory"]
    code, found = document(capsys, str(tmp_path))
    assert code == 1
    assert found["total"]["damaged"] == 0, "without --verify no part is read"
    assert status.main([str(tmp_path), "--verify"]) == 1
    assert "\ntotal: 10 of 30 networks, 1 of 2 data sets complete, 1 damaged\n" in capsys.readouterr().out


def test_the_time_left_of_several_data_sets() -> None:
    """It is known where every data set that is not complete is being written and has a rate."""
    state = {"networks": 10, "wanted": 10, "missing": [], "writers": [], "set_aside": [], "damaged": {}, "rate": None,
             "seconds_left": 0.0}  # fmt: skip
    written = state | {"missing": [(0, 5)], "writers": [{}], "rate": 2.5, "seconds_left": 2.0}
    assert status.total([state, written, written | {"seconds_left": 7.0}])["seconds_left"] == 7.0
    assert status.total([written, written | {"writers": []}])["seconds_left"] is None
    assert status.total([written, written | {"seconds_left": None}])["seconds_left"] is None
    assert status.total([state])["seconds_left"] == 0.0


def test_json_is_strict_whatever_a_writer_entered(
    sets: list[DataSet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = sets[0].path / ".writer-0-10-host-1"
    name.write_text('{"first": 0, "last": 10, "pid": 1, "host": "\\u001b[2J", "since": NaN}')
    with open(name) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        _, found = document(capsys, str(tmp_path))
        assert found["data_sets"][0]["writers"][0]["since"] == "nan"
        assert status.main([str(tmp_path)]) == 0
        stdout = capsys.readouterr().out
    assert "process 1 on \\x1b[2J since nan" in stdout


def test_errors_are_no_documents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main([str(tmp_path), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert status.main([str(tmp_path), "--jsn"]) == 2
    assert "--jsn: no such flag" in capsys.readouterr().err
    assert status.main(["--help"]) == 0
    assert "[--json]" in capsys.readouterr().err
