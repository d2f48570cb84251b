"""Sums in the place of rows that are formed in torch, where the rows are: here on a CPU and on torch's meta device."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analysis import on_device, reduced
from simulate.api import read_one
from simulate.claims import reducing
from simulate.numerics.rows import Rows
from simulate.running import compute, plan
from simulate.running.jobs import Job
from simulate.running.memory import peak_bytes
from simulate.running.prepare import prepare
from simulate.settings.ensemble import KEEPS
from simulate.store.cells import Summed
from simulate.store.head import head_of, plan_of, summed
from tests.behaviour.test_keep_sums import NETWORKS, drawn

FIRST, LAST, NOT_FINITE = 1001, 1500, 77  # networks that begin and end within cells; one has diverged
SMALL = ["ensemble.networks=32768", "ensemble.device=cpu", "workers=1", "sweep=null", "ensemble.keep=sums"]
LAW = ["experiment=preactivations", "network.width=8", "network.depth=4", "observables.layers=[2,4]",
       "claim.tests.V.layers=[4]", "claim.tests.G1.layers=[4]"]  # fmt: skip
NTK = ["experiment=ntk", "network.width=8"]
DEAD = ["experiment=aspect_ratio", "activation=relu", "network.width=4", "network.depth=5",
        "observables.layers=[2,3,4]", "observables.record=[kernel]", "~claim.tests.alignment_exact"]  # fmt: skip
TABLES = ["experiment=bayesian_inference", "activation=tanh", "network.width=8", "network.depth=3",
          *(f"~claim.tests.posterior_{name}" for name in ("evidence", "mean", "covariance", "correlation", "kernel")),
          ]  # fmt: skip
OF_HOST = {"posterior_controls"}  # of the last, whose tables have the range of all kernels
CLAIMS = {"law": (LAW, set[str]()), "ntk": (NTK, set[str]()), "dead": (DEAD, set[str]()), "host": (TABLES, OF_HOST)}


def job_of(folder: Path, *overrides: str) -> Job:
    (job,) = reducing([prepare(read_one([*overrides, *SMALL, f"output={folder}/a"]))])
    return job


def of_host(job: Job) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Rows and status, one network of which has diverged at its last layer."""
    values, status, _ = compute.compute_rows(job, FIRST, LAST, {})
    for of_family in values.values():
        of_family[NOT_FINITE, :, -1] = np.nan
    status[NOT_FINITE] = 1
    return values, status


def there(values: Mapping[str, np.ndarray], status: np.ndarray, device: str = "cpu") -> tuple[dict[str, Any], Any]:
    """Rows and whether they are finite, on a device."""
    rows = {prefix: Rows(torch.from_numpy(of_family).to(device)) for prefix, of_family in values.items()}
    return rows, Rows(torch.from_numpy(status == 0).to(device))


def apart(one: Summed, other: Summed) -> float:
    """How far sums are from each other, relative to the largest of each."""
    assert one.size == other.size
    np.testing.assert_array_equal(one.cells, other.cells)
    np.testing.assert_array_equal(one.counts, other.counts)
    size = np.abs(one.sums).max(axis=0)
    return float((np.abs(one.sums - other.sums) / np.where(size > 0, size, 1.0)).max())


def formed(job: Job, rows: Mapping[str, Any], finite: Any) -> on_device.Formed:
    reduction = job.reduction
    assert isinstance(reduction, reduced.Reduction)
    plan_of = reduced.Plan.of(reduction.plan)
    point = on_device.OnDevice(reduced.drawn(reduction.data, FIRST, rows, finite))
    return on_device.formed(plan_of.work(point, reduction.size), finite.all(axis=1), plan_of.widths, plan_of.ended)


@pytest.mark.parametrize(("claim", "left"), CLAIMS.values(), ids=CLAIMS)
def test_they_are_those_of_the_host(claim: list[str], left: set[str], tmp_path: Path) -> None:
    """To 1e-12 of the largest, whichever tests are left to the host. A network more is seen. On meta no tensor of
    the CPU slips in, nothing waits for the device, and shapes are the same."""
    job = job_of(tmp_path, *claim)
    assert isinstance(job.reduction, reduced.Reduction)
    values, status = of_host(job)
    rows, finite = there(values, status)
    host = job.reduction(FIRST, values, status)
    assert host.counts.sum() == LAST - FIRST - 1
    assert apart(host, job.reduction.on_device(FIRST, rows, finite)) < 1e-12
    for of_family in values.values():
        of_family[NOT_FINITE] = of_family[NOT_FINITE - 1]
    with pytest.raises(AssertionError):
        apart(host, job.reduction.on_device(FIRST, *there(values, 0 * status)))

    on_cpu, on_meta = formed(job, rows, finite), formed(job, *there(values, status, "meta"))
    assert {run.name for run in on_cpu.left} == {run.name for run in on_meta.left} == left
    assert isinstance(on_meta.sums, Rows)
    assert on_meta.sums.tensor.device.type == "meta"
    assert on_meta.sums.shape == on_cpu.sums.shape
    with pytest.raises(RuntimeError, match="meta tensor"):
        on_meta.found()


def test_parts_are_larger_on_a_device() -> None:
    """Their rows have to fit into no file, and their memory is forecast."""
    job = prepare(read_one([*LAW, *SMALL, "ensemble.networks=100000000"]))
    there = replace(job, settings=replace(job.settings, ensemble=replace(job.settings.ensemble, device="cuda")))
    small, large = (plan.part_size(each) * job.layout.row_bytes() for each in (job, there))
    assert small <= plan.PART_BYTES < large <= plan.PART_ON_DEVICE
    (_, of_rows), (_, of_sums) = (peak_bytes(replace(there, layout=replace(job.layout, keep=k))) for k in KEEPS)
    assert of_sums > of_rows + large / 2


def test_rows_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets whose parts are reduced in torch hold the sums of the host, and nothing but sums is copied."""
    copied: list[tuple[int, ...]] = []
    to_host = Rows.numpy

    def numpy(rows: Rows) -> np.ndarray:
        copied.append(rows.shape)
        return to_host(rows)

    monkeypatch.setattr(Rows, "numpy", numpy)
    monkeypatch.setattr(plan, "PART_WORK", 1)
    asked = ["ensemble.first=1001", f"ensemble.networks={NETWORKS}"]
    of_host = drawn(tmp_path / "host", "sums", *asked)
    assert not copied
    monkeypatch.setattr(plan, "FORMING", ("cpu",))
    for one, other in zip(of_host, drawn(tmp_path / "device", "sums", *asked), strict=True):
        text = plan_of(head_of(one))
        assert text == plan_of(head_of(other))
        parts = list(zip(summed(one, text), summed(other, text), strict=True))
        assert len(parts) == 5
        assert all(apart(*pair) < 1e-12 for pair in parts)
        assert {shape[1] for shape in copied} == {1 + parts[0][0].sums.shape[1]}
    assert len(copied) == 4 * 5
