"""The cost of both solutions of a linear model, by features (n_f x n_f) and by samples (N x N): docs/theory.md (5.4).

    OMP_NUM_THREADS=1 python -m benchmarks.inversions             # prints the times
    OMP_NUM_THREADS=1 python -m benchmarks.inversions --write     # draws docs/inversions.png, too

Each solution forms its matrix, solves one system by Cholesky's method, and predicts TEST samples. Times are CPU seconds
of all threads, the least of several runs, which other work on the machine disturbs least; OMP_NUM_THREADS=1 keeps
products to one thread.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from scipy.linalg import solve

from analysis.report.style import CATEGORIES, STYLE

FIGURE = Path(__file__).parents[1] / "docs" / "inversions.png"
FIXED, SIZES = 800, (50, 100, 200, 400, 566, 800, 1131, 1600, 3200)
TEST, RIDGE, REPEATS = 10, 0.1, 5
NAMES = {"primal": "features, $n_f \\times n_f$", "dual": "samples, $N \\times N$"}


def primal(phi: np.ndarray, test: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Predictions (TEST,) by the normal equations."""
    matrix = phi.T @ phi
    matrix.flat[:: len(matrix) + 1] += RIDGE
    return np.asarray(test @ solve(matrix, phi.T @ y, assume_a="pos", overwrite_a=True, check_finite=False))


def dual(phi: np.ndarray, test: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same by the kernel of the samples."""
    matrix = phi @ phi.T
    matrix.flat[:: len(matrix) + 1] += RIDGE
    return np.asarray(test @ phi.T @ solve(matrix, y, assume_a="pos", overwrite_a=True, check_finite=False))


def seconds(way: Callable[..., np.ndarray], given: Sequence[np.ndarray], repeats: int = REPEATS) -> float:
    """The least CPU time of one call."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        way(*given)
        found.append(time.process_time() - began)
    return min(found)


def measured(features: int, samples: int, repeats: int = REPEATS) -> tuple[float, float]:
    """Seconds of both ways, which are checked against each other."""
    rng = np.random.default_rng(0)
    phi, test = (rng.standard_normal((D, features)) / np.sqrt(features) for D in (samples, TEST))
    given = phi, test, rng.standard_normal(samples)
    np.testing.assert_allclose(primal(*given), dual(*given), rtol=1e-6, atol=1e-8)
    return seconds(primal, given, repeats), seconds(dual, given, repeats)


def crossing(sizes: Sequence[int], times: np.ndarray) -> float:
    """The size at which two times (sizes, 2) are equal, by interpolation of their logarithms; NaN where none is."""
    apart = np.log(times[:, 0] / times[:, 1])
    (places,) = np.nonzero(apart[:-1] * apart[1:] <= 0)
    if not len(places):
        return float("nan")
    k, logs = places[0], np.log(np.asarray(sizes, dtype=float))
    return float(np.exp(logs[k] + (logs[k + 1] - logs[k]) * apart[k] / (apart[k] - apart[k + 1])))


def table(sizes: Sequence[int] = SIZES, fixed: int = FIXED, repeats: int = REPEATS) -> dict[str, np.ndarray]:
    """Seconds (sizes, 2), primal first: against n_f at N = fixed, and against N at n_f = fixed."""
    return {
        "n_f": np.array([measured(size, fixed, repeats) for size in sizes]),
        "N": np.array([measured(fixed, size, repeats) for size in sizes]),
    }


def draw(found: dict[str, np.ndarray], sizes: Sequence[int], fixed: int, path: Path) -> None:
    """Both times against both sizes, with a line where they cross."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    with pyplot.style.context(STYLE):
        figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
        for panel, (name, times) in zip(axes, found.items(), strict=True):
            for k, label in enumerate(NAMES.values()):
                panel.loglog(sizes, times[:, k], "os"[k] + "-", color=CATEGORIES[k], label=label)
            at, other = crossing(sizes, times), {"n_f": "N", "N": "n_f"}[name]
            panel.axvline(at, color="0.5", linewidth=0.8)
            panel.set_xlabel(f"${name}$ at ${other} = {fixed}$; equal at {at:.0f}")
        axes[0].set_ylabel("CPU seconds")
        axes[0].legend(title="inverse of a matrix of")
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="draw docs/inversions.png")
    write, found = parser.parse_args().write, table()
    for name, times in found.items():
        print(f"against {name}, the other at {FIXED}; equal at {crossing(SIZES, times):.0f}")
        for size, (by_features, by_samples) in zip(SIZES, times, strict=True):
            print(f"  {size:5d}  features {by_features:.4f} s  samples {by_samples:.4f} s")
    if write:
        draw(found, SIZES, FIXED, FIGURE)


if __name__ == "__main__":
    main()
