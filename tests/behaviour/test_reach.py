"""The benchmark of how far each order reaches runs on small cases, and its numbers are those of closed forms."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import simulate
from benchmarks import reach


def test_reach(tmp_path: Path) -> None:
    """ReLU: Var g/(E g)^2 + 1 is (1 + 5/n)^(L-1), and each order reaches further than the one before it, the
    exponential furthest."""
    widths = [32, 64, 128, 256, 512, 1024, 4096]
    found = reach.measured("relu", 4, widths)
    np.testing.assert_allclose(found.exact, [(1 + 5 / n) ** 3 - 1 for n in widths], rtol=1e-12)
    np.testing.assert_allclose(found.lines["order 1"], [15 / n for n in widths] / found.exact, rtol=1e-12)
    ends = [found.reach(line, 0.01) for line in ("order 1", "order 2", "exponential")]
    assert ends == sorted(ends)
    k = ends[0]
    x = 5 * k / 4
    assert 3 * x / ((1 + x) ** 3 - 1) == pytest.approx(0.99, abs=2e-3)
    assert found.reach("order 3", 0.01) == 4 / 32
    assert np.isnan(found.reach("order 1", 1e-6))
    reach.draw({"relu": found}, tmp_path / "reach.png")
    assert (tmp_path / "reach.png").stat().st_size > 1000


def test_networks_beside_the_lines(tmp_path: Path) -> None:
    """Networks of experiment=reach have the exact spread: 5 standard errors have a false-alarm rate of 1e-6. Negative
    control: that of one layer less."""
    few = ["ensemble.networks=4000", "network.depth=3", "observables.layers=[3]", "workers=1", "ensemble.device=cpu"]
    simulate.sweep("experiment=reach", "activation=linear", "network.width=16,64", *few, f"output={tmp_path}/a")
    points = reach.simulated(tmp_path / "a")["linear"]
    assert points[:, 0].tolist() == [3 / 16, 3 / 64]
    pulls = (points[:, 1] - 1) / points[:, 2]
    shorter = (points[:, 1] - [((1 + 2 / n) - 1) / ((1 + 2 / n) ** 2 - 1) for n in (16, 64)]) / points[:, 2]
    assert np.abs(pulls).max() < 5 < np.abs(shorter).min()
    found = replace(reach.measured("linear", 3, [16, 64, 256]), networks=points)
    reach.draw({"linear": found}, tmp_path / "reach.png")
    assert (tmp_path / "reach.png").stat().st_size > 1000
