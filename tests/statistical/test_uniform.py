"""Uniform weights: a control whose fourth cumulant is off by a known amount, docs/theory.md (14.5).

The seed is fixed, the false-alarm rate is stated, and there is a negative control.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from analysis import estimators, theory
from analysis.theory.gaussian import Expectations
from simulate.store.sets import DataSet

FALSE_ALARM = 1e-4


@pytest.mark.parametrize("scheme", ["uniform", "gaussian"])
def test_fourth_cumulant(scheme: str, run: Callable[..., DataSet]) -> None:
    """In layer 2 n (E z_i^4 - 3 E g^2) is -(6/5) C_W^2 <s^4> at any n, and E z_i^2 z_j^2 = E g^2: docs/theory.md
    (14.5), with false-alarm rate 1e-4. Negative control: Gaussian weights, whose fourth cumulant given g vanishes."""
    n, C_b, C_W = 8, 0.1, 1.5
    data = run(f"initialization={scheme}", "activation=relu", f"network.width={n}", "network.depth=3", "inputs=sphere",
               "inputs.count=1", f"initialization.C_b={C_b}", f"initialization.C_W={C_W}", "ensemble.sampler=dense",
               "observables.record=[kernel,moments]", "observables.layers=[2]", "ensemble.networks=30000")  # fmt: skip
    g, m2, m4 = (data.read(prefix)[:, 0, 0, 0].astype(float) for prefix in ("g", "m2", "m4"))
    K = theory.flow("relu", 1, C_b, C_W, data.samples()[0], tensors=("K",)).K[0]
    fourth = float(Expectations(theory.activation("relu"), K).tensor(0, 0, 0, 0).item())
    pairs = estimators.distinct_neurons(m2, m2, m4, n)
    limit = norm.isf(FALSE_ALARM / 4)

    def pull(numbers: np.ndarray, value: float) -> float:
        return float((numbers.mean() - value) / (numbers.std() / len(numbers) ** 0.5))

    assert abs(pull(pairs - g**2, 0.0)) < limit
    assert abs(pull(n * (m4 - 3 * g**2), -6 / 5 * C_W**2 * fourth if scheme == "uniform" else 0.0)) < limit
    assert abs(pull(n * (m4 - 3 * g**2), 0.0 if scheme == "uniform" else -6 / 5 * C_W**2 * fourth)) > limit
