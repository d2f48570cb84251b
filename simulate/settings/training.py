"""Training: algorithm, loss, rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulate.settings.network import Activation
from simulate.settings.reader import Reader, SettingsError, real

DYNAMICS = ("none", "gradient_descent", "gradient_flow", "momentum", "sgd")
LOSSES = ("mse", "cross_entropy")


@dataclass(frozen=True)
class Dynamics:
    name: str
    lambda_b: tuple[float, ...]  # a layer each
    lambda_W: tuple[float, ...]
    eta: float = 0.0  # 0 in a rule that is not resolved yet: a share of the stability bound (simulate.dynamics)
    steps: int = 0
    loss: str = "mse"
    tolerance: float = 0.0  # a network whose loss has come down to it stays where it is
    momentum: float = 0.0
    batch: int = 0  # of sgd


def read_dynamics(r: Reader, depth: int, activation: Activation) -> Dynamics:
    name = r.choice("name", DYNAMICS)
    rates = r.layerwise("lambda_b", depth), r.layerwise("lambda_W", depth)
    if r.choice("scaling", ("none", "critical")) == "critical":
        from analysis.theory.criticality import equal_shares  # late, see `critical_point`

        try:
            shares = equal_shares(activation.spec, depth)
        except ValueError as error:
            raise SettingsError(r.key("scaling"), "critical", str(error)) from None
        b, W = (tuple(k * share for k, share in zip(*both, strict=True)) for both in zip(rates, shares, strict=True))
        rates = b, W
    own: dict[str, Any] = {}
    if name != "none":
        eta = r.get("eta", lambda v: 0.0 if v == "auto" else real(v, 0.0, strict=True), "auto, or a number > 0")
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
    out = real(value, 0.0)
    if out >= 1:
        raise ValueError
    return out
