"""Networks whose hidden layers are tilted, docs/theory.md (16.21), have the evidence of those of the prior."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.estimators import Estimate
from analysis.points import Point
from analysis.recorded import weights_of
from analysis.weights import Kernels, Weights, mixture
from simulate.api import read_one
from simulate.running.prepare import prepare
from simulate.settings import SettingsError
from simulate.store.sets import DataSet

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "bayes_reference.json").read_text())
DIGITS = ["inputs=digits", "network.depth=3", "observables=posterior", "initialization=gaussian",
          "initialization.C_W=1.0"]  # fmt: skip


def uncorrected(data: DataSet, noise: float) -> Estimate:
    """Log evidence as if the networks were of the prior."""
    point = Point(data)
    y = point.samples[1]
    assert y is not None
    g = Kernels(point.read("g", point.depth), point.columns("g"))
    return Weights.of(mixture(g, y[: point.samples[2]], noise).log_w).log_evidence()


def test_exact_law(run: Callable[..., DataSet]) -> None:
    """Log evidence of deep linear networks of width 8 is that of docs/theory.md (16.18) within four standard errors, a
    false alarm in 16,000, at the noise of the tilt and at another one. Negative control: the same networks without the
    correction."""
    data = run(*DIGITS, "inputs.count=5", "activation=linear", "network.width=8", "ensemble.networks=4000",
               "observables.record=[posterior,kernel]", "observables.noises=[0.1,0.3]", "ensemble.tilt.noise=0.1",
               "ensemble.dtype=float64")  # fmt: skip
    x, y, train = data.samples()
    assert y is not None
    K = theory.flow("linear", 3, 0.0, 1.0, x[:train], tensors=("K",)).K[-1]
    for noise in (0.1, 0.3):
        want = theory.deep_linear(K, y[:train], noise, [8, 8]).log_evidence

        def pull(found: Estimate, want: float = want) -> float:
            return float(abs(found.value[0] - want) / found.error[0])

        assert pull(weights_of(Point(data), noise).log_evidence()) < 4
        assert pull(uncorrected(data, noise)) > 10


def test_effective_share(run: Callable[..., DataSet]) -> None:
    """Of ten digits at noise 0.01 and n = 64 the tilt leaves more than half of the networks, docs/theory.md (16.5), and
    plain weights an eighth, as a simulation by other code has it, and both have its log evidence within four standard
    errors."""
    few = [*DIGITS, "inputs.count=10", "network.width=64", "observables.noises=[0.01]", "ensemble.networks=4000"]
    (want,) = (row for row in REFERENCE["shares"] if (row["N"], row["n"], row["noise"]) == (10, 64, 0.01))
    for tilt, name in (([], "plain"), (["ensemble.tilt.noise=0.01"], "tilt self")):
        weights = weights_of(Point(run(*few, *tilt)), 0.01)
        share, _, log_Z = want[name]
        found = weights.log_evidence()
        # The reference has 8,000 networks, and its error is that of as many here.
        assert abs(found.value[0] - log_Z) < 4 * found.error[0] * np.sqrt(1.5)
        assert weights.effective / 4000 == pytest.approx(share, rel=0.15)


def test_control_networks(run: Callable[..., DataSet]) -> None:
    """Networks whose address is a multiple of `control` are those of the prior, bit by bit, and the others are not."""
    few = [*DIGITS, "inputs.count=3", "network.width=8", "ensemble.networks=12"]
    prior = run(*few)
    tilted = run(*few, "ensemble.tilt.noise=0.1", "ensemble.tilt.control=3")
    same = np.array([np.array_equal(a, b) for a, b in zip(tilted.read("lw"), prior.read("lw"), strict=True)])
    np.testing.assert_array_equal(same, np.arange(12) % 3 == 0)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["observables=kernel"], "count by weights"),
        (["observables.record=[posterior,outputs]"], "posterior, kernel and weight_controls alone"),
        (["ensemble.sampler=dense"], "sampler=dense"),
        (
            ["inputs.count=50", "observables.noises=[0.1,0.01]"],
            r"noises=0\.01: with 50 train samples and n=64 .*v1/n = [56]",
        ),
        (["inputs.count=10", "network.width=4", "observables.noises=[0.01]"], "wider layers"),
    ],
)
def test_refusals(overrides: list[str], words: str) -> None:
    """What cannot be tilted, and weights that are hopeless by the forecast of docs/theory.md (16.5), are refused."""
    with pytest.raises(SettingsError, match=words):
        prepare(read_one([*DIGITS, "network.width=64", "ensemble.tilt.noise=0.1", *overrides, "output=none"]))
