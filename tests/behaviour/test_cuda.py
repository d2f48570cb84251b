"""A CUDA device draws and trains the same networks as a CPU. Without a device the tests skip themselves and say so."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

import simulate
from simulate.running import plan
from simulate.settings.training import ALGORITHMS
from simulate.training import trajectory
from tests.behaviour.test_keep_sums import NETWORKS, drawn, measured, same

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize(
    "overrides",
    [["observables=kernel"], ["observables=ntk"], ["observables=training", "dynamics=gradient_descent"]],
    ids=["law", "law with NTK", "training"],
)
def test_cuda_has_the_law_of_the_cpu(overrides: list[str], tmp_path: Path) -> None:
    """The means of all columns agree, by two-sample z with Bonferroni at a false-alarm rate of 1e-4."""
    frames = []
    for device in ("cpu", "cuda"):
        where = [f"output={tmp_path}/{device}", f"ensemble.device={device}", "workers=1"]
        data = simulate.run(*overrides, "network.width=16", "ensemble.networks=20000", *where)
        frames.append(data.table().groupby(["step", "layer"]).agg(["mean", "var", "count"]))
    a, b = frames
    columns = [c for c in a.columns.levels[0] if c not in ("network", "status")]
    z = []
    for column in columns:
        x, y = a[column], b[column]
        random = (x["count"] > 0) & (x["var"] > 0)
        error = np.sqrt(x["var"] / x["count"] + y["var"] / y["count"])[random]
        z += (np.abs(x["mean"] - y["mean"])[random] / error).tolist()
    assert max(z) < norm.isf(1e-4 / (2 * len(z)))


@pytest.mark.parametrize(
    "overrides",
    [["observables=preactivations"], ["observables=ntk"], ["observables=ntk", "network.width=2048"],
     ["observables=training", "dynamics=gradient_descent"]],
    ids=["law", "law with NTK", "law with NTK, wider than a block", "training"],
)  # fmt: skip
def test_cuda_draws_the_networks_of_the_cpu(overrides: list[str], tmp_path: Path) -> None:
    """Networks agree one by one to rounding: streams depend on the address alone, not on the device or its launches."""
    tables = []
    for device in ("cpu", "cuda"):
        where = [f"output={tmp_path}/{device}", f"ensemble.device={device}", "workers=1", "dynamics.lambda_b=0.5"]
        tables.append(simulate.run("network.width=32", "ensemble.networks=200", *overrides, *where).table())
    pd.testing.assert_frame_equal(*tables, rtol=2e-3, atol=2e-4)


def test_cuda_rows_repeat(tmp_path: Path) -> None:
    tables = []
    for k in range(2):
        where = [f"output={tmp_path}/{k}", "ensemble.device=cuda"]
        tables.append(simulate.run("observables=ntk", "network.width=32", "ensemble.networks=1000", *where).table())
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    "overrides", [["observables=ntk"], ["dynamics=sgd", "observables=training"]], ids=["law", "sgd"]
)
def test_rows_that_are_written_behind(overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that a stream of their own copies and threads write are those that are waited for; blocks and parts are
    many, and of training each data set captures its own graph."""
    monkeypatch.setattr(plan, "PARTS", 10**6)
    monkeypatch.setattr(plan, "PART_WORK", 1)
    tables = []
    for apart in ((), ("cuda",)):
        monkeypatch.setattr(plan, "APART", apart)
        where = [f"output={tmp_path}/{len(apart)}", "ensemble.device=cuda", "ensemble.first=100", "ensemble.block=512"]
        tables.append(simulate.run(*overrides, *where, "network.width=32", "ensemble.networks=10000").table())
    assert tables[0].equals(tables[1])


def test_sums_are_those_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates by sums that the device has formed, part by part, are those of the rows to 1e-12, and a network less is
    seen."""
    monkeypatch.setattr(plan, "PART_WORK", 1)
    for folder, keep, networks in (
        ("rows", "rows", NETWORKS),
        ("sums", "sums", NETWORKS),
        ("less", "sums", NETWORKS - 1),
    ):
        asked = [f"ensemble.networks={networks}", "ensemble.device=cuda", "ensemble.block=4096"]
        drawn(tmp_path / folder, keep, *asked)
    of_rows = measured(tmp_path / "rows")
    assert same(of_rows, measured(tmp_path / "sums"))
    assert not same(of_rows, measured(tmp_path / "less"))


@pytest.mark.parametrize("rule", [name for name, algorithm in ALGORITHMS.items() if algorithm.replayable])
def test_a_replayed_step_is_the_step(rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA graph gives the same bits as single launches. A failed capture warns, and warnings are errors in tests."""
    tables = []
    for graph in (trajectory.GRAPH, 10**9):
        monkeypatch.setattr(trajectory, "GRAPH", graph)
        where = [f"output={tmp_path}/{graph}", "ensemble.device=cuda", "ensemble.networks=500", "network.width=32"]
        training = [f"dynamics={rule}", "dynamics.steps=60", "dynamics.tolerance=0.05", "observables=training"]
        tables.append(simulate.run(*where, *training).table())
    assert tables[0].equals(tables[1])
