"""The benchmarks of linear and quadratic models run on tiny cases."""

from pathlib import Path

import numpy as np

from benchmarks import breakdown, inversions


def test_inversions(tmp_path: Path) -> None:
    """Times that cross at 40 are found to do so, and others never to cross."""
    sizes = (10, 20, 100, 200)
    found = inversions.table((8, 16), fixed=12, repeats=1)
    assert {name: times.shape for name, times in found.items()} == {"n_f": (2, 2), "N": (2, 2)}
    times = np.array([[size**3, 40**2 * size] for size in sizes], dtype=float)
    assert abs(inversions.crossing(sizes, times) - 40) < 1e-9
    assert np.isnan(inversions.crossing(sizes, times * [1.0, 1e9]))
    inversions.draw({"n_f": times, "N": times[:, ::-1]}, sizes, 40, tmp_path / "inversions.png")
    assert (tmp_path / "inversions.png").stat().st_size > 1000


def test_breakdown(tmp_path: Path) -> None:
    """The first order errs by epsilon squared where epsilon is small, and nothing converges where it is large."""
    table = np.array([breakdown.compared(epsilon, networks=4) for epsilon in (0.01, 0.02, 12.0)])
    linear, first, moved, diverged = table.T
    assert 1.8 < linear[1] / linear[0] < 2.2
    assert 3.5 < first[1] / first[0] < 4.5
    assert 1.8 < moved[1] / moved[0] < 2.2
    assert diverged.tolist() == [0, 0, 1]
    breakdown.draw((0.01, 0.02, 12.0), table, tmp_path / "breakdown.png")
    assert (tmp_path / "breakdown.png").stat().st_size > 1000
