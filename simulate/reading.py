"""Every setting, checked once, before anything is written.

`read(config)` turns the composed config (plain dicts and lists) into frozen records, or raises SettingsError with one
line: the setting, its value, and what would be right. No torch here, so that a wrong setting is answered at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulate.settings import (
    ACTIVATIONS,
    DYNAMICS,
    LOSSES,
    NORMALIZATIONS,
    OBSERVABLES,
    OF_TRAINING,
    SAMPLES_OF,
    WITHOUT_WEIGHTS,
    Activation,
    Dynamics,
    Ensemble,
    Initialization,
    Inputs,
    Network,
    Observables,
    Settings,
    SettingsError,
)

if TYPE_CHECKING:
    from analysis.theory.critical import Critical


class _Reader:
    """Reads one mapping of the config; whatever is left unread is an unknown setting."""

    def __init__(self, config: Mapping[str, Any], prefix: str):
        if not isinstance(config, Mapping):
            raise SettingsError(prefix, config, "a group of settings, not a single value")
        self.config, self.prefix, self.known = config, prefix, []  # type: ignore[var-annotated]

    def key(self, name: str) -> str:
        return f"{self.prefix}.{name}" if self.prefix else name

    def raw(self, name: str) -> Any:
        self.known.append(name)
        if name not in self.config:
            raise SettingsError(self.key(name), None, "this setting is missing")
        return self.config[name]

    def get(self, name: str, check: Callable[[Any], Any], right: str) -> Any:
        value = self.raw(name)
        try:
            return check(value)
        except (TypeError, ValueError, OverflowError, AttributeError):
            raise SettingsError(self.key(name), value, right) from None

    def integer(self, name: str, low: int, high: int = 2**63 - 1) -> int:
        right = f"a whole number >= {low}" if high == 2**63 - 1 else f"a whole number from {low} to {high}"
        return self.get(name, lambda v: _integer(v, low, high), right)

    def real(self, name: str, low: float = -math.inf, strict: bool = False) -> float:
        right = "a finite number" + (f" {'>' if strict else '>='} {low:g}" if low > -math.inf else "")
        return self.get(name, lambda v: _real(v, low, strict), right)

    def choice(self, name: str, options: Sequence[str]) -> str:
        return self.get(name, lambda v: _choice(v, options), f"one of {', '.join(options)}")

    def layerwise(self, name: str, depth: int) -> tuple[float, ...]:
        def check(value: Any) -> tuple[float, ...]:
            values = value if _is_list(value) else [value] * depth
            if len(values) != depth:
                raise ValueError
            return tuple(_real(v, 0.0) for v in values)

        return self.get(name, check, f"a number >= 0, or a list of {depth}, one for each layer")

    def close(self) -> None:
        for name in self.config:
            if name not in self.known:
                near = difflib.get_close_matches(str(name), self.known, 1)
                hint = f"did you mean {self.key(near[0])}?" if near else f"known here: {', '.join(self.known)}"
                raise SettingsError(self.key(str(name)), self.config[name], f"no such setting; {hint}")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _integer(value: Any, low: int, high: int = 2**63 - 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError
    return value


def _real(value: Any, low: float = -math.inf, strict: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    if value < low or (strict and value == low):
        raise ValueError
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _choice(value: Any, options: Sequence[Any]) -> Any:
    if value not in options:
        raise ValueError
    return value


def _refuse_targets(value: Any, path: str = "") -> None:
    """Nothing in a config is ever instantiated: a _target_ is a mistake or an attack."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            here = f"{path}.{key}" if path else str(key)
            if key == "_target_":
                raise SettingsError(here, item, "configs name options of this project, they cannot name code to run")
            _refuse_targets(item, here)
    elif _is_list(value):
        for index, item in enumerate(value):
            _refuse_targets(item, f"{path}[{index}]")


def read(config: Mapping[str, Any]) -> Settings:
    """Settings from a composed config; SettingsError for the first thing that is wrong."""
    _refuse_targets(config)
    root = _Reader(config, "")
    network = _network(_Reader(root.raw("network"), "network"))
    activation = _activation(_Reader(root.raw("activation"), "activation"))
    initialization = _initialization(_Reader(root.raw("initialization"), "initialization"), activation)
    inputs = _inputs(_Reader(root.raw("inputs"), "inputs"), activation, initialization)
    dynamics = _dynamics(_Reader(root.raw("dynamics"), "dynamics"), network.depth, activation)
    observables = _observables(_Reader(root.raw("observables"), "observables"), network, dynamics)
    ensemble = _ensemble(_Reader(root.raw("ensemble"), "ensemble"), observables, dynamics)
    claim = _claim(root.raw("claim"), observables)
    output = root.get("output", _path, "the folder to write to")
    workers = root.get("workers", lambda v: None if v in (None, "auto") else _integer(v, 1), "auto, or a number >= 1")
    root.raw("sweep")
    root.close()
    return Settings(
        network, activation, initialization, inputs, ensemble, dynamics, observables, claim, output, workers
    )


def _path(value: Any) -> str:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError
    return str(value)


def _network(r: _Reader) -> Network:
    depth = r.integer("depth", 1, 10_000)

    def widths(value: Any) -> tuple[int, ...]:
        values = value if _is_list(value) else [value] * (depth - 1)
        if len(values) != depth - 1:
            raise ValueError
        _integer(value if not _is_list(value) else 1, 1)
        return tuple(_integer(v, 1, 2**31 - 1) for v in values)

    width = r.get("width", widths, f"a whole number >= 1, or a list of depth - 1 = {depth - 1} of them")
    out = Network(width, depth, r.integer("outputs", 1, 2**31 - 1))
    r.close()
    return out


def _activation(r: _Reader) -> Activation:
    name = r.choice("name", ACTIVATIONS)
    out = Activation(name, r.real("slope") if name == "leaky_relu" else None)
    r.close()
    return out


def _critical(activation: Activation) -> Critical:
    # Imported late: worker processes read no settings and start a third of a second sooner without it.
    from analysis.theory.critical import critical

    return critical(activation.spec)


def _initialization(r: _Reader, activation: Activation) -> Initialization:
    scheme = r.choice("scheme", ("critical", "gaussian"))
    if scheme == "critical":
        for name in ("C_b", "C_W"):
            if r.raw(name) is not None:
                key = r.key(name)
                raise SettingsError(
                    key, r.raw(name), "found from the activation; use initialization=gaussian to set it"
                )
        try:
            tuned = _critical(activation)
        except ValueError as error:
            raise SettingsError("initialization", "critical", str(error)) from None
        out = Initialization(tuned.C_b, tuned.C_W)
    else:
        out = Initialization(r.real("C_b", 0.0), r.real("C_W", 0.0, strict=True))
    r.close()
    return out


def _inputs(r: _Reader, activation: Activation, initialization: Initialization) -> Inputs:
    source = r.choice("source", ("digits", "sphere", "gaussian", "teacher", "ray", "file"))
    count = None if source in ("file", "ray") and r.raw("count") is None else r.integer("count", 1, 10_000)
    test = r.integer("test", 0, 10_000)
    common: dict[str, Any] = {
        "source": source,
        "count": count,
        "test": test,
        "seed": r.integer("seed", 0),
        "normalization": r.choice("normalization", NORMALIZATIONS),
        "scale": r.get("scale", lambda v: v if v == "critical" else _real(v, 0.0, True), "critical, or a number > 0"),
    }
    if common["scale"] == "critical":
        common["scale"] = _critical_scale(r, source, common["normalization"], activation, initialization)
    if source == "ray":

        def squares(value: Any) -> tuple[float, ...]:
            out = tuple(_real(v, 0.0, strict=True) for v in value)
            if not out:
                raise ValueError
            return out

        common["squares"] = r.get("squares", squares, "the |x|^2 / n_0 of each sample, as [1.0,1.2]")
    if source in ("sphere", "gaussian", "teacher", "ray"):
        common["dimension"] = r.integer("dimension", 1, 10**7)
    if source == "teacher":
        common["teacher"], common["targets"] = r.integer("teacher", 1, 10**5), r.integer("targets", 1, 10**4)
    if source == "digits":

        def classes(value: Any) -> tuple[int, ...]:
            out = tuple(_integer(v, 0, 9) for v in value)
            if len(set(out)) != len(out) or len(out) < 2:
                raise ValueError
            return out

        common["classes"] = r.get("classes", classes, "two or more different digits, as [0,1]")
    if source == "file":
        common["path"] = r.get("path", _path, "a .npy, .npz or .csv file")
    r.close()
    return Inputs(**common)


def _critical_scale(
    r: _Reader, source: str, normalization: str, activation: Activation, initialization: Initialization
) -> float:
    """|x|^2 / n_0 at which K(1) is the fixed point K* of a half-stable activation; 1 where any length will do."""
    if normalization == "none" and source != "sphere":
        raise SettingsError(
            r.key("scale"), "critical", "inputs.normalization=unit or centered gives samples one length"
        )
    try:
        tuned = _critical(activation)
    except ValueError as error:
        raise SettingsError(r.key("scale"), "critical", str(error)) from None
    if (tuned.C_b, tuned.C_W) != (initialization.C_b, initialization.C_W):
        raise SettingsError(
            r.key("scale"), "critical", "there is a fixed point to scale to with initialization=critical"
        )
    return (tuned.K_star - tuned.C_b) / tuned.C_W if tuned.universality_class == "half-stable" else 1.0


def _dynamics(r: _Reader, depth: int, activation: Activation) -> Dynamics:
    name = r.choice("name", DYNAMICS)
    rates = r.layerwise("lambda_b", depth), r.layerwise("lambda_W", depth)
    if r.choice("scaling", ("none", "critical")) == "critical":
        from analysis.theory.critical import equal_shares  # late, see `_critical`

        try:
            shares = equal_shares(activation.spec, depth)
        except ValueError as error:
            raise SettingsError(r.key("scaling"), "critical", str(error)) from None
        b, W = (tuple(k * share for k, share in zip(*both, strict=True)) for both in zip(rates, shares, strict=True))
        rates = b, W
    own: dict[str, Any] = {}
    if name != "none":
        eta = r.get("eta", lambda v: 0.0 if v == "auto" else _real(v, 0.0, strict=True), "auto, or a number > 0")
        own = {"eta": eta, "steps": r.integer("steps", 1, 10**9), "loss": r.choice("loss", LOSSES)}
        own["tolerance"] = r.real("tolerance", 0.0)
    if name == "momentum":
        own["momentum"] = r.get("momentum", _below_one, "a number from 0 to below 1")
    if name == "sgd":
        own["batch"] = r.integer("batch", 1, 10_000)
    out = Dynamics(name, *rates, **own)
    r.close()
    return out


def _below_one(value: Any) -> float:
    out = _real(value, 0.0)
    if out >= 1:
        raise ValueError
    return out


def _observables(r: _Reader, network: Network, dynamics: Dynamics) -> Observables:
    depth = network.depth

    def names(value: Any) -> tuple[str, ...]:
        out = tuple(_choice(v, OBSERVABLES) for v in (value if _is_list(value) else [value]))
        if not out or len(set(out)) != len(out):
            raise ValueError
        return out

    def chosen(low: int, high: int) -> Callable[[Any], tuple[int, ...]]:
        def check(value: Any) -> tuple[int, ...]:
            out = tuple(_integer(v, low, high) for v in (value if _is_list(value) else [value]))
            if not out or sorted(set(out)) != list(out):
                raise ValueError
            return out

        return check

    record = r.get("record", names, f"different names among {', '.join(OBSERVABLES)}")
    layers = r.get(
        "layers",
        lambda v: tuple(range(1, depth + 1)) if v == "all" else chosen(1, depth)(v),
        f"all, or rising layer numbers from 1 to depth = {depth}",
    )
    output_layers = r.get(
        "output_layers",
        lambda v: (depth,) if v == "last" else chosen(1, depth)(v),
        f"last, or rising layer numbers from 1 to depth = {depth}",
    )
    for layer in output_layers[: -1 if output_layers[-1] == depth else None]:
        if network.widths[layer - 1] < network.outputs:
            right = f"layer {layer} has {network.widths[layer - 1]} neurons for network.outputs={network.outputs}"
            raise SettingsError(r.key("output_layers"), list(output_layers), right)
    tuples = r.get(
        "tuples", _tuples, "all, or lists of samples by observable, as {ntk: [[0,0],[0,1]], dntk: [[0,0,0]]}"
    )
    steps = r.get(
        "steps",
        lambda v: ((0, dynamics.steps) if dynamics.steps else (0,)) if v == "ends" else chosen(0, dynamics.steps)(v),
        f"ends, or rising step numbers from 0 to dynamics.steps = {dynamics.steps}",
    )
    r.close()
    if dynamics.name == "none" and (needy := [name for name in record if name in OF_TRAINING]):
        right = f"{', '.join(needy)} needs training: choose dynamics=gradient_descent"
        raise SettingsError("observables.record", list(record), right)
    if "taylor" in record and (dynamics.name not in ("gradient_descent", "gradient_flow") or dynamics.loss != "mse"):
        right = "taylor needs dynamics=gradient_descent or gradient_flow with loss=mse"
        raise SettingsError("observables.record", list(record), right)
    if "taylor" in record and dynamics.tolerance:
        raise SettingsError("dynamics.tolerance", dynamics.tolerance, "0 where taylor is recorded: models do not stop")
    if "taylor" in record and output_layers[-1] != depth:
        raise SettingsError(r.key("output_layers"), list(output_layers), "taylor needs the last layer among them")
    return Observables(record, layers, output_layers, tuples, steps)


def _tuples(value: Any) -> Mapping[str, tuple[tuple[int, ...], ...]]:
    """Sample tuples in rising order: an observable has one column for all orders that symmetry makes equal."""
    if value == "all":
        return {}
    out = {}
    for name, chosen in value.items():
        order = SAMPLES_OF[_choice(name, tuple(SAMPLES_OF))]
        out[name] = tuple(sorted({tuple(sorted(_integer(a, 0) for a in one)) for one in chosen}))
        if not out[name] or any(len(one) != order for one in out[name]):
            raise ValueError
    return out


def _ensemble(r: _Reader, observables: Observables, dynamics: Dynamics) -> Ensemble:
    sampler = r.choice("sampler", ("auto", "dense", "law"))
    heavy = [name for name in observables.record if name not in WITHOUT_WEIGHTS]
    if dynamics.name != "none":
        heavy.append(f"dynamics={dynamics.name}")
    if sampler == "law" and heavy:
        raise SettingsError("ensemble.sampler", "law", f"{', '.join(heavy)} needs the weights: choose auto or dense")
    out = Ensemble(
        networks=r.integer("networks", 1, 10**12),
        seed=r.integer("seed", 0),
        first=r.integer("first", 0, 10**12),
        sampler=sampler if sampler != "auto" else "dense" if heavy else "law",
        dtype=r.choice("dtype", ("float32", "float64")),
        device=r.choice("device", ("auto", "cpu", "cuda")),
        block=r.get("block", lambda v: None if v == "auto" else _integer(v, 1, 2**20), "auto, or a number >= 1"),
        tf32=r.get("tf32", _boolean, "true or false"),
    )
    r.close()
    return out


def _claim(claim: Any, observables: Observables) -> Mapping[str, Any] | None:
    """The claim is the analysis' to judge; here it only has to be whole, and its layers recorded."""
    if claim is None:
        return None
    r = _Reader(claim, "claim")
    r.get("name", _path, "a name")
    r.get("statement", _path, "the claim in a sentence")
    tests = _Reader(r.raw("tests"), "claim.tests")
    for name in tests.config:
        test = _Reader(tests.raw(name), tests.key(name))
        test.real("precision", 0.0, strict=True)
        if "reference" in test.config:
            test.choice("reference", DYNAMICS[1:])
        if "layers" in test.config:
            recorded = f"a list of recorded layers, observables.layers={list(observables.layers)}"
            test.get("layers", lambda v: [_choice(layer, observables.layers) for layer in v], recorded)
        test.close()
    r.close()
    return claim
