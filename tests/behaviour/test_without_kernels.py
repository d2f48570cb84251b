"""A CUDA device whose torch has no Triton: torch operations do the work, and the run says so in one line.

No device is needed: Triton is hidden, and the device is a name.
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from simulate.__main__ import main
from simulate.api import read_one
from simulate.numerics import normals
from simulate.running import runner
from simulate.running.prepare import prepare
from simulate.running.progress import Progress

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def no_triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(normals, "find_spec", lambda name: None)
    normals.on_device.cache_clear()
    yield
    normals.on_device.cache_clear()


@pytest.mark.usefixtures("no_triton")
def test_why() -> None:
    assert not normals.on_device(CUDA)
    assert "there is no Triton beside torch" in str(normals.without_kernels(CUDA))
    assert normals.without_kernels(CPU) is None


def test_with_triton_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: the kernels are taken, and there is nothing to say."""
    monkeypatch.setattr(normals, "find_spec", lambda name: object())
    normals.on_device.cache_clear()
    assert normals.on_device(CUDA)
    assert normals.without_kernels(CUDA) is None
    normals.on_device.cache_clear()


@pytest.mark.usefixtures("no_triton")
def test_a_run_begins_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sweep of two jobs on a CUDA device says it once, before anything else; in a notebook, where a run is quiet, it
    is a warning. The run ends right after it, for there is no device."""
    job = prepare(read_one(["ensemble.device=cpu", "workers=1", f"output={tmp_path}/a"]))
    ensemble = replace(job.settings.ensemble, device="cuda")
    jobs = [replace(job, settings=replace(job.settings, ensemble=ensemble, output=f"{tmp_path}/{k}")) for k in "ab"]

    def ends(jobs: object, progress: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_processes", ends)
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        runner.run(jobs, Progress(stream))
    assert stream.getvalue().startswith("warning: ensemble.device=cuda: there is no Triton beside torch")
    assert stream.getvalue().count("\n") == 1
    with pytest.warns(UserWarning, match="no Triton beside torch"), pytest.raises(KeyboardInterrupt):
        runner.run(jobs, Progress(stream, quiet=True))
    assert stream.getvalue().count("\n") == 1


@pytest.mark.usefixtures("no_triton")
def test_a_run_on_a_cpu_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["ensemble.device=cpu", "workers=1", "network.width=4", "ensemble.networks=8"]
    assert main([*overrides, f"output={tmp_path}/a"]) == 0
    assert "warning" not in capsys.readouterr().err
