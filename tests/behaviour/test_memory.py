"""Forecasts of memory, and refusal of sweeps that do not fit."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from simulate.__main__ import main
from simulate.api import read_one
from simulate.running import memory, plan
from simulate.running.jobs import Job
from simulate.running.memory import check_task, fitting, peak_bytes, resident, unused
from simulate.running.prepare import prepare
from simulate.settings.reader import SettingsError
from simulate.store.parts import committed
from simulate.store.sets import DataSet, open_data_set


def job(*overrides: str) -> Job:
    return prepare(read_one([*overrides, "ensemble.device=cpu", "output=nowhere"]))


MEMORY_CHILD = """
import json, sys
from pathlib import Path
from simulate.running import memory, prepare, runner
from simulate.api import read_one
from simulate.running.progress import Progress
job = prepare.prepare(read_one(sys.argv[1:]))
expected = memory.unused() + sum(memory.peak_bytes(job))
runner.run([job], Progress(quiet=True))
status = Path("/proc/self/status").read_text().splitlines()
print(json.dumps([expected, next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    "overrides",
    [
        ["network.width=16", "ensemble.networks=50000"],
        ["network.width=1024", "network.depth=32", "observables=ntk", "inputs.count=2", "ensemble.networks=512"],
        ["network.width=256", "network.depth=1000", "ensemble.block=256", "ensemble.networks=10"],
        ["network.width=2048", "network.depth=6", "dynamics=momentum", "dynamics.eta=0.01", "dynamics.steps=2",
         "observables.record=[outputs,moved]", "ensemble.networks=3"],
        ["network.width=64", "network.depth=3", "dynamics=gradient_descent", "dynamics.steps=2", "observables=training",
         "ensemble.networks=128"],  # a step size of its own has drawn networks before
        pytest.param(
            ["network.width=64", "network.depth=10000", "observables=ntk", "activation=relu",
             "observables.layers=[10000]", "ensemble.networks=10"],
            marks=pytest.mark.long,
        ),
        ["network.width=32", "network.depth=3", "observables=kernel", "inputs.count=100", "ensemble.networks=200"],
        ["network.width=32", "network.depth=3", "observables=posterior", "inputs.count=100", "ensemble.networks=2000"],
        ["network.width=256", "network.depth=4", "observables=ntk_sums", "ensemble.block=256", "ensemble.networks=256"],
        ["network.width=256", "network.depth=4", "observables.record=[jacobian]", "ensemble.block=256",
         "ensemble.networks=256"],
        ["network.width=1024", "network.depth=9", "observables.record=[response]", "observables.layers=[8]",
         "inputs.count=2", "ensemble.networks=2000"],
    ],
)  # fmt: skip
def test_memory(overrides: list[str], tmp_path: Path) -> None:
    """Forecast and measured peak memory of the process agree within 20 %; benchmarks/forecast.py tests more cases."""
    expected, peak = forecast_and_peak(MEMORY_CHILD, [*overrides, f"output={tmp_path}/a"])
    assert expected == pytest.approx(peak, rel=0.2)


def forecast_and_peak(child: str, overrides: list[str]) -> tuple[float, float]:
    command = [sys.executable, "-c", child, *overrides, "workers=1", "ensemble.device=cpu"]
    expected, peak = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return expected, peak


BEHIND = """
from simulate.running import plan
plan.APART, plan.PARTS, plan.cores = ("cpu",), 10**6, lambda: 4
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_of_parts_that_threads_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where a CPU stands for a device and three threads write, each a part of one block. The forecast without
    them is too low."""
    rows = ["network.width=4", "network.depth=8", "observables=preactivations", "inputs.count=4"]
    rows += ["ensemble.block=8192", "ensemble.networks=49152", f"output={tmp_path}/a"]
    expected, peak = forecast_and_peak(BEHIND + MEMORY_CHILD, rows)
    assert expected == pytest.approx(peak, rel=0.2)
    alone = peak_bytes(job(*rows))[0]
    monkeypatch.setattr(plan, "APART", ("cpu",))
    monkeypatch.setattr(plan, "PARTS", 10**6)
    monkeypatch.setattr(plan, "cores", lambda: 4)
    assert expected - (peak_bytes(job(*rows))[0] - alone) < 0.8 * peak


GIB = 2**30


@pytest.mark.parametrize(
    ("overrides", "free", "named", "hint"),
    [
        (["network.width=16384", "network.depth=4", "ensemble.sampler=dense"], GIB, "network.width",
         "one network needs 2."),
        (["network.width=2048", "network.depth=4", "ensemble.sampler=dense", "ensemble.block=64"], GIB,
         "ensemble.block=64", "choose a smaller block"),
        (["workers=6", "network.width=64"], 2 * GIB, "workers=6", "fit into the free memory"),
        (["network.width=16384", "network.depth=4", "dynamics=gradient_descent"], GIB, "network.width", "GiB"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    overrides: list[str], free: int, named: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(memory, "available", lambda: free)
    monkeypatch.setattr(memory, "resident", lambda: GIB // 2)  # the process of the tests holds what others have left
    assert main([*overrides, "ensemble.device=cpu", f"output={tmp_path}/x"]) == 2
    stderr = capsys.readouterr().err
    assert named in stderr
    assert hint in stderr
    assert stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_auto_takes_the_processes_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    small = job("network.width=64")
    each = unused() + sum(peak_bytes(small))
    monkeypatch.setattr(memory, "available", lambda: int(2.5 * each) - resident())
    assert fitting([small], 8) == 2
    assert fitting([small], 1) == 1


def test_a_task_is_not_charged_for_the_process_that_submits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook that holds 50 GiB submits tasks that need less than one; a task that does not fit is refused."""
    monkeypatch.setattr(memory, "resident", lambda: 50 * GIB)
    small = job("network.width=64")
    check_task([small], GIB)
    with pytest.raises(SettingsError, match=r"needs 0\.\d GiB of memory and cluster\.memory gives 0\.2"):
        check_task([small], GIB // 4)


def limited(megabytes: int) -> Callable[[], None]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20,) * 2)

    return limit


BIG = ["network.width=12000", "network.depth=4", "ensemble.sampler=dense", "ensemble.networks=2", "workers=1",
       "ensemble.device=cpu"]  # fmt: skip
# The limit counts from what the libraries take, which differs between their versions.
UNCHECKED = """
import resource, sys
import numba, psutil, pyarrow.parquet, torch
from simulate.__main__ import main
from simulate.running import memory
memory.available = lambda: 2**50
limit = psutil.Process().memory_info().vms + 400 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[1:]))
"""


def test_a_limit_on_the_memory_of_the_process_is_respected(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "simulate", *BIG, f"output={tmp_path}/a"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limited(2000))
    assert done.returncode == 2, done.stderr
    assert "one network needs" in done.stderr
    assert not (tmp_path / "a").exists()


def test_out_of_memory_on_the_way(tmp_path: Path, run: Callable[..., DataSet]) -> None:
    """One line says which setting would need less, committed parts are kept, and the run resumes with more memory."""
    small = ["network.width=128", "ensemble.block=4096", "ensemble.sampler=dense", "observables=ntk", "network.depth=3",
             "ensemble.networks=6000", "ensemble.device=cpu", "workers=1"]  # fmt: skip
    ten = [*small[:-3], "ensemble.networks=10", "ensemble.device=cpu", "workers=1"]
    output = f"output={tmp_path}/a"
    run(*ten, output)
    command = [sys.executable, "-c", UNCHECKED, *small, output]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "out of memory with a block of 4096 networks; ensemble.block=2048 takes less" in done.stderr
    assert done.stderr.count("error:") == 1
    assert committed(tmp_path / "a") == [(0, 10)]
    run(*small, output)
    assert open_data_set(tmp_path / "a").table().equals(run(*small).table())
