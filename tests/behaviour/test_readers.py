"""Other programs read a data set by its folder, and its README.md and CITATION.cff tell them how."""

import re
import tomllib
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import simulate
from simulate.store import readme
from simulate.store.manifest import digest
from simulate.store.sets import DataSet

ROOT = Path(__file__).parents[2]
SMALL = ["network.width=8", "network.depth=3", "observables=training", "dynamics=gradient_descent", "dynamics.steps=1"]
OPTIONAL = "an optional reader of data sets, too large to be a dependency of development"


def with_polars(folder: Path) -> pd.DataFrame:
    rows = pytest.importorskip("polars", reason=OPTIONAL).read_parquet(folder)
    return pd.DataFrame({name: rows[name].to_numpy() for name in rows.columns})


def with_duckdb(folder: Path) -> pd.DataFrame:
    duckdb = pytest.importorskip("duckdb", reason=OPTIONAL)
    connection = duckdb.connect()
    # The parts are rows in order, and so is the folder: names sort as addresses do.
    return connection.sql(f"SELECT * FROM '{folder}/*.parquet'").df()


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "pandas": pd.read_parquet, "polars": with_polars, "duckdb": with_duckdb,
}  # fmt: skip


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """A data set that has grown, with a damaged part set aside and the file of a killed writer around."""
    folder = tmp_path_factory.mktemp("data") / "a"
    common = [*SMALL, "ensemble.block=10", f"output={folder}", "workers=1", "ensemble.device=cpu"]
    simulate.run(*common, "ensemble.networks=20")
    (part,) = folder.rglob("part-*")
    part.write_bytes(part.read_bytes()[:-10])
    data = simulate.run(*common, "ensemble.networks=30")
    (folder / ".part-x.parquet.host.1.tmp").write_bytes(b"PAR1")
    assert list(folder.rglob("*damaged*"))
    return data


@pytest.mark.parametrize("reader", READERS)
def test_readers_take_the_folder_as_one_table(reader: str, grown: DataSet) -> None:
    expected, rows = grown.table(), READERS[reader](grown.path / "networks")
    assert list(rows) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(rows[name].to_numpy(), expected[name].to_numpy())
    try:  # control: in the folder above, other files stand in the way or count as rows
        others = READERS[reader](grown.path)
    except Exception:
        return
    assert others.shape != expected.shape


def test_the_readme_describes_all_columns(run: Callable[..., DataSet]) -> None:
    """Each column has its row in the table, and each row its number of columns."""
    taylor = ["observables.record=[kernel,moments,outputs,ntk,dntk,loss,taylor]"]
    data = run(*SMALL, *taylor, "observables.tuples={dntk: [[0,0,1]]}", "ensemble.networks=3")
    text = (data.path / "README.md").read_text()
    table = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| (.*?) \| (.+) \|$", text, re.MULTILINE)
    columns = data.layout.arrow({}).names
    found = {}
    for pattern, count, _, _ in table:
        prefix, *indices = pattern.split("_")
        found[pattern] = [name for name in columns if re.fullmatch(prefix + r"_\d+" * len(indices), name)]
        assert len(found[pattern]) == int(count.replace(",", "")) > 0
    assert sorted(chain.from_iterable(found.values())) == sorted(columns)
    assert {"H_i_j_a_b", "m4_a_b_c_d", "dH_i_j_k_a_b_c", "taylor_k_i_a", "loss"} <= set(found)
    layers = {pattern: where for pattern, _, where, _ in table}
    assert layers["g_a_b"] == "1 to 3"
    assert layers["H_i_j_a_b"] == "3"
    assert "network.width: 8\n" in text
    assert "Steps: 0, 1. Layers: 1 to 3." in text


def test_the_readme_reads_its_data_set(run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("polars", "duckdb"):
        pytest.importorskip(name, reason=OPTIONAL)
    data = run(*SMALL, "ensemble.networks=5")
    (block,) = re.findall(r"^```python\n(.*?)^```$", (data.path / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(data.path)
    lengths, names = [], {}
    for step in block.split("\n\n"):
        exec(step, names)
        lengths.append(len(names["rows"]))
    assert lengths == [5 * 2 * 3] * 4
    assert names["tensors"]["H"].sizes["network"] == 5


def test_files_of_the_user_are_left_as_they_are(run: Callable[..., DataSet], tmp_path: Path) -> None:
    """A file that is edited stays, one that is deleted stays away, and neither changes what the data set is."""
    folder = tmp_path / "a"
    data = run(*SMALL, "ensemble.networks=5", f"output={folder}")
    identity, rows = digest(data.manifest["identity"]), data.table()
    (folder / "README.md").write_text("mine\n")
    (folder / "CITATION.cff").unlink()
    grown = run(*SMALL, "ensemble.networks=9", f"output={folder}")
    assert (folder / "README.md").read_text() == "mine\n"
    assert not (folder / "CITATION.cff").exists()
    assert digest(grown.manifest["identity"]) == identity
    assert grown.table().head(len(rows)).equals(rows)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "README.md").write_text("of the folder\n")
    (tmp_path / "b" / "CITATION.cff").symlink_to(tmp_path / "elsewhere")
    run(*SMALL, "ensemble.networks=5", f"output={tmp_path}/b")
    assert (tmp_path / "b" / "README.md").read_text() == "of the folder\n"
    assert not (tmp_path / "elsewhere").exists(), "no link is followed"


def test_the_citation_is_that_of_the_project(run: Callable[..., DataSet]) -> None:
    data = run(*SMALL, "ensemble.networks=2")
    found: dict[str, Any] = yaml.safe_load((data.path / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert found["title"] == f"{project['name']}: {project['description']}"
    assert found["authors"] == project["authors"]
    assert found["license"] == project["license"]
    assert found["version"] == data.manifest["versions"]["nearly-gaussian"]
    (theory,) = found["references"]
    assert theory["identifiers"][0]["value"] == "arXiv:2106.10165"
    assert [author["family-names"] for author in theory["authors"]] == ["Roberts", "Yaida", "Hanin"]
    from_a_checkout = data.manifest | {"versions": {"nearly-gaussian": "unknown"}}
    assert "version" not in yaml.safe_load(readme.citation(from_a_checkout))


def test_the_command_is_told(run: Callable[..., DataSet]) -> None:
    data = run(*SMALL, "ensemble.networks=2")
    manifest, text = data.manifest, (data.path / "README.md").read_text()
    assert "\n    simulate.run('network.width=8', 'network.depth=3', " in text
    assert readme.readme(manifest) == text, "from what was written, as from what is written"
    command = "python -m simulate network.width=8 'output=my data'"
    told = readme.readme(manifest | {"commands": [{"command": command}, {"command": "another"}]})
    assert f"\n    {command}\n" in told
    assert "another" not in told
    hostile = readme.readme(manifest | {"commands": [{"command": "a\n\x1b[2J\n# Title"}]})
    assert "\n    a\\n\\x1b[2J\\n# Title\n" in hostile
