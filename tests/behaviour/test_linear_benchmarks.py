"""The benchmarks of linear and quadratic models run on tiny cases."""

import itertools
from pathlib import Path

import numpy as np

from benchmarks import breakdown, inversions, steps


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
    """The linear model errs by the first and the first order by the second power of epsilon where it is small, and
    nothing converges where it is large. Networks of two epsilon differ, so powers are taken over two decades."""
    epsilons = (0.001, 0.1, 12.0)
    table = np.array([breakdown.compared(epsilon, networks=4) for epsilon in epsilons])
    linear, first, moved = np.log(table[1, :3] / table[0, :3]) / np.log(100)
    assert 0.8 < linear < 1.2
    assert 1.8 < first < 2.2
    assert 0.8 < moved < 1.2
    assert table[:, 3].tolist() == [0, 0, 1]
    breakdown.draw(epsilons, table, tmp_path / "breakdown.png")
    assert (tmp_path / "breakdown.png").stat().st_size > 1000


def test_moments_over_batches() -> None:
    """Those of the linear model's test error after two steps, from all four sequences of batches of one. Negative
    control: the square of the mean, which leaves out the spread over batches."""
    rng, eta, N = np.random.default_rng(0), 0.2, 2
    H, e = rng.standard_normal((5, 3, 3)), rng.standard_normal((5, 3))
    ends = []
    for first, second in itertools.product(range(N), repeat=2):
        one = e - eta * N * H[:, :, first] * e[:, [first]]
        ends.append((one - eta * N * H[:, :, second] * one[:, [second]])[:, steps.TEST])
    mean, moment = steps.over_batches(H, e, e[:, :, None] * e[:, None], eta, N)[2]
    np.testing.assert_allclose(mean, np.mean(ends, axis=0), rtol=1e-12)
    np.testing.assert_allclose(moment, np.mean(np.square(ends), axis=0), rtol=1e-12)
    assert not np.allclose(moment, np.mean(ends, axis=0) ** 2, rtol=1e-2)
