"""The order of the upper half: addresses -> ensemble -> training -> observables -> rows of a block, parts of blocks."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simulate import activations, dynamics, ensemble, kernels, law, schema, store, streams, taylor
from simulate.differentials import differentials, fourth
from simulate.jobs import Job
from simulate.observables import MEASURE, Snapshot
from simulate.settings import Activation


def compute_block(
    job: Job, index: int, arrays: streams.Arrays | None = None
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int8]]:
    """All rows of block `index`: family prefix -> (M, steps, layers, columns), and status (M, steps).

    arrays: an empty one for the first block, then what the block before has left.
    """
    layout, M = job.layout, job.block
    families = [(family.prefix, layout.defined(family), layout.kept(family)) for family in layout.families()]
    out = {
        family.prefix: np.full(
            (M, len(layout.steps), len(layout.layers), len(layout.names(family))), np.nan, dtype=layout.dtype
        )
        for family in layout.families()
    }
    finite = np.ones((M, len(layout.steps)), dtype=bool)
    measured: list[tuple[int, NDArray[Any], list[int] | None, torch.Tensor]] = []
    torch.backends.cuda.matmul.allow_tf32 = job.settings.ensemble.tf32
    # What overflows, or does not fit the stored precision, has diverged: a row that says so.
    with torch.inference_mode(), np.errstate(all="ignore"):
        for step, snapshot in _snapshots(job, index, arrays):
            s, at = layout.steps.index(step), layout.layers.index(snapshot.layer)
            for prefix, defined, kept in families:
                if defined[at]:
                    measured.append((s, out[prefix][:, s, at], kept, MEASURE[prefix](snapshot)))
        for s, cells, kept, values in measured:  # at the end: a device is not waited for in between
            on_host = values.cpu().numpy()
            cells[...] = on_host if kept is None else on_host[:, kept]
            finite[:, s] &= np.isfinite(cells).all(axis=1)
    status = np.where(finite, schema.OK, schema.NOT_FINITE).astype(np.int8)
    return out, status


def stream_of(job: Job, first: int, M: int, arrays: streams.Arrays | None = None) -> streams.Stream:
    e = job.settings.ensemble
    key = streams.key(e.seed, job.law_in_words())
    return streams.Stream(key, first, M, getattr(torch, e.dtype), torch.device(e.device), arrays)


def _snapshots(job: Job, index: int, arrays: streams.Arrays | None) -> Iterator[tuple[int, Snapshot]]:
    stream = stream_of(job, index * job.block, job.block, arrays)
    sampler = _without_weights if job.settings.ensemble.sampler == "law" else _with_weights
    return sampler(job, stream)


def _without_weights(job: Job, stream: streams.Stream) -> Iterator[tuple[int, Snapshot]]:
    settings, outputs = job.settings, job.settings.network.outputs
    x = torch.tensor(job.samples.x, dtype=stream.dtype, device=stream.device)
    s, slope = activations.functions(settings.activation)
    wanted = {family.prefix for family in job.layout.families()}
    every = range(settings.network.depth)
    z_of = job.layout.layers if activations.slope_of_s(settings.activation) else every
    drawn = law.sample(settings, x, stream, s, last=bool(wanted - {"g"}), z_of=z_of)
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


def training_of(job: Job, stream: streams.Stream) -> dynamics.Training:
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
    training = training_of(job, stream)
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
    first, now = start[layer - 1].mT, parameters.W[layer - 1].mT
    moved, size = (kernels.gram(V.flatten(1)[:, None])[:, 0, 0] for V in (now - first, first))
    return moved.div(size).sqrt()


def _there(value: torch.Tensor | None) -> torch.Tensor:
    assert value is not None
    return value


def _no_ntk() -> dict[int, torch.Tensor]:
    raise RuntimeError("the NTK is not recorded")


def _of_layer(values: Callable[[], dict[int, torch.Tensor]], layer: int) -> torch.Tensor:
    return values()[layer]


def _given(value: torch.Tensor) -> torch.Tensor:
    return value


def compute_part(
    job: Job, first: int, last: int, arrays: streams.Arrays, may_commit: Callable[[], bool] = lambda: True
) -> int:
    """Compute and commit the rows of networks [first, last); returns how many. arrays: as of `compute_block`."""
    pieces, statuses = [], []
    for index in range(first // job.block, -(-last // job.block)):
        start = index * job.block
        low, high = max(first - start, 0), min(last - start, job.block)
        # A block is always computed whole and then trimmed: the same networks whatever range is asked for.
        values, status = compute_block(job, index, arrays)
        pieces.append({prefix: array[low:high] for prefix, array in values.items()})
        statuses.append(status[low:high])
    values = {prefix: np.concatenate([piece[prefix] for piece in pieces]) for prefix in pieces[0]}
    if not may_commit():
        raise SystemExit
    store.write_part(job.path, job.layout, {"identity": job.digest()}, first, values, np.concatenate(statuses))
    return last - first
