"""The benchmark of the three regimes runs on a tiny case."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.theory import aspect_ratio
from benchmarks import regimes
from simulate.store.sets import DataSet


def test_regimes(run: Callable[..., DataSet], tmp_path: Path) -> None:
    """What it measures in 400 linear networks is near the exact laws: 5 standard errors have a false-alarm rate of
    1e-6. Negative control: the law of twice the layers."""
    given = ("activation=linear", "network.width=32", "network.depth=10", "observables.layers=[2,9]")
    found = regimes.measured(run("experiment=aspect_ratio", "sweep=null", *given, "ensemble.networks=400"))
    assert found.r.tolist() == [1 / 32, 8 / 32]
    exact = [aspect_ratio.log_kernel("linear", [32] * m, 1.0, 1.0)[1] for m in (1, 8, 16)]
    assert found.log_variance == pytest.approx(exact[:2], rel=5 * np.sqrt(2.5 / 400))
    assert found.log_variance[1] != pytest.approx(exact[2], rel=5 * np.sqrt(2.5 / 400))
    assert found.alignment[1] == pytest.approx(aspect_ratio.alignment("linear", [32] * 8, 32), rel=5 * 1.5 / 20)
    regimes.draw([found], tmp_path / "regimes.png")
    assert (tmp_path / "regimes.png").stat().st_size > 1000
