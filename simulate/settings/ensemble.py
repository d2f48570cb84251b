"""Settings of the ensemble: its networks, sampler, precision and device."""

from __future__ import annotations

from dataclasses import dataclass

from simulate.observables.columns import recorded
from simulate.settings.network import Initialization, Network
from simulate.settings.observables import Observables
from simulate.settings.reader import Reader, SettingsError, boolean, integer
from simulate.settings.training import Dynamics

ROWS, SUMS = KEEPS = "rows", "sums"  # what is kept of networks
MOST_NETWORKS = 10**12  # numbers of networks have twelve digits in the names of parts


@dataclass(frozen=True)
class Condition:
    """The last layer is drawn given the targets of the train samples, docs/theory.md (16.3). noise: the variance of a
    target about its output."""

    noise: float


@dataclass(frozen=True)
class Tilt:
    """Hidden layers are drawn from a law that explains the targets, docs/theory.md (16.21). noise: the variance of a
    target for which it is made. control: k keeps networks 0, k, 2k, ... of the prior; 0, none."""

    noise: float
    control: int = 0


@dataclass(frozen=True)
class Filter:
    """Rows 0, every, 2 every, ... are those of particle filters in the place of a network's, docs/theory.md (16.20), of
    so many particles each. groups: the stages in which the neurons of a layer are drawn."""

    particles: int
    groups: int = 4
    every: int = 1


@dataclass(frozen=True)
class Ensemble:
    """The networks with numbers first .. first + networks - 1 of a seed.

    sampler: dense, law or closed. block: networks that are computed at a time; None leaves it to the plan. tf32:
    whether a CUDA device multiplies with 10 bits of mantissa, at a relative error of 5e-4 a product. condition, tilt,
    filter: None for networks of the prior. keep: rows, or sums in their place.
    """

    networks: int
    seed: int
    first: int
    sampler: str
    dtype: str
    device: str
    block: int | None
    tf32: bool = False
    condition: Condition | None = None
    tilt: Tilt | None = None
    filter: Filter | None = None
    keep: str = ROWS


def read_ensemble(
    r: Reader, network: Network, observables: Observables, dynamics: Dynamics, initialization: Initialization
) -> Ensemble:
    sampler = r.choice("sampler", ("auto", "dense", "law", "closed"))
    observed = recorded(observables.record)
    heavy = [observable.name for observable in observed if observable.needs_weights]
    if dynamics.name != "none":
        heavy.append(f"dynamics={dynamics.name}")
    if network.meta is not None:
        heavy.append("network=quadratic")
    if initialization.weights == "uniform":
        heavy.append("initialization=uniform")
    if sampler == "law" and heavy:
        raise SettingsError("ensemble.sampler", "law", f"{', '.join(heavy)} needs the weights: choose auto or dense")
    out = Ensemble(
        networks=r.integer("networks", 1, MOST_NETWORKS),
        seed=r.integer("seed", 0),
        first=r.integer("first", 0, MOST_NETWORKS),
        sampler=sampler if sampler != "auto" else "dense" if heavy else "law",
        dtype=r.choice("dtype", ("float32", "float64")),
        device=r.choice("device", ("auto", "cpu", "cuda")),
        block=r.get("block", lambda v: None if v == "auto" else integer(v, 1, 2**20), "auto, or a number >= 1"),
        tf32=r.get("tf32", boolean, "true or false"),
        condition=_read_condition(Reader(r.raw("condition"), r.key("condition"))),
        tilt=_read_tilt(Reader(r.raw("tilt"), r.key("tilt"))) if "tilt" in r.config else None,
        filter=_read_filter(Reader(r.raw("filter"), r.key("filter"))) if "filter" in r.config else None,
        keep=r.choice("keep", KEEPS),
    )
    r.close()
    if out.first + out.networks >= MOST_NETWORKS:
        right = f"first + networks = {out.first + out.networks:,} must be less than {MOST_NETWORKS:,}"
        raise SettingsError(r.key("networks"), out.networks, right)
    if out.condition is not None:
        _check_condition(r.key("condition.noise"), out.condition, network, observables, dynamics, initialization)
    if out.tilt is not None:
        _check_weighted(r.key("tilt.noise"), out.tilt.noise, out, observables)
    if out.filter is not None:
        _check_weighted(r.key("filter.particles"), out.filter.particles, out, observables)
        if network.outputs > 1:
            right = f"null with network.outputs={network.outputs}: outputs have variances of their own then"
            raise SettingsError(r.key("filter.particles"), out.filter.particles, right)
    return out


def _read_filter(r: Reader) -> Filter | None:
    particles = None if r.raw("particles") is None else r.integer("particles", 2)
    groups, every = r.integer("groups", 1), r.integer("every", 1)
    r.close()
    return None if particles is None else Filter(particles, groups, every)


def _read_tilt(r: Reader) -> Tilt | None:
    noise, control = None if r.raw("noise") is None else r.real("noise", 0.0, strict=True), r.integer("control", 0)
    r.close()
    return None if noise is None else Tilt(noise, control)


def _check_weighted(key: str, value: float, ensemble: Ensemble, observables: Observables) -> None:
    """SettingsError where hidden layers cannot be tilted or filtered, or where what undoes it would be lost."""
    for wrong, right in (
        ("posterior" not in observables.record, "networks count by weights: observables.record with posterior"),
        (
            set(observables.record) - {"posterior", "kernel", "weight_controls"},
            "such a law has observables posterior, kernel and weight_controls alone",
        ),
        (ensemble.sampler != "law", f"hidden layers are drawn without weights, not with sampler={ensemble.sampler}"),
        (ensemble.condition is not None, "the last layer is not conditioned, too"),
    ):
        if wrong:
            raise SettingsError(key, value, right)


def _read_condition(r: Reader) -> Condition | None:
    noise = None if r.raw("noise") is None else r.real("noise", 0.0, strict=True)
    r.close()
    return None if noise is None else Condition(noise)


def _check_condition(
    key: str,
    condition: Condition,
    network: Network,
    observables: Observables,
    dynamics: Dynamics,
    initialization: Initialization,
) -> None:
    """SettingsError where the last layer has no such law, or where the weights of networks would be lost."""
    for wrong, right in (
        (dynamics.name != "none", f"posterior networks are not trained: dynamics=none, not {dynamics.name}"),
        (network.meta is not None, "quadratic models have no last layer of Gaussian weights"),
        (initialization.weights != "gaussian", "the last layer's posterior is known for Gaussian weights: conjugate"),
        ("log_w" not in observables.record, "networks count by their evidence: observables.record with log_w"),
    ):
        if wrong:
            raise SettingsError(key, condition.noise, right)
