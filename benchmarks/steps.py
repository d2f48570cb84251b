"""Draw the mean and the spread of trained outputs over steps, of four algorithms, on the curves of order 1/n.

    python -m benchmarks.steps [--networks 3000] [--folder DIR] [--write]

Networks of tanh at depth 3 and widths 32, 64 and 128 learn two digits, and the test digit is watched. --write puts the
figure into docs/algorithms.png, which docs/training.md shows.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

import simulate
from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.solved import targets
from analysis.measures.trained import outputs
from analysis.measures.trained_cumulants import kernels, trained_covariance1, trained_mean1
from analysis.points import Point
from analysis.report.style import STYLE
from analysis.theory import composite
from analysis.theory.own_kernel import own_kernel

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
        "observables.record=[outputs,ntk,linear]",
        f"network.width={','.join(map(str, WIDTHS))}",
        f"ensemble.networks={networks}",
        f"output={folder}",
    )
    return [Point(data) for data in sets]


def curves(point: Point) -> list[tuple[Array, Array]]:
    """The coefficients of 1/n of mean and variance at every step, which do not depend on the width, each with its
    standard error, which is zero but for sampled sequences of batches."""
    rule, (*network, lambda_b, lambda_W, _) = point.settings["dynamics"], point.network(point.samples[0])
    record = theory.trained_to_order_n(
        *network,
        targets(point),
        rule["eta"],
        range(STEPS[-1] + 1),
        rule["name"],
        momentum=rule.get("momentum") or 0.0,
        lambda_b=lambda_b,
        lambda_W=lambda_W,
        batches=rule["batch"] or None,
    )
    at = {"mean1": np.s_[:, TEST], "covariance1": np.s_[:, TEST, TEST]}
    return [(getattr(record, name)[place], record.errors[name][place]) for name, place in at.items()]


def excess(point: Point, curve: list[tuple[Array, Array]]) -> list[list[Estimate]]:
    """n (E z - infinite width) and n (Var z - infinite width) of the test sample after each of STEPS but the first.

    Controls are made from each network's own NTK at the start (docs/theory.md (5.28)); what theory says of theirs is
    added, which is the part with Theta1 of the mean and those with Theta1, G1 and kz of the variance.
    """
    if point.settings["dynamics"]["name"] == "sgd":
        return of_batches(point)
    found = []
    for measure, label, (whole, _) in zip((trained_mean1, trained_covariance1), ("0,2", "0,22"), curve, strict=True):
        found.append([])
        for m in measure(point, None):
            k = m.samples.index(label)
            found[-1].append(shifted(m.estimate.chosen([k]), whole[m.step] - m.theory[k]))
    return found


def shifted(estimate: Estimate, by: float) -> Estimate:
    return replace(estimate, value=estimate.value + by, replicates=estimate.replicates + by)


def of_batches(point: Point) -> list[list[Estimate]]:
    """`excess` of sgd, by the linear model of each network with the batches of the network, whose mean and variance
    over batches follow from its NTK (docs/theory.md (5.40)); those of the frozen kernel are known."""
    flow, eta, N = point.flow(composite.TENSORS), point.settings["dynamics"]["eta"], len(targets(point))
    assert flow.Theta is not None
    y = np.append(targets(point)[:, 0], np.zeros(point.D - N))
    z0, H = outputs(point, 0)[:, 0], kernels(point)
    errors, G1 = z0 - y, np.asarray(flow["G1"][-1])
    own, frozen = (
        over_batches(kernel, errors, errors[:, :, None] * errors[:, None], eta, N) for kernel in (H, flow.Theta[-1])
    )
    infinite = over_batches(flow.Theta[-1], -y, flow.K[-1] + np.outer(y, y), eta, N)
    of_G1 = over_batches(flow.Theta[-1], 0 * y, G1, eta, N)
    first = own_kernel(flow, targets(point), eta, STEPS, "gradient_descent")
    found: list[list[Estimate]] = [[], []]
    for k, step in enumerate(STEPS):
        if not step:
            continue
        z, linear = outputs(point, step)[:, 0, TEST], point.read("linear", point.depth, step)[:, TEST]
        moved = own[step][0] - frozen[step][0]
        beyond = z - linear + moved - first[k].shift(z0, H, targets(point)[:, 0])[:, TEST]
        found[0].append(shifted(estimators.mean(beyond[:, None]).scaled(point.n), first[k].mean1[TEST]))
        spread = own[step][1] - frozen[step][1] - 2 * infinite[step][0] * moved
        both = np.stack([z - linear, z + linear], axis=1)  # their covariance is Var z - Var linear
        variance = estimators.covariance(both, [(0, 1)]) + estimators.mean(spread[:, None])
        found[1].append(shifted(variance.scaled(point.n), float(of_G1[step][1])))
    return found


def over_batches(kernel: Array, mean: Array, moment: Array, eta: float, N: int) -> dict[int, tuple[Array, Array]]:
    """Mean and second moment over batches of one of the test sample's error after each of STEPS, from those (.., D) and
    (.., D, D) at the start, for a kernel (.., D, D) that does not move: docs/theory.md (5.40)."""
    found, trained = {}, eta * kernel[..., :N]
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            found[step] = mean[..., TEST], moment[..., TEST, TEST]
        drift = trained @ moment[..., :N, :]
        squares = N * np.diagonal(moment, axis1=-2, axis2=-1)[..., None, :N]
        moment = moment - drift - drift.swapaxes(-1, -2) + (trained * squares) @ trained.swapaxes(-1, -2)
        mean = mean - (trained @ mean[..., :N, None])[..., 0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=3_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--write", action="store_true", help=f"write {FIGURE.name}")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        plt.style.use(STYLE)
        figure, axes = plt.subplots(2, len(ALGORITHMS), figsize=(12, 5.2), sharex=True, layout="tight")
        for column, (name, settings) in enumerate(ALGORITHMS.items()):
            points = simulated(folder / name.replace(" ", "_"), settings, given.networks)
            curve = curves(points[0])
            for row, (exact, unsure) in enumerate(curve):
                every = range(len(exact))
                axes[row, column].plot(every, exact, color="black", label="order $1/n$")
                axes[row, column].fill_between(every, exact - unsure, exact + unsure, color="0.8")
            for shift, (point, colour) in enumerate(zip(points, ("#56b4e9", "#0072b2", "#d55e00"), strict=True)):
                for row, estimates in enumerate(excess(point, curve)):
                    value, error = (np.array([getattr(e, part)[0] for e in estimates]) for part in ("value", "error"))
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
