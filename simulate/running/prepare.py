"""Prepare a job from settings, with the checks that need the machine or the inputs; nothing is written."""

import math
import os
import shutil
from dataclasses import replace

import numpy as np
import torch

from simulate import inputs
from simulate.networks import activations
from simulate.observables.columns import recorded
from simulate.observables.measure import check as check_columns
from simulate.running.cost import responds
from simulate.running.drawn import stream_of, training_of
from simulate.running.jobs import Job
from simulate.running.memory import fitting
from simulate.running.plan import block_size
from simulate.running.process import one_thread
from simulate.settings import Ensemble, Settings
from simulate.settings.reader import SettingsError
from simulate.settings.training import LOSSES
from simulate.store.layout import MOST_COLUMNS, layout_of
from simulate.store.manifest import MANIFEST, check
from simulate.store.parts import committed
from simulate.training.algorithms import GRADIENT_TERMS, STEPS
from simulate.training.losses import VALUE_AND_SLOPE
from simulate.training.stability import AUTO, stable_eta


def prepare(settings: Settings, given: inputs.Given | None = None) -> Job:
    """The job that the settings ask for, after all checks that need the machine or the inputs; nothing is written.

    given: the arrays of inputs=arrays. Raises SettingsError for a setting that the machine or the inputs do not allow,
    StoreError where the output holds another data set.
    """
    job = resolved(settings, given)
    _check_output(job)
    continued = check(job.path, job.manifest())
    return replace(job, recorded=continued["identity"] if continued else None)


def resolved(settings: Settings, given: inputs.Given | None = None) -> Job:
    """`prepare` without a look at the output, for networks of which nothing is stored."""
    settings = replace(settings, ensemble=replace(settings.ensemble, device=_device(settings.ensemble)))
    samples = inputs.load(settings.inputs, given)
    settings = replace(settings, inputs=inputs.resolved(settings.inputs, samples))
    samples = inputs.scaled(inputs.mapped(samples, settings.features), settings)
    inputs.check_first_kernel(samples, settings)
    _check_deep_kernels(settings, samples)
    D, n_0 = samples.x.shape
    if settings.dynamics.name != "none":
        _check_training(settings, samples)
    if settings.ensemble.condition is not None:
        _check_targets("ensemble.condition.noise", settings.ensemble.condition.noise, settings, samples)
    if settings.observables.noises:
        _check_targets("observables.noises", list(settings.observables.noises), settings, samples)
        _check_weights(settings, samples)
    if settings.ensemble.sampler == "closed":
        _check_closed(settings, D)
    _check_activation(settings)
    check_columns(recorded(settings.observables.record))
    if n_0 < 2 and responds(settings):
        right = f"the inputs have {n_0} component, and response needs a direction across them: two or more"
        raise SettingsError("observables.record", list(settings.observables.record), right)
    if settings.initialization.first == "orthogonal" and (n := settings.network.sizes(n_0)[1]) > n_0:
        right = f"gaussian where layer 1 is wider than the inputs: it has {n} neurons on {n_0}"
        raise SettingsError("initialization.first", "orthogonal", right)
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
    return job


HOPELESS = 30.0  # the largest v1/n; 35 and 57 left less than a fiftieth of 10^2 networks, 14 a tenth (docs/bayes.md)
LONGEST_NAME = 255  # bytes of a file's name on common systems
NEEDS_DERIVATIVES = {"dH", "ddI", "ddII", "d4", "DH", "taylor", "dHs", *"PQRSTU"}  # families of columns
RANGE = 10.0  # |z| up to which both sides of an expression are compared
CLOSE = 1e-8  # relative distance at which they agree


def _check_deep_kernels(settings: Settings, samples: inputs.Samples) -> None:
    """SettingsError where K of docs/theory.md (1.1) falls below the range of the precision, where rows would be zero.

    Nothing is refused where the theory does not know the activation, and with skips, which keep a share of K.
    """
    from analysis.theory.recursion import flow

    network, start, dtype = settings.network, settings.initialization, settings.ensemble.dtype
    if network.meta is not None or network.skip:
        return
    sizes = (samples.x**2).mean(axis=1)
    for size in {float(sizes.min()), float(sizes.max())}:
        at = settings.activation.spec, network.depth, start.C_b, start.C_W, [[math.sqrt(size)]]
        try:
            with np.errstate(all="ignore"):
                K = flow(*at, tensors=("K",)).K[:, 0, 0]
        except (ValueError, ArithmeticError):
            continue
        if len(below := np.flatnonzero(np.finfo(dtype).tiny > K)):
            other = "choose ensemble.dtype=float64, " if dtype == "float32" else "choose "
            right = f"K({below[0] + 1}) = {K[below[0]]:.3g} is below the range of {dtype}: {other}fewer layers"
            raise SettingsError("network.depth", network.depth, f"{right}, or initialization=critical")


def _check_activation(settings: Settings) -> None:
    """SettingsError where a derivative that is recorded does not exist, or where an expression is not finite."""
    families = {family.prefix for observable in recorded(settings.observables.record) for family in observable.families}
    highest = 5 if "DH" in families else 4
    if families & NEEDS_DERIVATIVES:
        activations.derivatives(settings.activation, highest)
    text = settings.activation.expression
    if text is None:
        return
    from analysis.theory.activations import activation  # written apart from the simulation's

    z = np.linspace(-RANGE, RANGE, 201)
    theory = activation(settings.activation.spec).derivatives
    for order, function in enumerate(activations.derivatives(settings.activation, highest)):
        ours, others = function(torch.tensor(z)).numpy(), theory[order](z)
        bad = np.flatnonzero(~(np.isfinite(ours) & np.isfinite(others)))
        if len(bad):
            raise SettingsError("activation.expression", text, f"derivative {order} is not finite at z={z[bad[0]]:g}")
        apart = np.abs(ours - others) > CLOSE * (np.abs(others) + np.abs(others).max())
        if apart.any():
            right = f"its derivative {order} is too ill-conditioned at z={z[np.argmax(apart)]:g}"
            raise SettingsError("activation.expression", text, right)


def _check_training(settings: Settings, samples: inputs.Samples) -> None:
    dynamics, y = settings.dynamics, samples.y
    if y is None:
        raise SettingsError("dynamics", dynamics.name, f"inputs={settings.inputs.source} has no targets to train on")
    missing = [("dynamics", dynamics.name)] if dynamics.name not in STEPS else []
    missing += [("dynamics.loss", dynamics.loss)] if dynamics.loss not in VALUE_AND_SLOPE else []
    missing += [("dynamics.rules", rule) for rule in dynamics.rules if rule not in GRADIENT_TERMS]
    if missing:
        raise SettingsError(*missing[0], "it has a record without a function; a plugin registers both")
    if not LOSSES[dynamics.loss].accepts(y):
        raise SettingsError("dynamics.loss", dynamics.loss, LOSSES[dynamics.loss].right)
    if dynamics.batch > samples.train:
        raise SettingsError("dynamics.batch", dynamics.batch, f"there are {samples.train} train samples")
    _check_outputs(settings, samples)


def _check_targets(key: str, value: object, settings: Settings, samples: inputs.Samples) -> None:
    if samples.y is None:
        raise SettingsError(key, value, f"inputs={settings.inputs.source} has no targets to infer from")
    _check_outputs(settings, samples)


def _check_weights(settings: Settings, samples: inputs.Samples) -> None:
    """SettingsError where weights of networks are hopeless by the forecast of docs/theory.md (16.5). Nothing is refused
    where the theory does not know the activation."""
    from analysis.theory.linear_weights import weight_variance

    network, start, N = settings.network, settings.initialization, samples.train
    assert samples.y is not None
    widths = np.array(network.widths)
    ratios = (widths / np.array([*widths[:1], *widths[:-1]])).tolist()
    at = settings.activation.spec, network.depth, start.C_b, start.C_W, samples.x[:N], samples.y[:N]
    for noise in settings.observables.noises:
        try:
            spread = weight_variance(*at, noise, ratios) / network.sizes(1)[-2]
        except (ValueError, ArithmeticError):
            return
        if spread > HOPELESS:
            right = (
                f"with {N} train samples and n={network.widths[-1]} the log evidence of a network varies by "
                f"v1/n = {spread:.3g} (at most {HOPELESS:g}), and neither weights nor tilts leave networks enough: "
                "more noise, wider layers or fewer train samples"
            )
            raise SettingsError("observables.noises", noise, right)


def _check_outputs(settings: Settings, samples: inputs.Samples) -> None:
    y = samples.y
    if y is not None and y.shape[1] != settings.network.outputs:
        raise SettingsError("network.outputs", settings.network.outputs, f"the targets have {y.shape[1]} components")


def _check_closed(settings: Settings, D: int) -> None:
    """SettingsError where a layer has no law in closed form, or where more is recorded than it has."""
    from analysis.theory.activations import activation

    network, name, slopes = settings.network, settings.activation.spec, activation(settings.activation.spec).slopes
    for wrong, right in (
        (slopes is None, f"{name} has no law in closed form: linear, relu and leaky_relu have one"),
        (slopes and slopes[0] != slopes[1] and D > 1, f"{name} has a law in closed form for one input, not for {D}"),
        (network.skip or network.meta is not None, "layers have laws in closed form where no skip leads to them"),
        (settings.initialization.weights != "gaussian", "closed sums take independent neurons: Gaussian weights"),
        (settings.dynamics.name != "none", "networks are not trained: choose dense"),
        (settings.ensemble.condition is not None, "networks are not drawn given targets: choose law or dense"),
        (set(settings.observables.record) - {"kernel", "outputs"}, "it has observables kernel and outputs alone"),
    ):
        if wrong:
            raise SettingsError("ensemble.sampler", "closed", right)


def _device(ensemble: Ensemble) -> str:
    wanted = ensemble.device
    on_cpu = (("sampler=closed", ensemble.sampler == "closed"), ("filter", ensemble.filter is not None))
    for name in (name for name, given in on_cpu if given):
        if wanted == "cuda":
            raise SettingsError("ensemble.device", wanted, f"cpu or auto: ensemble.{name} draws on a CPU")
        return "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SettingsError("ensemble.device", wanted, "torch finds no CUDA device here; use cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def _check_output(job: Job) -> None:
    """Raises SettingsError where the output cannot be a folder, cannot be written to, or has too little room, and where
    one data set would lie within another, which nobody who reads the outer one would find."""
    path = job.path
    if long := next((part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME), None):
        right = f"a folder's name has at most {LONGEST_NAME} bytes, this one {len(os.fsencode(long))}: {long[:20]}..."
        raise SettingsError("output", "...", right)
    if outer := next((p for p in path.absolute().parents if (p / MANIFEST).exists()), None):
        raise SettingsError("output", str(path), f"{outer} is a data set itself; choose a folder outside it")
    if not (path / MANIFEST).exists() and (inner := next(path.glob(f"*/{MANIFEST}"), None)):
        raise SettingsError(
            "output", str(path), f"it holds other data sets ({inner.parent.name}); choose another folder"
        )
    parent = next(p for p in (path, *path.absolute().parents) if p.exists())
    if path.is_symlink():
        raise SettingsError("output", str(path), "a link; give the folder that it points to")
    if not parent.is_dir():
        raise SettingsError("output", str(path), f"{parent} is a file")
    if not os.access(parent, os.W_OK):
        raise SettingsError("output", str(path), f"{parent} cannot be written to")
    missing = job.settings.ensemble.networks - sum(high - low for low, high in committed(path))
    need, free = missing * job.layout.row_bytes() * job.layout.keeps_rows, shutil.disk_usage(parent).free
    if need > free:
        right = f"{need / 2**30:,.1f} GiB of rows do not fit into the {free / 2**30:,.1f} GiB free at {path}"
        raise SettingsError("ensemble.networks", job.settings.ensemble.networks, right)
