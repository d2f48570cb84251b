"""Where the first order in epsilon of the quadratic model breaks down: docs/theory.md (5.47) to (5.50).

    python -m benchmarks.breakdown             # prints the table
    python -m benchmarks.breakdown --write     # draws docs/breakdown.png, too

Networks of the experiment quadratic_model are trained at each epsilon by the simulation, and each is compared at test
samples, after the last step, with the linear model and with the first order in epsilon from its own start.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch

from analysis.report.style import CATEGORIES, STYLE
from analysis.theory import linear_model, quadratic_model
from simulate.api import read_one
from simulate.networks import dense
from simulate.running.drawn import stream_of, training_of
from simulate.running.prepare import prepare
from simulate.training.trajectory import trajectory

FIGURE = Path(__file__).parents[1] / "docs" / "breakdown.png"
EPSILONS = (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
NETWORKS = 64
COLUMNS = ("linear", "first order", "kernel", "diverged")


def compared(epsilon: float, networks: int = NETWORKS) -> tuple[float, ...]:
    """Medians over networks: the error of the linear model at test samples, that of the first order, by how much the
    effective kernel has moved over its size, and the share of networks that have diverged."""
    given = ["experiment=quadratic_model", "sweep=null", f"network.epsilon={epsilon}", "output=unused"]
    job = prepare(read_one(given))
    settings, samples, N = job.settings, job.samples, job.samples.train
    assert samples.y is not None
    dynamics, meta = settings.dynamics, settings.network.meta
    assert meta is not None
    lambdas = dynamics.lambda_b[0], dynamics.lambda_W[0]
    phi = linear_model.layer_features(samples.x, *lambdas)
    psi = quadratic_model.meta_features(samples.x, *lambdas, meta.rank, meta.seed)
    with torch.inference_mode():
        training = training_of(job, stream_of(job, 0, networks))
        starts = _theta(training.parameters, lambdas)
        list(trajectory(training, (dynamics.steps,)))
        z = dense.forward(training.parameters, torch.tensor(samples.x), training.s)[0][-1][..., 0].numpy()
        ends = _theta(training.parameters, lambdas)
    found = []
    for start, end, reached in zip(starts, ends, z, strict=True):
        y, f = samples.y[:N, 0], len(start)
        first = quadratic_model.first_order(phi, psi, y, dynamics.eta, (dynamics.steps,), start, np.zeros((f, f)))
        kernels = [quadratic_model.effective_kernel(phi, psi, epsilon, theta) for theta in (start, end)]
        moved = np.linalg.norm(kernels[1] - kernels[0]) / np.linalg.norm(kernels[0])
        errors = [
            np.abs(reached - predicted)[N:].max() for predicted in (first.z0[0], first.z0[0] + epsilon * first.z1[0])
        ]
        found.append((*errors, moved, float(not np.isfinite(reached).all() or np.abs(reached[:N] - y).max() > 1)))
    rows = np.array(found)
    kept = rows[rows[:, 3] == 0, :3]
    return (*(np.median(kept, axis=0) if len(kept) else [np.nan] * 3), rows[:, 3].mean())


def _theta(parameters: dense.Parameters, lambdas: tuple[float, float]) -> np.ndarray:
    """The parameters of each network over the roots of their rates, (M, n_0 + 1)."""
    b, W = parameters.b[0].numpy(), parameters.W[0][:, 0].numpy()
    return np.concatenate([b / np.sqrt(lambdas[0]), W / np.sqrt(lambdas[1] / W.shape[1])], axis=1)


def draw(epsilons: Sequence[float], table: np.ndarray, path: Path) -> None:
    """Errors of both models, and the movement of the kernel, against epsilon. table: (epsilons, 4)."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    with pyplot.style.context(STYLE):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        for k, label in enumerate(("linear model", "first order in $\\epsilon$")):
            left.loglog(epsilons, table[:, k], "os"[k] + "-", color=CATEGORIES[k], label=label)
        left.set(xlabel="$\\epsilon$", ylabel="error of test outputs, median")
        left.legend()
        right.loglog(epsilons, table[:, 2], "o-", color=CATEGORIES[2], label="$|k^E(T) - k^E(0)|/|k^E(0)|$")
        right.semilogx(epsilons, np.where(table[:, 3] > 0, table[:, 3], np.nan), "s-", color=CATEGORIES[3],
                       label="share of networks that diverge")  # fmt: skip
        right.set(xlabel="$\\epsilon$")
        right.legend()
        figure.savefig(path, dpi=150)
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write", action="store_true", help="draw docs/breakdown.png")
    write = parser.parse_args().write
    table = np.array([compared(epsilon) for epsilon in EPSILONS])
    print(" epsilon", *(f"{name:>12}" for name in COLUMNS))
    for epsilon, row in zip(EPSILONS, table, strict=True):
        print(f"{epsilon:8.2f}", *(f"{value:12.3g}" for value in row))
    if write:
        draw(EPSILONS, table, FIGURE)


if __name__ == "__main__":
    main()
