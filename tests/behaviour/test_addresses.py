"""A network depends on its address alone, and not on ranges, order, workers or interruptions."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import simulate
from simulate.api import read_one
from simulate.networks import dense, streams
from simulate.running import compute
from simulate.running.plan import block_size, in_one_pass, missing_ranges
from simulate.running.prepare import prepare
from simulate.store.files import StoreError
from simulate.store.parts import committed
from simulate.store.sets import DataSet, open_data_set
from tests import forks

CASES = {
    "law": ["network.width=16", "ensemble.block=32"],
    "law, ntk": ["network.width=16", "ensemble.block=32", "observables=ntk"],
    "law, layer by layer": ["network.width=16", "ensemble.block=32", "observables=ntk", "activation=gelu"],
    "dense": ["network.width=16", "ensemble.block=32", "observables=ntk", "ensemble.sampler=dense"],
    "derivatives": ["network.width=8", "ensemble.block=32", "observables=derivatives", "network.outputs=2"],
    "training": [
        "network.width=16", "ensemble.block=32", "dynamics=gradient_descent", "dynamics.steps=5", "dynamics.eta=0.1",
        "observables=training", "inputs.test=1",
    ],
}  # fmt: skip


def same(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Whether two tables are equal bit for bit, with NaN equal to NaN."""
    return list(a.columns) == list(b.columns) and all(a[c].to_numpy().tobytes() == b[c].to_numpy().tobytes() for c in a)


@pytest.mark.parametrize("case", CASES)
def test_two_halves_that_cut_a_block(case: str, run: Callable[..., DataSet]) -> None:
    """Networks 0..99 of one run are 0..49 and 50..99 of two runs; 50 lies inside block 1."""
    all_rows = run(*CASES[case], "ensemble.networks=100").table()
    first = run(*CASES[case], "ensemble.networks=50").table()
    second = run(*CASES[case], "ensemble.networks=50", "ensemble.first=50").table()
    assert same(all_rows, pd.concat([first, second], ignore_index=True))


@pytest.mark.parametrize("case", CASES)
def test_any_order_of_blocks(case: str, tmp_path: Path) -> None:
    base = read_one([*CASES[case], "ensemble.networks=100", "ensemble.device=cpu", f"output={tmp_path}/a"])
    job = prepare(base)
    forwards = [compute.compute_block(job, k) for k in range(4)]
    backwards = [compute.compute_block(job, k) for k in reversed(range(4))][::-1]
    for (values, status), (values_again, status_again) in zip(forwards, backwards, strict=True):
        assert status.tobytes() == status_again.tobytes()
        assert all(values[k].tobytes() == values_again[k].tobytes() for k in values)


@pytest.mark.parametrize("case", CASES)
def test_arrays_that_a_block_leaves_to_the_next(case: str) -> None:
    """A block that draws over the weights of the last one has the rows of a block with new arrays.

    The arrays stay the same from block to block, and no row changes when they are drawn over.
    """
    job = prepare(read_one([*CASES[case], "ensemble.networks=100", "ensemble.device=cpu"]))
    arrays: streams.Arrays = {}
    in_turn = [compute.compute_block(job, k, arrays)[0] for k in range(3)]
    addresses = {layer: array.data_ptr() for layer, array in arrays.items()}
    # One pass keeps nothing of a layer.
    assert addresses == {} if in_one_pass(job) else len(addresses) >= job.settings.network.depth - 1
    compute.compute_block(job, 3, arrays)
    assert addresses == {layer: array.data_ptr() for layer, array in arrays.items()}
    for k, values in enumerate(in_turn):
        alone, _ = compute.compute_block(job, k)
        assert all(values[family].tobytes() == alone[family].tobytes() for family in alone)


@pytest.mark.parametrize("case", CASES)
def test_one_and_two_workers(case: str, run: Callable[..., DataSet], tmp_path: Path) -> None:
    alone = run(*CASES[case], "ensemble.networks=200")
    together = simulate.run(
        *CASES[case], "ensemble.networks=200", "workers=2", "ensemble.device=cpu", f"output={tmp_path}/two"
    )
    assert same(alone.table(), together.table())


def test_other_processes_of_the_caller_are_left_alone(tmp_path: Path) -> None:
    """A process that a notebook starts during a run with workers outlives the run; the run's own workers do not."""
    started: list[BaseProcess] = []

    def start_process() -> None:
        while not committed(tmp_path / "a"):
            time.sleep(0.01)
        started.append(multiprocessing.get_context("spawn").Process(target=time.sleep, args=(120,)))
        started[0].start()

    thread = threading.Thread(target=start_process)
    thread.start()
    simulate.run("network.width=256", "network.depth=6", "ensemble.sampler=dense", "ensemble.block=4",
                 "ensemble.networks=1500", "workers=2", "ensemble.device=cpu", f"output={tmp_path}/a")  # fmt: skip
    thread.join()
    assert multiprocessing.active_children() == started
    started[0].terminate()
    started[0].join()


def test_threads_of_the_caller_do_not_matter(run: Callable[..., DataSet]) -> None:
    with_one = run(*CASES["dense"], "ensemble.networks=64").table()
    torch.set_num_threads(2)
    try:
        assert same(with_one, run(*CASES["dense"], "ensemble.networks=64").table())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_the_block_is_part_of_the_identity(run: Callable[..., DataSet], tmp_path: Path) -> None:
    """Another block size gives the same networks only to rounding, so a data set keeps its block size.

    The size follows from the architecture, whatever the number of networks.
    """
    a = run("network.width=16", "ensemble.block=32", "ensemble.networks=64").table()
    b = run("network.width=16", "ensemble.block=64", "ensemble.networks=64").table()
    pd.testing.assert_frame_equal(a, b, rtol=1e-5, atol=1e-6)
    run("ensemble.block=32", "ensemble.networks=10", f"output={tmp_path}/x")
    with pytest.raises(StoreError, match=r"ensemble\.block=32, not 64"):
        run("ensemble.block=64", "ensemble.networks=10", f"output={tmp_path}/x")
    s = read_one(["network.width=64"])
    for networks in (10, 10**6):
        other = replace(s, ensemble=replace(s.ensemble, networks=networks))
        assert block_size(64, 2, "cpu", other) == block_size(64, 2, "cpu", s)


def test_another_step_size_trains_the_same_networks(run: Callable[..., DataSet]) -> None:
    a = run(*CASES["training"], "ensemble.networks=32", "dynamics.eta=0.1").table()
    b = run(*CASES["training"], "ensemble.networks=32", "dynamics.eta=0.2").table()
    start = a["step"] == 0
    assert same(a[start], b[start])
    assert not same(a[~start], b[~start])


def test_a_completed_run_is_not_computed_again(run: Callable[..., DataSet], tmp_path: Path) -> None:
    run(*CASES["law"], "ensemble.networks=100", f"output={tmp_path}/a")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").glob("networks/part-*")}
    run(*CASES["law"], "ensemble.networks=100", f"output={tmp_path}/a")
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "a").glob("networks/part-*")}


def test_an_ensemble_grows_and_keeps_its_networks(run: Callable[..., DataSet], tmp_path: Path) -> None:
    run(*CASES["law"], "ensemble.networks=70", f"output={tmp_path}/a")
    old = set((tmp_path / "a").glob("networks/part-*"))
    grown = run(*CASES["law"], "ensemble.networks=150", f"output={tmp_path}/a")
    assert old <= set((tmp_path / "a").glob("networks/part-*"))
    assert same(grown.table(), run(*CASES["law"], "ensemble.networks=150").table())
    with pytest.raises(StoreError, match="would leave out"):
        run(*CASES["law"], "ensemble.networks=60", f"output={tmp_path}/a")


def test_another_config_is_refused(run: Callable[..., DataSet], tmp_path: Path) -> None:
    data = run(*CASES["law"], "ensemble.networks=40", f"output={tmp_path}/a")
    before = data.table()
    for change, named in (
        ("activation=sin", "activation.name"),
        ("ensemble.seed=3", "ensemble.seed"),
        ("inputs.seed=3", "inputs.seed"),
        ("network.depth=5", "network.depth"),
    ):
        with pytest.raises(StoreError, match=named):
            run(*CASES["law"], "ensemble.networks=40", change, f"output={tmp_path}/a")
    assert same(open_data_set(tmp_path / "a").table(), before)


def command(output: Path, *extra: str) -> list[str]:
    slow = [
        "network.width=256",
        "network.depth=6",
        "ensemble.sampler=dense",
        "ensemble.networks=1024",
        "ensemble.block=4",
    ]
    return ["-m", "simulate", *slow, f"output={output}", "ensemble.device=cpu", *extra]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The rows of the run that `command` makes, by a process that nobody stops."""
    folder = tmp_path_factory.mktemp("undisturbed")
    forks.run(*command(folder / "b", "workers=1"), check=True)
    return open_data_set(folder / "b").table()


@pytest.mark.parametrize(("stop", "workers"), [(signal.SIGKILL, 1), (signal.SIGINT, 1), (signal.SIGINT, 2)])
def test_killed_and_resumed(stop: signal.Signals, workers: int, undisturbed: pd.DataFrame, tmp_path: Path) -> None:
    """A run that is stopped after some parts and run again ends with the rows of an undisturbed run."""
    process = forks.start(*command(tmp_path / "a", f"workers={workers}"), start_new_session=True)
    deadline = time.monotonic() + 60
    while len(committed(tmp_path / "a")) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, stop)
    _, stderr = process.communicate(timeout=60)
    done = len(committed(tmp_path / "a"))
    assert open_data_set(tmp_path / "a").networks < 1024, "the run must be stopped on its way"
    assert done >= 3
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert "run the same command to resume" in stderr
    resumed = forks.run(*command(tmp_path / "a", "workers=1"), check=True)
    assert "are there already" in resumed.stderr
    assert same(open_data_set(tmp_path / "a").table(), undisturbed)
    assert not list((tmp_path / "a").glob(".*tmp")), "files that the killed process had begun are removed"


def test_a_killed_training_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL of all processes of a run with two workers loses no bit; SGD draws its batches from addressed streams."""
    training = ["network.width=64", "network.depth=3", "ensemble.networks=2048", "ensemble.block=16", "dynamics=sgd",
                "dynamics.steps=60", "dynamics.eta=0.1", "inputs.count=4", "observables=training"]  # fmt: skip
    simulation = ["-m", "simulate", *training, "ensemble.device=cpu"]
    process = forks.start(*simulation, f"output={tmp_path}/a", "workers=2", start_new_session=True)
    deadline = time.monotonic() + 60
    while len(committed(tmp_path / "a")) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert 0 < open_data_set(tmp_path / "a").networks < 2048, "the run must be stopped on its way"
    for name in ("a", "b"):
        forks.run(*simulation, f"output={tmp_path}/{name}", "workers=1", check=True)
    assert same(open_data_set(tmp_path / "a").table(), open_data_set(tmp_path / "b").table())


def test_a_diverged_network_is_a_row_that_says_so(run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """One network is made to diverge; the others keep their bits."""
    draw = dense.draw

    def draw_one_wild(*arguments: object) -> object:
        parameters = draw(*arguments)  # type: ignore[arg-type]
        parameters.W[0][5] *= 1e30
        return parameters

    monkeypatch.setattr(dense, "draw", draw_one_wild)
    wild = run(*CASES["training"], "ensemble.networks=32", "activation=linear").table()
    calm_linear_settings = [*CASES["training"], "ensemble.networks=32", "activation=linear"]
    monkeypatch.setattr(dense, "draw", draw)
    calm = run(*calm_linear_settings).table()
    five = wild["network"] == 5
    assert (wild[five & (wild["step"] == 5)]["status"] == 1).all()
    assert (wild[~five]["status"] == 0).all()
    assert same(wild[~five], calm[~five])


def test_plan_covers_each_network_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, count = int(rng.integers(0, 50)), int(rng.integers(1, 200))
        cuts = sorted(set(rng.integers(first, first + count + 1, size=4).tolist()))
        done = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False) if b > a]
        block, per_part = int(rng.integers(1, 9)), int(rng.integers(1, 4))
        todo = missing_ranges(first, first + count, done, block * per_part)
        covered = sorted(k for a, b in [*done, *todo] for k in range(a, b))
        assert covered == list(range(first, first + count))
        assert all(a // (block * per_part) == (b - 1) // (block * per_part) for a, b in todo)
