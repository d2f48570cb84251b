"""The order of the upper half: settings -> blocks -> ensemble -> training -> observables -> part files.

The only module that knows it. Processes share nothing but the disk: a worker takes a range of
addresses, computes its blocks with one thread, and commits one part.
"""

import ctypes
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simulate import activations, blocks, dynamics, ensemble, inputs, law, schema, store, streams, taylor
from simulate.differentials import differentials, fourth
from simulate.observables import MEASURE, Snapshot
from simulate.progress import Progress
from simulate.settings import Activation, Settings, SettingsError


@dataclass(frozen=True)
class Job:
    """A data set to be made: everything resolved, nothing written yet."""

    settings: Settings
    samples: inputs.Samples
    layout: schema.Layout
    block: int

    @property
    def path(self) -> Path:
        return Path(self.settings.output)

    @property
    def first(self) -> int:
        return self.settings.ensemble.first

    @property
    def last(self) -> int:
        return self.first + self.settings.ensemble.networks

    def cost(self) -> float:
        """Of one network, in bytes touched: its working set, once for the measurement and twice a gradient."""
        s, x = self.settings, self.samples.x
        gradients = s.dynamics.steps * (len(dynamics.STAGES) if s.dynamics.name == "gradient_flow" else 1)
        return blocks.network_bytes(x.shape[1], len(x), s) * (1 + 2 * gradients)

    def law_in_words(self) -> str:
        """Whose parameters are drawn; not on which inputs, by which training or on which device, so that those can
        differ on the same networks."""
        s = self.settings
        sizes = [self.samples.x.shape[1], *s.network.widths, s.network.outputs]
        e = s.ensemble
        return f"{e.sampler} {s.activation.spec} {'-'.join(map(str, sizes))} {e.dtype}"

    def identity(self) -> dict[str, Any]:
        x = np.ascontiguousarray(self.samples.x)
        y = self.samples.y if self.samples.y is not None else np.zeros(0)
        digest = hashlib.sha256(x.tobytes() + np.ascontiguousarray(y).tobytes()).hexdigest()
        out = self.settings.identity() | {"samples": digest}
        out["ensemble"]["block"] = self.block
        out["network"]["n_0"] = x.shape[1]
        return out

    def manifest(self) -> dict[str, Any]:
        return {
            "format": schema.FORMAT,
            "identity": self.identity(),
            "settings": asdict(self.settings),
            "layout": asdict(self.layout),
            "first": self.first,
            "networks": self.settings.ensemble.networks,
            "versions": {"nearly-gaussian": package_version(), "torch": torch.__version__, "numpy": np.__version__},
            "device": device_name(self.settings.ensemble.device),
            "columns": {
                name: {"unit": "dimensionless", "meaning": family.meaning}
                for family in self.layout.families()
                for name in self.layout.names(family)
            },
        }


def package_version() -> str:
    try:
        return version("nearly-gaussian")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"cpu {torch.backends.cpu.get_cpu_capability()}"


def prepare(settings: Settings) -> Job:
    """Check what only the machine and the inputs can tell, and write nothing."""
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
    layout = schema.layout(settings, D)
    columns = layout.column_count()
    if columns > schema.MOST_COLUMNS:
        right = f"{columns} columns for {D} samples; at most {schema.MOST_COLUMNS}: fewer samples or observables"
        raise SettingsError("observables.record", list(settings.observables.record), right)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    blocks.refuse_too_large(n_0, D, settings, memory // 2)
    block = blocks.block_size(n_0, D, settings.ensemble.device, settings)
    if block * (blocks.network_bytes(n_0, D, settings) + layout.row_bytes()) > memory:
        raise SettingsError("ensemble.block", block, f"a block needs more than the {memory / 2**30:.0f} GiB there are")
    job = Job(settings, samples, layout, block)
    if settings.dynamics.name != "none" and not settings.dynamics.eta:
        with torch.inference_mode(), _one_thread():
            eta = dynamics.stable_eta(_training(job, _stream(job, 0, dynamics.AUTO)))
        job = replace(job, settings=replace(settings, dynamics=replace(settings.dynamics, eta=eta)))
    _check_output(job)
    store.check(job.path, job.manifest())
    return job


def _are_labels(y: NDArray[np.float64]) -> bool:
    return bool(np.all(np.abs(y) == 1) if y.shape[1] == 1 else np.all(y >= 0))


def _device(wanted: str) -> str:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingsError("ensemble.device", wanted, "torch finds no CUDA device here; use cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def _check_output(job: Job) -> None:
    path = job.path
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not parent.is_dir():
        raise SettingsError("output", str(path), f"{parent} is a file")
    if not os.access(parent, os.W_OK):
        raise SettingsError("output", str(path), f"{parent} cannot be written to")
    missing = job.settings.ensemble.networks - sum(high - low for low, high in store.parts(path))
    need, free = missing * job.layout.row_bytes(), shutil.disk_usage(parent).free
    if need > free:
        right = f"{need / 2**30:,.1f} GiB of rows do not fit into the {free / 2**30:,.1f} GiB free at {path}"
        raise SettingsError("ensemble.networks", job.settings.ensemble.networks, right)


# ------------------------------------------------------------------------------------------- computing


def compute_block(job: Job, index: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.int8]]:
    """All rows of block `index`: family prefix -> (M, steps, layers, columns), and status (M, steps)."""
    layout, M = job.layout, job.block
    families = [(family.prefix, layout.defined(family), layout.kept(family)) for family in layout.families()]
    out = {
        family.prefix: np.full(
            (M, len(layout.steps), len(layout.layers), len(layout.names(family))), np.nan, dtype=layout.dtype
        )
        for family in layout.families()
    }
    finite = np.ones((M, len(layout.steps)), dtype=bool)
    # What overflows, or does not fit the stored precision, has diverged: a row that says so.
    with torch.inference_mode(), np.errstate(all="ignore"):
        for step, snapshot in _snapshots(job, index):
            s, at = layout.steps.index(step), layout.layers.index(snapshot.layer)
            for prefix, defined, kept in families:
                if defined[at]:
                    cells = out[prefix][:, s, at]
                    measured = MEASURE[prefix](snapshot).cpu().numpy()
                    cells[...] = measured if kept is None else measured[:, kept]
                    finite[:, s] &= np.isfinite(cells).all(axis=1)
    status = np.where(finite, schema.OK, schema.NOT_FINITE).astype(np.int8)
    return out, status


def _stream(job: Job, first: int, M: int) -> streams.Stream:
    e = job.settings.ensemble
    key = streams.key(e.seed, job.law_in_words())
    return streams.Stream(key, first, M, getattr(torch, e.dtype), torch.device(e.device))


def _snapshots(job: Job, index: int) -> Iterator[tuple[int, Snapshot]]:
    stream = _stream(job, index * job.block, job.block)
    sampler = _without_weights if job.settings.ensemble.sampler == "law" else _with_weights
    return sampler(job, stream)


def _without_weights(job: Job, stream: streams.Stream) -> Iterator[tuple[int, Snapshot]]:
    settings, outputs = job.settings, job.settings.network.outputs
    x = torch.tensor(job.samples.x, dtype=stream.dtype, device=stream.device)
    s, slope = activations.functions(settings.activation)
    wanted = {family.prefix for family in job.layout.families()}
    drawn = law.sample(settings, x, stream, s, last=bool(wanted - {"g"}))
    backward: Callable[[], dict[int, torch.Tensor]] = _no_ntk
    if "H" in wanted:
        layers = list(drawn)
        drawn = iter(layers)
        backward = cache(partial(law.ntk, settings, layers, job.layout.output_layers, stream, slope))
    for layer, one in enumerate(drawn, start=1):
        if layer in job.layout.layers:
            snapshot = Snapshot(
                layer,
                outputs,
                preactivations=partial(_given, one.z),
                kernel=partial(_given, one.g),
                ntk=partial(_of_layer, backward, layer),
            )
            yield 0, snapshot


def _training(job: Job, stream: streams.Stream) -> dynamics.Training:
    """Networks as they are drawn, with what trains them."""
    x, y, train = job.samples.x, job.samples.y, job.samples.train
    where: dict[str, Any] = {"dtype": stream.dtype, "device": stream.device}
    train_x = torch.tensor(x[:train], **where)
    train_y = torch.tensor(y[:train], **where) if y is not None else train_x[:, :0]
    parameters = ensemble.draw(job.settings, x.shape[1], stream)
    functions = activations.functions(job.settings.activation)
    return dynamics.Training(parameters, train_x, train_y, *functions, job.settings.dynamics, stream)


def _with_weights(job: Job, stream: streams.Stream) -> Iterator[tuple[int, Snapshot]]:
    settings, layout, outputs = job.settings, job.layout, job.settings.network.outputs
    training = _training(job, stream)
    parameters, s, slope = training.parameters, training.s, training.slope
    x = torch.tensor(job.samples.x, dtype=stream.dtype, device=stream.device)
    C_b, C_W = settings.initialization.C_b, settings.initialization.C_W
    rates = settings.dynamics.lambda_b, settings.dynamics.lambda_W
    orders = (activations.derivatives(settings.activation),)
    start = [W.clone() for W in parameters.W] if "moved" in layout.record else []
    models = _models(training, settings.activation, x, layout.steps) if "taylor" in layout.record else iter(())
    for step in dynamics.trajectory(training, layout.steps):
        z, signals = ensemble.forward(parameters, x, s)
        model = next(models, None)
        for layer in layout.layers:
            ending = ensemble.truncated(parameters, z, signals, layer, outputs)
            snapshot = Snapshot(
                layer,
                outputs,
                preactivations=partial(_given, z[layer - 1]),
                kernel=partial(ensemble.kernel, signals[layer - 1], C_b, C_W),
                ntk=partial(ensemble.ntk, *ending, slope, *rates),
                # Recorded in several families of columns, computed once.
                differentials=cache(partial(differentials, *ending, *orders, *rates, "ddntk" in layout.record)),
                fourth=partial(fourth, *ending, *orders, *rates),
                loss=partial(_loss, training, z[-1]),
                moved=partial(_moved, parameters, start, layer),
                taylor=partial(_there, model),
            )
            yield step, snapshot


def _models(
    training: dynamics.Training, activation: Activation, x: torch.Tensor, steps: tuple[int, ...]
) -> Iterator[torch.Tensor]:
    """The Taylor models of networks that have not been trained yet."""
    rule, parameters = training.rule, training.parameters
    rates = rule.lambda_b, rule.lambda_W
    z, signals = ensemble.forward(parameters, x, training.s)
    outputs, D, N = z[-1].shape[2], len(x), len(training.x)
    H = ensemble.ntk(parameters, z, signals, training.slope, *rates).reshape(-1, outputs * D, outputs * D)
    dH, ddI, ddII = differentials(parameters, z, signals, activations.derivatives(activation), *rates, second=True)
    train = torch.tensor([i * D + a for i in range(outputs) for a in range(N)], device=x.device)
    flat = z[-1].double().transpose(1, 2).flatten(1)
    known = dH, _there(ddI), _there(ddII)
    targets = training.y.double().T.flatten()
    return taylor.trajectory(flat, H, known, targets, train, rule.eta, rule.name == "gradient_flow", steps)


def _loss(training: dynamics.Training, z: torch.Tensor) -> torch.Tensor:
    loss, _ = dynamics.LOSSES[training.rule.loss](z[:, : len(training.x)], training.y)
    return loss


def _moved(parameters: ensemble.Parameters, start: list[torch.Tensor], layer: int) -> torch.Tensor:
    """|W(l) - W(l) at step 0| / |W(l) at step 0|, (M,)"""
    first = start[layer - 1].double()
    moved = parameters.W[layer - 1].double() - first
    return moved.square().sum(dim=(1, 2)).div(first.square().sum(dim=(1, 2))).sqrt()


def _there(value: torch.Tensor | None) -> torch.Tensor:
    assert value is not None
    return value


def _no_ntk() -> dict[int, torch.Tensor]:
    raise RuntimeError("the NTK is not recorded")


def _of_layer(values: Callable[[], dict[int, torch.Tensor]], layer: int) -> torch.Tensor:
    return values()[layer]


def _given(value: torch.Tensor) -> torch.Tensor:
    return value


def compute_part(job: Job, first: int, last: int) -> int:
    """Compute and commit the rows of networks [first, last); returns how many."""
    pieces, statuses = [], []
    for index in range(first // job.block, -(-last // job.block)):
        start = index * job.block
        low, high = max(first - start, 0), min(last - start, job.block)
        # A block is always computed whole and then trimmed: the same networks whatever range is asked for.
        values, status = compute_block(job, index)
        pieces.append({prefix: array[low:high] for prefix, array in values.items()})
        statuses.append(status[low:high])
    values = {prefix: np.concatenate([piece[prefix] for piece in pieces]) for prefix in pieces[0]}
    metadata = {"identity": hashlib.sha256(json.dumps(job.identity(), sort_keys=True).encode()).hexdigest()}
    store.write_part(job.path, job.layout, metadata, first, values, np.concatenate(statuses))
    return last - first


# ------------------------------------------------------------------------------------------- running


def workers(settings: Settings) -> int:
    if settings.ensemble.device == "cuda":
        return 1
    return settings.workers or len(os.sched_getaffinity(0))


def run(jobs: Sequence[Job], progress: Progress) -> list[store.DataSet]:
    """Make the data sets, or finish them. KeyboardInterrupt leaves what is committed, to be resumed."""
    tasks: list[tuple[Job, int, int]] = []
    for job in jobs:
        s = job.samples
        store.create(job.path, job.manifest(), s.x, s.y, s.train)
        per_part = blocks.part_blocks(job.block, job.layout.row_bytes(), job.cost(), job.settings.ensemble.networks)
        done = store.parts(job.path)
        ranges = blocks.plan(job.first, job.last, done, job.block, per_part)
        missing = sum(high - low for low, high in ranges)
        progress.start(str(job.path), job.settings.ensemble.networks, missing, job.cost())
        tasks += [(job, low, high) for low, high in ranges]
    count = min(workers(jobs[0].settings), len(tasks))
    with progress:
        for job, networks in _in_this_process(tasks) if count <= 1 else _in_workers(tasks, count):
            progress.advance(str(job.path), networks)
    return [store.open_data_set(job.path) for job in jobs]


def _in_this_process(tasks: list[tuple[Job, int, int]]) -> Iterator[tuple[Job, int]]:
    with _one_thread():
        for job, low, high in tasks:
            yield job, compute_part(job, low, high)


def _in_workers(tasks: list[tuple[Job, int, int]], count: int) -> Iterator[tuple[Job, int]]:
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start_worker) as pool:
        futures = {pool.submit(compute_part, *task): task[0] for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise RuntimeError(
                "a worker process died (out of memory?); what is committed is kept: run the same command "
                "again to go on, with workers=1 or a smaller ensemble.block if it happens again"
            ) from None
        except BaseException:
            # Parts appear whole or not at all, so a worker can be stopped at any moment.
            for child in multiprocessing.active_children():
                if child not in others:
                    child.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(1)
    keep_memory()


def keep_memory() -> None:
    """Tell glibc to keep what blocks free for the next block. Giving arrays of a megabyte back to the system and
    asking for them again costs a page fault every thousand numbers, up to a third of a run; the peak is the same."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another allocator, another system
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, most = -1, -3, 2**30
    mallopt(M_TRIM_THRESHOLD, most)
    mallopt(M_MMAP_THRESHOLD, most)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread a process: the bits of a batched product may depend on how many share it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_memory()
    try:
        yield
    finally:
        torch.set_num_threads(before)
