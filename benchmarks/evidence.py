"""Model comparison by log p(y) in one picture: docs/theory.md (16.1), (16.7), (16.17) and (16.18).

    python -m benchmarks.evidence             # prints what is found
    python -m benchmarks.evidence --write     # draws docs/evidence.png, too

Digits with targets +1 and -1 and noise 0.1. Curves are theory at infinite width, and to order 1/n. Points are networks
of width 64 that are drawn here, each weighted by its evidence; those of ReLU are drawn once for all C_W.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch

from analysis import theory
from analysis.report.style import CATEGORIES, MARKERS, STYLE
from analysis.theory.bayes import Given
from analysis.weights import Weights, processes
from simulate.api import read_one
from simulate.inputs import load
from simulate.running.prepare import prepare
from simulate.running.samplers import snapshots

FIGURE = Path(__file__).parents[1] / "docs" / "evidence.png"
NOISE, WIDTH, NETWORKS = 0.1, 64, 20000
SCALES = np.exp(np.arange(-7, 12, 0.05))  # of the mean variance of outputs, where it is free
RELU_DEPTHS, RELU_C_W = (3, 5, 10), np.linspace(1.2, 3.2, 21)
TANH_DEPTHS, TANH_C_W = (3, 10, 30, 100), np.array([0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0])
LINEAR_DEPTH, LINEAR_WIDTHS = 4, (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024)


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (count, n_0) and targets (count, 1)."""
    samples = load(read_one(["inputs=digits", f"inputs.count={count}", "inputs.test=0"]).inputs)
    assert samples.y is not None
    return np.asarray(samples.x, dtype=np.float64), np.asarray(samples.y, dtype=np.float64)


def wide(K: np.ndarray, y: np.ndarray, free: bool = False) -> float:
    """log p(y) under the kernel K, or the best one of its multiples in SCALES, docs/theory.md (16.1)."""
    if not free:
        return Given.of(K, y, NOISE).log_evidence
    unit = K / np.diagonal(K).mean()
    return max(Given.of(scale * unit, y, NOISE).log_evidence for scale in SCALES)


@dataclass(frozen=True)
class Points:
    """Of networks of one width: log p(y) and its error at each setting, NaN where too few networks carry the weight."""

    value: np.ndarray
    error: np.ndarray


def of_networks(g: np.ndarray, factors: Sequence[float], y: np.ndarray) -> Points:
    """log p(y) of networks with the kernels factor times g (M, N, N), docs/theory.md (16.5)."""
    found = []
    for factor in factors:
        weights = Weights.of(processes(factor * g, y, NOISE).log_w)
        try:
            weights.check()
        except ValueError:
            found.append((np.nan, np.nan))
            continue
        estimate = weights.log_evidence()
        found.append((float(estimate.value[0]), float(estimate.error[0])))
    return Points(*np.array(found).T)


def kernels(activation: str, depth: int, count: int, width: int, networks: int = NETWORKS) -> np.ndarray:
    """g(L) (M, N, N) of networks without biases that are critical."""
    given = ["inputs=digits", f"inputs.count={count}", "inputs.test=0", f"activation={activation}", "output=unused"]
    given += [f"network.depth={depth}", f"network.width={width}", "observables=kernel", f"ensemble.seed={depth}"]
    job = prepare(read_one([*given, f"ensemble.networks={networks}", f"ensemble.block={networks}"]))
    with torch.inference_mode():
        return np.asarray([snapshot.kernel().numpy() for snapshot in snapshots(job, 0, None)][-1])


@dataclass(frozen=True)
class Relu:
    """log p(y) of ReLU networks over C_W: infinite (C_W,), the coefficient of 1/n (C_W,), and networks. All C_W are
    multiples of one kernel, docs/theory.md (16.17)."""

    infinite: np.ndarray
    order_n: np.ndarray
    points: Points


def relu(depth: int, networks: int = NETWORKS) -> Relu:
    x, y = digits(4)
    found = [theory.posterior("relu", depth, 0.0, C_W, x, y, NOISE) for C_W in RELU_C_W]
    points = of_networks(kernels("relu", depth, 4, WIDTH, networks), (RELU_C_W / 2.0) ** depth, y)
    return Relu(np.array([p.log_evidence for p in found]), np.array([p.log_evidence1 for p in found]), points)


def tanh(C_b: float, depths: Sequence[int] = TANH_DEPTHS, C_W: Sequence[float] = tuple(TANH_C_W)) -> np.ndarray:
    """log p(y) of ten digits at infinite width with a free scale of the outputs, (depths, C_W)."""
    x, y = digits(10)
    flows = [theory.flow("tanh", max(depths), C_b, c, x, tensors=("K",)).K for c in C_W]
    return np.array([[wide(K[depth - 1], y, free=True) for K in flows] for depth in depths])


@dataclass(frozen=True)
class Linear:
    """log p(y) of deep linear networks: at infinite width, its coefficient of 1/n, and the exact one at each width,
    docs/theory.md (16.18)."""

    infinite: float
    order_n: float
    exact: np.ndarray


def linear(depth: int = LINEAR_DEPTH) -> Linear:
    x, y = digits(3)
    found = theory.posterior("linear", depth, 0.0, 1.0, x, y, NOISE)
    K = theory.flow("linear", depth, 0.0, 1.0, x, tensors=("K",)).K[-1]
    exact = [theory.deep_linear(K, y, NOISE, [n] * (depth - 1)).log_evidence for n in LINEAR_WIDTHS]
    return Linear(found.log_evidence, found.log_evidence1, np.array(exact))


@dataclass(frozen=True)
class Found:
    """All that is drawn: ReLU by depth, tanh by C_b, and linear networks, with networks of some widths."""

    relu: dict[int, Relu]
    tanh: dict[float, np.ndarray]
    linear: Linear
    networks: dict[int, tuple[float, float]]


def measured() -> Found:
    y = digits(3)[1]
    drawn = {n: of_networks(kernels("linear", LINEAR_DEPTH, 3, n), [1.0], y) for n in (16, 32, 64, 128)}
    return Found(
        {depth: relu(depth) for depth in RELU_DEPTHS},
        {C_b: tanh(C_b) for C_b in (0.0, 0.05)},
        linear(),
        {n: (points.value[0], points.error[0]) for n, points in drawn.items()},
    )


def draw(found: Found, path: Path) -> None:
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")
    with plt.style.context([str(STYLE)]):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
        for color, marker, (depth, of) in zip(CATEGORIES, MARKERS, found.relu.items(), strict=False):
            left.plot(RELU_C_W, of.infinite, color=color, linestyle=":", linewidth=1)
            left.plot(RELU_C_W, of.infinite + of.order_n / WIDTH, color=color, label=f"L = {depth}")
            left.errorbar(RELU_C_W, of.points.value, of.points.error, color=color, marker=marker, linestyle="")
        left.set(xlabel="$C_W$", ylabel=r"$\log p(y)$", title=f"ReLU, n = {WIDTH} (dotted: infinite)", ylim=(-11, -5))
        for color, (k, depth) in zip(CATEGORIES, enumerate(TANH_DEPTHS), strict=False):
            middle.plot(TANH_C_W, found.tanh[0.05][k], color=color, label=f"L = {depth}")
            middle.plot(TANH_C_W, found.tanh[0.0][k], color=color, linestyle="--", linewidth=1)
        middle.set(xlabel="$C_W$", title="tanh, free scale, $C_b$ = 0.05 (dashed: 0)", ylim=(-17, -7))
        of_linear, n = found.linear, np.array(LINEAR_WIDTHS)
        right.plot(n, of_linear.exact, color=CATEGORIES[0], label="exact")
        right.plot(n, of_linear.infinite + of_linear.order_n / n, color=CATEGORIES[1], label="order 1/n")
        right.axhline(of_linear.infinite, color="0.5", linestyle=":", linewidth=1)
        values, errors = np.array(list(found.networks.values())).T
        right.errorbar(
            list(found.networks), values, errors, color="k", marker=MARKERS[0], linestyle="", label="networks"
        )
        right.set(xlabel="n", xscale="log", title=f"linear, L = {LINEAR_DEPTH}", ylim=(-3.4, -3.24))
        for axes in (left, middle, right):
            axes.legend(fontsize=8)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def lines(found: Found) -> list[str]:
    """What the picture says, in sentences."""
    out = []
    for depth, of in found.relu.items():
        there = np.isfinite(of.points.value)
        apart = (of.points.value - of.infinite - of.order_n / WIDTH)[there]
        out.append(
            f"relu L={depth}: best C_W {RELU_C_W[np.argmax(of.infinite)]:.1f} at infinite width "
            f"({of.infinite.max():.2f}) and {RELU_C_W[there][np.argmax(of.points.value[there])]:.1f} at n={WIDTH}; "
            f"networks are off order 1/n by up to {np.abs(apart).max():.2f}, off infinite width by up to "
            f"{np.abs((of.points.value - of.infinite)[there]).max():.2f}"
        )
    for C_b, table in found.tanh.items():
        for k, depth in enumerate(TANH_DEPTHS):
            best = int(np.argmax(table[k]))
            ends = ", ".join(f"{TANH_C_W[j]:g}: {table[k, j]:.2f}" for j in (0, 2, len(TANH_C_W) - 1))
            out.append(f"tanh C_b={C_b:g} L={depth}: best C_W {TANH_C_W[best]:g} ({table[k, best]:.2f}); {ends}")
    best = int(np.argmax(found.linear.exact))
    out.append(
        f"linear L={LINEAR_DEPTH}: best width {LINEAR_WIDTHS[best]} ({found.linear.exact[best]:.5f}), infinite width "
        f"{found.linear.infinite:.5f}"
    )
    exact = dict(zip(LINEAR_WIDTHS, found.linear.exact, strict=True))
    pulls = [(value - exact[n]) / error for n, (value, error) in found.networks.items()]
    out.append("networks less the exact law in standard errors: " + ", ".join(f"{pull:+.1f}" for pull in pulls))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"draw {FIGURE.name}")
    found = measured()
    print("\n".join(lines(found)))
    if parser.parse_args().write:
        draw(found, FIGURE)


if __name__ == "__main__":
    main()
