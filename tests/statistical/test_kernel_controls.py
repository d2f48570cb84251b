"""Controls of posterior averages, docs/theory.md (16.6): their law, and that rows of kernels do not change."""

from collections.abc import Callable

import numpy as np
import pytest

from analysis import theory
from simulate.settings.reader import SettingsError
from simulate.store.sets import DataSet

Run = Callable[..., DataSet]
BASE = ["inputs=digits", "inputs.count=3", "activation=tanh", "network.depth=3", "network.width=16",
        "ensemble.networks=4000", "ensemble.dtype=float64", "initialization=gaussian",
        "initialization.C_b=0.1"]  # fmt: skip


def test_law(run: Run) -> None:
    """Means are zero and covariances C_W^2 v(K)/n at n = 16, without any next order: 12 means and 42 covariances within
    4.5 standard errors, a false alarm in 2700. The kernels' own rows are the same bits without controls. Negative
    control: kernels less K are no such numbers, since layer 3 fluctuates by what layer 2 does, too."""
    data = run(*BASE, "observables.record=[kernel,kernel_controls]")
    plain = run(*BASE, "observables=kernel")
    np.testing.assert_array_equal(data.read("g"), plain.read("g"))
    c, g = data.read("c")[:, 0], data.read("g")[:, 0]
    assert not c[:, 0].any()
    x, _, _ = data.samples()
    pairs = data.layout.indices(data.family("c"))
    flow = theory.flow("tanh", 3, 0.1, 1.0, x, tensors=("K", "V"))
    assert flow.V is not None

    def pulls(rows: np.ndarray, v: np.ndarray) -> np.ndarray:
        mean = rows.mean(axis=0) / rows.std(axis=0) * np.sqrt(len(rows))
        products = np.einsum("mp,mq->mpq", rows, rows)
        covariance = (products.mean(axis=0) - v) / products.std(axis=0) * np.sqrt(len(rows))
        return np.concatenate([mean, covariance[np.triu_indices(len(v))]])

    def between(V: np.ndarray) -> np.ndarray:
        return np.array([[V[(*a, *b)] for b in pairs] for a in pairs]) / 16

    assert np.abs(pulls(c[:, 1], between(flow.V[1]))).max() < 4.5
    # What layer 3 adds is V of a network of two layers whose first kernel is K(2).
    root = np.linalg.cholesky(flow.K[1] - 0.1)
    own = theory.flow("tanh", 2, 0.1, 1.0, root * np.sqrt(3), tensors=("V",)).V
    assert own is not None
    assert np.abs(pulls(c[:, 2], between(own[1]))).max() < 4.5
    K = np.array([flow.K[2][pair] for pair in pairs])
    assert np.abs(pulls(g[:, 2] - K, between(own[1]))).max() > 6


def test_they_follow_the_kernel(run: Run) -> None:
    """At large width g - K of layer 2 is its control, and that of layer 3 is the control and the pushed one of layer 2:
    what is left falls as 1/n and not as n^-1/2."""
    left = []
    for n in (64, 1024):
        data = run(*BASE, "observables.record=[kernel,kernel_controls]", f"network.width={n}", "ensemble.networks=200")
        c, g = data.read("c")[:, 0], data.read("g")[:, 0]
        K = theory.flow("tanh", 3, 0.1, 1.0, data.samples()[0], tensors=("K",)).K
        np.testing.assert_allclose(g[:, 1] - K[1][np.triu_indices(3)], c[:, 1], atol=1e-12)
        rest = g[:, 2] - K[2][np.triu_indices(3)] - c[:, 2]
        design = c[:, 1] - c[:, 1].mean(axis=0)
        rest = rest - rest.mean(axis=0)
        left.append((rest - design @ np.linalg.lstsq(design, rest, rcond=None)[0]).std())
    assert 10 < left[0] / left[1] < 24


def test_networks_with_weights_are_refused(run: Run) -> None:
    for other in ("ensemble.sampler=dense", "dynamics=gradient_descent"):
        with pytest.raises(SettingsError, match="kernel_controls"):
            run(*BASE, "observables.record=[kernel,kernel_controls]", other)
