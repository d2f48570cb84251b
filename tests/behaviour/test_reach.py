"""The benchmark of how far each order reaches runs on small cases, and its numbers are those of closed forms."""

from pathlib import Path

import numpy as np
import pytest

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
