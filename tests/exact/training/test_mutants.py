"""Three wrong simulations once passed every claim; here each changes a network or a law that is known."""

from collections.abc import Callable

import pytest
import torch
from torch.func import jacrev

from benchmarks.mutants import SIMULATIONS, mutated
from simulate.networks import dense, streams
from simulate.running import samplers
from tests.exact.training.networks import ETA, M, assert_same, network, outputs, plus, slope, training


def two_steps() -> None:
    """Two steps of gradient descent are those of automatic differentiation, with rates lambda_W / n_{l-1}."""
    t = training("gradient_descent")
    wanted = [network(t, m) for m in range(M)]
    list(samplers.trajectory(t, (0, 2)))
    for m, theta in enumerate(wanted):
        for _ in range(2):
            theta = plus(theta, slope(theta, t), -ETA)
        assert_same(t, m, theta)


def kernel() -> None:
    """The NTK at the outputs, docs/theory.md (2.1), is a sum over parameters with rates lambda_W / n_{l-1}."""
    t = training("gradient_descent")
    z, signals = dense.forward(t.parameters, t.x, t.s)
    H = dense.ntk(t.parameters, z, signals, t.slope, t.dynamics.lambda_b, t.dynamics.lambda_W)
    for m in range(M):
        W, b = jacrev(lambda theta: outputs(theta, t.x, t.s))(network(t, m))
        weighted = list(zip(t.dynamics.lambda_W, W, strict=True)), list(zip(t.dynamics.lambda_b, b, strict=True))
        terms = [(rate / J.shape[-1], J) for rate, J in weighted[0]] + weighted[1]
        want = sum(rate * torch.einsum("aip,bjp->iajb", *[J.flatten(2)] * 2) for rate, J in terms)
        torch.testing.assert_close(H[m], want, rtol=1e-10, atol=1e-12)


def fourth_cumulant() -> None:
    """The fourth cumulant of 300,000 weights of variance one vanishes within 5 standard errors, sqrt(24 / N): a false
    alarm in 2e6."""
    stream = streams.Stream(streams.key(0, "weights"), 0, 1000, torch.float64, torch.device("cpu"))
    w = stream.normal(streams.WEIGHTS, 2, 300)
    assert abs(float((w**4).mean() - 3 * (w**2).mean() ** 2)) < 5 * (24 / w.numel()) ** 0.5


FOUND: dict[str, tuple[Callable[[], None], ...]] = {
    "fan-out rates": (two_steps, kernel),
    "uniform weights": (fourth_cumulant,),
    "one training step too few": (two_steps,),
}


@pytest.mark.parametrize("check", [two_steps, kernel, fourth_cumulant])
def test_the_right_simulation(check: Callable[[], None]) -> None:
    """Also after a mutant."""
    for mutant in SIMULATIONS:
        with mutated(mutant):
            pass
    check()


@pytest.mark.parametrize("mutant", SIMULATIONS)
def test_a_wrong_simulation_is_found(mutant: str) -> None:
    for check in FOUND[mutant]:
        with mutated(mutant), pytest.raises(AssertionError):
            check()
