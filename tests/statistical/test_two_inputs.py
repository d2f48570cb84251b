"""Residual networks and networks of orthogonal weights fluctuate as predicted at two inputs. Seeds are fixed, the
false-alarm rate is stated, and each check has a negative control."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import norm

from analysis import claims, points
from analysis.measures.differentials import DIFFERENTIALS
from analysis.points import Point, flow_of
from analysis.theory.residual_inputs import _Step
from simulate.store.sets import DataSet

FALSE_ALARM = 1e-4  # of all components of a test together (Bonferroni)


def drawn(run: Callable[..., DataSet], *overrides: str) -> list[Point]:
    """Networks with weights, of widths 16 and 32, and their last layer."""
    return [
        Point(
            run(f"network.width={n}", "network.outputs=2", "inputs=sphere", "inputs.count=2", "inputs.dimension=2",
                "observables.record=[kernel,outputs,ntk]", "observables.layers=[5]", "network.depth=5",
                "dynamics.lambda_b=0.7", "dynamics.lambda_W=1.2", "ensemble.sampler=dense", f"ensemble.seed={n}",
                *overrides)
        )
        for n in (16, 32)
    ]  # fmt: skip


def pulls(of: list[Point], tensors: Sequence[str]) -> dict[str, np.ndarray]:
    """(value - theory) / error of every component at the last layer, by tensor; two widths take off the next order of
    1/n."""
    out = {}
    for tensor in tensors:
        narrow, wide = (next(iter(claims.tests()[tensor](point, [point.depth]))) for point in of)
        value = 2 * wide.estimate.value - narrow.estimate.value - wide.theory
        out[tensor] = value / np.hypot(2 * wide.estimate.error, narrow.estimate.error)
    return out


def with_gaussian_weights(
    of: list[Point], tensors: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, np.ndarray]:
    """`pulls` from the theory of Gaussian weights."""
    plain = {"weights": "gaussian", "first_weights": "gaussian"}
    monkeypatch.setattr(points, "flow_of", lambda *network, **beyond: flow_of(*network, **beyond | plain))
    return pulls(of, tensors)


def limit(found: dict[str, np.ndarray]) -> float:
    return float(norm.isf(FALSE_ALARM / (2 * sum(len(of) for of in found.values()))))


@pytest.mark.long
def test_towers_are_seen(run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """All tensors of docs/theory.md (11.6) of ReLU networks with skips, with false-alarm rate 1e-4. Negative control:
    without the towers G1, Theta1, A and D are rejected, each by itself."""
    tensors = ("V", "G1", "Theta1", "A", "B", "D", "F")
    given = drawn(run, "network=residual", "network.skip=0.5", "activation=relu", "initialization=gaussian",
                  "initialization.C_b=0.05", "initialization.C_W=1.65", "ensemble.networks=100000")  # fmt: skip
    found = pulls(given, tensors)
    assert max(np.abs(of).max() for of in found.values()) < limit(found)
    monkeypatch.setattr(_Step, "towers_above", lambda step, memory: step.towers)
    flow_of.cache_clear()
    without = pulls(given, tensors)
    flow_of.cache_clear()
    assert all(np.abs(without[tensor]).max() > limit(found) for tensor in ("G1", "Theta1", "A", "D"))


@pytest.mark.long
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_orthogonal_weights(activation: str, run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """All tensors of docs/theory.md (14.1) but D, which no measure reads, of networks of orthogonal weights and biases,
    with false-alarm rate 1e-4. Negative control: those of Gaussian weights, of which V, A, B and F are rejected."""
    tensors = ("V", "G1", "Theta1", "A", "B", "F")
    given = drawn(run, f"activation={activation}", "initialization=orthogonal", "initialization.C_b=0.05",
                  "initialization.C_W=1.5", "ensemble.networks=30000")  # fmt: skip
    found = pulls(given, tensors)
    assert max(np.abs(of).max() for of in found.values()) < limit(found)
    of_gaussian = with_gaussian_weights(given, tensors, monkeypatch)
    assert all(np.abs(of_gaussian[tensor]).max() > limit(found) for tensor in ("V", "A", "B", "F"))


@pytest.mark.long
def test_differentials_of_orthogonal_weights(run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """P to U of docs/theory.md (14.6) of GELU networks of orthogonal weights and biases, with false-alarm rate 1e-4.
    Negative control: those of Gaussian weights, of which S and T are rejected."""
    given = drawn(run, "activation=gelu", "initialization=orthogonal", "initialization.C_b=0.05",
                  "initialization.C_W=1.5", "network.depth=4", "observables.record=[outputs,ntk,dntk,ddntk]",
                  "observables.layers=[4]", "ensemble.networks=12000")  # fmt: skip
    found = pulls(given, DIFFERENTIALS)
    assert max(np.abs(of).max() for of in found.values()) < limit(found)
    of_gaussian = with_gaussian_weights(given, DIFFERENTIALS, monkeypatch)
    assert all(np.abs(of_gaussian[tensor]).max() > limit(found) for tensor in ("S", "T"))
