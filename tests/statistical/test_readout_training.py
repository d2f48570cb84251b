"""Training of the readout ends at a draw of the last layer given the targets, so that networks which are trained only
there and weighted afterwards are the posterior: docs/theory.md (16.4)."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.__main__ import main
from simulate.store.sets import DataSet

Run = Callable[..., DataSet]
NETWORK = ["inputs=digits", "inputs.count=2", "inputs.test=1", "activation=tanh", "network.depth=4", "network.width=8",
           "initialization=gaussian", "initialization.C_W=1.3", "ensemble.dtype=float64"]  # fmt: skip
TRAINED = ["dynamics=gradient_descent", "dynamics.eta=1.5", "dynamics.steps=80", "dynamics.lambda_b=0",
           "dynamics.lambda_W=[0,0,0,1.3]", "observables.record=[kernel,outputs]", "observables.layers=[4]",
           "observables.steps=[0,80]", "ensemble.networks=6000", "ensemble.seed=7"]  # fmt: skip


@pytest.mark.long
def test_trained_readouts_with_weights_are_the_posterior(run: Run) -> None:
    """Each network ends where its last kernel says, and with the weights that the analysis writes, mean and second
    moment at the test sample are those of an independent ensemble without weights that is never trained, within four
    standard errors: a false alarm in 8000. Negative controls: the same networks without weights, and another noise."""
    dense = run(*NETWORK, *TRAINED)
    _, y, N = dense.samples()
    assert y is not None
    z = dense.read("z")[:, :, -1]
    pairs, columns = dense.layout.indices(dense.family("g")), dense.read("g")[:, 0, 0]
    g = np.zeros((len(z), 3, 3))
    for k, (a, b) in enumerate(pairs):
        g[:, a, b] = g[:, b, a] = columns[:, k]
    moved = np.linalg.solve(g[:, :N, :N], (y[:N, 0] - z[:, 0, :N])[:, :, None])
    end = z[:, 0] + (g[:, :, :N] @ moved)[:, :, 0]
    arrived = np.linalg.eigvalsh(g[:, :N, :N])[:, 0] > 0.1  # the error of others is more than exp(-12) of the first
    assert arrived.mean() > 0.3
    np.testing.assert_allclose(z[arrived, 1], end[arrived], atol=2e-4)

    folder = dense.path.parent / "out"
    command = [f"data={dense.path}", "posterior.noise=0.0", "posterior.weights=true", "figures=false"]
    assert main([*command, f"output={folder}"]) == 0
    log_w = pd.read_parquet(folder / "posterior_weights.parquet")["log_w"].to_numpy()
    at_test = np.column_stack([end[:, 2], end[:, 2] ** 2])

    def mean(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = w @ at_test / w.sum()
        return value, np.sqrt(w**2 @ (at_test - value) ** 2) / w.sum()

    other = run(*NETWORK, "observables=kernel", "ensemble.networks=20000")

    def pull(w: np.ndarray, noise: float) -> float:
        found = analysis.posterior(other, noise=noise)
        want = np.array([found.mean[2, 0], found.covariance[0, 2, 0, 2] + found.mean[2, 0] ** 2])
        variance = found.covariance_error[0, 2, 0, 2] ** 2 + (2 * found.mean[2, 0] * found.mean_error[2, 0]) ** 2
        value, error = mean(w)
        errors = np.array([found.mean_error[2, 0], np.sqrt(variance)])
        return float(np.abs((value - want) / np.hypot(error, errors)).max())

    weights = np.exp(log_w - log_w.max())
    assert pull(weights, 0.0) < 4
    assert pull(np.ones(len(weights)), 0.0) > 6
    assert pull(weights, 0.3) > 6
