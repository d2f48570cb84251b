"""Forecasts of operations and time, and parts and tasks that are sized by them.

benchmarks/forecast.py compares forecast times with measured ones.
"""

import math
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from simulate import api
from simulate.__main__ import main
from simulate.api import read_one
from simulate.launchers.slurm import MARGIN, _tasks
from simulate.networks import one_pass, streams
from simulate.networks.streams import Arrays
from simulate.numerics import normals
from simulate.running import compute, forecast
from simulate.running.cost import counts
from simulate.running.forecast import MEASURED_STEPS, block_seconds, network_seconds
from simulate.running.jobs import Job
from simulate.running.plan import FILES, blocks_of_a_pass, part_blocks, part_size, share
from simulate.running.prepare import prepare
from simulate.settings.cluster import Cluster
from simulate.settings.reader import SettingsError


def job(*overrides: str) -> Job:
    return prepare(read_one([*overrides, "ensemble.device=cpu", "output=nowhere"]))


@pytest.mark.parametrize(
    "overrides",
    [
        ["ensemble.sampler=dense", "observables=kernel"],
        ["ensemble.sampler=dense", "observables=ntk", "network.depth=6"],
        ["observables.record=[kernel,ntk_sums]", "network.depth=5", "inputs.count=2"],
        ["observables.record=[kernel,jacobian]", "network.depth=5", "inputs.count=2"],
        ["dynamics=gradient_descent", "dynamics.steps=20", "observables=training", "inputs.count=9"],
        ["dynamics=gradient_flow", "dynamics.steps=5", "observables=training"],
    ],
)
def test_operations_are_those_that_torch_counts(overrides: list[str]) -> None:
    """The operations of narrow layers, whose products torch computes, are within a tenth of torch's own count."""
    counted = job(*overrides, "network.width=40", "ensemble.block=8", "dynamics.lambda_b=1.0")
    # torch does not count the update of weights.
    update = {torch.ops.aten.baddbmm_: lambda T, a, b, **named: 2 * math.prod(a) * b[2]}
    with FlopCounterMode(display=False, custom_mapping=update) as counter, torch.inference_mode():
        compute.compute_block(counted, 0)
    assert counts(counted).operations == pytest.approx(counter.get_total_flops() / 8, rel=0.1)


def test_normals_are_as_many_as_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both samplers draw as many normals as counted, within a tenth.

    The count leaves out biases and counts the layer next to the outputs for every sample. Networks without weights are
    drawn layer by layer; in one pass they have the same numbers.
    """
    drawn = []

    def spy(self: streams.Stream, kind: int, layer: int, *shape: int, scale: float = 1.0) -> normals.Address:
        drawn.append(torch.Size(shape).numel())
        return address(self, kind, layer, *shape, scale=scale)

    address = streams.Stream.address
    monkeypatch.setattr(streams.Stream, "address", spy)
    monkeypatch.setattr(one_pass, "applies", lambda settings: False)
    for given in (
        ["ensemble.sampler=dense", "observables=ntk"],
        ["ensemble.sampler=law", "observables=ntk"],
        ["observables.record=[response]", "observables.layers=[4,8]"],
    ):
        counted = job(*given, "network.width=64", "network.depth=9")
        drawn.clear()
        compute.compute_block(counted, 0)
        assert counts(counted).normals == pytest.approx(sum(drawn), rel=0.1)


def test_time_is_composed_of_measured_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that takes 1 s to draw, 0.25 s a record and 0.5 s a step is forecast so for 100 steps and 3 records, also
    where a pass draws several of them."""
    seen: list[tuple[int, ...]] = []

    def timed(job: Job, index: int, arrays: Arrays) -> float:
        seen.append(job.layout.steps)
        return blocks_of_a_pass(job) * (1 + 0.25 * len(job.layout.steps) + 0.5 * job.settings.dynamics.steps)

    monkeypatch.setattr(forecast, "_timed", timed)
    monkeypatch.setattr(forecast, "_commit", lambda job: 0.125)
    training = job("dynamics=gradient_descent", "dynamics.eta=0.1", "dynamics.steps=100", "observables=training",
                   "observables.steps=[0,50,100]")  # fmt: skip
    assert block_seconds(training, 3.0)[0] == pytest.approx(1 + 3 * 0.25 + 100 * 0.5 + 0.125)
    assert max(max(steps) for steps in seen) == MEASURED_STEPS
    untrained = job("network.width=256", "observables=ntk", "observables.layers=[4]")
    assert blocks_of_a_pass(untrained) > 1
    assert network_seconds([untrained]) == pytest.approx([(1.25 + 0.125) / untrained.block])


def test_compiling_is_neither_charged_nor_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first block of a process may compile for longer than the patience. It is never taken for the work, and the
    other jobs are measured all the same: work whose time does not follow its counts is told from work that does."""
    monkeypatch.setattr(forecast, "_commit", lambda job: 0.0)
    monkeypatch.setattr(forecast, "blocks_of_a_pass", lambda job: 1)
    jobs = [job(f"network.width={n}") for n in (16, 64, 256)]
    of_block = dict(zip([entry.block for entry in jobs], (0.25, 0.5, 0.125), strict=True))

    def timed(job: Job, index: int, arrays: Arrays) -> float:
        return of_block[job.block] if index else 600.0

    monkeypatch.setattr(forecast, "_timed", timed)
    assert block_seconds(jobs[0], 3.0) == (0.25, 5 * 0.25)
    assert network_seconds(jobs) == [of_block[entry.block] / entry.block for entry in jobs]


def test_time_is_measured_with_the_threads_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine threads that wait for each other take up to fifty times as long as the one of a run."""
    threads = []

    def timed(job: Job, index: int, arrays: Arrays) -> float:
        threads.append(torch.get_num_threads())
        return 1.0

    monkeypatch.setattr(forecast, "_timed", timed)
    monkeypatch.setattr(forecast, "_commit", lambda job: 0.0)
    torch.set_num_threads(2)
    api.forecast([job("network.width=64").settings])
    assert set(threads) == {1}
    assert torch.get_num_threads() == 2


def test_what_is_not_measured_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without patience only the cheapest job is measured, and the other times are scaled from it by their counts."""
    jobs = [job(f"network.width={n}", "ensemble.sampler=dense", "network.depth=8") for n in (1024, 64, 256)]
    monkeypatch.setattr(forecast, "block_seconds", lambda job, patience: (3.0, 3.0))
    seconds = network_seconds(jobs, 0.0)
    nominal = [counts(entry).seconds() for entry in jobs]
    k = min(range(3), key=lambda k: nominal[k] * jobs[k].block)
    assert seconds[k] == 3.0 / jobs[k].block
    assert [s / n for s, n in zip(seconds, nominal, strict=True)] == pytest.approx([seconds[k] / nominal[k]] * 3)


def test_tasks_are_sized_by_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jobs = [job("network.width=64", "ensemble.networks=1000000"), job("network.width=32", "ensemble.networks=1000000")]
    monkeypatch.setattr(forecast, "network_seconds", lambda jobs: [0.01, 0.02])
    cluster = Cluster("slurm", minutes=60)
    tasks = _tasks(jobs, cluster)
    longest = 0.0
    for k in range(tasks):
        spans = [share(entry.first, entry.last, part_size(entry), (k, tasks)) for entry in jobs]
        longest = max(longest, sum(s * (b - a) for s, (a, b) in zip((0.01, 0.02), spans, strict=True)))
    assert 0.5 * 3600 / MARGIN < longest < 3600 / MARGIN
    monkeypatch.setattr(forecast, "network_seconds", lambda jobs: [1.0, 1.0])
    with pytest.raises(SettingsError, match=r"cluster.minutes=60: the shortest task takes \d+"):
        _tasks(jobs, cluster)
    with pytest.raises(SettingsError, match=r"cluster.shards='auto': there is no GPU here"):
        _tasks(jobs, Cluster("slurm", gpus=1))


def test_forecast_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--forecast", "-m", "network.width=16,32", f"output={tmp_path}/a", "workers=1"]) == 0
    stdout = capsys.readouterr().out
    assert "2 data sets, 2,000 networks to make" in stdout
    assert "of memory in each of 1 process\n" in stdout
    assert "of one core or device" in stdout
    assert list(tmp_path.iterdir()) == []


def test_time_is_that_of_whole_blocks() -> None:
    """Ten networks cost as much as the block that they are drawn in, and have the rows of ten."""
    ten = job("network.width=64", "ensemble.networks=10", "ensemble.block=512")
    first, time = forecast.lines([ten], [10], 1, [0.25])
    assert time.startswith("about 2 min, 2 min")  # 512 networks of 0.25 s
    assert f"{counts(ten).operations * 512:.1e} operations" in first
    assert f"{counts(ten).rows * 10 / 2**10:,.1f} kiB of rows" in first


def test_parts_of_long_trainings_are_one_block() -> None:
    """A part of a long training is one block, so that a kill loses little, unless that makes too many files."""
    long = job("network.width=512", "dynamics=gradient_descent", "dynamics.eta=0.1", "dynamics.steps=100000",
               "ensemble.networks=100000", "observables=training")  # fmt: skip
    assert part_size(long) == long.block
    assert 10**8 / part_blocks(1, 1000, 5e10, 10**8) <= FILES
    carried = job("network.width=512", "observables=ntk_sums", "ensemble.networks=1000000")
    assert part_size(carried) * counts(carried).operations < 2e13, "some minutes of one core"
    plain = job("network.width=512", "observables=kernel", "ensemble.sampler=dense", "ensemble.networks=1000000")
    assert part_size(plain) * counts(carried).operations > 2e13, "negative control: a part sized without the products"
    short = job("network.width=512", "ensemble.networks=1000000")
    assert part_size(short) > 8 * short.block
