"""Draw the mean and the spread of trained outputs over steps, of four algorithms, on the curves of order 1/n.

    python -m benchmarks.steps [--networks 30000] [--folder DIR] [--write]

Networks of tanh at depth 3 and widths 32, 64 and 128 learn two digits, and the test digit is watched. --write puts the
figure into docs/algorithms.png, which docs/training.md shows.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

import simulate
from analysis import estimators, theory
from analysis.estimators import Array
from analysis.measures.solved import order_n, targets
from analysis.measures.trained import outputs
from analysis.points import Point
from analysis.report.style import STYLE

FIGURE = Path(__file__).parents[1] / "docs" / "algorithms.png"
STEPS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
WIDTHS = (32, 64, 128)
ALGORITHMS = {
    "gradient descent": ["dynamics=gradient_descent", "dynamics.eta=0.3"],
    "gradient flow": ["dynamics=gradient_flow", "dynamics.eta=0.3"],
    "momentum 0.5": ["dynamics=momentum", "dynamics.momentum=0.5", "dynamics.eta=0.15"],
    "sgd with batches of one": ["dynamics=sgd", "dynamics.batch=1", "dynamics.eta=0.15"],
}
TEST = 2  # the sample that is watched, after two train samples


def simulated(folder: Path, algorithm: list[str], networks: int) -> list[Point]:
    """The points of the three widths."""
    sets = simulate.sweep(
        "experiment=trained_distribution",
        "claim=null",
        *algorithm,
        f"dynamics.steps={STEPS[-1]}",
        f"observables.steps={list(STEPS)}",
        "observables.record=[outputs]",
        f"network.width={','.join(map(str, WIDTHS))}",
        f"ensemble.networks={networks}",
        f"output={folder}",
    )
    return [Point(data) for data in sets]


def excess(point: Point, step: int) -> list[tuple[float, float]]:
    """n (E z - infinite width) and n (Var z - infinite width) of the test sample, each with its error.

    The same network with a frozen kernel, trained by descent where the algorithm is sgd, is a control: its mean is
    known at every width, and its variance is A (K + G1 / n) A^T to order 1/n, docs/theory.md (5.30).
    """
    record, k, rule = order_n(point), point.data.layout.steps.index(step), point.settings["dynamics"]
    flow, y, train = point.flow(("K", "Theta", "G1")), targets(point), len(targets(point))
    assert flow.Theta is not None
    name = "gradient_descent" if rule["name"] == "sgd" else rule["name"]
    options = {"momentum": rule["momentum"]} if name == "momentum" else {}
    M = theory.response(flow.Theta[-1], train, rule["eta"], step, name, **options)[TEST]
    start, z = outputs(point, 0)[:, 0], outputs(point, step)[:, 0, TEST]
    frozen = start[:, TEST] - (start[:, :train] - y[:, 0]) @ M
    sums = np.stack([z - frozen, z + frozen], axis=1)  # their covariance is Var z - Var frozen
    mean, variance = estimators.mean(sums[:, :1]), estimators.covariance(sums, [(0, 1)])
    A = np.eye(point.D)[TEST]
    A[:train] -= M
    wide = float(A @ flow.K[-1] @ A) - record.covariance[k, TEST, TEST]
    known = (0.0, point.n * wide + float(A @ flow["G1"][-1] @ A))
    return [
        (point.n * float(estimate.value[0]) + shift, point.n * float(estimate.error[0]))
        for estimate, shift in zip((mean, variance), known, strict=True)
    ]


def curves(points: list[Point]) -> tuple[Array, Array]:
    """The coefficients of 1/n at the recorded steps, which do not depend on the width."""
    record = order_n(points[0])
    return record.mean1[:, TEST], record.covariance1[:, TEST, TEST]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=30_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--write", action="store_true", help=f"write {FIGURE.name}")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        plt.style.use(STYLE)
        figure, axes = plt.subplots(2, len(ALGORITHMS), figsize=(12, 5.2), sharex=True, layout="tight")
        for column, (name, settings) in enumerate(ALGORITHMS.items()):
            points = simulated(folder / name.replace(" ", "_"), settings, given.networks)
            for row, curve in enumerate(curves(points)):
                axes[row, column].plot(STEPS, curve, color="black", label="order $1/n$")
            for shift, (point, colour) in enumerate(zip(points, ("#56b4e9", "#0072b2", "#d55e00"), strict=True)):
                both = [excess(point, step) for step in STEPS[1:]]
                for row, pairs in enumerate(zip(*both, strict=True)):
                    value, error = np.array(pairs).T
                    x = np.array(STEPS[1:]) + 0.2 * (shift - 1)
                    axes[row, column].errorbar(x, value, error, fmt="o", ms=3, color=colour, label=f"$n = {point.n}$")
                    print(name, point.n, ["mean", "variance"][row], value.round(3).tolist(), error.round(3).tolist())
            axes[0, column].set_title(name)
            axes[1, column].set_xlabel("step")
        axes[0, 0].set_ylabel(r"$n\,(\mathrm{E}\,z-\mathrm{E}\,z_\infty)$")
        axes[1, 0].set_ylabel(r"$n\,(\mathrm{Var}\,z-\mathrm{Var}\,z_\infty)$")
        axes[0, 0].legend()
        if given.write:
            figure.savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    main()
