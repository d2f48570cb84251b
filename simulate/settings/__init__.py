"""Settings of a data set as frozen records, each checked once, before anything is written.

`read(config)` turns the composed config (plain dicts and lists) into records, or raises SettingsError with one line:
the setting, its value, and what would be right. The package imports no torch, so that a wrong setting is answered at
once and the analysis reads settings without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Any, get_type_hints

from simulate.observables.columns import OBSERVABLES, recorded
from simulate.settings.claim import read_claim
from simulate.settings.ensemble import SUMS, Ensemble, read_ensemble
from simulate.settings.features import Features, read_features
from simulate.settings.inputs import Inputs, read_inputs
from simulate.settings.network import (
    Activation,
    Initialization,
    Network,
    read_activation,
    read_initialization,
    read_network,
)
from simulate.settings.observables import Observables, read_observables
from simulate.settings.plugin import Plugin
from simulate.settings.reader import Reader, SettingsError, integer, is_list, nonempty, printable
from simulate.settings.training import Dynamics, read_dynamics

__all__ = [
    "Activation",
    "Dynamics",
    "Ensemble",
    "Features",
    "Initialization",
    "Inputs",
    "Network",
    "Observables",
    "Plugin",
    "Settings",
    "SettingsError",
    "plain",
    "printable",
    "read",
    "with_defaults",
]


@dataclass(frozen=True)
class Settings:
    network: Network
    activation: Activation
    initialization: Initialization
    inputs: Inputs
    ensemble: Ensemble
    dynamics: Dynamics
    observables: Observables
    claim: Mapping[str, Any] | None
    output: str
    workers: int | None  # None means one a core
    plugins: tuple[Plugin, ...] = ()
    features: Features = field(default_factory=Features)

    def C_W(self, layer: int) -> float:
        """n_{l-1} Var W of a layer, counted from 1, with its branch, docs/theory.md (11.2)."""
        return self.initialization.C_W * self.network.share(layer)

    @property
    def rates(self) -> Dynamics:
        """The dynamics of weights that hold their branch, docs/theory.md (11.2)."""
        shares = map(self.network.share, range(1, self.network.depth + 1))
        lambda_W = tuple(rate * share for rate, share in zip(self.dynamics.lambda_W, shares, strict=True))
        return replace(self.dynamics, lambda_W=lambda_W)

    def identity(self) -> dict[str, Any]:
        """The settings that decide the rows: all but the number of networks, the output, the workers and the claim.

        A field at the default of its record is left out, because a default changes nothing. A setting that is added
        later, with such a default, leaves the identity of every earlier data set as it was.
        """
        settings = asdict(self)
        for key in ("claim", "output", "workers"):
            del settings[key]
        for key in ("networks", "first"):
            del settings["ensemble"][key]
        defaults, identity = _defaults(), {}
        for key, value in settings.items():
            if isinstance(value, Mapping) and isinstance(defaults.get(key), Mapping):
                inert = defaults[key]
                value = {name: v for name, v in value.items() if name not in inert or v != inert[name]}
                if not value:
                    continue
            elif key in defaults and value == defaults[key]:
                continue
            identity[key] = value
        return identity


@cache
def _defaults() -> dict[str, Any]:
    """The defaults of the settings: for each record, a mapping of the fields that have one."""

    def of(record: Any) -> dict[str, Any]:
        found = {}
        for entry in fields(record):
            if entry.default is not MISSING:
                found[entry.name] = entry.default
            elif entry.default_factory is not MISSING:
                found[entry.name] = entry.default_factory()
        return found

    records = {name: of(kind) for name, kind in get_type_hints(Settings).items() if is_dataclass(kind)}
    return of(Settings) | records


def with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, or an identity, of a manifest, completed with the defaults of what they leave out: settings that change
    nothing, and settings that are younger than the data set."""
    filled = dict(settings)
    for key, default in _defaults().items():
        if isinstance(default, Mapping) and isinstance(filled.get(key, {}), Mapping):
            filled[key] = {**default, **filled.get(key, {})}
        else:
            filled.setdefault(key, default)
    return dict(json.loads(json.dumps(filled)))


def comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity completed with defaults, less the rates where nothing depends on them: there is no training, and no
    observable is recorded that needs a gradient."""
    filled = with_defaults(identity)
    record = filled["observables"]["record"]
    without_gradient = all(name in OBSERVABLES and not OBSERVABLES[name].needs for name in record)
    if filled["dynamics"]["name"] == "none" and without_gradient:
        for rate in ("lambda_b", "lambda_W"):
            filled["dynamics"].pop(rate, None)
    return filled


def plain(settings: Settings) -> dict[str, Any]:
    """Settings as mappings and lists, in the form in which a manifest holds them."""
    return dict(json.loads(json.dumps(asdict(settings))))


def _refuse_targets(value: Any, path: str = "") -> None:
    """SettingsError for a _target_: nothing in a config is ever instantiated, so that it is a mistake or an attack."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            here = f"{path}.{key}" if path else str(key)
            if key == "_target_":
                raise SettingsError(here, item, "configs name options of this project, they cannot name code to run")
            _refuse_targets(item, here)
    elif is_list(value):
        for index, item in enumerate(value):
            _refuse_targets(item, f"{path}[{index}]")


def _plugins(value: Any) -> tuple[Plugin, ...]:
    if not is_list(value) or not all(isinstance(entry, Plugin) for entry in value):
        raise ValueError
    return tuple(value)


def read(config: Mapping[str, Any]) -> Settings:
    """Settings from a composed config, in which `plugins` are those loaded. SettingsError for the first wrong setting.

    `simulate.settings.cluster` reads where the run takes place.
    """
    _refuse_targets(config)
    root = Reader(config, "")
    network = read_network(Reader(root.raw("network"), "network"))
    activation = read_activation(Reader(root.raw("activation"), "activation"))
    initialization = read_initialization(Reader(root.raw("initialization"), "initialization"), activation, network)
    inputs = read_inputs(Reader(root.raw("inputs"), "inputs"), activation, initialization, network)
    features = read_features(Reader(root.raw("features"), "features"))
    dynamics = read_dynamics(Reader(root.raw("dynamics"), "dynamics"), network.depth, activation)
    observables = read_observables(Reader(root.raw("observables"), "observables"), network, dynamics)
    ensemble = read_ensemble(Reader(root.raw("ensemble"), "ensemble"), network, observables, dynamics, initialization)
    claim = read_claim(root.raw("claim"), observables)
    if ensemble.keep == SUMS and claim is None:
        raise SettingsError("ensemble.keep", SUMS, "sums are those of a claim's tests: name a claim, or keep rows")
    output = root.get("output", nonempty, "the folder to write to")
    workers = root.get("workers", lambda v: None if v in (None, "auto") else integer(v, 1), "auto, or a number >= 1")
    plugins = root.get("plugins", _plugins, "files that are not loaded yet (simulate.plugins.load)")
    root.raw("sweep")
    root.raw("cluster")
    root.close()
    settings = Settings(
        network,
        activation,
        initialization,
        inputs,
        ensemble,
        dynamics,
        observables,
        claim,
        output,
        workers,
        plugins,
        features,
    )
    for observable in recorded(observables.record):
        if network.meta is not None and not observable.any_network:
            known = ", ".join(name for name, other in OBSERVABLES.items() if other.any_network)
            right = f"{observable.name} is that of layers of neurons; network=quadratic has {known}"
            raise SettingsError("observables.record", list(observables.record), right)
        if network.skip and not (observable.residual or observable.any_network):
            known = ", ".join(name for name, other in OBSERVABLES.items() if other.residual or other.any_network)
            why = "given the layer below, neurons have means of their own with one"
            right = f"{observable.name} is that of networks without skips: {why}; {network.skip=} has {known}"
            raise SettingsError("observables.record", list(observables.record), right)
        for key, value, right in observable.refusals(settings):
            raise SettingsError(key, value, right)
    return settings
