"""Malicious data sets: nothing in them is run or rendered, and no link leads out of their folder."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import simulate
from analysis.__main__ import main as analysis_main
from simulate import status
from simulate.__main__ import main
from simulate.store import locks
from simulate.store.files import StoreError
from simulate.store.manifest import MANIFEST
from simulate.store.parts import committed, part_path
from simulate.store.sets import DataSet, open_data_set
from tests.behaviour.test_hostile import Exploding

SMALL = ["network.width=8", "ensemble.networks=40", "ensemble.block=20", "ensemble.device=cpu", "workers=1"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rewrite(data: DataSet, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((data.path / MANIFEST).read_text())
    change(manifest)
    (data.path / MANIFEST).write_text(json.dumps(manifest))


MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "format": lambda m: m.update(format=3),
    "format of another kind": lambda m: m.update(format=[1]),
    "no layout": lambda m: m.pop("layout"),
    "layout of another kind": lambda m: m.update(layout=[1, 2]),
    "layout with more": lambda m: m["layout"].update(evil=1),
    "observable": lambda m: m["layout"].update(record=["__class__"]),
    "layers": lambda m: m["layout"].update(layers="all"),
    "tuples": lambda m: m["layout"].update(tuples=7),
    "networks": lambda m: m.update(networks="many"),
    "first": lambda m: m.update(first=None),
    "settings": lambda m: m.update(settings=None),
    "samples of another kind": lambda m: m["layout"].update(samples="1" * 400),
    "huge samples": lambda m: m["layout"].update(samples=10**9),
    "terminal": lambda m: m["layout"].update(dtype="\x1b[2J\n\x1b]0;title\x07"),
    "no dynamics": lambda m: m["settings"].pop("dynamics"),
    "no widths": lambda m: m["settings"]["network"].pop("widths"),
    "nested widths": lambda m: m["settings"]["network"].update(widths=[[8, 8], 8]),
    "text": lambda m: m["settings"]["initialization"].update(C_W="1"),
    "a number that is not whole": lambda m: m["settings"]["network"].update(depth=4.0),
    "not a number": lambda m: m["settings"]["initialization"].update(C_W=float("nan")),
    "other widths": lambda m: m["settings"]["network"].update(widths=[16, 16, 16]),
    "other steps": lambda m: m["layout"].update(steps=[1]),
    "precision 0": lambda m: m["settings"].update(claim=claim("a", 0)),
    "a name with ESC": lambda m: m["settings"].update(claim=claim("\x1b[2J", 0.1)),
    "a claim of another kind": lambda m: m["settings"].update(claim=[1]),
}
UNKNOWN = ("format", "observable")  # which another version or a plugin may have written


def claim(name: str, precision: float) -> dict[str, Any]:
    return {"name": name, "statement": "s", "tests": {"V": {"precision": precision}}}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "a"
    simulate.run(*SMALL, f"output={folder}")
    return folder


@pytest.mark.parametrize("case", MANIFESTS)
def test_hostile_manifests(case: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Readers refuse a damaged manifest in one line and say what to do; the same settings make it again."""
    shutil.copytree(small, tmp_path / "a")
    data = open_data_set(tmp_path / "a")
    rewrite(data, MANIFESTS[case])
    before = tree(tmp_path)
    settings = [*SMALL, f"output={data.path}"]
    for command in (lambda: status.main([str(data.path)]), lambda: analysis_main([f"data={data.path}"])):
        assert command() == 2
        stderr = capsys.readouterr().err
        assert stderr.count("\n") == 1
        assert "repeat the simulation's command" in stderr or case in UNKNOWN
        assert "\x1b" not in stderr
        assert len(stderr) < 600
    assert main(settings) == (2 if case in UNKNOWN else 0)
    stderr = capsys.readouterr().err
    if case in UNKNOWN:
        assert stderr.count("\n") == 1
        assert tree(tmp_path) == before
    else:
        assert "dataset.json.damaged-1: this manifest was damaged; set aside" in stderr
        again = open_data_set(data.path)
        assert {key: again.manifest[key] for key in ("identity", "layout", "files")} == {
            key: data.manifest[key] for key in ("identity", "layout", "files")
        }
        assert again.table().equals(open_data_set(small).table())


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"format": 1}', "\0", "NaN"])
def test_files_that_are_no_manifests(text: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(StoreError, match=r"not a data set|data format"):
        open_data_set(tmp_path)


def other_schema(name: Path) -> None:
    pq.write_table(pa.table({"network": [1, 2], "x": ["a", "b"]}), name)


def row_groups(name: Path) -> None:
    """Write the right rows, each in its own row group."""
    table = pq.read_table(name, partitioning=None)
    pq.write_table(table, name, row_group_size=1, write_page_checksum=True)


def many_rows(name: Path) -> None:
    """Write the right columns with three million rows in a few kilobytes."""
    table = pq.read_table(name, partitioning=None)
    with pq.ParquetWriter(name, table.schema, compression="zstd") as writer:
        zeros = [pa.array(np.zeros(10**6, dtype=field.type.to_pandas_dtype())) for field in table.schema]
        group = pa.Table.from_arrays(zeros, schema=table.schema)
        for _ in range(3):
            writer.write_table(group)


def a_link(name: Path) -> None:
    target = name.parents[2] / "elsewhere.parquet"
    shutil.move(name, target)
    name.symlink_to(target)


def a_folder(name: Path) -> None:
    name.unlink()
    name.mkdir()


def other_types(name: Path) -> None:
    table = pq.read_table(name, partitioning=None)
    pq.write_table(table.set_column(0, "network", table["network"].cast(pa.int32())), name)


def object_metadata(name: Path) -> None:
    """Replace the metadata by malformed metadata of pandas and another identity."""
    table = pq.read_table(name, partitioning=None)
    pq.write_table(table.replace_schema_metadata({"pandas": b"{\xff", "identity": b"\xff\xfe"}), name)


PARTS = [other_schema, row_groups, many_rows, a_link, a_folder, other_types, object_metadata]


@pytest.mark.parametrize("fault", PARTS, ids=[fault.__name__ for fault in PARTS])
def test_hostile_parts(fault: Callable[[Path], None], run: Callable[..., DataSet], tmp_path: Path) -> None:
    """A malicious part is found, set aside and computed again, and a reader refuses it in one line."""
    data = run(*SMALL, f"output={tmp_path}/a")
    all_rows = data.table()
    name = part_path(data.path, *committed(data.path)[0])
    fault(name)
    assert len(status.status(data, verify=True)["damaged"]) == 1
    if fault is not object_metadata:  # a part whose identity alone is wrong can be read
        with pytest.raises(StoreError, match="is damaged: it"):
            data.table()
    assert run(*SMALL, f"output={tmp_path}/a").table().equals(all_rows)
    assert os.path.lexists(data.path / "damaged" / f"{name.name}.damaged-1")


def test_hostile_samples(run: Callable[..., DataSet], tmp_path: Path) -> None:
    data = run(*SMALL)
    for table in (
        pa.table({"a": [1]}),
        pa.table({"x_0": ["a"] * 8, "train": [True] * 8}),
        pa.table({"x_0": [1.0] * 10**6}),
    ):
        pq.write_table(table, data.path / "samples.parquet")
        with pytest.raises(StoreError, match="samples"):
            data.samples()


def test_files_with_names_of_another_form(run: Callable[..., DataSet], tmp_path: Path) -> None:
    """Temporary files with odd names, a malformed lock and parts with impossible numbers do no harm."""
    data = run(*SMALL, f"output={tmp_path}/a")
    all_rows = data.table()
    odd = [".x.tmp", ".a.99999999999999999999.tmp", ".-1.tmp", "part-000000000000-0.parquet", "part-x.parquet"]
    for name in odd:
        (data.path / name).write_text("?")
    (data.path / ".writer-0-40-host-1").write_text('{"first": "a"}')
    assert locks.writers(data.path) == []
    again = run(*SMALL, f"output={tmp_path}/a")
    assert again.table().equals(all_rows)
    assert (data.path / ".x.tmp").exists(), "a file that no process of ours has written is not removed"


LINKS = ["dataset.json", "samples.parquet", "networks/part-000000000000-000000000040.parquet", "networks",
         "part-000000000000-000000000040.parquet", ".writers"]  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_nothing_is_written_through_links(
    name: str, run: Callable[..., DataSet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder with links in the places of files to be written, the targets of the links stay unchanged."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "a" / name).symlink_to(victim)
    code = main([*SMALL, f"output={tmp_path}/a"])
    assert victim.read_text() == "mine"
    assert capsys.readouterr().err.count("error:") == (code != 0)
    if code == 0:
        assert open_data_set(tmp_path / "a").table().equals(run(*SMALL).table())


def test_a_link_as_output_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "width-8").symlink_to(tmp_path / "elsewhere")
    assert main(["-m", "network.width=8,16", *SMALL[1:], f"output={tmp_path}/sweep"]) == 2
    assert "a link; give the folder" in capsys.readouterr().err
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "sweep" / "width-16").exists()


def test_a_pickle_is_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Exploding()], dtype=object), allow_pickle=True)
    (tmp_path / MANIFEST).write_bytes(buffer.getvalue())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError):
        open_data_set(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [MANIFEST]
