"""Residual networks of two inputs fluctuate as predicted. Seeds are fixed, the false-alarm rate is stated, and there is
a negative control."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from analysis import claims
from analysis.points import Point, flow_of
from analysis.theory import residual
from analysis.theory.residual_inputs import _Step
from simulate.store.sets import DataSet

FALSE_ALARM = 1e-4  # of all components together (Bonferroni)


def pulls(points: list[Point]) -> dict[str, np.ndarray]:
    """(value - theory) / error of every component at the last layer, by tensor; two widths take off the next order of
    1/n."""
    out = {}
    for tensor in residual.ORDER_N:
        narrow, wide = (next(iter(claims.tests()[tensor](point, [5]))) for point in points)
        value = 2 * wide.estimate.value - narrow.estimate.value - wide.theory
        out[tensor] = value / np.hypot(2 * wide.estimate.error, narrow.estimate.error)
    return out


@pytest.mark.long
def test_towers_of_two_inputs_are_seen(run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """All tensors of docs/theory.md (11.6) of ReLU networks with weights, with false-alarm rate 1e-4. Negative control:
    without the towers G1, Theta1, A and D are rejected, each by itself."""
    points = [
        Point(
            run("network=residual", "network.skip=0.5", "network.depth=5", f"network.width={n}", "network.outputs=2",
                "activation=relu", "initialization=gaussian", "initialization.C_b=0.05", "initialization.C_W=1.65",
                "inputs=sphere", "inputs.count=2", "inputs.dimension=2", "observables.record=[kernel,outputs,ntk]",
                "observables.layers=[5]", "dynamics.lambda_b=0.7", "dynamics.lambda_W=1.2", "ensemble.sampler=dense",
                "ensemble.networks=100000", f"ensemble.seed={n}")
        )
        for n in (16, 32)
    ]  # fmt: skip
    found = pulls(points)
    limit = norm.isf(FALSE_ALARM / (2 * sum(len(of) for of in found.values())))
    assert max(np.abs(of).max() for of in found.values()) < limit
    monkeypatch.setattr(_Step, "towers_above", lambda step, memory: step.towers)
    flow_of.cache_clear()
    without = pulls(points)
    flow_of.cache_clear()
    assert all(np.abs(without[tensor]).max() > limit for tensor in ("G1", "Theta1", "A", "D"))
