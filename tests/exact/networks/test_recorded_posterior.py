"""Weights, means and variances that the samplers record of each noise, docs/theory.md (16.1) and (16.2)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import analysis
from simulate.api import read_one
from simulate.running.prepare import prepare
from simulate.settings import SettingsError
from simulate.store.sets import DataSet

SMALL = ["inputs=digits", "inputs.count=5", "inputs.test=2", "network.depth=3", "network.width=16",
         "ensemble.networks=400", "ensemble.dtype=float64"]  # fmt: skip
RECORDED = [*SMALL, "observables=posterior", "observables.noises=[0.3,0.1]"]


@pytest.mark.parametrize("sampler", ["law", "dense"])
@pytest.mark.parametrize("classes", [2, 3])
def test_weights_of_recorded_kernels(run: Callable[..., DataSet], sampler: str, classes: int) -> None:
    """Log evidence of each network, and with it the posterior, are those that the analysis forms from the kernels of
    the same addresses, docs/theory.md (16.1) and (16.2), to rounding. Negative control: the other noise."""
    same = [
        f"ensemble.sampler={sampler}",
        f"inputs.classes={list(range(classes))}",
        f"network.outputs={1 if classes == 2 else classes}",
    ]
    kernels, data = run(*SMALL, "observables=kernel", *same), run(*RECORDED, *same)
    want, found = analysis.posterior(kernels, noise=0.1), analysis.recorded_posterior(data, noise=0.1)
    np.testing.assert_allclose(found.log_w, want.log_w, rtol=1e-12)
    np.testing.assert_allclose(found.log_evidence, want.log_evidence, rtol=1e-12)
    np.testing.assert_allclose(found.log_evidence_error, want.log_evidence_error, rtol=1e-9)
    np.testing.assert_allclose(found.mean, want.mean, rtol=1e-10, atol=1e-12)
    variances = np.einsum("ibib->bi", want.covariance)
    np.testing.assert_allclose(found.variance, variances, rtol=1e-9)
    assert found.effective == pytest.approx(want.effective, rel=1e-10)
    other = analysis.recorded_posterior(data, noise=0.3)
    assert not np.isclose(other.log_w, want.log_w, rtol=1e-5).any()
    with pytest.raises(ValueError, match=r"observables\.noises=\[0\.3, 0\.1\]"):
        analysis.recorded_posterior(data, noise=0.2)
    with pytest.raises(ValueError, match="recorded_posterior"):
        analysis.posterior(data, noise=0.1)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["observables.noises=[]"], r"observables\.noises=\[\]"),
        (["observables.noises=[0.1,0.1]"], "different variances"),
        (["observables.noises=[0]"], "variances > 0"),
        (["observables.record=[kernel]"], "posterior is not recorded"),
        (["initialization=orthogonal"], "Gaussian weights"),
        (["dynamics=gradient_descent"], "dynamics=none"),
        (["network=residual"], "without skips"),
        (["inputs=gaussian"], "no targets"),
    ],
)
def test_refusals(overrides: list[str], words: str, tmp_path: Any) -> None:
    """What has no posterior by weights is refused before anything is written."""
    with pytest.raises(SettingsError, match=words):
        prepare(read_one([*RECORDED, *overrides, f"output={tmp_path}/x"]))
    assert not (tmp_path / "x").exists()
