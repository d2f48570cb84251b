"""The step size: a share of the bound below which gradient descent is stable (docs/theory.md (5.1))."""

from collections.abc import Iterable

import torch
from torch import Tensor

from simulate.networks.dense import forward, ntk
from simulate.settings.reader import SettingsError
from simulate.settings.training import LOSSES, RULES
from simulate.training.algorithms import Training

SHARE = 0.5  # eta=auto is this share of the stability bound
AUTO = 32  # the bound is that of the mean NTK of so many networks at initialisation


def stable_eta(drawn: Iterable[Training]) -> float:
    """SHARE times the bound 2 / (curvature lambda_max) below which gradient descent is stable, of the mean NTK of the
    train samples over networks at initialisation, to three digits (docs/theory.md (5.1)). What rules add to the
    curvature is added to the denominator.

    Raises SettingsError where that bound is zero, infinite or not a number.
    """
    mean: Tensor | float = 0.0
    networks, curvature, of_rules = 0, 1.0, 0.0
    for t in drawn:
        z, signals = forward(t.parameters, t.x, t.s)
        H = ntk(t.parameters, z, signals, t.slope, t.dynamics.lambda_b, t.dynamics.lambda_W)
        rows = H.shape[1] * H.shape[2]
        mean = mean + H.sum(dim=0).reshape(rows, rows)
        networks, curvature = networks + len(H), LOSSES[t.dynamics.loss].curvature(H.shape[1])
        known = [(RULES[name].curvature, value) for name, value in t.dynamics.rules.items()]
        of_rules = sum(of(value) for of, value in known if of is not None)
    average = torch.as_tensor(mean) / networks
    largest = float(torch.linalg.eigvalsh(average)[-1]) if torch.isfinite(average).all() else float("inf")
    if not 0 < curvature * largest < float("inf"):
        right = f"a number: the mean NTK of the train samples has a largest eigenvalue of {largest:.3g}"
        raise SettingsError("dynamics.eta", "auto", right)
    return float(f"{SHARE * 2 / (curvature * largest + of_rules):.3g}")
