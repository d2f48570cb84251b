"""From settings to a job: checks that need the machine or the inputs are made here, and nothing is written."""

import os
import shutil
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from simulate import inputs
from simulate.running.jobs import Job
from simulate.running.memory import fitting
from simulate.running.plan import block_size
from simulate.running.process import one_thread
from simulate.running.samplers import stream_of, training_of
from simulate.settings import Settings
from simulate.settings.reader import SettingsError
from simulate.store.layout import MOST_COLUMNS, layout_of
from simulate.store.manifest import check
from simulate.store.parts import committed
from simulate.training.stability import AUTO, stable_eta


def prepare(settings: Settings) -> Job:
    """The job that the settings ask for, after all checks that need the machine or the inputs; nothing is written.

    Raises SettingsError for a setting that the machine or the inputs do not allow, StoreError where the output holds
    another data set.
    """
    settings = replace(settings, ensemble=replace(settings.ensemble, device=_device(settings.ensemble.device)))
    samples = inputs.load(settings.inputs)
    D, n_0 = samples.x.shape
    if settings.dynamics.name != "none":
        if samples.y is None:
            raise SettingsError(
                "dynamics", settings.dynamics.name, f"inputs={settings.inputs.source} has no targets to train on"
            )
        if settings.dynamics.loss == "cross_entropy" and not _are_labels(samples.y):
            right = "targets of cross_entropy are +1 and -1 for one output, or >= 0 for several"
            raise SettingsError("dynamics.loss", "cross_entropy", right)
        if settings.dynamics.batch > samples.train:
            raise SettingsError("dynamics.batch", settings.dynamics.batch, f"there are {samples.train} train samples")
        if samples.y.shape[1] != settings.network.outputs:
            raise SettingsError(
                "network.outputs", settings.network.outputs, f"the targets have {samples.y.shape[1]} components"
            )
    layout = layout_of(settings, D)
    columns = layout.column_count()
    if columns > MOST_COLUMNS:
        right = f"{columns} columns for {D} samples; at most {MOST_COLUMNS}: fewer samples or observables"
        raise SettingsError("observables.record", list(settings.observables.record), right)
    block = block_size(n_0, D, settings.ensemble.device, settings)
    job = Job(settings, samples, layout, block)
    fitting([job], 1)
    if settings.dynamics.name != "none" and not settings.dynamics.eta:
        with torch.inference_mode(), one_thread():
            few = min(job.block, AUTO)  # networks that are drawn at a time
            drawn = (training_of(job, stream_of(job, k, few)) for k in range(0, AUTO, few))
            eta = stable_eta(drawn)
        job = replace(job, settings=replace(settings, dynamics=replace(settings.dynamics, eta=eta)))
    _check_output(job)
    return replace(job, recorded=check(job.path, job.manifest()))


def _are_labels(y: NDArray[np.float64]) -> bool:
    return bool(np.all(np.abs(y) == 1) if y.shape[1] == 1 else np.all(y >= 0))


def _device(wanted: str) -> str:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingsError("ensemble.device", wanted, "torch finds no CUDA device here; use cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def _check_output(job: Job) -> None:
    """Raises SettingsError where the output cannot be a folder, cannot be written to, or has too little room."""
    path = job.path
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if path.is_symlink():
        raise SettingsError("output", str(path), "a link; give the folder that it points to")
    if not parent.is_dir():
        raise SettingsError("output", str(path), f"{parent} is a file")
    if not os.access(parent, os.W_OK):
        raise SettingsError("output", str(path), f"{parent} cannot be written to")
    missing = job.settings.ensemble.networks - sum(high - low for low, high in committed(path))
    need, free = missing * job.layout.row_bytes(), shutil.disk_usage(parent).free
    if need > free:
        right = f"{need / 2**30:,.1f} GiB of rows do not fit into the {free / 2**30:,.1f} GiB free at {path}"
        raise SettingsError("ensemble.networks", job.settings.ensemble.networks, right)
