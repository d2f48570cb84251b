"""Networks whose last layer is drawn given targets, docs/theory.md (16.3), with and without weights.

The kernel g of the last layer is recorded, so that the law of the outputs given g is known for each network.
"""

from collections.abc import Callable

import numpy as np
import pytest

import simulate
from analysis.weights import Kernels, processes
from simulate.api import read_one
from simulate.settings import SettingsError
from simulate.store.sets import DataSet

Run = Callable[..., DataSet]
NETWORKS = 4000
SMALL = ["inputs=digits", "inputs.count=2", "inputs.test=1", "activation=tanh", "network.depth=3", "network.width=8",
         "initialization=gaussian", "initialization.C_b=0.2", "initialization.C_W=1.3", "ensemble.dtype=float64",
         "dynamics.lambda_b=1.0", f"ensemble.networks={NETWORKS}"]  # fmt: skip
CONDITIONED = ["observables.record=[kernel,outputs,ntk,log_w]", "ensemble.condition.noise=0.1"]
SAMPLERS = pytest.mark.parametrize("sampler", ["law", "dense"])


def whitened(data: DataSet, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (M, 3) in the units of their law given g, docs/theory.md (16.2), and log w (M,)."""
    _, y, train = data.samples()
    assert y is not None
    kernels = Kernels(data.read("g")[:, 0, -1], data.layout.indices(data.family("g")))
    each = processes(kernels.between(0, NETWORKS), y[:train], 0.1)
    roots = np.linalg.cholesky(each.covariances)
    return np.linalg.solve(roots, (z - each.means[:, 0])[:, :, None])[:, :, 0], each.log_w


def largest_pull(u: np.ndarray) -> float:
    """Of the means and second moments of numbers (M, 3) that are meant to be independent standard normals."""
    second = np.einsum("mi,mj->mij", u, u)[:, *np.triu_indices(3)] - np.eye(3)[np.triu_indices(3)]
    values = np.concatenate([u, second], axis=1)
    return float(np.abs(values.mean(axis=0) / values.std(axis=0) * np.sqrt(len(u))).max())


@SAMPLERS
def test_outputs_given_the_kernel(run: Run, sampler: str) -> None:
    """Given g, outputs at train and test samples have mean and covariance of the posterior, docs/theory.md (16.3), nine
    numbers within four standard errors: a false alarm in 1700. Negative control: the outputs of the same networks
    before, whose kernels are the same."""
    data = run(*SMALL, *CONDITIONED, f"ensemble.sampler={sampler}")
    prior = run(*SMALL, "observables.record=[kernel,outputs]", f"ensemble.sampler={sampler}")
    np.testing.assert_array_equal(data.read("g"), prior.read("g"))
    u, log_w = whitened(data, data.read("z")[:, 0, -1])
    assert largest_pull(u) < 4
    np.testing.assert_allclose(data.read("logw")[:, 0, -1, 0], log_w, rtol=1e-10)
    assert largest_pull(whitened(data, prior.read("z")[:, 0, -1])[0]) > 20


def test_ntk_of_both_samplers(run: Run) -> None:
    """Weighted, the NTK of networks without weights has the mean of that with weights, docs/theory.md (16.3), six
    numbers within four standard errors: a false alarm in 2600. Negative control: networks without weights whose last
    layer is that of the prior, with the same weights."""

    def mean(data: DataSet, log_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w, H = np.exp(log_w - log_w.max()), data.read("H")[:, 0, -1]
        value = w @ H / w.sum()
        return value, np.sqrt(w**2 @ (H - value) ** 2) / w.sum()

    law, dense = (run(*SMALL, *CONDITIONED, f"ensemble.sampler={sampler}") for sampler in ("law", "dense"))
    log_w = [data.read("logw")[:, 0, -1, 0] for data in (law, dense)]
    (one, error), (other, other_error) = mean(law, log_w[0]), mean(dense, log_w[1])
    assert np.abs((one - other) / np.hypot(error, other_error)).max() < 4
    prior = run(*SMALL, "observables.record=[kernel,ntk]")
    np.testing.assert_array_equal(prior.read("g"), law.read("g"))
    both = run(*SMALL, *CONDITIONED[1:], "observables.record=[ntk,prior_ntk,log_w]")
    np.testing.assert_array_equal(both.read("H0")[:, 0, 0], prior.read("H")[:, 0, -1])
    np.testing.assert_array_equal(both.read("H")[:, 0, 0], law.read("H")[:, 0, -1])
    wrong, error = mean(prior, log_w[0])
    assert np.abs((wrong - other) / np.hypot(error, other_error)).max() > 8


def test_inert_at_its_default() -> None:
    """Data sets without a condition keep their identity, docs/theory.md (16.3)."""
    assert "condition" not in read_one([]).identity()["ensemble"]
    conditioned = read_one(["observables.record=[ntk,log_w]", "ensemble.condition.noise=0.1"])
    assert conditioned.identity()["ensemble"]["condition"] == {"noise": 0.1}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["ensemble.condition.noise=0"], "ensemble.condition.noise=0: a finite number > 0"),
        (["ensemble.condition.noise=0.1"], "ensemble.condition.noise=0.1: .*observables.record with log_w"),
        (["observables.record=[ntk,log_w]"], "log_w and prior_ntk are those of networks with a conditioned last layer"),
        (["ensemble.condition.nosie=0.1"], "nosie"),
        ([*CONDITIONED, "dynamics=gradient_descent"], "noise=0.1: posterior networks are not trained"),
        ([*CONDITIONED, "initialization=orthogonal"], "noise=0.1: .* known for Gaussian weights"),
        ([*CONDITIONED, "network=quadratic", "observables.record=[ntk,log_w]"], "noise=0.1: quadratic models"),
        ([*CONDITIONED, "observables.record=[ntk_sums,log_w]"], "noise=0.1: null: ntk_sums averages"),
        (["observables.record=[prior_ntk,ntk,log_w]", CONDITIONED[1], "ensemble.sampler=dense"], "sampler=law alone"),
        ([*CONDITIONED, "inputs=sphere"], "noise=0.1: inputs=sphere has no targets"),
        ([*CONDITIONED, "network.outputs=3"], "network.outputs=3: the targets have 1 component"),
    ],
)
def test_refusals(overrides: list[str], words: str) -> None:
    with pytest.raises((SettingsError, ValueError), match=words):
        simulate.run(*overrides, "output=nowhere", "workers=1")
